//! A path with a bottleneck, in three network namespaces: gw, which measures and shapes; isp, which
//! is slow and has long queues; and srv, 20 ms away.

use std::process::Command;
use std::thread::{self, JoinHandle};

/// The address of srv, where the responder is.
pub(crate) const SERVER: &str = "10.9.1.2";

/// Rates of the link in bits per second. An emulated processor can forward and shape this much
/// while another program runs beside it; above that, the processor would be the bottleneck that is
/// measured.
pub(crate) const DOWNLOAD: u64 = 8_000_000;
pub(crate) const UPLOAD: u64 = 3_000_000;

/// A queue of 0.65 s in each direction, as many links have. A burst is what passes in 40 ms,
/// because an emulated processor can be away for that long: with a smaller bucket the link would
/// lose that time and be slower than configured.
const QUEUES: &str = "
    tc -n isp qdisc add dev gw root tbf rate 8mbit burst 40k limit 650000
    tc -n isp qdisc add dev srv root tbf rate 3mbit burst 15k limit 245000
    tc -n srv qdisc add dev isp root netem delay 20ms limit 10000
";

const LINKS: &str = "
    set -e
    ip netns add isp
    ip netns add srv
    ip link add wan type veth peer name gw netns isp
    ip -n isp link add srv type veth peer name isp netns srv
    ip addr add 10.9.0.2/24 dev wan
    ip -n isp addr add 10.9.0.1/24 dev gw
    ip -n isp addr add 10.9.1.1/24 dev srv
    ip -n srv addr add 10.9.1.2/24 dev isp
    ip link set lo up
    ip -n srv link set lo up
    ip link set wan up
    ip -n isp link set gw up
    ip -n isp link set srv up
    ip -n srv link set isp up
    ip route add default via 10.9.0.1
    ip -n srv route add default via 10.9.1.1
    ip netns exec isp sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
";

/// Creates the path and moves the calling thread to gw, whose device is `wan`.
pub(crate) fn laid() {
    told("modprobe -a sch_netem sch_tbf sch_cake");
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    told(LINKS);
    told(&format!("set -e\n{QUEUES}"));
    // Wait until the carriers and the addresses have settled.
    thread::sleep(std::time::Duration::from_millis(500));
}

/// Deletes what does not end with the thread.
pub(crate) fn taken_away() {
    told("ip netns del isp; ip netns del srv");
}

/// Runs `what` in srv, in a thread of its own.
pub(crate) fn in_srv<T: Send + 'static>(
    what: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    thread::spawn(|| {
        let srv = std::fs::File::open("/run/netns/srv").unwrap();
        nix::sched::setns(&srv, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        what()
    })
}

/// Runs a script, panics if it fails, and returns its output.
pub(crate) fn told(script: &str) -> String {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{script}: {said}");
    said
}
