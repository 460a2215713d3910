//! `shoshin`: a Skylake workstation (i7-6700K, 16 GiB), tuned in stages.
//!
//! Each stage is a part of the plan, so that it can be tried and taken back by itself:
//! `shoshin apply --stage 1`, then some days later `--stage 2`; `shoshin revert --only stage-2`.

use hosttune::blockdev::udev::NoteFights;
use hosttune::blockdev::{self, Attribute, Rule, Rules, SchedulerName, Transport};
use hosttune::boot::Modules;
use hosttune::cli::{self, HostProfile, Options, Setting, Watched};
use hosttune::cpu::irqbalance::NoteIrqbalance;
use hosttune::cpu::{self, EnergyPreference, Governor, Processors};
use hosttune::facts::{Facts, Microarchitecture};
use hosttune::host::RootKind;
use hosttune::memory;
use hosttune::memory::transparent::{Defrag, Enabled, TransparentHugepages};
use hosttune::memory::zram::{Size, Zram, ZramSwap};
use hosttune::sysctl::{self, SysctlSet, Wanted};
use hosttune::{BesideZram, Error, Host, Note, Planner, Registry, Session, Tuning, Why};

const VM: &str = "https://docs.kernel.org/admin-guide/sysctl/vm.html";
const INTEL_PSTATE: &str = "https://docs.kernel.org/admin-guide/pm/intel_pstate.html";
const ZRAM: &str = "https://docs.kernel.org/admin-guide/blockdev/zram.html";

/// Three quarters of the memory. What is swapped out takes a third to a half of its size, so at the
/// most 6 of the 16 GiB.
const SWAP: Size = Size::Bytes(12 << 30);

/// What can do no harm: no value here takes anything away from anybody.
fn first() -> Vec<Wanted> {
    vec![
        Wanted::new("fs.inotify.max_user_watches", 1_048_576)
            .why("editors and builds watch whole trees of sources"),
        Wanted::new("fs.inotify.max_user_instances", 1024)
            .why("containers and editors take one each"),
        Wanted::new("vm.max_map_count", 1_048_576)
            .why("debuggers and emulators map more pieces than 65530"),
        Wanted::new("vm.dirty_background_bytes", 67_108_864)
            .why("writing back begins early: 64 MiB are done in a blink on any disk here"),
        Wanted::new("vm.dirty_bytes", 268_435_456)
            .why("a large copy does not make every other program wait for the disk"),
    ]
}

/// How long a program waits for disk and processor.
fn disks(options: &Options) -> Rules {
    let rules = Rules::new([
        Rule::new("nvme")
            .transport(Transport::Nvme)
            .scheduler(SchedulerName::none())
            .why("it has a queue for each processor and sorts by itself"),
        Rule::new("solid-state")
            .transport(Transport::Sata)
            .rotational(false)
            .scheduler(SchedulerName::mq_deadline())
            .why("one queue for all: reads go before writes"),
        Rule::new("rotating")
            .transport(Transport::Sata)
            .rotational(true)
            .scheduler(SchedulerName::bfq())
            .queue(Attribute::ReadAheadKb, 1024)
            .why("seeks cost milliseconds: each program gets its share of them, in long pieces"),
    ]);
    if options.persist {
        rules.persisted_as("shoshin")
    } else {
        rules
    }
}

fn processors() -> Processors {
    Processors::new()
        .governor(Governor::Powersave)
        .energy_preference(EnergyPreference::BalancePerformance)
        .why(
            Why::new("fast when there is work, cool when there is none")
                .looks_wrong(
                    "powersave of intel_pstate is no lowest clock: it follows the load, where the preference says how fast",
                )
                .source(INTEL_PSTATE),
        )
}

/// What changes how memory is used up.
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
            "large pages for programs that ask for them, and nobody else waits while they are made",
        )
}

fn swappiness() -> Vec<Wanted> {
    vec![
        Wanted::new("vm.swappiness", 150).why(
            Why::new("with zram for swap a page comes back faster than a file does from a disk")
                .looks_wrong("values above 100 say that swap is cheaper than files, which zram is")
                .source(VM)
                .risk("with swap on a disk instead of zram it stutters"),
        ),
        Wanted::new("vm.page-cluster", 0)
            .why("zram has no neighbours worth reading: one page at a time"),
    ]
}

const UNTIL_REBOOT: &str =
    "processors and memory are tuned until the next boot: have shoshin apply --yes run then";

/// How many stages there are.
const STAGES: u8 = 3;

const SETTINGS: &[Setting] = &[Setting {
    name: "stage",
    value: "N",
    help: "Up to this stage: 1 kernel limits, 2 disks and processors too, 3 memory too [default: 3]",
    check: |text| stage(text).map(drop),
}];

fn stage(text: &str) -> Result<u8, String> {
    let stage = text
        .parse()
        .ok()
        .filter(|stage| (1..=STAGES).contains(stage));
    stage.ok_or_else(|| format!("the stages are 1 to {STAGES}"))
}

/// The stage that was asked for. What was typed has passed the check.
fn wanted_stage(options: &Options) -> Result<u8, Error> {
    let stage = options.setting("stage").map_or(Ok(STAGES), stage);
    stage.map_err(|why| Error::tuning(why, "leave it out for all of them"))
}

struct Shoshin;

impl HostProfile for Shoshin {
    fn name(&self) -> &'static str {
        "shoshin"
    }

    fn about(&self) -> &'static str {
        "A Skylake workstation, tuned in stages that go back one by one"
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

    fn plug(&self, session: Session) -> Session {
        session.plug(Modules::live()).plug(Zram::live())
    }

    fn tuning(&self, options: &Options) -> Result<Box<dyn Tuning>, Error> {
        let stage = wanted_stage(options)?;
        // A file for each stage, which goes with it.
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

/// Says when it is not the machine that this was written for. It wants nothing.
struct OtherMachine;

impl Tuning for OtherMachine {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if at.host().root_kind() == RootKind::Image {
            return Ok(());
        }
        let cpu = Facts::of(at.host()).cpu;
        if cpu.microarchitecture != Some(Microarchitecture::Skylake) {
            let seen = cpu
                .model_name
                .as_deref()
                .unwrap_or("a processor that is not known");
            at.note(format!(
                "this profile is for a Skylake i7-6700K with 16 GiB, and this is {seen}"
            ));
        }
        Ok(())
    }
}

fn main() -> std::process::ExitCode {
    cli::main(&Shoshin)
}
