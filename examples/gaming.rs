//! `gaming`: a Zen 4 desktop with an NVIDIA card, a gigabit uplink, and swap on zram.

#[path = "gaming/boot.rs"]
mod boot;
#[path = "gaming/gpu.rs"]
mod gpu;
#[path = "gaming/irqbalance.rs"]
mod irqbalance;
#[path = "gaming/nvidia.rs"]
mod nvidia;
#[path = "gaming/pipewire.rs"]
mod pipewire;

use hosttune::blockdev::udev::NoteFights;
use hosttune::blockdev::{self, Rule, Rules, SchedulerName, Transport};
use hosttune::boot::boot_loader::BootParameters;
use hosttune::cli::{self, HostProfile, OpenToUsers, Options, RunSettings, Setting, Watched};
use hosttune::cpu::managers::NoteManagers;
use hosttune::cpu::{self, Governor, Processors};
use hosttune::host::RootKind;
use hosttune::initramfs::ImageGenerators;
use hosttune::memory;
use hosttune::memory::swap::NoteUnlessZram;
use hosttune::memory::transparent::{Enabled, TransparentHugepages};
use hosttune::memory::zram::{Size, Zram, ZramSwap};
use hosttune::modules::Modules;
use hosttune::nvidia::runtime::GpuManagement;
use hosttune::qos::{self, Cake, Netlink, Rate, Shaper};
use hosttune::service::{self, Services};
use hosttune::sysctl::{self, SysctlSet, Wanted};
use hosttune::{
    BesideZram, Error, Host, Note, Planner, Registry, Report, Session, Tuning, Undone, Unsupported,
    UnsupportedKind, Why,
};

const TCP: &str = "https://docs.kernel.org/networking/ip-sysctl.html#tcp-variables";
const VM: &str = "https://docs.kernel.org/admin-guide/sysctl/vm.html";
const KERNEL: &str = "https://docs.kernel.org/admin-guide/sysctl/kernel.html";
const AMD_PSTATE: &str = "https://docs.kernel.org/admin-guide/pm/amd-pstate.html";
const THP: &str = "https://docs.kernel.org/admin-guide/mm/transhuge.html";

/// 32 MiB: covers the bandwidth-delay product of 1 Gbit/s at 250 ms, the round trip to the far side of
/// the world.
const BUFFER: u32 = 33_554_432;
const BUFFERS: &str = "4096 1048576 33554432";

fn sysctls() -> Vec<Wanted> {
    vec![
        Wanted::new("net.core.default_qdisc", "fq")
            .why("paces the packets of each flow, as BBR expects"),
        Wanted::new("net.ipv4.tcp_congestion_control", "bbr").why(
            Why::new("keeps downloads from filling the queue that the game shares").source(TCP),
        ),
        Wanted::new("net.core.netdev_max_backlog", 16384)
            .why("a burst of packets waits for the CPU instead of being dropped"),
        Wanted::new("net.ipv4.tcp_max_syn_backlog", 8192)
            .why("game servers started here can accept many players at once"),
        Wanted::new("net.core.rmem_max", BUFFER)
            .why("allows socket buffers for 1 Gbit/s at 250 ms"),
        Wanted::new("net.core.wmem_max", BUFFER)
            .why("allows socket buffers for 1 Gbit/s at 250 ms"),
        Wanted::new("net.ipv4.tcp_rmem", BUFFERS)
            .why(Why::new("socket buffers for 1 Gbit/s at 250 ms").source(TCP)),
        Wanted::new("net.ipv4.tcp_wmem", BUFFERS)
            .why(Why::new("socket buffers for 1 Gbit/s at 250 ms").source(TCP)),
        Wanted::new("net.ipv4.tcp_mtu_probing", 1)
            .why("works around routers that silently drop large packets"),
        Wanted::new("net.ipv4.tcp_fastopen", 3).why(
            Why::new("saves a round trip to servers contacted before, as client and as server")
                .looks_wrong(
                    "3 also enables the server side, and some middleboxes drop data in a SYN: \
                     the kernel detects that and falls back",
                )
                .source(TCP)
                .risk("the cookie lets an observer recognise the client"),
        ),
        Wanted::new("net.ipv4.tcp_slow_start_after_idle", 0)
            .why("a paused stream resumes at full speed"),
        Wanted::new("vm.swappiness", 100).why(
            Why::new("swapping to zram is faster than evicting hot pages")
                .looks_wrong(
                    "100 is often said to swap too much, which is true only for swap on a disk",
                )
                .source(VM)
                .risk("the machine stutters if swap is on a disk instead of zram"),
        ),
        Wanted::new("vm.dirty_ratio", 10)
            .why("saving a game or writing a shader cache does not stall everything else"),
        Wanted::new("vm.dirty_background_ratio", 5)
            .why("writeback starts early and in small pieces"),
        Wanted::new("vm.compaction_proactiveness", 0).why(
            Why::new("no background compaction: it locks pages and causes frame-time jitter")
                .looks_wrong(
                    "compaction produces huge pages, but games gain more from even frame times",
                )
                .source(VM),
        ),
        Wanted::new("kernel.split_lock_mitigate", 0).why(
            Why::new(
                "games trigger split locks, and the mitigation delays each of them by milliseconds",
            )
            .looks_wrong(
                "it disables a protection: any program can then slow down the whole machine",
            )
            .source(KERNEL)
            .risk("a security trade-off: not for a machine with untrusted users"),
        ),
    ]
}

fn candidates() -> Vec<Wanted> {
    vec![
        Wanted::new("kernel.sched_autogroup_enabled", 1)
            .why("a compile job in a terminal does not starve the game"),
        Wanted::new("kernel.numa_balancing", 0)
            .why("with one NUMA node there is nothing to balance, and scanning costs page faults"),
    ]
}

/// Rules for all disks of these kinds, or for the named disk only.
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
            .why("with a single queue, a game's reads go before a download's writes"),
    ]);
    let rules = match options.setting("device") {
        Some(device) if is_disk(device) => rules.only(device),
        _ => rules,
    };
    if options.persist {
        rules.persisted_as("gaming")
    } else {
        rules
    }
}

fn processors() -> Processors {
    Processors::new().governor(Governor::Performance).why(
        Why::new("a game's threads sleep and wake too often for the CPU frequency to follow")
            .looks_wrong(
                "the CPU scales its frequency itself: this only keeps its preference at performance",
            )
            .source(AMD_PSTATE)
            .risk("higher idle power and audible fans"),
    )
}

fn swap() -> ZramSwap {
    ZramSwap::new(Size::Percent(50)).algorithm("zstd").why(
        "memory that the game does not use shrinks to a third of its size, without waiting for a disk",
    )
}

fn pages() -> TransparentHugepages {
    TransparentHugepages::new().enabled(Enabled::Madvise).why(
        Why::new("huge pages only for programs that request them: the kernel does not look for any in the \
             middle of a frame")
            .source(THP),
    )
}

/// The default rate: 1 Gbit/s, reduced to keep the queue on this host instead of in the modem.
const LINE: Rate = Rate::mbit(950);

/// The preferred IFB for ingress traffic.
const IFB: &str = "ifb0";

const SETTINGS: &[Setting] = &[
    Setting {
        name: "device",
        value: "DEVICE",
        help: "Network interface to shape [default: that of the default route], or a disk such as /dev/sda to \
               tune only this disk",
        check: |_| Ok(()),
    },
    Setting {
        name: "up",
        value: "RATE",
        help: "Upload rate, slightly below the real one, such as 38mbit [default: 950mbit]",
        check: is_rate,
    },
    Setting {
        name: "down",
        value: "RATE",
        help: "Download rate, a tenth below the real one, such as 85mbit [default: 950mbit]",
        check: is_rate,
    },
    Setting {
        name: "cake-up",
        value: "WORDS",
        help: "CAKE options for uploads in tc syntax, such as \"nat pppoe-ptm\"; they follow diffserv4 \
               ack-filter, and the last keyword wins",
        check: is_cake,
    },
    Setting {
        name: "cake-down",
        value: "WORDS",
        help: "CAKE options for downloads; they follow diffserv4 ingress",
        check: is_cake,
    },
];

/// Whether `--device` names a disk. The name of a network interface cannot contain a slash.
fn is_disk(device: &str) -> bool {
    device.starts_with("/dev/")
}

fn is_rate(text: &str) -> Result<(), String> {
    cli::rate(text).map(drop)
}

fn is_cake(text: &str) -> Result<(), String> {
    cli::cake(text).map(drop)
}

struct Gaming;

impl HostProfile for Gaming {
    fn name(&self) -> &'static str {
        "gaming"
    }

    fn about(&self) -> &'static str {
        "A gaming desktop: even frame times, short queues, exact revert"
    }

    fn candidates(&self) -> &'static [&'static str] {
        &["candidates", nvidia::PRESERVE, irqbalance::STOP]
    }

    fn has_user_settings(&self) -> bool {
        true
    }

    fn settings(&self) -> &'static [Setting] {
        SETTINGS
    }

    fn register(&self, registry: &mut Registry) {
        sysctl::knobs(registry);
        qos::knobs(registry);
        blockdev::knobs(registry);
        cpu::knobs(registry);
        memory::knobs(registry);
        hosttune::boot::knobs(registry);
        hosttune::nvidia::knobs(registry);
        hosttune::pipewire::knobs(registry);
        service::knobs(registry);
    }

    fn with_backend(&self, session: Session) -> Session {
        let session = session
            .with_backend(Netlink::on_demand())
            .with_backend(Modules::live())
            .with_backend(Zram::live())
            .with_backend(Services::live())
            .with_backend(GpuManagement::program())
            // A revert runs the generator without being asked: the change was made by it.
            .with_backend(ImageGenerators::live());
        pipewire::with_daemon(session)
    }

    fn run_settings(&self) -> RunSettings {
        // What GameMode's renice=10 means.
        RunSettings::new()
            .nice(-10)
            .power_profile("performance", "cpu")
    }

    fn open_to_users(&self) -> OpenToUsers {
        // They are set in moments and need no knowledge of the machine. The members of the group may have
        // kernel.split_lock_mitigate off while they play, which the plan calls a trade-off. The rest is root's.
        OpenToUsers::parts(["sysctl", "cpu", "gpu"]).nice(-10)
    }

    fn tuning(&self, options: &Options) -> Result<Box<dyn Tuning>, Error> {
        let latency = pipewire::Latency::of(options)?;
        if options.user {
            return Ok(Box::new(("pipewire", latency)));
        }
        let mut set = SysctlSet::new(sysctls());
        if options.has("candidates") {
            set.wanted.extend(candidates());
        }
        if options.persist {
            set = set.persisted_as(self.name());
        }
        let line = Uplink::of(options)?;
        let until_reboot: Box<dyn Tuning> = match options.persist {
            true => Box::new(("memory", Note(UNTIL_REBOOT.to_owned()))),
            false => Box::new(()),
        };
        let governors: Box<dyn Tuning> = match options.power_profile_is_held {
            false => Box::new((processors(), NoteManagers)),
            true => Box::new(Note(HELD.to_owned())),
        };
        Ok(Box::new(vec![
            until_reboot,
            // Shaping comes before the sysctls, so that it is reverted after them: the root qdisc that a
            // device then gets is the value of net.core.default_qdisc at that time.
            Box::new(("qos", line)) as Box<dyn Tuning>,
            Box::new((
                "sysctl",
                BesideZram {
                    set,
                    keys: &["vm.swappiness"],
                },
            )),
            Box::new(("blockdev", disks(options))),
            Box::new(("blockdev", NoteFights(disks(options)))),
            Box::new(("cpu", governors)),
            Box::new(("cpu", irqbalance::tuning(options))),
            Box::new(("memory", swap())),
            Box::new(("memory", pages())),
            Box::new((nvidia::PART, nvidia::Driver::of(options))),
            Box::new(("gpu", gpu::tuning(options))),
            Box::new(("pipewire", latency)),
            Box::new((boot::PART, boot::CommandLine::of(options))),
            // This note depends on the swap request and comes after it.
            Box::new((
                "sysctl",
                NoteUnlessZram {
                    note: UNLESS_ZRAM.to_owned(),
                },
            )),
        ]))
    }

    fn rebuilds_initramfs(&self) -> Option<&'static str> {
        Some(nvidia::PART)
    }

    fn boot_parameters(&self, options: &Options) -> Option<(&'static str, BootParameters)> {
        Some((boot::PART, boot::CommandLine::of(options).parameters()))
    }

    fn refine(&self, host: &Host, options: &Options, probe: bool, report: &mut Report) {
        pipewire::refine(host, options, probe, report);
    }

    fn stays_until_restart(
        &self,
        host: &Host,
        options: &Options,
        reverted: &[Undone],
    ) -> Vec<String> {
        let of_driver = nvidia::stays_until_loaded_again(host, options);
        let of_daemon = pipewire::stays_until_restart(host, options, reverted);
        [of_driver, of_daemon].concat()
    }

    fn watched(&self, host: &Host, options: &Options) -> Result<Vec<Watched>, Error> {
        let line = Uplink::of(options)?;
        let part = "qos";
        let line = match &line.device {
            Some(device) => Watched::Interface {
                part,
                shaper: line.shaper(device),
            },
            None => Watched::DefaultRoute {
                part,
                shaper: line.shaper(&qos::default_device(host)?.unwrap_or_default()),
            },
        };
        Ok(vec![
            Watched::Disks {
                part: "blockdev",
                rules: disks(options),
            },
            line,
        ])
    }
}

const UNLESS_ZRAM: &str =
    "no swap is on zram: vm.swappiness=100 is meant for zram; set up zram or use 60";

const UNTIL_REBOOT: &str =
    "uplink, CPU and memory settings last until the next boot: run gaming apply --yes at each boot";

const HELD: &str = "the governor is left to the daemon that owns power profiles, which holds performance meanwhile";

const NO_ROUTE: &str = "there is no default route";
const NAME_IT: &str = "name the uplink interface: --device eth0";

/// The uplink to the provider, whose queues are kept on this host.
struct Uplink {
    device: Option<String>,
    up: Cake,
    down: Cake,
}

impl Uplink {
    fn of(options: &Options) -> Result<Self, Error> {
        Ok(Self {
            device: options
                .setting("device")
                .filter(|device| !is_disk(device))
                .map(str::to_owned),
            up: Self::cake(options, "up", "diffserv4 ack-filter")?,
            down: Self::cake(options, "down", "diffserv4 ingress")?,
        })
    }

    /// The CAKE options of one direction: the profile's, followed by those of the command line.
    fn cake(options: &Options, direction: &str, ours: &str) -> Result<Cake, Error> {
        let typed = options
            .setting(&format!("cake-{direction}"))
            .unwrap_or_default();
        let set = options.setting(direction);
        if let Some(rate) = cli::typed_rate(typed)
            && set.is_some()
        {
            return Err(Error::tuning(
                format!(
                    "the rate is given twice: by --{direction} and by '{rate}' in --cake-{direction}"
                ),
                "give it once",
            ));
        }
        let rate = set
            .map_or(Ok(LINE), cli::rate)
            .map_err(|error| Error::tuning(error, "give a rate, such as 38mbit"))?;
        cli::cake(&format!("bandwidth {rate} {ours} {typed}"))
            .map_err(|error| Error::tuning(error, "give CAKE options in tc syntax"))
    }

    fn shaper(&self, device: &str) -> Shaper {
        Shaper::new(device)
            .egress(&self.up)
            .ingress(&self.down)
            // The kernel itself creates an interface of this name if the module is built in or was loaded
            // without numifbs; such an interface is not used.
            .prefer_ifb(IFB)
    }
}

impl Tuning for Uplink {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        if at.host().root_kind() != RootKind::Live {
            at.note("uplink shaping is skipped: qdiscs exist only in the running kernel, not under --root");
            return Ok(());
        }
        if let Some(device) = &self.device {
            return self.shaper(device).declare(at);
        }
        match qos::default_device(at.host())? {
            // Without --device, everything else is applied even if this interface cannot be shaped.
            Some(device) => self.shaper(&device).optional().declare(at),
            None => {
                let unsupported =
                    Unsupported::new(UnsupportedKind::Missing, NO_ROUTE).hint(NAME_IT);
                at.skip("uplink shaping", unsupported)
                    .why("keeps the queue on this host");
                Ok(())
            }
        }
    }
}

fn main() -> std::process::ExitCode {
    cli::main(&Gaming)
}
