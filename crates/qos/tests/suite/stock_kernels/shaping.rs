//! Shaping on stock kernels: applied, verified and reverted, with everything as it was.

use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use super::live::{session_of as session, snapshot};
use crate::namespace::{backend, enter, tell};
use hosttune_core::testing::{CrashPoint, MemoryStore, Moment};
use hosttune_core::{Error, Host, LinuxHost, Session, Tuning};
use hosttune_qos::{Cake, Qdisc, RootQdisc, Shaper};
use hosttune_test_machine::{ask, inside_stock_kernels};

/// A device `wan` whose other end is `peer`, both up.
fn device() {
    tell(
        "ip link add wan numtxqueues 4 type veth peer name peer && ip link set wan up && ip link set peer up",
    );
    // Wait until the carrier and the addresses of both have settled.
    tell("ip -6 addr flush dev wan; ip -6 addr flush dev peer; sleep 0.3");
}

fn has_cake() -> bool {
    Path::new("/sys/module/sch_cake").exists()
}

/// CAKE if this kernel has it, otherwise a token bucket of `rate` bytes per second.
fn shaped(cake: &str, rate: u64) -> Qdisc {
    if has_cake() {
        Qdisc::from(&cake.parse::<Cake>().unwrap())
    } else {
        Qdisc::tbf(rate, 20_000, 100_000)
    }
}

fn shaper() -> Shaper {
    Shaper::new("wan")
        .through("ifb7")
        .egress(shaped(
            "bandwidth 6mbit diffserv4 ack-filter pppoe-ptm",
            750_000,
        ))
        .ingress(shaped("bandwidth 20mbit diffserv4 ingress nat", 2_500_000))
}

/// Roots that `wan` has before it is shaped, as arguments of `tc`.
const BEFORE: [(&str, &str); 22] = [
    ("the default", ""),
    ("fq_codel", "root fq_codel"),
    (
        "fq_codel with options",
        "root handle 12: fq_codel limit 777 target 3ms interval 77ms",
    ),
    ("codel", "root codel target 4ms ce_threshold 2ms"),
    ("fq", "root handle 8: fq maxrate 1gbit"),
    ("pfifo", "root pfifo limit 77"),
    ("bfifo", "root bfifo limit 77777"),
    ("pfifo_fast", "root pfifo_fast"),
    ("sfq", "root sfq perturb 10"),
    ("tbf", "root tbf rate 5mbit burst 16k latency 50ms"),
    ("prio", "root handle 4854: prio bands 4"),
    ("pie", "root pie limit 500"),
    ("fq_pie", "root fq_pie"),
    ("hhf", "root hhf"),
    ("drr", "root drr"),
    ("qfq", "root qfq"),
    ("sfb", "root sfb"),
    ("htb without classes", "root handle 1: htb default 30"),
    ("hfsc without classes", "root handle 1: hfsc default 1"),
    ("noqueue", "root noqueue"),
    (
        "cake",
        "root cake bandwidth 20mbit overhead 22 mpu 64 nat wash memlimit 4m",
    ),
    ("cake that is raw", "root handle 4855: cake raw besteffort"),
];

fn applied_and_reverted(shaper: &Shaper, what: &str) {
    let before = snapshot();
    let mut session = session("qos-test");
    let planned = shaper.plan(&session).unwrap();
    assert!(!planned.steps.is_empty(), "{what}");
    before.is_still(&snapshot(), format!("{what}: planned"));
    let _ = shaper.apply(&mut session).unwrap();
    let report = shaper.verify(&session).unwrap();
    assert!(report.is_as_wanted(), "{what}: {report:#?}");
    let again = shaper.plan(&session).unwrap();
    assert!(again.steps.is_empty(), "{what}: {:#?}", again.steps);
    let ours = if has_cake() {
        "qdisc cake 485"
    } else {
        "qdisc tbf 485"
    };
    for device in ["wan", "ifb7"] {
        let shown = tell(&format!("tc qdisc show dev {device}"));
        assert!(shown.contains(ours), "{what}: {shown}");
    }
    let reverted = shaper.revert(&mut session).unwrap();
    let left: Vec<String> = reverted
        .not_reverted
        .iter()
        .map(ToString::to_string)
        .collect();
    before.is_still(&snapshot(), format!("{what}: reverted, left {left:?}"));
    assert!(left.is_empty(), "{what}: {left:?}");
}

fn every_root_comes_back_as_it_was() {
    enter();
    device();
    let mut done = Vec::new();
    for (what, before) in BEFORE {
        if !before.is_empty() {
            let (worked, said) = ask(&format!("tc qdisc replace dev wan {before}"));
            if !worked {
                // Only CAKE may be missing: every stock kernel has the other kinds.
                assert!(
                    before.contains("root") && before.contains("cake") && !has_cake(),
                    "{what}: {said}"
                );
                println!("this kernel has no CAKE: {what}");
                continue;
            }
        }
        applied_and_reverted(&shaper(), what);
        if !before.is_empty() {
            tell("tc qdisc del dev wan root");
        }
        done.push(what);
    }
    assert!(done.len() >= 12, "{done:?}");
}

fn several_queues_keep_their_own() {
    enter();
    device();
    tell("tc qdisc replace dev wan root handle 5: mq");
    tell("tc qdisc replace dev wan parent 5:1 handle 51: pfifo limit 7");
    tell("tc qdisc replace dev wan parent 5:3 fq_codel target 3ms");
    applied_and_reverted(&shaper(), "mq");
}

fn a_link_that_is_down_gets_nothing_that_it_did_not_have() {
    enter();
    tell("ip link add wan type veth peer name peer");
    applied_and_reverted(&shaper(), "never up");
    // A link that was set down still shows its default root. Once that was replaced, it shows none
    // until it is up again, like a link that was never up.
    let up_and_down = || tell("ip link set wan up; ip link set wan down; sleep 0.2");
    up_and_down();
    let before = snapshot();
    let mut session = session("qos-test");
    let _ = shaper().apply(&mut session).unwrap();
    assert!(shaper().verify(&session).unwrap().is_as_wanted());
    let reverted = shaper().revert(&mut session).unwrap();
    assert!(
        reverted.not_reverted.is_empty(),
        "{:#?}",
        reverted.not_reverted
    );
    up_and_down();
    before.is_still(&snapshot(), "up and down again");
}

fn somebodys_clsact_and_filter_stay() {
    enter();
    device();
    tell("tc qdisc add dev wan clsact");
    tell("tc filter add dev wan ingress protocol ip pref 9 u32 match ip dport 53 0xffff action ok");
    tell("tc filter add dev wan egress protocol ip pref 9 matchall action ok");
    applied_and_reverted(&shaper(), "clsact");
    tell("tc qdisc del dev wan clsact; tc qdisc add dev wan ingress");
    tell("tc filter add dev wan ingress protocol ip matchall action ok");
    applied_and_reverted(&shaper(), "ingress");
}

/// It is shaped anyway, and reported as not in effect.
fn a_filter_that_takes_every_packet_first_is_told() {
    enter();
    device();
    tell("modprobe -q act_gact || true; tc qdisc add dev wan ingress");
    for (filter, takes_all) in [
        ("matchall action ok", true),
        ("protocol all pref 9 u32 match u32 0 0 action drop", true),
        ("matchall action continue", false),
        (
            "protocol all pref 9 u32 match u32 0 0 match ip dst 1.2.3.4/32 action drop",
            false,
        ),
        (
            "protocol all pref 9 u32 match u32 0 0 indev peer action drop",
            false,
        ),
        ("matchall action drop random determ continue 2", false),
    ] {
        tell(&format!("tc filter add dev wan ingress {filter}"));
        let before = snapshot();
        let mut session = session("qos-test");
        let _ = shaper().apply(&mut session).unwrap();
        let report = shaper().verify(&session).unwrap();
        assert_eq!(report.is_as_wanted(), !takes_all, "{filter}: {report:#?}");
        let reverted = shaper().revert(&mut session).unwrap();
        assert!(
            reverted.not_reverted.is_empty(),
            "{filter}: {:#?}",
            reverted.not_reverted
        );
        before.is_still(&snapshot(), filter);
        tell("tc filter del dev wan ingress");
    }
}

fn a_filter_that_somebody_adds_keeps_our_hook() {
    enter();
    device();
    let before = snapshot();
    let mut session = session("qos-test");
    let _ = shaper().apply(&mut session).unwrap();
    tell("tc filter add dev wan ingress protocol ip pref 9 u32 match ip dport 53 0xffff action ok");
    let reverted = shaper().revert(&mut session).unwrap();
    assert_eq!(
        reverted.not_reverted.len(),
        1,
        "{:#?}",
        reverted.not_reverted
    );
    let left = reverted.not_reverted[0].to_string();
    assert!(
        left.contains("filters of another program are attached to it"),
        "{left}"
    );
    assert!(tell("tc filter show dev wan ingress").contains("pref 9"));
    assert!(!tell("tc filter show dev wan ingress").contains("mirred"));
    assert!(!ask("ip link show ifb7").0);
    tell("tc filter del dev wan ingress pref 9 protocol ip");
    let reverted = shaper().revert(&mut session).unwrap();
    assert!(
        reverted.not_reverted.is_empty(),
        "{:#?}",
        reverted.not_reverted
    );
    before.is_still(&snapshot(), "nothing keeps the hook any more");
}

/// Before anything is changed, and with the reason.
fn what_cannot_be_put_back_is_refused() {
    enter();
    device();
    for (script, why) in [
        (
            "tc qdisc replace dev wan root red limit 500k avpkt 1000",
            "red cannot be put back",
        ),
        (
            "tc qdisc replace dev wan root handle 1: htb default 10 && tc class add dev wan parent 1: classid 1:10 htb rate 5mbit",
            "1 class",
        ),
        (
            "tc qdisc replace dev wan root handle 1: prio && tc qdisc add dev wan parent 1:1 pfifo limit 9",
            "1 queueing discipline beneath it",
        ),
        (
            "tc qdisc replace dev wan root handle 1: prio && tc filter add dev wan parent 1: protocol ip u32 match ip dport 53 0xffff flowid 1:1",
            "filter",
        ),
        (
            "tc qdisc replace dev wan root stab overhead 18 linklayer atm pfifo",
            "a size table",
        ),
        (
            "tc qdisc replace dev wan root estimator 1sec 4sec pfifo",
            "a rate estimator",
        ),
    ] {
        let (worked, said) = ask(script);
        assert!(worked, "{script}: {said}");
        let before = snapshot();
        let mut session = session("qos-test");
        let error = shaper().apply(&mut session).unwrap_err();
        assert!(
            matches!(error, Error::NotApplicable(_)),
            "{script}: {error}"
        );
        assert!(error.to_string().contains(why), "{script}: {error}");
        assert!(error.hint().is_some(), "{script}");
        before.is_still(&snapshot(), script);

        let consent = shaper().discard();
        let _ = consent.apply(&mut session).unwrap();
        assert!(consent.verify(&session).unwrap().is_as_wanted(), "{script}");
        let reverted = consent.revert(&mut session).unwrap();
        assert!(
            reverted.not_reverted.is_empty(),
            "{script}: {:#?}",
            reverted.not_reverted
        );
        let left = tell("tc qdisc show dev wan; ip link show");
        assert!(left.contains("qdisc noqueue 0:"), "{script}: {left}");
        assert!(!left.contains("ifb7"), "{script}: {left}");
        let _ = ask("tc qdisc del dev wan root");
    }
}

fn what_is_somebody_elses_is_refused() {
    enter();
    device();
    tell("ip link add ifb7 type ifb");
    refused("already exists and belongs to another program");
    tell("ip link del ifb7; ip link add ifb7 type veth peer name other");
    refused("already exists and belongs to another program");
    tell("ip link del ifb7; tc qdisc add dev wan ingress_block 22 ingress");
    refused("a block shared by several devices");
    tell("tc qdisc del dev wan ingress; tc qdisc add dev wan ingress");
    tell("tc filter add dev wan ingress protocol all pref 49374 matchall action ok");
    refused("has the priority 49374");
}

fn refused(why: &str) {
    let before = snapshot();
    let mut session = session("qos-test");
    let error = shaper().apply(&mut session).unwrap_err();
    assert!(error.to_string().contains(why), "{error}");
    assert!(error.hint().is_some(), "{error}");
    before.is_still(&snapshot(), why);
}

/// An administrator's own changes between apply and revert.
fn what_a_stranger_did_since_stays() {
    enter();
    device();
    let mut session = session("qos-test");
    let _ = shaper().apply(&mut session).unwrap();
    tell("tc qdisc replace dev wan root handle 77: pfifo limit 9");
    let reverted = shaper().revert(&mut session).unwrap();
    assert_eq!(
        reverted.not_reverted.len(),
        1,
        "{:#?}",
        reverted.not_reverted
    );
    let root = tell("tc qdisc show dev wan");
    assert!(
        root.contains("pfifo 77:") && !root.contains("ingress"),
        "{root}"
    );
    let reverted = shaper().revert(session.force(true)).unwrap();
    assert!(
        reverted.not_reverted.is_empty(),
        "{:#?}",
        reverted.not_reverted
    );
    assert!(tell("tc qdisc show dev wan").contains("noqueue 0:"));
}

/// The IFB is deleted while the filter still leads to it: received packets are lost until the
/// filter is removed.
fn a_redirect_that_leads_nowhere_is_taken_back() {
    enter();
    device();
    let before = snapshot();
    let mut session = session("qos-test");
    let _ = shaper().apply(&mut session).unwrap();
    tell("ip link del ifb7");
    let report = shaper().verify(&session).unwrap();
    assert!(!report.is_as_wanted());
    let _ = shaper().apply(&mut session).unwrap();
    assert!(shaper().verify(&session).unwrap().is_as_wanted());
    tell("ip link del ifb7");
    let reverted = shaper().revert(&mut session).unwrap();
    assert!(
        reverted.not_reverted.is_empty(),
        "{:#?}",
        reverted.not_reverted
    );
    before.is_still(&snapshot(), "the IFB had gone");
}

/// How many of ten datagrams are answered from the other namespace.
fn answered(socket: &UdpSocket) -> usize {
    let mut buffer = [0; 16];
    let mut asked = |number: u8| {
        socket.send(&[number]).unwrap();
        socket.recv(&mut buffer).is_ok_and(|length| length == 1)
    };
    (0..10).filter(|number| asked(*number)).count()
}

/// No packet is lost on the way, and the IFB counts all of them.
fn what_arrives_goes_through_the_ifb() {
    enter();
    tell("ip netns add other; ip link add wan type veth peer name peer netns other");
    tell("ip addr add 10.7.0.1/24 dev wan; ip link set wan up");
    tell("ip -n other addr add 10.7.0.2/24 dev peer; ip -n other link set peer up");
    tell("until ip link show wan | grep -q 'state UP'; do sleep 0.05; done");
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let other = std::fs::File::open("/run/netns/other").unwrap();
        nix::sched::setns(&other, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let socket = UdpSocket::bind("10.7.0.2:7").unwrap();
        ready.send(()).unwrap();
        let mut buffer = [0; 16];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            socket.send_to(&buffer[..length], from).unwrap();
        }
    });
    is_ready.recv().unwrap();
    let socket = UdpSocket::bind("10.7.0.1:0").unwrap();
    socket.connect("10.7.0.2:7").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    assert_eq!(answered(&socket), 10, "before");

    let mut session = session("qos-test");
    let _ = shaper().apply(&mut session).unwrap();
    assert_eq!(answered(&socket), 10, "shaped");
    let seen = tell("tc -s qdisc show dev ifb7");
    let mut words = seen.split_whitespace().skip_while(|word| *word != "bytes");
    let packets: u32 = words.nth(1).unwrap().parse().unwrap();
    assert!(packets >= 10, "{seen}");
    assert!(shaper().revert(&mut session).unwrap().is_complete());
    assert_eq!(answered(&socket), 10, "taken back");
    tell("ip netns del other");
}

/// Without module lists, the kernel's own answer shows what it has.
fn errors_say_what_the_kernel_says() {
    enter();
    device();
    let mut session = session("qos-test");
    let unknown = Shaper::new("wan").egress(Qdisc::new("nonesuch", Vec::new()));
    tell("mkdir -p /run/none && mount --bind /run/none /lib/modules");
    let refused = unknown.apply(&mut session);
    tell("umount /lib/modules");
    let error = refused.unwrap_err();
    let mut said = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        said = format!("{said}: {cause}");
        source = cause.source();
    }
    assert!(said.contains("Specified qdisc kind is unknown"), "{said}");
    assert!(said.contains("nonesuch"), "{said}");
    assert!(error.hint().unwrap().contains("sch_nonesuch"), "{error:?}");
    let error = unknown.apply(&mut session).unwrap_err();
    assert!(matches!(error, Error::NotApplicable(_)), "{error}");
    assert!(error.to_string().contains("sch_nonesuch"), "{error}");
    let nowhere = Shaper::new("nowhere").egress(shaped("bandwidth 8kbit", 1000));
    let error = nowhere.plan(&session).unwrap_err();
    assert!(matches!(error, Error::NotApplicable(_)), "{error}");
    assert!(error.to_string().contains("there is no device nowhere"));
    let plan = nowhere.optional().plan(&session).unwrap();
    assert!(plan.steps.is_empty());
    assert_eq!(plan.findings.len(), 1);
    let root = RootQdisc::new("wan");
    assert_eq!(root.device(), "wan");
}

/// A process that may be killed, on this kernel.
fn process(store: &MemoryStore, crash_point: &CrashPoint) -> Session {
    let host = Host::new(LinuxHost::at("/").unwrap())
        .with_backend(backend())
        .gated(crash_point.clone());
    let session = Session::new(host, "qos-test", store.of(crash_point), "boot").unwrap();
    session.with(hosttune_qos::knobs)
}

/// Before and after every message and journal write of apply and of revert.
fn killed_at_every_message_then_reverted_is_as_it_was() {
    enter();
    device();
    tell("tc qdisc replace dev wan root handle 12: fq_codel limit 777 target 3ms");
    tell("tc qdisc add dev wan clsact");
    tell("tc filter add dev wan ingress protocol ip pref 9 u32 match ip dport 53 0xffff action ok");
    let before = snapshot();
    for reverting in [false, true] {
        for moment in [Moment::Before, Moment::After] {
            for write in 0.. {
                let when = format!("{moment:?} write {write}, reverting {reverting}");
                let store = MemoryStore::new();
                let crash_point = CrashPoint::dies_at(write, moment);
                if reverting {
                    let mut session = process(&store, &CrashPoint::lives());
                    let _ = shaper().apply(&mut session).unwrap();
                    let _ = process(&store, &crash_point).revert();
                } else {
                    let _ = shaper().apply(&mut process(&store, &crash_point));
                }
                let reverted = process(&store, &CrashPoint::lives()).revert().unwrap();
                assert!(
                    reverted.not_reverted.is_empty(),
                    "{when}: {:#?}",
                    reverted.not_reverted
                );
                before.is_still(&snapshot(), &when);
                assert!(store.is_empty(), "{when}: a journal is left");
                if !crash_point.is_dead() {
                    assert!(write > 6, "{when}: only so many writes?");
                    break;
                }
            }
        }
    }
}

inside_stock_kernels!(
    killed_at_every_message_then_reverted_is_as_it_was,
    a_filter_that_somebody_adds_keeps_our_hook,
    a_filter_that_takes_every_packet_first_is_told,
    a_link_that_is_down_gets_nothing_that_it_did_not_have,
    a_redirect_that_leads_nowhere_is_taken_back,
    errors_say_what_the_kernel_says,
    every_root_comes_back_as_it_was,
    several_queues_keep_their_own,
    somebodys_clsact_and_filter_stay,
    what_a_stranger_did_since_stays,
    what_arrives_goes_through_the_ifb,
    what_cannot_be_put_back_is_refused,
    what_is_somebody_elses_is_refused,
);
