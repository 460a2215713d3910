//! `shoshin`: a Skylake workstation (i7-6700K, 16 GiB), tuned in stages.
//!
//! Each stage is a part of the plan, so that it can be tried and reverted by itself:
//! `shoshin apply --stage 1`, some days later `--stage 2`; `shoshin revert --only stage-2`.

use hosttune::blockdev::udev::NoteFights;
use hosttune::blockdev::{self, Attribute, Rule, Rules, SchedulerName, Transport};
use hosttune::cli::{self, HostProfile, Options, Setting, Watched};
use hosttune::cpu::irqbalance::NoteIrqbalance;
use hosttune::cpu::{self, EnergyPreference, Governor, Processors};
use hosttune::facts::{Facts, Microarchitecture};
use hosttune::host::RootKind;
use hosttune::memory;
use hosttune::memory::transparent::{Defrag, Enabled, TransparentHugepages};
use hosttune::memory::zram::{Size, Zram, ZramSwap};
use hosttune::modules::Modules;
use hosttune::sysctl::{self, SysctlSet, Wanted};
use hosttune::{BesideZram, Error, Host, Note, Planner, Registry, Session, Tuning, Why};

const VM: &str = "https://docs.kernel.org/admin-guide/sysctl/vm.html";
const INTEL_PSTATE: &str = "https://docs.kernel.org/admin-guide/pm/intel_pstate.html";
const ZRAM: &str = "https://docs.kernel.org/admin-guide/blockdev/zram.html";

/// Three quarters of the memory. Swapped-out pages are compressed to between a third and a half of their
/// size, so they take at most 6 of the 16 GiB.
const SWAP: Size = Size::Bytes(12 << 30);

/// Harmless settings: none of them has a drawback for another program.
fn first() -> Vec<Wanted> {
    vec![
        Wanted::new("fs.inotify.max_user_watches", 1_048_576)
            .why("editors and builds watch whole source trees"),
        Wanted::new("fs.inotify.max_user_instances", 1024)
            .why("each container and editor uses one"),
        Wanted::new("vm.max_map_count", 1_048_576)
            .why("debuggers and emulators need more than 65530 mappings"),
        Wanted::new("vm.dirty_background_bytes", 67_108_864)
            .why("writeback starts early: any disk here writes 64 MiB in a moment"),
        Wanted::new("vm.dirty_bytes", 268_435_456)
            .why("a large copy does not make every other program wait for the disk"),
    ]
}

/// Latency of the disks.
fn disks(options: &Options) -> Rules {
    let rules = Rules::new([
        Rule::new("nvme")
            .transport(Transport::Nvme)
            .scheduler(SchedulerName::none())
            .why("NVMe has a queue per CPU and orders requests itself"),
        Rule::new("solid-state")
            .transport(Transport::Sata)
            .rotational(false)
            .scheduler(SchedulerName::mq_deadline())
            .why("with a single queue, reads go before writes"),
        Rule::new("rotating")
            .transport(Transport::Sata)
            .rotational(true)
            .scheduler(SchedulerName::bfq())
            .queue(Attribute::ReadAheadKb, 1024)
            .why("seeks cost milliseconds: each program gets its share of the disk, in long requests"),
    ]);
    if options.persist {
        rules.persisted_as("shoshin")
    } else {
        rules
    }
}

fn processors() -> Processors {
    Processors::new()
        .own_governor(Governor::Powersave)
        .energy_preference(EnergyPreference::BalancePerformance)
        .why(
            Why::new("fast under load, cool when idle")
                .looks_wrong(
                    "powersave of intel_pstate in active mode is not the lowest frequency: it follows the load, and the \
                     preference sets how fast; under another driver, where it is, nothing is set",
                )
                .source(INTEL_PSTATE),
        )
}

/// Compressed swap in memory.
fn swap() -> ZramSwap {
    ZramSwap::new(SWAP)
        .algorithm("zstd")
        .limit(Size::Percent(50))
        .why(
            Why::new("16 GiB hold a build and a browser, and swap on a disk stalls both")
                .source(ZRAM),
        )
}

fn pages() -> TransparentHugepages {
    TransparentHugepages::new()
        .enabled(Enabled::Madvise)
        .defrag(Defrag::DeferMadvise)
        .why(
            "huge pages for programs that request them; no other program waits for their allocation",
        )
}

fn swappiness() -> Vec<Wanted> {
    vec![
        Wanted::new("vm.swappiness", 150).why(
            Why::new("with swap on zram, a page is read back faster than a file from a disk")
                .looks_wrong(
                    "values above 100 mean that swap is cheaper than files, which is true for zram",
                )
                .source(VM)
                .risk("the machine stutters if swap is on a disk instead of zram"),
        ),
        Wanted::new("vm.page-cluster", 0)
            .why("reading neighbouring pages ahead does not help on zram: one page at a time"),
    ]
}

const UNTIL_REBOOT: &str =
    "CPU and memory settings last until the next boot: run shoshin apply --yes at each boot";

/// The number of stages.
const STAGES: u8 = 3;

const SETTINGS: &[Setting] = &[Setting {
    name: "stage",
    value: "N",
    help: "Tune up to this stage: 1 kernel limits, 2 adds disks and CPUs, 3 adds memory [default: 3]",
    check: |text| stage(text).map(drop),
}];

fn stage(text: &str) -> Result<u8, String> {
    let stage = text
        .parse()
        .ok()
        .filter(|stage| (1..=STAGES).contains(stage));
    stage.ok_or_else(|| format!("the stages are 1 to {STAGES}"))
}

/// The stage of the command line, which has already been checked.
fn wanted_stage(options: &Options) -> Result<u8, Error> {
    let stage = options.setting("stage").map_or(Ok(STAGES), stage);
    stage.map_err(|why| Error::tuning(why, "omit --stage to apply all of them"))
}

struct Shoshin;

impl HostProfile for Shoshin {
    fn name(&self) -> &'static str {
        "shoshin"
    }

    fn about(&self) -> &'static str {
        "A Skylake workstation, tuned in stages that can be reverted one by one"
    }

    fn settings(&self) -> &'static [Setting] {
        SETTINGS
    }

    fn register(&self, registry: &mut Registry) {
        sysctl::knobs(registry);
        blockdev::knobs(registry);
        cpu::knobs(registry);
        memory::knobs(registry);
    }

    fn with_backend(&self, session: Session) -> Session {
        session
            .with_backend(Modules::live())
            .with_backend(Zram::live())
    }

    fn tuning(&self, options: &Options) -> Result<Box<dyn Tuning>, Error> {
        let stage = wanted_stage(options)?;
        // Each stage has its own file, which is reverted with it.
        let sysctls = |stage: &str, wanted| {
            let set = SysctlSet::new(wanted);
            let set = match options.persist {
                true => set.persisted_as(format!("{}-{stage}", self.name())),
                false => set,
            };
            let keys = &["vm.swappiness", "vm.page-cluster"];
            Box::new(("sysctl", BesideZram { set, keys })) as Box<dyn Tuning>
        };
        let mut stages = vec![
            Box::new(OtherMachine) as Box<dyn Tuning>,
            Box::new(("stage-1", sysctls("stage-1", first()))),
        ];
        if stage >= 2 {
            let parts = vec![
                Box::new(("blockdev", disks(options))) as Box<dyn Tuning>,
                Box::new(("blockdev", NoteFights(disks(options)))),
                Box::new(("cpu", processors())),
                Box::new(("cpu", NoteIrqbalance)),
            ];
            stages.push(Box::new(("stage-2", parts)));
        }
        if stage >= 3 {
            let mut parts = vec![
                Box::new(("memory", swap())) as Box<dyn Tuning>,
                Box::new(("memory", pages())),
                sysctls("stage-3", swappiness()),
            ];
            if options.persist {
                parts.push(Box::new(("memory", Note(UNTIL_REBOOT.to_owned()))));
            }
            stages.push(Box::new(("stage-3", parts)));
        }
        Ok(Box::new(stages))
    }

    fn watched(&self, _: &Host, options: &Options) -> Result<Vec<Watched>, Error> {
        if wanted_stage(options)? < 2 {
            return Ok(Vec::new());
        }
        Ok(vec![Watched::Disks {
            part: "stage-2/blockdev",
            rules: disks(options),
        }])
    }
}

/// Adds a note if this is not the machine that the profile was written for. It requests nothing.
struct OtherMachine;

impl Tuning for OtherMachine {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if at.host().root_kind() == RootKind::Image {
            return Ok(());
        }
        let cpu = Facts::of(at.host()).cpu;
        if cpu.microarchitecture != Some(Microarchitecture::Skylake) {
            let seen = cpu.model_name.as_deref().unwrap_or("an unknown CPU");
            at.note(format!(
                "this profile is for a Skylake i7-6700K with 16 GiB, but this host has {seen}"
            ));
        }
        Ok(())
    }
}

fn main() -> std::process::ExitCode {
    cli::main(&Shoshin)
}
