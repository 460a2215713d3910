//! `gaming`: a Zen 4 desktop with an NVIDIA card, a gigabit line, and zram for swap.

use hosttune::boot::Modules;
use hosttune::cli::{self, HostProfile, Options, Setting, Watched};
use hosttune::host::RootKind;
use hosttune::qos::{self, Cake, IfbLink, Netlink, Rate, Shaper};
use hosttune::sysctl::{self, SysctlSet, Wanted};
use hosttune::{Error, Host, Lack, LackKind, Planner, Registry, Session, Tuning, Why};

const TCP: &str = "https://docs.kernel.org/networking/ip-sysctl.html#tcp-variables";
const VM: &str = "https://docs.kernel.org/admin-guide/sysctl/vm.html";
const KERNEL: &str = "https://docs.kernel.org/admin-guide/sysctl/kernel.html";

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

/// A gigabit line, less what keeps the queue here and not in the modem.
const LINE: Rate = Rate::mbit(950);

/// Where what arrives is queued.
const IFB: &str = "ifb0";

const SETTINGS: &[Setting] = &[
    Setting {
        name: "device",
        value: "DEVICE",
        help: "The network device to shape [default: that of the default route]",
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
];

fn is_rate(text: &str) -> Result<(), String> {
    text.parse::<Rate>()
        .map(drop)
        .map_err(|error| error.to_string())
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
    }

    fn plug(&self, session: Session) -> Session {
        session.plug(Netlink::on_demand()).plug(Modules::live())
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
        Ok(Box::new(vec![
            // Before the sysctls, so that it is taken back after them: the root that a device gets
            // back is the one of net.core.default_qdisc at that time.
            Box::new(("qos", line)) as Box<dyn Tuning>,
            Box::new(("sysctl", set)),
            Box::new(("sysctl", ZramIsSwap)),
        ]))
    }

    fn watched(&self, host: &Host, options: &Options) -> Result<Option<Watched>, Error> {
        let line = Line::of(options)?;
        let device = match &line.device {
            Some(device) => Some(device.clone()),
            None => qos::default_device(host)?,
        };
        let device = device.ok_or_else(|| Error::tuning(NO_ROUTE, NAME_IT))?;
        Ok(Some(Watched {
            part: "qos",
            shaper: line.shaper(host, &device),
        }))
    }
}

const NO_ROUTE: &str = "there is no default route";
const NAME_IT: &str = "name the device that leads out: --device eth0";

/// The line to the provider, whose queues are to be here.
struct Line {
    device: Option<String>,
    up: Rate,
    down: Rate,
}

impl Line {
    fn of(options: &Options) -> Result<Self, Error> {
        let rate = |name| {
            let set = options.setting(name);
            set.map_or(Ok(LINE), str::parse::<Rate>)
                .map_err(|error| Error::tuning(error.to_string(), "give a rate, such as 38mbit"))
        };
        Ok(Self {
            device: options.setting("device").map(str::to_owned),
            up: rate("up")?,
            down: rate("down")?,
        })
    }

    fn shaper(&self, host: &Host, device: &str) -> Shaper {
        let shaper = Shaper::new(device)
            .egress(Cake::default().bandwidth(self.up).diffserv4().ack_filter())
            .ingress(Cake::default().bandwidth(self.down).diffserv4().ingress());
        // The kernel makes one of this name by itself where the module is built in, or was loaded
        // without saying how many; that one is not ours to use.
        match IfbLink::new(IFB).is_somebody_elses(host) {
            Ok(true) => shaper,
            _ => shaper.through(IFB),
        }
    }

    /// The same where it is declared, with what is to be said of it.
    fn declared(&self, at: &mut Planner<'_>, device: &str) -> Shaper {
        let shaper = self.shaper(at.host(), device);
        if shaper.ifb != IFB {
            at.note(format!(
                "{IFB} is somebody else's: what arrives is sent through {} instead",
                shaper.ifb
            ));
        }
        shaper
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
            return self.declared(at, device).declare(at);
        }
        match qos::default_device(at.host())? {
            // Whoever names no device gets everything else where this one cannot be shaped.
            Some(device) => self.declared(at, &device).optional().declare(at),
            None => {
                let lack = Lack::new(LackKind::Missing, NO_ROUTE).hint(NAME_IT);
                at.skip("shaping of the line", lack)
                    .why("keeps the queue here");
                Ok(())
            }
        }
    }
}

/// The swappiness above is right where zram is swap; where it is not, that must be said.
struct ZramIsSwap;

impl Tuning for ZramIsSwap {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        let swaps = at.host().read_text("/proc/swaps").unwrap_or_default();
        if !swaps.contains("zram") {
            at.note("no zram is in use as swap: vm.swappiness=100 is meant for zram, set zram up or take 60");
        }
        Ok(())
    }
}

fn main() -> std::process::ExitCode {
    cli::main(&Gaming)
}
