//! Unsupported requests and interrupted runs: each gives a typed error with a hint and leaves
//! nothing half applied, and packets still arrive in both directions.

use std::path::Path;
use std::time::Duration;

use super::live::{session, snapshot};
use super::traffic::Traffic;
use crate::namespace::{backend, tell};
use hosttune_core::host::{Change, Gate};
use hosttune_core::testing::{CrashPoint, Memory, MemoryStore, Moment};
use hosttune_core::{Error, Host, HostError, LinuxHost, Session, Tuning};
use hosttune_qos::cake::Overhead;
use hosttune_qos::netlink::{TC_H_ROOT, TrafficControl};
use hosttune_qos::testing::Kernel;
use hosttune_qos::{Cake, Netlink, Qdisc, Rate, Shaper};
use hosttune_test_machine::inside_stock_kernels;

const EPERM: i32 = 1;

/// CAKE if this kernel has it, otherwise a token bucket of `rate` bytes per second.
fn shaped(cake: &str, rate: u64) -> Qdisc {
    if Path::new("/sys/module/sch_cake").exists() {
        Qdisc::from(&cake.parse::<Cake>().unwrap())
    } else {
        println!("this kernel has no CAKE: a token bucket");
        Qdisc::tbf(rate, 20_000, 100_000)
    }
}

fn shaper_of(device: &str) -> Shaper {
    Shaper::new(device)
        .through("ifb7")
        .egress(shaped("bandwidth 6mbit diffserv4 ack-filter", 750_000))
        .ingress(shaped("bandwidth 20mbit diffserv4 ingress", 2_500_000))
}

fn shaper() -> Shaper {
    shaper_of("wan")
}

/// What is refused before anything is changed, and why, on any host with the devices `wan` and `lo`
/// and the IFB `ifb9`. `wan` has the root `red`, which cannot be restored.
fn refusals() -> Vec<(&'static str, Shaper, &'static str)> {
    let limited = || Qdisc::from(Cake::default().bandwidth(Rate::mbit(5)));
    let tbf = Qdisc::tbf(0, 20_000, 100_000);
    let filtering = Cake::default().bandwidth(Rate::mbit(5)).ack_filter();
    let both = |device| Shaper::new(device).egress(limited()).ingress(limited());
    vec![
        (
            "no such device",
            both("nowhere"),
            "there is no device nowhere",
        ),
        ("lo", both("lo"), "loopback traffic cannot be shaped"),
        (
            "an IFB as the device",
            both("ifb9"),
            "ifb9 is an IFB itself",
        ),
        (
            "a device that is its own IFB",
            both("wan").through("wan"),
            "wan cannot be its own IFB",
        ),
        (
            "somebody else's IFB",
            Shaper::new("wan").through("ifb9").ingress(limited()),
            "the link ifb9 already exists and belongs to another program",
        ),
        (
            "ack-filter on what arrives",
            Shaper::new("wan").ingress(&filtering),
            "ack-filter on ingress of wan saves nothing",
        ),
        (
            "a device's name of 16 characters",
            both("sixteen-letters-"),
            "sixteen-letters- has 16 bytes",
        ),
        (
            "an IFB's name of 16 characters",
            both("wan").through("sixteen-letters-"),
            "sixteen-letters- has 16 bytes",
        ),
        (
            "rate 0 for what leaves",
            Shaper::new("wan").egress(tbf.clone()),
            "with a rate of zero on wan would pass no packets",
        ),
        (
            "rate 0 for what arrives",
            Shaper::new("wan").ingress(tbf),
            "with a rate of zero on wan would pass no packets",
        ),
        (
            "a root whose way back is unknown",
            both("wan"),
            "red cannot be put back exactly",
        ),
    ]
}

/// Planning and applying are refused for the same reason.
fn refused(session: &mut Session, what: &str, shaper: &Shaper, why: &str) {
    let planned = shaper.plan(session).unwrap_err();
    let applied = shaper.apply(session).unwrap_err();
    for error in [planned, applied] {
        assert!(
            matches!(error, Error::NotApplicable(_) | Error::Tuning { .. }),
            "{what}: {error:?}"
        );
        assert!(error.to_string().contains(why), "{what}: {error}");
        assert!(error.hint().is_some(), "{what}: no way out: {error}");
    }
    nothing_is_owed(session, what);
}

fn nothing_is_owed(session: &Session, what: &str) {
    let status = session.status().unwrap();
    assert!(status.pending.is_empty(), "{what}: {:#?}", status.pending);
    assert!(status.open.is_none(), "{what}: {:#?}", status.open);
}

fn what_cannot_be_is_refused() {
    let traffic = Traffic::begin();
    tell(
        "ip link add ifb9 type ifb; tc qdisc replace dev wan root red limit 500k avpkt 1000; sleep 0.2",
    );
    let before = snapshot();
    for (what, shaper, why) in refusals() {
        refused(&mut session(), what, &shaper, why);
        before.is_still(&snapshot(), what);
        traffic.all_arrive(what);
    }
}

#[test]
fn what_cannot_be_is_refused_over_the_fake() {
    let kernel = Kernel::new().link("wan", "", 4).link("ifb9", "ifb", 1);
    let mut backend = Netlink::over(kernel.clone());
    let wan = backend.link("wan").unwrap().unwrap();
    backend.change(&wan.bring(true)).unwrap();
    let red = TrafficControl::replace(&wan, TC_H_ROOT, "red", 0x1_0000, Some(&[1, 2, 3, 4]));
    backend.change(&red).unwrap();
    let was = kernel.snapshot();
    for (what, shaper, why) in refusals() {
        let (store, crash_point) = (MemoryStore::new(), CrashPoint::lives());
        let host = Host::new(
            Memory::new()
                .directory("/sys/module/ifb")
                .host(&crash_point),
        )
        .with_backend(Netlink::over(kernel.clone()))
        .gated(crash_point.clone());
        let session = Session::new(host, "qos-test", store.of(&crash_point), "boot").unwrap();
        refused(&mut session.with(hosttune_qos::knobs), what, &shaper, why);
        assert_eq!(kernel.snapshot(), was, "{what}");
        assert_eq!(crash_point.writes(), 0, "{what}: something was written");
    }
}

/// These never reach a kernel.
#[test]
fn what_cannot_be_said_is_refused() {
    for (text, why) in [
        ("bandwidth 0", "unlimited"),
        ("bandwidth 0mbit", "unlimited"),
        ("bandwidth 7bit", "unlimited"),
        ("bandwidth 100mbps", "write 100mbit or 800mbit"),
        ("overhead 70000", "256"),
        ("overhead -65", "-64"),
        ("mpu 257", "256"),
        ("bandwith 5mbit", "bandwith"),
    ] {
        let error = text.parse::<Cake>().unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
    assert!(Rate::bits_per_second(0).is_err());
    assert!(Overhead::new(70_000).is_err());
    let json = r#"{"bandwidth":"100mbps"}"#;
    let error = serde_json::from_str::<Cake>(json).unwrap_err().to_string();
    assert!(error.contains("write 100mbit or 800mbit"), "{error}");
}

/// If only the kernel can refuse something, all earlier changes are undone.
fn what_the_kernel_refuses_is_undone() {
    let traffic = Traffic::begin();
    let before = snapshot();
    let ingress = |qdisc: Qdisc| Shaper {
        ingress: Some(qdisc),
        ..shaper()
    };

    // A kind that no module provides is known before anything is tried.
    let (mut unknown, what) = (session(), "no such kind");
    let shaper = ingress(Qdisc::new("nonesuch", Vec::new()));
    let error = shaper.apply(&mut unknown).unwrap_err();
    assert!(matches!(error, Error::NotApplicable(_)), "{error:?}");
    assert!(error.to_string().contains("sch_nonesuch"), "{error}");
    before.is_still(&snapshot(), what);
    nothing_is_owed(&unknown, what);
    traffic.all_arrive(what);
    drop(unknown);

    for (what, shaper) in [
        (
            "options that are none",
            ingress(Qdisc::new("tbf", vec![7; 9])),
        ),
        (
            "options that are shown otherwise",
            ingress(Qdisc::new("sfq", vec![0; 20])),
        ),
        (
            "options of another kind",
            ingress(Qdisc::new("prio", vec![1; 3])),
        ),
    ] {
        let mut session = session();
        let error = shaper.apply(&mut session).unwrap_err();
        println!("{what}: {error:?}");
        assert!(
            matches!(error, Error::RolledBack { .. }),
            "{what}: {error:?}"
        );
        assert!(error.hint().is_some(), "{what}: {error:?}");
        before.is_still(&snapshot(), what);
        nothing_is_owed(&session, what);
        traffic.all_arrive(what);
    }
}

/// The device is shaped like any other, and packets arrive once there is a carrier.
fn without_a_carrier_it_is_shaped_all_the_same() {
    let traffic = Traffic::begin();
    traffic.pull_out();
    let before = snapshot();
    let mut session = session();
    let _ = shaper().apply(&mut session).unwrap();
    assert!(shaper().verify(&session).unwrap().is_as_wanted());
    let reverted = shaper().revert(&mut session).unwrap();
    assert!(
        reverted.not_reverted.is_empty(),
        "{:#?}",
        reverted.not_reverted
    );
    before.is_still(&snapshot(), "taken back");

    let _ = shaper().apply(&mut session).unwrap();
    traffic.plug_in();
    traffic.all_arrive("shaped");
    assert!(shaper().verify(&session).unwrap().is_as_wanted());
    assert!(shaper().revert(&mut session).unwrap().is_complete());
    traffic.all_arrive("taken back");
}

/// Drops CAP_NET_ADMIN and keeps all other capabilities.
fn may_not_change_links() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let mut sets = capabilities(None).unwrap();
    for set in [
        &mut sets.effective,
        &mut sets.permitted,
        &mut sets.inheritable,
    ] {
        set.remove(CapabilitySet::NET_ADMIN);
    }
    set_capabilities(None, sets).unwrap();
}

fn without_the_capability_nothing_is_changed() {
    let traffic = Traffic::begin();
    let before = snapshot();
    // The thread has its own capabilities and shares this one's network namespace.
    let unprivileged = std::thread::spawn(|| {
        may_not_change_links();
        let mut session = session();
        // Reading needs no capability.
        assert!(!shaper().plan(&session).unwrap().steps.is_empty());
        assert!(!shaper().verify(&session).unwrap().is_as_wanted());
        let error = shaper().apply(&mut session).unwrap_err();
        nothing_is_owed(&session, "refused");
        error
    });
    let error = unprivileged.join().unwrap();
    let Error::RolledBack { cause } = &error else {
        panic!("{error:?}")
    };
    let hosttune_core::StepFailure::Refused(refused) = &cause.failure else {
        panic!("{error:?}")
    };
    assert_eq!(refused.errno(), Some(EPERM), "{error:?}");
    assert!(error.hint().unwrap().contains("CAP_NET_ADMIN"), "{error:?}");
    before.is_still(&snapshot(), "refused");
    traffic.all_arrive("refused");

    // Applied with the capability, and reverted without it.
    let mut privileged = session();
    let _ = shaper().apply(&mut privileged).unwrap();
    let shaped = snapshot();
    let unprivileged = std::thread::spawn(|| {
        may_not_change_links();
        shaper().revert(&mut session()).unwrap().not_reverted
    });
    let left = unprivileged.join().unwrap();
    assert!(!left.is_empty(), "nobody was told");
    shaped.is_still(&snapshot(), "not taken back");
    traffic.all_arrive("not taken back");
    let reverted = shaper().revert(&mut privileged).unwrap();
    assert!(
        reverted.not_reverted.is_empty(),
        "{:#?}",
        reverted.not_reverted
    );
    before.is_still(&snapshot(), "taken back");
    traffic.all_arrive("taken back");
}

/// Deletes the device `dsl` before one of the changes.
struct Vanishes {
    backend: Netlink,
    before: u64,
    changes: u64,
}

impl Vanishes {
    fn before(before: u64, backend: Netlink) -> Self {
        Self {
            backend,
            before,
            changes: 0,
        }
    }
}

impl Gate for Vanishes {
    fn before(&mut self, _: &Change<'_>) -> Result<(), HostError> {
        if self.changes == self.before {
            let dsl = self.backend.link("dsl")?.unwrap();
            self.backend.change(&dsl.delete())?;
        }
        self.changes += 1;
        Ok(())
    }
}

#[test]
fn the_device_vanishes_over_the_fake() {
    let qdisc = || Qdisc::from(Cake::default().bandwidth(Rate::mbit(5)));
    let shaper = Shaper::new("dsl").egress(qdisc()).ingress(qdisc());
    let machine = || Kernel::new().link("wan", "", 4);
    let was = machine().snapshot();
    for change in 0..=6 {
        let kernel = machine().link("dsl", "veth", 1);
        let (store, crash_point) = (MemoryStore::new(), CrashPoint::lives());
        let host = Host::new(
            Memory::new()
                .directory("/sys/module/ifb")
                .host(&crash_point),
        )
        .with_backend(Netlink::over(kernel.clone()))
        .gated(Vanishes::before(change, Netlink::over(kernel.clone())));
        let session = Session::new(host, "qos-test", store.of(&crash_point), "boot").unwrap();
        let mut session = session.with(hosttune_qos::knobs);
        match shaper.apply(&mut session) {
            // There were only six changes, and all had been made.
            Ok(_) => assert_eq!(change, 6),
            Err(error) => {
                assert!(
                    matches!(error, Error::RolledBack { .. }),
                    "{change}: {error:?}"
                );
                assert!(error.hint().is_some(), "{change}: {error:?}");
                assert_eq!(kernel.snapshot(), was, "{change}");
                assert!(store.is_empty(), "{change}: a journal is left");
            }
        }
    }
}

/// The device is gone, so nothing can be requested of it, but the IFB that was made for it is there.
#[test]
fn a_shaper_takes_back_what_it_did_to_a_device_that_is_gone() {
    let qdisc = || Qdisc::from(Cake::default().bandwidth(Rate::mbit(5)));
    let gone = Shaper::new("dsl").egress(qdisc()).ingress(qdisc());
    let other = Shaper::new("wan").egress(qdisc()).ingress(qdisc());
    let kernel = Kernel::new().link("wan", "", 4);
    let was = kernel.snapshot();
    let kernel = kernel.link("dsl", "veth", 1);
    let (store, crash_point) = (MemoryStore::new(), CrashPoint::lives());
    let session = || {
        let memory = Memory::new().directory("/sys/module/ifb");
        let host = Host::new(memory.host(&crash_point)).with_backend(Netlink::over(kernel.clone()));
        let session = Session::new(host, "qos-test", store.of(&crash_point), "boot").unwrap();
        session.with(hosttune_qos::knobs)
    };
    let _ = other.apply(&mut session()).unwrap();
    let shaped = session().status().unwrap().pending.len();
    let _ = gone.apply(&mut session()).unwrap();
    let mut backend = Netlink::over(kernel.clone());
    let dsl = backend.link("dsl").unwrap().unwrap();
    backend.change(&dsl.delete()).unwrap();
    let reverted = gone.revert(&mut session()).unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
    assert_eq!(session().status().unwrap().pending.len(), shaped);
    assert!(other.verify(&session()).unwrap().is_as_wanted());
    assert!(other.revert(&mut session()).unwrap().is_complete());
    assert_eq!(kernel.snapshot(), was);
    assert!(store.is_empty());
}

/// Adds a second device, as if it was plugged in.
fn plug_in_dsl() {
    tell("ip link add dsl type veth peer name modem && ip link set dsl up && ip link set modem up");
}

fn the_device_vanishes_before_any_of_the_changes() {
    let traffic = Traffic::begin();
    let before = snapshot();
    let mut applied = false;
    for change in 0.. {
        let when = format!("before change {change}");
        plug_in_dsl();
        let host = Host::new(LinuxHost::at("/").unwrap())
            .with_backend(backend())
            .gated(Vanishes::before(change, backend()));
        let store = MemoryStore::new();
        let session =
            Session::new(host, "qos-test", store.of(&CrashPoint::lives()), "boot").unwrap();
        let mut session = session.with(hosttune_qos::knobs);
        match shaper_of("dsl").apply(&mut session) {
            Ok(_) => applied = true,
            Err(error) => {
                println!("{when}: {error}: {:?}", error.hint());
                assert!(error.hint().is_some(), "{when}: {error:?}");
                assert!(
                    matches!(error, Error::RolledBack { .. }),
                    "{when}: {error:?}"
                );
                assert!(store.is_empty(), "{when}: a journal is left");
                before.is_still(&snapshot(), &when);
            }
        }
        traffic.all_arrive(&when);
        if applied {
            assert!(change >= 6, "{when}: only so many changes?");
            tell("ip link del dsl");
            let reverted = process(&store, &CrashPoint::lives()).revert().unwrap();
            assert!(
                reverted.not_reverted.is_empty(),
                "{:#?}",
                reverted.not_reverted
            );
            assert!(store.is_empty(), "a journal is left");
            before.is_still(&snapshot(), "taken back without the device");
            traffic.all_arrive("taken back without the device");
            return;
        }
    }
}

fn the_device_vanishes_at_any_time() {
    let traffic = Traffic::begin();
    let before = snapshot();
    let mut outcomes = std::collections::BTreeMap::<&str, usize>::new();
    // On a slow machine forty rounds may all end in the same way: then the moments are spread further.
    for round in 0_u64.. {
        if round >= 40 && outcomes.len() > 1 {
            break;
        }
        plug_in_dsl();
        let mut other = backend();
        let vanishing = std::thread::spawn(move || {
            let dsl = other.link("dsl").unwrap().unwrap();
            std::thread::sleep(Duration::from_micros(round % 40 * 700 * (round / 40 + 1)));
            other.change(&dsl.delete()).unwrap();
        });
        let mut session = session();
        let outcome = shaper_of("dsl").apply(&mut session);
        vanishing.join().unwrap();
        let what = match &outcome {
            Ok(_) => "applied",
            Err(Error::RolledBack { .. }) => "rolled back",
            Err(Error::NotApplicable(_) | Error::Host(_)) => "refused",
            Err(error) => panic!("round {round}: {error:?}"),
        };
        *outcomes.entry(what).or_default() += 1;
        if outcome.is_err() {
            before.is_still(&snapshot(), format!("round {round}: {outcome:?}"));
            nothing_is_owed(&session, what);
        }
        let reverted = shaper_of("dsl").revert(&mut session).unwrap();
        assert!(
            reverted.not_reverted.is_empty(),
            "round {round}: {:#?}",
            reverted.not_reverted
        );
        nothing_is_owed(&session, what);
        before.is_still(&snapshot(), format!("round {round}: taken back"));
    }
    println!("{outcomes:?}");
    traffic.all_arrive("after all of them");
}

/// A process that may be killed, on this kernel.
fn process(store: &MemoryStore, crash_point: &CrashPoint) -> Session {
    let host = Host::new(LinuxHost::at("/").unwrap())
        .with_backend(backend())
        .gated(crash_point.clone());
    let session = Session::new(host, "qos-test", store.of(crash_point), "boot").unwrap();
    session.with(hosttune_qos::knobs)
}

/// Killed before and after every message and journal write of apply and of revert. Packets arrive
/// before the next process recovers, and after.
fn packets_arrive_wherever_it_is_killed() {
    let traffic = Traffic::begin();
    let before = snapshot();
    let mut kills = 0;
    for reverting in [false, true] {
        for moment in [Moment::Before, Moment::After] {
            for write in 0.. {
                let when = format!("{moment:?} write {write}, reverting {reverting}");
                let store = MemoryStore::new();
                let crash_point = CrashPoint::dies_at(write, moment);
                if reverting {
                    let _ = shaper()
                        .apply(&mut process(&store, &CrashPoint::lives()))
                        .unwrap();
                    let _ = process(&store, &crash_point).revert();
                } else {
                    let _ = shaper().apply(&mut process(&store, &crash_point));
                }
                traffic.all_arrive(&when);
                let reverted = process(&store, &CrashPoint::lives()).revert().unwrap();
                assert!(
                    reverted.not_reverted.is_empty(),
                    "{when}: {:#?}",
                    reverted.not_reverted
                );
                traffic.all_arrive(format!("{when}, put right"));
                before.is_still(&snapshot(), &when);
                if !crash_point.is_dead() {
                    assert!(write > 6, "{when}: only so many writes?");
                    break;
                }
                kills += 1;
            }
        }
    }
    println!("killed {kills} times");
}

inside_stock_kernels!(
    packets_arrive_wherever_it_is_killed,
    the_device_vanishes_at_any_time,
    the_device_vanishes_before_any_of_the_changes,
    what_cannot_be_is_refused,
    what_the_kernel_refuses_is_undone,
    without_a_carrier_it_is_shaped_all_the_same,
    without_the_capability_nothing_is_changed,
);
