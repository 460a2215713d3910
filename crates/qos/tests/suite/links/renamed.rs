//! Links that are renamed after they were shaped, and other links that get their names.

use hosttune_core::{Error, Tuning};
use hosttune_qos::Netlink;
use hosttune_qos::netlink::{TC_H_ROOT, TrafficControl};

use super::{Machine, shaper};

/// Sets a root as another process does.
fn set_root(machine: &Machine, device: &str) {
    let mut backend = Netlink::over(machine.kernel.clone());
    let link = backend.link(device).unwrap().unwrap();
    let limit = 77_u32.to_ne_bytes();
    let request = TrafficControl::replace(&link, TC_H_ROOT, "pfifo", 0x77_0000, Some(&limit));
    backend.change(&request).unwrap();
}

fn reverts_wholly(machine: &Machine) {
    let reverted = machine.session().revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    assert!(machine.store.is_empty());
}

#[test]
fn a_link_with_another_name_is_put_back_under_it() {
    let machine = Machine::new();
    set_root(&machine, "w0");
    machine.kernel.rename("w0", "wan0");
    let before = machine.kernel.snapshot();
    machine.kernel.rename("wan0", "w0");
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    machine.kernel.rename("w0", "wan0");
    let pending = machine.session().status().unwrap().pending;
    let named: Vec<_> = pending.iter().map(|pending| &*pending.knob.text).collect();
    assert!(named.contains(&"root qdisc of wan0"), "{named:?}");
    assert!(
        pending
            .iter()
            .all(|pending| pending.is_ours && pending.absent.is_none()),
        "{pending:#?}"
    );
    reverts_wholly(&machine);
    assert_eq!(machine.kernel.snapshot(), before);
}

#[test]
fn a_stranger_that_takes_the_old_name_is_not_touched() {
    let machine = Machine::new();
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    machine.kernel.rename("w0", "wan0");
    machine.kernel.plug_in("w0", "veth");
    set_root(&machine, "w0");
    let stranger = machine.shows("root", "w0");
    reverts_wholly(&machine);
    assert_eq!(machine.shows("root", "w0"), stranger);
    assert_eq!(machine.shows("root", "wan0").unwrap(), "default noqueue");
    assert_eq!(machine.shows("hook", "wan0"), None);
    assert_eq!(machine.shows("link", "ifb0"), None);
    assert_eq!(machine.kernel.snapshot().get("lost"), None);
}

fn swap_names(machine: &Machine) {
    machine.kernel.rename("x0", "kept");
    machine.kernel.rename("w0", "x0");
    machine.kernel.rename("kept", "w0");
}

#[test]
fn two_links_that_swap_their_names_are_each_put_back() {
    for again in [false, true] {
        let machine = Machine::new();
        set_root(&machine, "x0");
        swap_names(&machine);
        let before = machine.kernel.snapshot();
        for device in ["w0", "x0"] {
            let _ = shaper(device).apply(&mut machine.session()).unwrap();
        }
        swap_names(&machine);
        for device in ["w0", "x0"].into_iter().filter(|_| again) {
            let applied = shaper(device).apply(&mut machine.session()).unwrap();
            assert_eq!(applied.changed.len(), 1, "the alias alone: {applied:#?}");
            let report = shaper(device).verify(&machine.session()).unwrap();
            assert!(report.is_as_wanted(), "{report:#?}");
        }
        assert!(machine.is_shaped("x0", "ifb0") && machine.is_shaped("w0", "ifb-x0"));
        reverts_wholly(&machine);
        swap_names(&machine);
        assert_eq!(machine.kernel.snapshot(), before);
    }
}

/// Its IFB has neither of the names that it would usually have.
#[test]
fn a_renamed_link_keeps_the_ifb_that_was_named_after_it() {
    let machine = Machine::new();
    let before = machine.kernel.snapshot();
    for device in ["w0", "x0"] {
        let _ = shaper(device).apply(&mut machine.session()).unwrap();
    }
    machine.kernel.rename("x0", "wan0");
    let applied = shaper("wan0").apply(&mut machine.session()).unwrap();
    let changed: Vec<_> = applied
        .changed
        .iter()
        .map(|step| &*step.knob.text)
        .collect();
    assert_eq!(changed, ["link ifb-x0"], "its alias alone");
    assert!(machine.is_shaped("wan0", "ifb-x0"));
    // Also if no IFB is preferred.
    let mut default = shaper("wan0");
    default.ifb = hosttune_qos::Shaper::ifb_for("wan0");
    default.prefers_ifb = false;
    for shaper in [&default, &shaper("wan0")] {
        let plan = shaper.plan(&machine.session()).unwrap();
        assert!(plan.is_empty(), "{:#?}", plan.steps);
        let path = shaper.path(&machine.session()).unwrap();
        assert!(path.ingress.unwrap().redirect.is_some());
    }
    reverts_wholly(&machine);
    machine.kernel.rename("wan0", "x0");
    assert_eq!(machine.kernel.snapshot(), before);
}

#[test]
fn a_namesake_of_a_renamed_link_gets_an_ifb_of_its_own() {
    let machine = Machine::new();
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    machine.kernel.rename("w0", "wan0");
    machine.kernel.plug_in("w0", "veth");
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    assert!(machine.is_shaped("wan0", "ifb0") && machine.is_shaped("w0", "ifb-w0"));
    for device in ["wan0", "w0"] {
        let _ = shaper(device).apply(&mut machine.session()).unwrap();
        let report = shaper(device).verify(&machine.session()).unwrap();
        assert!(report.is_as_wanted(), "{report:#?}");
    }
    assert!(machine.is_shaped("wan0", "ifb0") && machine.is_shaped("w0", "ifb-w0"));
    reverts_wholly(&machine);
    for ifb in ["ifb0", "ifb-w0"] {
        assert_eq!(machine.shows("link", ifb), None);
    }
}

/// The IFB with that name already belongs to the renamed link.
#[test]
fn a_namesake_does_not_get_the_ifb_that_is_named_after_it() {
    let machine = Machine::new();
    for device in ["w0", "x0"] {
        let _ = shaper(device).apply(&mut machine.session()).unwrap();
    }
    machine.kernel.rename("x0", "wan0");
    machine.kernel.plug_in("x0", "veth");
    let _ = shaper("x0").apply(&mut machine.session()).unwrap();
    assert!(machine.is_shaped("wan0", "ifb-x0"));
    let filter = machine.kernel.snapshot();
    let leads = filter
        .iter()
        .find(|(key, _)| key.starts_with("filter x0"))
        .unwrap();
    assert!(leads.1.contains(" to ifb-x0_"), "{leads:?}");
    let report = shaper("x0").verify(&machine.session()).unwrap();
    assert!(report.is_as_wanted(), "{report:#?}");
    reverts_wholly(&machine);
}

/// The IFB is found by the redirect, because its alias still has the old name.
#[test]
fn applied_again_under_the_new_name_it_goes_back_to_the_first_original() {
    let machine = Machine::new();
    set_root(&machine, "w0");
    machine.kernel.rename("w0", "wan0");
    let before = machine.kernel.snapshot();
    machine.kernel.rename("wan0", "w0");
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    machine.kernel.rename("w0", "wan0");
    let applied = shaper("wan0").apply(&mut machine.session()).unwrap();
    let changed: Vec<_> = applied
        .changed
        .iter()
        .map(|step| &*step.knob.text)
        .collect();
    assert_eq!(changed, ["link ifb0"], "its alias alone");
    assert!(machine.is_shaped("wan0", "ifb0"));
    assert!(
        shaper("wan0")
            .verify(&machine.session())
            .unwrap()
            .is_as_wanted()
    );
    let other_rate = shaper("wan0").egress(hosttune_qos::Cake::default());
    let _ = other_rate.apply(&mut machine.session()).unwrap();
    reverts_wholly(&machine);
    assert_eq!(machine.kernel.snapshot(), before);
}

/// The other owner uses the new name, but for the same link.
#[test]
fn owners_that_know_a_link_by_two_names_end_at_the_first_original() {
    for older_first in [true, false] {
        let machine = Machine::new();
        machine.kernel.rename("w0", "wan0");
        let before = machine.kernel.snapshot();
        machine.kernel.rename("wan0", "w0");
        let _ = shaper("w0").apply(&mut machine.session()).unwrap();
        machine.kernel.rename("w0", "wan0");
        let faster = shaper("wan0").egress(hosttune_qos::Cake::default());
        let _ = faster.apply(&mut machine.session_of("other")).unwrap();
        let mut owners = ["router", "other"];
        if !older_first {
            owners.reverse();
        }
        for owner in owners {
            let reverted = machine.session_of(owner).revert().unwrap();
            assert_eq!(reverted.not_reverted, [], "{owner} of {owners:?}");
        }
        assert_eq!(machine.kernel.snapshot(), before, "{owners:?}");
        assert!(machine.store.is_empty());
    }
}

#[test]
fn a_link_made_anew_under_another_name_is_another_one() {
    let machine = Machine::new();
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    machine.kernel.pull_out("w0");
    machine.kernel.plug_in("wan0", "veth");
    let stranger = machine.shows("root", "wan0");
    reverts_wholly(&machine);
    assert_eq!(machine.shows("root", "wan0"), stranger);
    assert_eq!(machine.shows("link", "ifb0"), None);
}

#[test]
fn a_stored_plan_is_not_carried_out_on_another_link_of_the_name() {
    let machine = Machine::new();
    let plan = shaper("w0").plan(&machine.session()).unwrap();
    machine.kernel.rename("w0", "wan0");
    machine.kernel.plug_in("w0", "veth");
    let before = machine.kernel.snapshot();
    let error = machine.session().apply(&plan).unwrap_err();
    assert!(matches!(error, Error::Stale(_)), "{error}");
    assert_eq!(machine.kernel.snapshot(), before);
}

/// In another network namespace, a revert finds another link with the same index.
#[test]
fn a_link_of_the_same_number_in_another_namespace_is_another_one() {
    const NAMESPACE: &str = "/proc/thread-self/ns/net";
    let mut machine = Machine::new();
    machine.memory = machine.memory.link(NAMESPACE, "net:[1]");
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    let pending = machine.session().status().unwrap().pending;
    let identities: Vec<_> = pending
        .iter()
        .filter_map(|pending| pending.identity.clone())
        .collect();
    assert!(
        identities
            .iter()
            .all(|identity| identity.ends_with(", in net:[1]")),
        "{identities:?}"
    );
    let mut other = Machine::new();
    other.memory = other.memory.link(NAMESPACE, "net:[2]");
    other.store = machine.store.clone();
    other.kernel.rename("w0", "lan0");
    set_root(&other, "lan0");
    let before = other.kernel.snapshot();
    let pending = other.session().status().unwrap().pending;
    assert!(
        pending
            .iter()
            .all(|pending| !pending.knob.text.contains("lan0")),
        "{pending:#?}"
    );
    assert!(other.session().revert().unwrap().is_complete());
    assert_eq!(other.kernel.snapshot(), before);
}
