//! Which link is meant: links that share an IFB, are renamed, or get the name of another one.

mod cut_journal;
mod ifbs;
mod refused;
mod renamed;
mod routes;
mod strangers;

use hosttune_core::testing::{CrashPoint, Memory, MemoryStore};
use hosttune_core::{Host, Session};
use hosttune_qos::testing::Kernel;
use hosttune_qos::{Cake, Netlink, Rate, Shaper};

/// A machine with the devices `w0` and `x0`.
struct Machine {
    kernel: Kernel,
    memory: Memory,
    store: MemoryStore,
}

impl Machine {
    fn new() -> Self {
        let kernel = Kernel::new();
        kernel.plug_in("w0", "veth");
        kernel.plug_in("x0", "veth");
        Self {
            kernel,
            memory: Memory::new().directory("/sys/module/ifb"),
            store: MemoryStore::new(),
        }
    }

    fn session(&self) -> Session {
        self.session_of("router")
    }

    fn session_of(&self, owner: &str) -> Session {
        let crash_point = CrashPoint::lives();
        let host = Host::new(self.memory.host(&crash_point))
            .with_backend(Netlink::over(self.kernel.clone()));
        let session = Session::new(host, owner, self.store.of(&crash_point), "boot").unwrap();
        session.with(hosttune_qos::knobs)
    }

    /// A process that meets this crash point.
    fn session_of_fate(&self, crash_point: &CrashPoint) -> Session {
        let host = Host::new(self.memory.host(crash_point))
            .with_backend(Netlink::over(self.kernel.clone()));
        let host = host.gated(crash_point.clone());
        let session = Session::new(host, "router", self.store.of(crash_point), "boot").unwrap();
        session.with(hosttune_qos::knobs)
    }

    fn fork(&self) -> Self {
        Self {
            kernel: self.kernel.fork(),
            memory: self.memory.fork(),
            store: self.store.fork(),
        }
    }

    /// The value of this property of the link in the snapshot.
    fn shows(&self, what: &str, link: &str) -> Option<String> {
        self.kernel.snapshot().remove(&format!("{what} {link}"))
    }

    fn is_shaped(&self, device: &str, ifb: &str) -> bool {
        let snapshot = self.kernel.snapshot();
        let is_cake = |link: &str| {
            let root = snapshot.get(&format!("root {link}"));
            root.is_some_and(|root| root.contains("cake"))
        };
        let leads = snapshot.iter().any(|(key, value)| {
            key.starts_with("filter") && key.contains(device) && (key.clone() + value).contains(ifb)
        });
        is_cake(device) && is_cake(ifb) && leads
    }
}

fn shaper(device: &str) -> Shaper {
    Shaper::new(device)
        .egress(Cake::default().bandwidth(Rate::mbit(6)))
        .ingress(Cake::default().bandwidth(Rate::mbit(20)).ingress())
        .prefer_ifb("ifb0")
}
