//! `gaming`: a Zen 4 desktop with an NVIDIA card, a gigabit line, and zram for swap.

use hosttune::blockdev::udev::NoteFights;
use hosttune::blockdev::{self, Rule, Rules, SchedulerName, Transport};
use hosttune::boot::Modules;
use hosttune::cli::{self, HostProfile, Options, Setting, Watched};
use hosttune::cpu::irqbalance::NoteIrqbalance;
use hosttune::cpu::{self, Governor, Processors};
use hosttune::host::RootKind;
use hosttune::memory;
use hosttune::memory::swap::NoteUnlessZram;
use hosttune::memory::transparent::{Enabled, TransparentHugepages};
use hosttune::memory::zram::{Size, Zram, ZramSwap};
use hosttune::qos::{self, Cake, Netlink, Rate, Shaper};
use hosttune::sysctl::{self, SysctlSet, Wanted};
use hosttune::{
    BesideZram, Error, Host, Lack, LackKind, Note, Planner, Registry, Session, Tuning, Why,
};

const TCP: &str = "https://docs.kernel.org/networking/ip-sysctl.html#tcp-variables";
const VM: &str = "https://docs.kernel.org/admin-guide/sysctl/vm.html";
const KERNEL: &str = "https://docs.kernel.org/admin-guide/sysctl/kernel.html";
const AMD_PSTATE: &str = "https://docs.kernel.org/admin-guide/pm/amd-pstate.html";
const THP: &str = "https://docs.kernel.org/admin-guide/mm/transhuge.html";

/// 32 MiB: what a gigabit line holds at 250 ms, the far end of the world.
const BUFFER: u32 = 33_554_432;
const BUFFERS: &str = "4096 1048576 33554432";

fn sysctls() -> Vec<Wanted> {
    vec![
        Wanted::new("net.core.default_qdisc", "fq").why("spaces each flow's packets as bbr wants them"),
        Wanted::new("net.ipv4.tcp_congestion_control", "bbr")
            .why(Why::new("keeps downloads from filling the queue that the game shares").source(TCP)),
        Wanted::new("net.core.netdev_max_backlog", 16384)
            .why("a burst waits for the processor instead of being dropped"),
        Wanted::new("net.ipv4.tcp_max_syn_backlog", 8192).why("game servers started here take a rush of players"),
        Wanted::new("net.core.rmem_max", BUFFER).why("lets a socket ask for room for a gigabit at 250 ms"),
        Wanted::new("net.core.wmem_max", BUFFER).why("lets a socket ask for room for a gigabit at 250 ms"),
        Wanted::new("net.ipv4.tcp_rmem", BUFFERS).why(Why::new("room for a gigabit at 250 ms").source(TCP)),
        Wanted::new("net.ipv4.tcp_wmem", BUFFERS).why(Why::new("room for a gigabit at 250 ms").source(TCP)),
        Wanted::new("net.ipv4.tcp_mtu_probing", 1).why("gets past routers that drop large packets in silence"),
        Wanted::new("net.ipv4.tcp_fastopen", 3).why(
            Why::new("saves a round trip to servers met before, both ways")
                .looks_wrong("3 opens the server side as well, and some middleboxes drop data in a SYN: the kernel notices and falls back")
                .source(TCP)
                .risk("a cookie lets an observer recognise the client"),
        ),
        Wanted::new("net.ipv4.tcp_slow_start_after_idle", 0).why("a paused stream resumes at full speed"),
        Wanted::new("vm.swappiness", 100).why(
            Why::new("zram is swap here: faster than evicting hot pages")
                .looks_wrong("100 is said to swap too much, which holds for swap on a disk")
                .source(VM)
                .risk("with swap on a disk instead of zram it stutters"),
        ),
        Wanted::new("vm.dirty_ratio", 10).why("a game's save or a shader cache does not stall everything"),
        Wanted::new("vm.dirty_background_ratio", 5).why("writing back begins early, in small pieces"),
        Wanted::new("vm.compaction_proactiveness", 0).why(
            Why::new("no compaction in the background: it locks pages and shows as frame time jitter")
                .looks_wrong("compaction makes huge pages; games gain less from them than from an even frame time")
                .source(VM),
        ),
        Wanted::new("kernel.split_lock_mitigate", 0).why(
            Why::new("games trigger split locks, and the mitigation makes each cost milliseconds")
                .looks_wrong("it takes a protection away: any program here can then slow the whole machine down")
                .source(KERNEL)
                .risk("a security trade: not for a machine that strangers may use"),
        ),
    ]
}

fn candidates() -> Vec<Wanted> {
    vec![
        Wanted::new("kernel.sched_autogroup_enabled", 1)
            .why("a compile in a terminal does not starve the game"),
        Wanted::new("kernel.numa_balancing", 0)
            .why("one memory node: nothing to balance, and scanning costs faults"),
    ]
}

/// All disks of these kinds, or the one that was named.
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
            .why("one queue for all: reads of a game go before writes of a download"),
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
        Why::new("a game's threads sleep and wake too often for the clock to follow")
            .looks_wrong(
                "the processor clocks itself: what is held is its preference, at performance",
            )
            .source(AMD_PSTATE)
            .risk("it takes more power at rest, and the fans are heard"),
    )
}

fn swap() -> ZramSwap {
    ZramSwap::new(Size::Percent(50)).algorithm("zstd").why(
        "what a game does not use makes room at a third of its size, without waiting for a disk",
    )
}

fn pages() -> TransparentHugepages {
    TransparentHugepages::new().enabled(Enabled::Madvise).why(
        Why::new("large pages for programs that ask for them: the kernel looks for none in the middle of a frame")
            .source(THP),
    )
}

/// A gigabit line, less what keeps the queue here and not in the modem.
const LINE: Rate = Rate::mbit(950);

/// Where what arrives is queued.
const IFB: &str = "ifb0";

const SETTINGS: &[Setting] = &[
    Setting {
        name: "device",
        value: "DEVICE",
        help: "The network device to shape [default: that of the default route]; or one disk, /dev/sda: no other is tuned then",
        check: |_| Ok(()),
    },
    Setting {
        name: "up",
        value: "RATE",
        help: "What the line takes, such as 38mbit; a little less than it does [default: 950mbit]",
        check: is_rate,
    },
    Setting {
        name: "down",
        value: "RATE",
        help: "What the line brings, such as 85mbit; a tenth less than it does [default: 950mbit]",
        check: is_rate,
    },
    Setting {
        name: "cake-up",
        value: "WORDS",
        help: "Options of CAKE for uploads in tc's words, such as \"nat pppoe-ptm\"; they come after diffserv4 ack-filter, and the last word wins",
        check: is_cake,
    },
    Setting {
        name: "cake-down",
        value: "WORDS",
        help: "The same for downloads, after diffserv4 ingress",
        check: is_cake,
    },
];

/// Whether `--device` names a disk. No network device has a slash in its name.
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
        "A gaming desktop: even frame times, short queues, and an exact way back"
    }

    fn candidates(&self) -> &'static [&'static str] {
        &["candidates"]
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
    }

    fn plug(&self, session: Session) -> Session {
        session
            .plug(Netlink::on_demand())
            .plug(Modules::live())
            .plug(Zram::live())
    }

    fn tuning(&self, options: &Options) -> Result<Box<dyn Tuning>, Error> {
        let mut set = SysctlSet::new(sysctls());
        if options.has("candidates") {
            set.wanted.extend(candidates());
        }
        if options.persist {
            set = set.persisted_as(self.name());
        }
        let line = Line::of(options)?;
        let until_reboot: Box<dyn Tuning> = match options.persist {
            true => Box::new(("memory", Note(UNTIL_REBOOT.to_owned()))),
            false => Box::new(()),
        };
        Ok(Box::new(vec![
            until_reboot,
            // Before the sysctls, so that it is taken back after them: the root that a device gets
            // back is the one of net.core.default_qdisc at that time.
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
            Box::new(("cpu", processors())),
            Box::new(("cpu", NoteIrqbalance)),
            Box::new(("memory", swap())),
            Box::new(("memory", pages())),
            // Behind the swap, which it asks for.
            Box::new((
                "sysctl",
                NoteUnlessZram {
                    note: UNLESS_ZRAM.to_owned(),
                },
            )),
        ]))
    }

    fn watched(&self, host: &Host, options: &Options) -> Result<Vec<Watched>, Error> {
        let line = Line::of(options)?;
        let part = "qos";
        let line = match &line.device {
            Some(device) => Watched::Line {
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
    "no zram is in use as swap: vm.swappiness=100 is meant for zram, set zram up or take 60";

const UNTIL_REBOOT: &str = "the line, processors and memory are tuned until the next boot: have gaming apply --yes run then";

const NO_ROUTE: &str = "there is no default route";
const NAME_IT: &str = "name the device that leads out: --device eth0";

/// The line to the provider, whose queues are to be here.
struct Line {
    device: Option<String>,
    up: Cake,
    down: Cake,
}

impl Line {
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

    /// The options of one direction: ours, then those that were typed.
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
                    "the rate is given twice, by --{direction} and by '{rate}' in --cake-{direction}"
                ),
                "give it once",
            ));
        }
        let rate = set
            .map_or(Ok(LINE), cli::rate)
            .map_err(|error| Error::tuning(error, "give a rate, such as 38mbit"))?;
        cli::cake(&format!("bandwidth {rate} {ours} {typed}"))
            .map_err(|error| Error::tuning(error, "give options of CAKE in tc's words"))
    }

    fn shaper(&self, device: &str) -> Shaper {
        Shaper::new(device)
            .egress(&self.up)
            .ingress(&self.down)
            // The kernel makes one of this name by itself where the module is built in, or was
            // loaded without saying how many; that one is not ours to use.
            .prefer_ifb(IFB)
    }
}

impl Tuning for Line {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        if at.host().root_kind() != RootKind::Live {
            at.note("the line is left out: its queues are in the running kernel, and in no tree");
            return Ok(());
        }
        if let Some(device) = &self.device {
            return self.shaper(device).declare(at);
        }
        match qos::default_device(at.host())? {
            // Whoever names no device gets everything else where this one cannot be shaped.
            Some(device) => self.shaper(&device).optional().declare(at),
            None => {
                let lack = Lack::new(LackKind::Missing, NO_ROUTE).hint(NAME_IT);
                at.skip("shaping of the line", lack)
                    .why("keeps the queue here");
                Ok(())
            }
        }
    }
}

fn main() -> std::process::ExitCode {
    cli::main(&Gaming)
}
