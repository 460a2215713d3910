//! Renamed links and moving default routes, on stock kernels.

use std::time::Duration;

use hosttune_core::{Stop, Tuning};
use hosttune_qos::netlink::{KernelMonitor, Monitor, Subject, WaitOutcome};
use hosttune_qos::{Qdisc, Shaper};
use hosttune_test_machine::inside_stock_kernels;

use super::live::{session_of as session, snapshot};
use crate::namespace::{enter, tell};

fn add(device: &str) {
    tell(&format!(
        "ip link add {device} type veth peer name p-{device} && ip link set p-{device} up && ip link set {device} up"
    ));
    tell(&format!(
        "ip -6 addr flush dev {device}; ip -6 addr flush dev p-{device}; sleep 0.3"
    ));
}

fn rename(name: &str, to: &str) {
    tell(&format!(
        "ip link set {name} down; ip link set {name} name {to}; ip link set {to} up"
    ));
}

fn shaper(device: &str) -> Shaper {
    let bucket = Qdisc::tbf(1_000_000, 20_000, 100_000);
    Shaper::new(device)
        .egress(bucket.clone())
        .ingress(bucket)
        .prefer_ifb("ifb0")
}

fn leads(device: &str) -> String {
    tell(&format!("tc filter show dev {device} ingress"))
}

fn is_as_wanted(device: &str) {
    let report = shaper(device).verify(&session("qos-test")).unwrap();
    assert!(report.is_as_wanted(), "{device}: {report:#?}");
}

fn a_renamed_link_and_its_namesake_are_told_apart() {
    enter();
    let clean = snapshot();
    for device in ["w0", "x0"] {
        add(device);
        let _ = shaper(device).apply(&mut session("qos-test")).unwrap();
    }
    for pending in session("qos-test").status().unwrap().pending {
        if let Some(identity) = &pending.identity {
            assert!(identity.contains(", in net:["), "{identity}");
        }
    }
    rename("w0", "wan0");
    tell("ip link set p-w0 down; ip link set p-w0 name p-wan0; ip link set p-wan0 up");
    add("w0");
    for device in ["w0", "wan0", "x0"] {
        let _ = shaper(device).apply(&mut session("qos-test")).unwrap();
    }
    for (device, ifb) in [("wan0", "ifb0"), ("w0", "ifb-w0"), ("x0", "ifb-x0")] {
        is_as_wanted(device);
        let leads = leads(device);
        assert!(leads.contains(&format!("to device {ifb})")), "{leads}");
    }
    rename("ifb-x0", "foo");
    let reverted = session("qos-test").revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    assert!(session("qos-test").status().unwrap().pending.is_empty());
    tell("ip link del w0; ip link del wan0; ip link del x0");
    clean.is_still(&snapshot(), "reverted");
}

/// Another program deletes the IFB, whose name the other device must not take.
fn an_ifb_that_was_deleted_goes_back_to_its_device() {
    enter();
    for device in ["w0", "x0"] {
        add(device);
    }
    let before = snapshot();
    let _ = shaper("w0").apply(&mut session("qos-test")).unwrap();
    tell("ip link del ifb0");
    for device in ["x0", "w0"] {
        let _ = shaper(device).apply(&mut session("qos-test")).unwrap();
    }
    for (device, ifb) in [("w0", "ifb0"), ("x0", "ifb-x0")] {
        is_as_wanted(device);
        let leads = leads(device);
        assert!(leads.contains(&format!("to device {ifb})")), "{leads}");
    }
    assert_eq!(session("qos-test").revert().unwrap().not_reverted, []);
    before.is_still(&snapshot(), "reverted");
}

/// The subjects of all notifications within two seconds.
fn subjects(monitor: &mut KernelMonitor, stop: &Stop) -> Vec<Subject> {
    let until = monitor.now() + Duration::from_secs(2);
    let mut all = Vec::new();
    while let WaitOutcome::Notices(notices) = monitor.wait(stop, Some(until)).unwrap() {
        all.extend(notices.iter().map(|notice| notice.subject));
    }
    all
}

fn default_routes_are_told_and_those_that_go_with_a_link_are_not() {
    enter();
    add("w0");
    tell("sysctl -qw net.ipv6.conf.all.disable_ipv6=1; ip addr add 10.9.0.1/24 dev w0; sleep 0.3");
    let stop = Stop::new().unwrap();
    let mut monitor = KernelMonitor::open().unwrap().with_routes().unwrap();
    tell("ip route add 10.10.0.0/16 via 10.9.0.2");
    assert_eq!(subjects(&mut monitor, &stop), []);
    tell("ip route add default via 10.9.0.2");
    assert_eq!(subjects(&mut monitor, &stop), [Subject::Route]);
    tell("ip link set w0 down");
    let told = subjects(&mut monitor, &stop);
    assert!(told.contains(&Subject::Link), "{told:?}");
    assert!(!told.contains(&Subject::Route), "{told:?}");
    assert_eq!(tell("ip route show default").trim(), "");
}

inside_stock_kernels!(
    a_renamed_link_and_its_namesake_are_told_apart,
    an_ifb_that_was_deleted_goes_back_to_its_device,
    default_routes_are_told_and_those_that_go_with_a_link_are_not,
);
