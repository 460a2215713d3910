//! `gaming` in two network namespaces of stock kernels: each goes back to its own originals, in whichever
//! order they are reverted, and a revert in one keeps what belongs to the other.

use std::process::{Child, Command, Stdio};

use hosttune_test_machine::{ask, inside_stock_kernels, tell, wait_until};

inside_stock_kernels!(each_network_namespace_goes_back_to_its_own_originals);

const GAMING: &str = env!("CARGO_BIN_EXE_gaming");

/// The modules that the kernel loads by itself when an object that they provide is named.
const MODULES: &str = "act_mirred cls_matchall cls_u32 sch_ingress sch_cake tcp_bbr sch_fq";

const KEYS: &str = "net.ipv4.tcp_fastopen net.ipv4.tcp_slow_start_after_idle";

/// A network namespace with a device that is shaped.
struct Space {
    /// What is written before a command that runs in it.
    enter: &'static str,
    device: &'static str,
}

const SPACES: [Space; 2] = [
    Space {
        enter: "",
        device: "v1",
    },
    Space {
        enter: "ip netns exec tuned",
        device: "v0",
    },
];

impl Space {
    fn command(&self, line: &str) -> Command {
        let mut words = self.enter.split_whitespace().chain(line.split_whitespace());
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        command
    }

    /// Sysctls, qdiscs, filters and links.
    fn shown(&self) -> String {
        let Self { enter, device } = self;
        tell(&format!(
            "{enter} sysctl {KEYS}; {enter} tc qdisc show dev {device}; {enter} tc filter show dev {device}; \
             {enter} ip -o link show type ifb"
        ))
    }

    /// What `gaming` says, and its exit code.
    fn gaming(&self, arguments: &str) -> (String, i32) {
        let mut command = self.command(&format!("{GAMING} {arguments}"));
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = [&output.stdout[..], &output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        // As one line: the rows are wrapped.
        let said: Vec<&str> = said.split_whitespace().collect();
        (said.join(" "), output.status.code().unwrap_or(-1))
    }

    #[track_caller]
    fn apply(&self) {
        let Self { device, .. } = self;
        let (said, code) = self.gaming(&format!(
            "apply --yes --only qos,sysctl --device {device} --up 20mbit --down 20mbit"
        ));
        // A namespace other than the initial one has not every key.
        assert!(code == 0 || code == 1, "{code}: {said}");
        assert!(self.shown().contains("cake"), "{said}");
    }

    /// A run that ends when its standard input is closed.
    fn run(&self) -> Child {
        let mut run = self.command(&format!("{GAMING} run --only sysctl --wait 250 -- cat"));
        run.stdin(Stdio::piped()).stdout(Stdio::null());
        run.stderr(Stdio::null()).spawn().unwrap()
    }
}

struct Prepared;

impl Prepared {
    fn new() -> Self {
        tell("modprobe ifb numifbs=0");
        tell(&format!("modprobe -a {MODULES}"));
        tell("ip netns add tuned; ip link add v1 type veth peer name v0 netns tuned");
        tell("ip link set v1 up; ip -n tuned link set v0 up");
        Self
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        let _ = ask("ip link del v1; ip netns del tuned");
        let _ = ask(&format!("modprobe -ra {MODULES} ifb; rm -rf /run/hosttune"));
    }
}

fn each_network_namespace_goes_back_to_its_own_originals() {
    let _prepared = Prepared::new();
    let before = SPACES.each_ref().map(Space::shown);
    for first in [0, 1] {
        let second = 1 - first;
        SPACES.iter().for_each(Space::apply);
        let tuned = SPACES[second].shown();

        let (said, code) = SPACES[first].gaming("revert --yes --force");
        assert_eq!(code, 1, "{said}");
        assert!(
            said.contains("it belongs to another network namespace (net:["),
            "{said}"
        );
        assert_eq!(SPACES[first].shown(), before[first], "{said}");
        assert_eq!(SPACES[second].shown(), tuned, "{said}");
        let (said, _) = SPACES[first].gaming("status");
        assert!(said.contains("in another network namespace"), "{said}");

        let (said, code) = SPACES[second].gaming("revert --yes");
        assert_eq!(code, 0, "{said}");
        assert_eq!(SPACES[second].shown(), before[second], "{said}");
        assert_eq!(SPACES[first].shown(), before[first], "{said}");
    }

    // The last run of a namespace reverts what belongs to it, although another runs elsewhere.
    let mut runs = SPACES.each_ref().map(Space::run);
    for (space, before) in SPACES.iter().zip(&before) {
        wait_until("the namespace is tuned", || space.shown() != *before);
    }
    let mut end = |number: usize| {
        drop(runs[number].stdin.take());
        let _ = runs[number].wait();
    };
    end(1);
    assert_eq!(SPACES[1].shown(), before[1]);
    assert_ne!(SPACES[0].shown(), before[0]);
    end(0);
    assert_eq!(SPACES.each_ref().map(Space::shown), before);

    // What ends with its namespace is forgotten.
    SPACES[1].apply();
    tell("ip link del v1; ip netns del tuned");
    let (said, code) = SPACES[0].gaming("revert --yes");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("ended with the network namespace"), "{said}");
}
