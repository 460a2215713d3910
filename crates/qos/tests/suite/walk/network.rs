//! The links of a walk, and another program that changes them.

use hosttune_core::testing::{CrashPoint, MemoryStore};
use hosttune_core::{Host, LinuxHost, Session};
use hosttune_qos::{Cake, Netlink, Qdisc, Shaper};
use hosttune_test_machine::{ask, tell, wait_until};

use super::act::{HOOKS, NAMES, ORIGINS, OWNERS, Stranger, Want};
use super::picture;

/// Roots that another program sets, as arguments of `tc`: the last one is like those of hosttune.
const ROOTS: [&str; 3] = [
    "root handle 77: pfifo limit 9",
    "root handle 78: pfifo limit 10",
    "root handle 4855: tbf rate 3mbit burst 16k latency 50ms",
];

/// `IFF_RUNNING`: the link is operational.
const RUNNING: u32 = 0x40;

/// A new network namespace with two links.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) store: MemoryStore,
    has_ifb: bool,
    has_cake: bool,
    /// Links created so far, from which their other ends get names.
    created: usize,
}

impl Network {
    /// Moves the calling thread to a new network namespace.
    pub(super) fn new(origins: &[(usize, usize); 2]) -> Self {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        // A link that sends nothing by itself.
        let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
        let mut network = Self {
            store: MemoryStore::new(),
            has_ifb: ask("ip link add probe type ifb && ip link del probe").0,
            has_cake: std::path::Path::new("/sys/module/sch_cake").exists(),
            created: 0,
        };
        for (name, (root, hook)) in NAMES.iter().zip(origins) {
            network.create(name);
            // A kernel that lacks this kind keeps its default.
            for qdisc in [ORIGINS[*root], HOOKS[*hook]] {
                let _ = qdisc.is_empty() || ask(&format!("tc qdisc replace dev {name} {qdisc}")).0;
            }
        }
        network
    }

    fn create(&mut self, name: &str) {
        let peer = format!("p{}", self.created);
        self.created += 1;
        tell(&format!(
            "ip link add {name} type veth peer name {peer} && ip link set {peer} up && ip link set {name} up"
        ));
        // The kernel announces a carrier a moment later.
        wait_until(&format!("{name} runs"), || {
            let links = Netlink::open().unwrap().links().unwrap();
            let both = links
                .iter()
                .filter(|link| link.name == name || link.name == peer);
            both.filter(|link| link.flags & RUNNING != 0).count() == 2
        });
    }

    /// A process of an owner, which may die.
    pub(super) fn process(&self, owner: usize, crash_point: &CrashPoint) -> Session {
        let host = Host::new(LinuxHost::at("/").unwrap())
            .with_backend(Netlink::open().unwrap())
            .gated(crash_point.clone());
        let store = self.store.of(crash_point);
        let session = Session::new(host, OWNERS[owner], store, "boot").unwrap();
        let mut session = session.with(hosttune_qos::knobs);
        if let Some(stop) = crash_point.stop() {
            session.stopped_by(stop);
        }
        session
    }

    fn qdisc(&self, rate: usize) -> Qdisc {
        let cake = ["bandwidth 6mbit diffserv4", "bandwidth 9mbit besteffort"];
        match cake.get(rate) {
            Some(options) if self.has_cake => Qdisc::from(&options.parse::<Cake>().unwrap()),
            _ => Qdisc::tbf(500_000 + 250_000 * rate as u64, 20_000, 100_000),
        }
    }

    /// `None` if this kernel can have none of what is wanted.
    pub(super) fn shaper(&self, want: &Want) -> Option<Shaper> {
        let ingress = want.ingress.filter(|_| self.has_ifb);
        let mut shaper = Shaper::new(NAMES[want.name]);
        if let Some(rate) = want.egress {
            shaper = shaper.egress(self.qdisc(rate));
        }
        if let Some(rate) = ingress {
            shaper = shaper.ingress(self.qdisc(rate));
        }
        if want.prefers {
            shaper = shaper.prefer_ifb("ifb0");
        }
        (want.egress.is_some() || ingress.is_some()).then_some(shaper)
    }

    /// Acts as another program. What cannot be done, such as to rename a link to a name that is taken, is left out.
    pub(super) fn stranger(&mut self, act: &Stranger) {
        let all = picture::take();
        let ifb = |number: usize| {
            let mut ifbs = all.values().filter(|link| link.kind == "ifb");
            ifbs.nth(number).map(|link| link.name.clone())
        };
        let is_taken = |name: &str| all.values().any(|link| link.name == name);
        let script = match act {
            Stranger::Root(name, root) => {
                format!("tc qdisc replace dev {} {}", NAMES[*name], ROOTS[*root])
            }
            Stranger::DeleteRoot(name) => format!("tc qdisc del dev {} root", NAMES[*name]),
            Stranger::DeleteHook(name) => format!("tc qdisc del dev {} ingress", NAMES[*name]),
            Stranger::AddFilter(name) => format!(
                "tc filter add dev {} ingress protocol ip pref 9 u32 match ip dport 53 0xffff flowid 1:1",
                NAMES[*name]
            ),
            Stranger::DeleteFilters(name) => format!("tc filter del dev {} ingress", NAMES[*name]),
            Stranger::Rename(from, to) if from == to => return,
            Stranger::Rename(from, to) => {
                let (from, to) = (NAMES[*from], NAMES[*to]);
                if is_taken(to) {
                    return;
                }
                format!(
                    "ip link set {from} down; ip link set {from} name {to}; ip link set {to} up"
                )
            }
            Stranger::Down(name) => format!("ip link set {} down", NAMES[*name]),
            Stranger::Up(name) => format!("ip link set {} up", NAMES[*name]),
            Stranger::Delete(name) => format!("ip link del {}", NAMES[*name]),
            Stranger::Create(name) => {
                if !is_taken(NAMES[*name]) {
                    self.create(NAMES[*name]);
                }
                return;
            }
            Stranger::DeleteIfb(number) => match ifb(*number) {
                Some(ifb) => format!("ip link del {ifb}"),
                None => return,
            },
            Stranger::DownIfb(number) => match ifb(*number) {
                Some(ifb) => format!("ip link set {ifb} down"),
                None => return,
            },
            Stranger::RenameIfb(number) => match ifb(*number) {
                Some(ifb) => format!(
                    "ip link set {ifb} down; ip link set {ifb} name r{ifb}; ip link set r{ifb} up"
                ),
                None => return,
            },
            Stranger::RootOfIfb(number, root) => match ifb(*number) {
                Some(ifb) => format!("tc qdisc replace dev {ifb} {}", ROOTS[*root]),
                None => return,
            },
        };
        let _ = ask(&script);
    }
}
