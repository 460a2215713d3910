//! Shaping by `gaming`: a network card of the test machine with a fake provider at the other end.
//!
//! Everything here changes the network, so all of it runs in the test machine.

use std::net::UdpSocket;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use hosttune_test_machine::{
    At, Kills, Snapshot, Subtree, ask, inside_stock_kernels, tell, wait_until,
};
use serde_json::Value;

/// The maximum time until a datagram comes back.
const WATCHDOG: Duration = Duration::from_secs(60);

inside_stock_kernels!(
    the_line_of_the_default_route_is_shaped_and_given_back,
    a_device_and_rates_can_be_named,
    without_a_line_everything_else_is_tuned,
    an_ifb_of_somebody_elses_is_left_alone,
    watched_a_device_that_comes_back_is_shaped_again,
    killed_before_and_after_any_write_of_apply_then_revert_is_as_it_was,
    killed_before_and_after_any_write_of_revert_then_revert_is_as_it_was,
);

const GAMING: &str = env!("CARGO_BIN_EXE_gaming");
const APPLY: &[&str] = &["apply", "--yes"];
const REVERT: &[&str] = &["revert", "--yes"];

/// The apply that is killed: only the parts that concern the network. The others are killed in `hosts.rs`.
const APPLY_LINE: &[&str] = &["apply", "--yes", "--only", "qos", "--only", "sysctl"];

/// The modules that the kernel loads by itself when an object that they provide is named.
const MODULES: &str = "act_mirred cls_matchall cls_u32 sch_ingress sch_cake tcp_bbr sch_fq";

fn gaming(arguments: &[&str]) -> Output {
    let mut gaming = Command::new(GAMING);
    gaming
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn exits(code: i32, arguments: &[&str]) -> String {
    let output = gaming(arguments);
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let typed = arguments.join(" ");
    assert_eq!(output.status.code(), Some(code), "gaming {typed}: {said}");
    said
}

#[track_caller]
fn document(code: i32, arguments: &[&str]) -> Value {
    let output = gaming(&[arguments, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn knobs(document: &Value, list: &str) -> Vec<String> {
    let items = document[list].as_array().unwrap().iter();
    items
        .map(|item| item["knob"].as_str().unwrap().to_owned())
        .collect()
}

/// An uplink: a card connected to the provider's, which is in another network namespace.
struct Line {
    /// Our card.
    device: String,
    /// The provider's.
    provider: String,
    socket: UdpSocket,
}

/// The name of the test machine's card with this hardware address; the kernel chooses the names.
fn card(address: &str) -> String {
    tell(&format!(
        "cd /sys/class/net; grep -l {address} */address | cut -d/ -f1"
    ))
    .trim()
    .to_owned()
}

impl Line {
    /// With all modules loaded, or with none of them.
    fn new(modules: bool) -> Self {
        // These two cards are on the same network. IPv6 is off because its router discovery records its
        // progress in attributes of the link.
        let [device, provider] = ["52:54:00:00:00:02", "52:54:00:00:00:01"].map(card);
        tell(&format!("sysctl -qw net.ipv6.conf.{device}.disable_ipv6=1"));
        tell(&format!(
            "ip netns add provider; ip link set {provider} netns provider"
        ));
        tell(&format!(
            "ip -n provider addr add 192.0.2.1/24 dev {provider}; ip -n provider link set {provider} up"
        ));
        tell(&format!(
            "ip addr add 192.0.2.2/24 dev {device}; ip link set {device} up"
        ));
        // The kernel resolves no neighbour before there is a carrier.
        tell(&format!(
            "for i in $(seq 100); do grep -q 1 /sys/class/net/{device}/carrier && exit 0; sleep 0.1; done; exit 1"
        ));
        tell("ip route add default via 192.0.2.1");
        load(modules);
        let (ready, is_ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let provider = std::fs::File::open("/run/netns/provider").unwrap();
            nix::sched::setns(&provider, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            drop(provider);
            let socket = UdpSocket::bind("192.0.2.1:7").unwrap();
            ready.send(()).unwrap();
            let mut buffer = [0; 16];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                if socket.send_to(&buffer[..length], from).is_err() || length == 2 {
                    break;
                }
            }
        });
        is_ready.recv().unwrap();
        let socket = UdpSocket::bind("192.0.2.2:0").unwrap();
        socket.connect("192.0.2.1:7").unwrap();
        socket.set_read_timeout(Some(WATCHDOG)).unwrap();
        let line = Self {
            device,
            provider,
            socket,
        };
        // The first datagram waits until the neighbour is resolved.
        let _ = line.answered(1);
        line
    }

    /// Sends `asked` datagrams and returns how many come back.
    fn answered(&self, asked: u8) -> u8 {
        let mut buffer = [0; 16];
        let mut came = 0;
        for number in 0..asked {
            self.socket.send(&[number]).unwrap();
            came += u8::from(self.socket.recv(&mut buffer).is_ok());
        }
        came
    }

    #[track_caller]
    fn carries(&self, when: &str) {
        assert_eq!(self.answered(5), 5, "{when}: packets are lost");
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.socket.send(&[0; 2]);
        let Self {
            device, provider, ..
        } = self;
        let _ = ask(&format!(
            "ip route del default; ip addr flush dev {device}; ip link set {device} down; sysctl -qw net.ipv6.conf.{device}.disable_ipv6=0"
        ));
        // When the last process has left the namespace, it ends, and its card returns to the original one.
        let _ = ask("sleep 0.2; ip netns del provider");
        let _ = ask(&format!(
            "for i in $(seq 50); do ip link show {provider} && exit 0; sleep 0.1; done; exit 1"
        ));
    }
}

fn load(modules: bool) {
    if modules {
        tell("modprobe ifb numifbs=0");
        tell(&format!("modprobe -a {MODULES}"));
    } else {
        let _ = ask("modprobe -r ifb");
        // Twice, because some of the modules are used by others in the list.
        let _ = ask(&format!(
            "for i in {MODULES} {MODULES}; do modprobe -r $i; done"
        ));
    }
}

/// Everything that shaping can change.
fn there() -> Snapshot {
    Snapshot::of(&[
        Subtree::Sysctls,
        Subtree::Links,
        Subtree::Qdiscs,
        Subtree::Modules,
    ])
}

fn the_line_of_the_default_route_is_shaped_and_given_back() {
    let line = Line::new(false);
    line.carries("before");
    let before = there();
    let plan = document(0, &["plan"]);
    let steps = knobs(&plan, "steps");
    let device = &line.device;
    for knob in [
        format!("root qdisc of {device}"),
        "link ifb0".to_owned(),
        "root qdisc of ifb0".to_owned(),
        format!("ingress hook of {device}"),
        format!("redirect of {device} to ifb0"),
        "net.core.default_qdisc".to_owned(),
    ] {
        assert!(steps.contains(&knob), "{knob}: {steps:?}");
    }
    before.is_still(&there(), "planned");

    println!("{}", exits(0, APPLY));
    line.carries("shaped");
    exits(0, &["verify"]);
    exits(0, &["plan", "--exit-code"]);
    let shown = tell("tc qdisc show");
    let root = |device: &str| {
        let mut lines = shown.lines();
        let found = lines.find(|line| line.contains(&format!("dev {device} root")));
        found.unwrap_or_else(|| panic!("{shown}")).to_owned()
    };
    for words in ["cake", "bandwidth 950Mbit", "diffserv4", " ack-filter"] {
        assert!(root(device).contains(words), "{shown}");
    }
    for words in ["cake", "bandwidth 950Mbit", "diffserv4", "ingress"] {
        assert!(root("ifb0").contains(words), "{shown}");
    }
    let sent = tell("tc -s qdisc show dev ifb0");
    assert!(!sent.contains("Sent 0 bytes"), "{sent}");
    assert!(!ask("ip link show ifb1").0, "nobody asked for a second one");

    // A second apply changes nothing.
    let shaped = there();
    let again = document(0, APPLY);
    assert_eq!(knobs(&again, "changed"), Vec::<String>::new());
    shaped.is_still(&there(), "applied again");

    exits(0, REVERT);
    line.carries("given back");
    // These modules, loaded by being named, stay: only the kernel knows whether anything uses them.
    let _ = ask("modprobe -ra tcp_bbr sch_fq");
    before.is_still(&there(), "given back");
}

fn a_device_and_rates_can_be_named() {
    let line = Line::new(true);
    let before = there();
    for device in ["nosuch", "lo", "sixteen-letters-"] {
        let said = exits(3, &["apply", "--yes", "--device", device]);
        assert!(said.contains(device) && said.contains("try:"), "{said}");
        before.is_still(&there(), device);
    }
    for rate in ["100mbps", "0", "fast"] {
        let said = exits(2, &["apply", "--yes", "--up", rate]);
        assert!(said.contains(rate), "{said}");
    }
    before.is_still(&there(), "refused");
    line.carries("refused");

    let device = &*line.device;
    let named = [
        "--only", "qos", "--device", device, "--up", "38mbit", "--down", "85mbit",
    ];
    let with = |command: &[&'static str]| [command, &named[..]].concat();
    exits(0, &with(APPLY));
    exits(0, &with(&["verify"]));
    let shown = tell("tc qdisc show");
    for words in ["bandwidth 38Mbit", "bandwidth 85Mbit"] {
        assert!(shown.contains(words), "{shown}");
    }
    line.carries("shaped");
    // Other rates replace the first ones, and a revert restores the original state.
    let slower = ["apply", "--yes", "--only", "qos", "--up", "20mbit"];
    exits(0, &slower);
    assert!(tell(&format!("tc qdisc show dev {device}")).contains("bandwidth 20Mbit"));
    exits(0, REVERT);
    before.is_still(&there(), "given back");
}

fn without_a_line_everything_else_is_tuned() {
    load(true);
    let before = there();
    let plan = document(0, &["plan"]);
    let unsupported = &plan["not_applicable"][0];
    assert_eq!(unsupported["part"], "qos", "{plan:#}");
    assert_eq!(unsupported["why"], "there is no default route");
    exits(0, APPLY);
    exits(0, &["verify"]);
    exits(0, REVERT);
    before.is_still(&there(), "given back");
}

fn an_ifb_of_somebody_elses_is_left_alone() {
    let line = Line::new(true);
    tell("ip link add ifb0 type ifb");
    let before = there();
    exits(0, APPLY);
    exits(0, &["verify"]);
    assert!(tell("ip link show ifb0").contains("state DOWN"));
    assert!(tell(&format!("tc qdisc show dev ifb-{}", line.device)).contains("cake"));
    line.carries("shaped");
    exits(0, REVERT);
    before.is_still(&there(), "given back");
    tell("ip link del ifb0");
}

fn killed(arguments: &[&str], first: impl Fn()) {
    let line = Line::new(true);
    let before = there();
    let network = || Snapshot::of(&[Subtree::Links, Subtree::Qdiscs]);
    let network_before = network();
    let gaming = Kills {
        program: GAMING,
        arguments,
        at: At::EveryWrite,
        believable: 20,
        // The tests of the qos crate kill shaping at every message.
        parts: 4,
    };
    let kills = gaming.each(
        || {
            let _ = std::fs::remove_dir_all("/run/hosttune");
            first();
        },
        |when| {
            // Wherever it was killed, no packet is redirected to an interface that drops it.
            line.carries(when);
            exits(0, REVERT);
            network_before.is_still(&network(), when);
        },
    );
    line.carries("after all kills");
    before.is_still(&there(), "after all kills");
    println!("gaming {arguments:?}: killed {kills} times");
}

fn killed_before_and_after_any_write_of_apply_then_revert_is_as_it_was() {
    killed(APPLY_LINE, || {});
}

fn killed_before_and_after_any_write_of_revert_then_revert_is_as_it_was() {
    killed(REVERT, || drop(exits(0, APPLY_LINE)));
}

/// A device that disappears and reappears as a new one, like the interface of a connection that is redialled.
fn watched_a_device_that_comes_back_is_shaped_again() {
    load(true);
    tell("modprobe veth");
    let plug_in = || {
        tell("ip link add wan0 type veth peer name far0; ip link set wan0 up; ip link set far0 up")
    };
    let is_shaped = || {
        let (there, shown) =
            ask("tc qdisc show dev wan0; tc qdisc show dev ifb0; tc filter show dev wan0 ingress");
        there && shown.matches("qdisc cake").count() == 2 && shown.contains("mirred")
    };
    let before = there();
    let output = std::fs::File::create("/tmp/watched").unwrap();
    let mut watch = Command::new(GAMING)
        .args([
            "watch", "--yes", "--json", "--only", "qos", "--device", "wan0",
        ])
        .stdin(Stdio::null())
        .stdout(output)
        .spawn()
        .unwrap();
    let said = || -> Vec<String> {
        let text = std::fs::read_to_string("/tmp/watched").unwrap();
        let event = |line: &str| -> String {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["device"], "wan0");
            line["event"].as_str().unwrap().to_owned()
        };
        text.lines().map(event).collect()
    };
    wait_until("it says that there is no device", || {
        said() == ["no-device"]
    });
    for round in 0..3 {
        plug_in();
        wait_until("it is shaped", is_shaped);
        tell("ip link del wan0");
        wait_until("it is said to have gone", || {
            said().iter().filter(|event| *event == "no-device").count() == round + 2
        });
    }
    plug_in();
    wait_until("it is shaped", is_shaped);
    // A qdisc of another program stays.
    tell("tc qdisc replace dev wan0 root handle 9: pfifo limit 7");
    wait_until("it stands back", || {
        said().iter().any(|event| event == "left")
    });
    assert!(tell("tc qdisc show dev wan0").contains("pfifo 9:"));
    tell("tc qdisc del dev wan0 root");

    let process = nix::unistd::Pid::from_raw(watch.id().try_into().unwrap());
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(watch.wait().unwrap().code(), Some(0), "{:?}", said());
    let applied = said().iter().filter(|event| *event == "applied").count();
    assert_eq!(applied, 4, "{:?}", said());
    exits(0, REVERT);
    tell("ip link del wan0");
    before.is_still(&there(), "given back");
}
