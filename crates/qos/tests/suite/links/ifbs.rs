//! An IFB belongs to one device.

use std::cell::RefCell;
use std::time::Duration;

use hosttune_core::testing::{CrashPoint, Moment};
use hosttune_core::{Error, Stop, Tuning};
use hosttune_qos::netlink::{Filter, INGRESS_FILTERS, TrafficControl};
use hosttune_qos::testing::Script;
use hosttune_qos::{IfbLink, Netlink, WatchEvent};

use super::{Machine, shaper};

#[test]
fn each_device_has_an_ifb_of_its_own() {
    let machine = Machine::new();
    let before = machine.kernel.snapshot();
    for device in ["w0", "x0"] {
        let _ = shaper(device).apply(&mut machine.session()).unwrap();
    }
    assert!(
        machine.is_shaped("w0", "ifb0"),
        "{:#?}",
        machine.kernel.snapshot()
    );
    assert!(
        machine.is_shaped("x0", "ifb-x0"),
        "{:#?}",
        machine.kernel.snapshot()
    );
    for device in ["w0", "x0"] {
        let plan = shaper(device).plan(&machine.session()).unwrap();
        assert!(plan.is_empty(), "{:#?}", plan.steps);
        let report = shaper(device).verify(&machine.session()).unwrap();
        assert!(report.is_as_wanted(), "{report:#?}");
        let path = shaper(device).path(&machine.session()).unwrap();
        assert!(path.ingress.unwrap().redirect.is_some());
        let statistics = shaper(device).statistics(&machine.session()).unwrap();
        assert!(statistics.ingress.is_some());
    }
    let plan = shaper("x0").plan(&machine.session()).unwrap();
    assert!(
        plan.notes
            .contains(&"ifb0 belongs to w0; using ifb-x0".to_owned()),
        "{:?}",
        plan.notes
    );
    let reverted = machine.session().revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    assert_eq!(machine.kernel.snapshot(), before);
    assert!(machine.store.is_empty());
}

#[test]
fn an_ifb_that_was_named_is_not_taken_from_another_device() {
    let machine = Machine::new();
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    let before = machine.kernel.snapshot();
    let named = shaper("x0").through("ifb0");
    let error = named.apply(&mut machine.session()).unwrap_err();
    assert!(error.to_string().contains("ifb0 belongs to w0"), "{error}");
    assert!(!named.verify(&machine.session()).unwrap().is_as_wanted());
    assert_eq!(machine.kernel.snapshot(), before);
    // Not for another owner either.
    let error = named.apply(&mut machine.session_of("other")).unwrap_err();
    assert!(error.to_string().contains("ifb0 belongs to w0"), "{error}");
    assert_eq!(machine.kernel.snapshot(), before);
}

/// The preferred IFB is free by now, but the device's redirect leads to another one.
#[test]
fn a_device_keeps_the_ifb_that_it_has() {
    let machine = Machine::new();
    let before = machine.kernel.snapshot();
    for device in ["w0", "x0"] {
        let _ = shaper(device).apply(&mut machine.session()).unwrap();
    }
    machine.kernel.pull_out("ifb0");
    let plan = shaper("x0").plan(&machine.session()).unwrap();
    assert!(plan.is_empty(), "{:#?}", plan.steps);
    machine.kernel.pull_out("ifb-x0");
    let _ = shaper("x0").apply(&mut machine.session()).unwrap();
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    assert!(machine.is_shaped("w0", "ifb0"));
    assert!(machine.is_shaped("x0", "ifb-x0"));
    assert_eq!(machine.session().revert().unwrap().not_reverted, []);
    let mut after = machine.kernel.snapshot();
    // The fake shows for ever that packets were lost while the IFBs were gone.
    after.remove("lost");
    assert_eq!(after, before);
}

#[test]
fn an_ifb_of_another_program_is_left_alone() {
    let machine = Machine::new();
    machine.kernel.plug_in("ifb0", "ifb");
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    assert!(
        machine.is_shaped("w0", "ifb-w0"),
        "{:#?}",
        machine.kernel.snapshot()
    );
    assert!(
        IfbLink::new("ifb0")
            .is_somebody_elses(machine.session().host())
            .unwrap()
    );
    let plan = shaper("w0").plan(&machine.session()).unwrap();
    let note = "ifb0 is in use by another program; using ifb-w0".to_owned();
    assert!(plan.notes.contains(&note), "{:?}", plan.notes);
    assert_eq!(machine.session().revert().unwrap().not_reverted, []);
}

#[test]
fn two_watches_do_not_take_the_ifb_from_each_other() {
    let machine = Machine::new();
    let watch = |device: &str| {
        let said = RefCell::new(Vec::new());
        let mut script = Script::of(&machine.kernel);
        if device == "x0" {
            script = script.at(Duration::from_secs(5), |kernel| kernel.pull_out("ifb-x0"));
        }
        let say = |event: WatchEvent| said.borrow_mut().push(event.word());
        let stop = Stop::new().unwrap();
        let shaper = shaper(device);
        let mut session = machine.session();
        shaper
            .watcher()
            .run(&mut session, &mut script, &stop, say)
            .unwrap();
        said.into_inner()
    };
    assert_eq!(watch("w0"), ["applied", "as-wanted"]);
    assert_eq!(
        watch("x0"),
        ["applied", "as-wanted", "applied", "as-wanted"]
    );
    assert_eq!(watch("w0"), ["as-wanted"]);
    assert!(machine.is_shaped("w0", "ifb0") && machine.is_shaped("x0", "ifb-x0"));
}

/// Gives `device` a redirect like that of `ours`, as two devices have that were shaped through one
/// IFB.
fn redirect_as(machine: &Machine, ours: &str, device: &str, to: &str) {
    let mut backend = Netlink::over(machine.kernel.clone());
    let [ours, device, to] = [ours, device, to].map(|name| backend.link(name).unwrap().unwrap());
    let filters = backend.filters(ours.index, INGRESS_FILTERS).unwrap();
    let mirred = filters.iter().find_map(Filter::mirred).unwrap();
    let hook = TrafficControl::add_ingress(&device);
    backend.change(&hook).unwrap();
    let filter = Filter::redirect_with_matchall(&device, &to, &mirred.cookie);
    backend.change(&filter).unwrap();
}

#[test]
fn two_devices_that_share_an_ifb_are_separated() {
    for shared_first in [true, false] {
        let machine = Machine::new();
        let _ = shaper("w0").apply(&mut machine.session()).unwrap();
        redirect_as(&machine, "w0", "x0", "ifb0");
        let mut devices = ["x0", "w0"];
        if !shared_first {
            devices.reverse();
        }
        for device in devices {
            let _ = shaper(device).apply(&mut machine.session()).unwrap();
        }
        assert!(machine.is_shaped("w0", "ifb0"));
        assert!(machine.is_shaped("x0", "ifb-x0"));
        for device in devices {
            let report = shaper(device).verify(&machine.session()).unwrap();
            assert!(report.is_as_wanted(), "{report:#?}");
            let backend = Netlink::over(machine.kernel.clone());
            let link = backend.link(device).unwrap().unwrap();
            let filters = backend.filters(link.index, INGRESS_FILTERS).unwrap();
            assert_eq!(filters.iter().filter_map(Filter::mirred).count(), 1);
        }
        assert_eq!(machine.session().revert().unwrap().not_reverted, []);
        assert_eq!(machine.shows("link", "ifb0"), None);
        assert_eq!(machine.shows("link", "ifb-x0"), None);
    }
}

/// Whichever change the kernel refuses: without a redirect the device would not be shaped at all.
#[test]
fn a_device_that_cannot_be_separated_keeps_its_redirect() {
    let machine = Machine::new();
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    redirect_as(&machine, "w0", "x0", "ifb0");
    let before = machine.kernel.snapshot();
    let mut refused = 0;
    loop {
        let fork = machine.fork();
        let crash_point = CrashPoint::fails_at(refused, Moment::Before);
        let applied = shaper("x0").apply(&mut fork.session_of_fate(&crash_point));
        if crash_point.changes() <= refused {
            let _ = applied.unwrap();
            break;
        }
        assert!(
            matches!(applied, Err(Error::RolledBack { .. })),
            "{applied:#?}"
        );
        assert_eq!(fork.kernel.snapshot(), before, "change {refused}");
        refused += 1;
    }
    assert!(refused > 5, "{refused}");
}

/// A link that is plugged in again has another index, but must not get another IFB each time.
#[test]
fn a_device_that_comes_back_has_the_ifb_that_it_had() {
    let machine = Machine::new();
    for device in ["w0", "x0"] {
        let _ = shaper(device).apply(&mut machine.session()).unwrap();
    }
    machine.kernel.rename("x0", "wan0");
    let ifbs = || {
        let snapshot = machine.kernel.snapshot();
        let links = snapshot.keys().filter(|what| what.starts_with("link ifb"));
        links.cloned().collect::<Vec<_>>()
    };
    let mut had = None;
    for _ in 0..3 {
        machine.kernel.plug_in("x0", "veth");
        let _ = shaper("x0").apply(&mut machine.session()).unwrap();
        let has = ifbs();
        assert_eq!(has.len(), 3, "{has:?}");
        assert_eq!(*had.get_or_insert(has.clone()), has);
        machine.kernel.pull_out("x0");
    }
}

#[test]
fn an_ifb_that_was_deleted_is_not_taken_from_the_device_that_has_lost_it() {
    let machine = Machine::new();
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    machine.kernel.pull_out("ifb0");
    let named = shaper("x0").through("ifb0");
    let error = named.apply(&mut machine.session()).unwrap_err();
    assert!(error.to_string().contains("ifb0 belongs to w0"), "{error}");
    let _ = shaper("x0").apply(&mut machine.session()).unwrap();
    assert!(machine.is_shaped("x0", "ifb-x0"));
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    assert!(machine.is_shaped("w0", "ifb0"));
    assert_eq!(machine.session().revert().unwrap().not_reverted, []);
}

/// The device's IFB was deleted, and another device has an IFB of that name now.
#[test]
fn a_device_whose_ifb_another_one_has_gets_another_ifb() {
    let machine = Machine::new();
    let _ = shaper("x0").apply(&mut machine.session()).unwrap();
    machine.kernel.plug_in("gone", "ifb");
    redirect_as(&machine, "x0", "w0", "gone");
    machine.kernel.pull_out("gone");
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    assert!(machine.is_shaped("x0", "ifb0") && machine.is_shaped("w0", "ifb-w0"));
    let report = shaper("w0").verify(&machine.session()).unwrap();
    assert!(report.is_as_wanted(), "{report:#?}");
    assert_eq!(machine.session().revert().unwrap().not_reverted, []);
}

#[test]
fn another_ifb_than_the_one_that_a_device_has_is_refused_and_named() {
    let machine = Machine::new();
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    let before = machine.kernel.snapshot();
    let named = shaper("w0").through("ifb9");
    let error = named.apply(&mut machine.session()).unwrap_err().to_string();
    assert!(
        error.contains("w0 is already redirected to ifb0"),
        "{error}"
    );
    assert_eq!(machine.kernel.snapshot(), before);
}

#[test]
fn an_ifb_of_ours_that_was_renamed_is_deleted_by_a_revert() {
    let machine = Machine::new();
    let before = machine.kernel.snapshot();
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    machine.kernel.rename("ifb0", "foo");
    let pending = machine.session().status().unwrap().pending;
    let link = pending
        .iter()
        .find(|pending| pending.knob.kind == "ifb-link");
    let seen = &link.unwrap().seen;
    assert!(seen.contains("renamed to foo"), "{seen}");
    assert_eq!(machine.session().revert().unwrap().not_reverted, []);
    assert_eq!(machine.kernel.snapshot(), before);
    assert!(machine.store.is_empty());
}

/// The second of the two steps for the IFB set only its alias.
#[test]
fn an_ifb_that_was_renamed_after_its_device_is_deleted_by_a_revert() {
    let machine = Machine::new();
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    machine.kernel.rename("w0", "wan0");
    let _ = shaper("wan0").apply(&mut machine.session()).unwrap();
    machine.kernel.rename("ifb0", "foo");
    assert_eq!(machine.session().revert().unwrap().not_reverted, []);
    assert_eq!(machine.shows("link", "foo"), None);
    assert_eq!(machine.shows("link", "ifb0"), None);
    assert!(machine.store.is_empty());
}

#[test]
fn a_device_whose_ifb_was_renamed_gets_another_one() {
    let machine = Machine::new();
    let before = machine.kernel.snapshot();
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    machine.kernel.rename("ifb0", "foo");
    let named = shaper("w0").through("ifb0");
    let Err(Error::NotApplicable(findings)) = named.apply(&mut machine.session()) else {
        panic!("it is not there under that name");
    };
    let hint = findings.iter().find_map(hosttune_core::Finding::hint);
    assert_eq!(
        hint.as_deref(),
        Some("rename it back: ip link set foo name ifb0")
    );
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    assert!(machine.is_shaped("w0", "ifb-w0"));
    let report = shaper("w0").verify(&machine.session()).unwrap();
    assert!(report.is_as_wanted(), "{report:#?}");
    assert_eq!(machine.session().revert().unwrap().not_reverted, []);
    assert_eq!(machine.kernel.snapshot(), before);
}
