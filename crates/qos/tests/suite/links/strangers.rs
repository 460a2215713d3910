//! Other programs use our IFB: a revert leaves what they stand on.

use hosttune_core::{NotRevertedReason, Reverted, State, Tuning};
use hosttune_qos::netlink::{
    Filter, NLM_F_CREATE, NLM_F_REPLACE, Request, TC_H_ROOT, TrafficControl,
};
use hosttune_qos::{Cake, Netlink, Qdisc, Rate};

use super::{Machine, shaper};

fn change(machine: &Machine, device: &str, request: impl Fn(&Netlink) -> Request) {
    let mut backend = Netlink::over(machine.kernel.clone());
    let request = request(&backend);
    let changed = backend.change(&request);
    changed.unwrap_or_else(|error| panic!("{device}: {error}"));
}

/// As `tc qdisc change`: the root keeps its handle.
fn set_rate(machine: &Machine, device: &str, rate: u32) {
    let qdisc = Qdisc::from(Cake::default().bandwidth(Rate::mbit(rate)).ingress());
    change(machine, device, |backend| {
        let link = backend.link(device).unwrap().unwrap();
        let options = qdisc.options.as_slice();
        TrafficControl::attach(&link, TC_H_ROOT, "cake", 0, Some(options), 0)
    });
}

/// Attaches a classful root with this handle.
fn classful(machine: &Machine, device: &str, handle: u32) {
    let options = [&3_u32.to_ne_bytes()[..], &[0; 16]].concat();
    change(machine, device, |backend| {
        let link = backend.link(device).unwrap().unwrap();
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        TrafficControl::attach(&link, TC_H_ROOT, "prio", handle, Some(&options), flags)
    });
}

/// Sends what passes this parent to another link.
fn send(machine: &Machine, device: &str, parent: u32, to: &str) {
    change(machine, device, |backend| {
        let [from, to] = [device, to].map(|name| backend.link(name).unwrap().unwrap());
        let mut request = Filter::redirect_with_matchall(&from, &to, b"theirs");
        request.header[12..16].copy_from_slice(&parent.to_ne_bytes());
        // Before ours.
        request.header[18..20].copy_from_slice(&7_u16.to_ne_bytes());
        request
    });
}

fn reason(reverted: &Reverted, knob: &str) -> Option<NotRevertedReason> {
    let mut left = reverted.not_reverted.iter();
    let left = left.find(|left| left.knob.text == knob);
    left.map(|left| left.reason.clone())
}

/// As cake-autorate does, which follows the rate of a line.
#[test]
fn a_rate_that_another_program_has_set_stays_with_the_ifb() {
    let machine = Machine::new();
    let before = machine.kernel.snapshot();
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    set_rate(&machine, "ifb0", 11);
    let theirs = machine.shows("root", "ifb0");
    for _ in 0..2 {
        let reverted = machine.session().revert().unwrap();
        let left = |knob| reason(&reverted, knob);
        assert_eq!(left("root qdisc of ifb0"), Some(NotRevertedReason::Theirs));
        let waits = NotRevertedReason::WaitsFor("root qdisc of ifb0".to_owned());
        assert_eq!(left("link ifb0"), Some(waits), "{reverted:#?}");
        assert!(reverted.is_complete());
        assert_eq!(machine.shows("root", "ifb0"), theirs);
    }
    // Nothing is sent to it any more.
    assert_eq!(machine.shows("hook", "w0"), None);
    let renamed = machine.fork();
    renamed.kernel.rename("ifb0", "foo");
    let reverted = renamed.session().revert().unwrap();
    assert!(reason(&reverted, "link ifb0").is_some(), "{reverted:#?}");
    assert_eq!(renamed.shows("root", "foo"), theirs);

    let again = machine.fork();
    set_rate(&again, "ifb0", 20);
    assert_eq!(again.session().revert().unwrap().not_reverted, []);
    assert_eq!(again.kernel.snapshot(), before);

    let reverted = machine.session().force(true).revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    assert_eq!(machine.kernel.snapshot(), before);
}

/// Reverts while something uses the IFB, and again when it does not.
fn stays_while(machine: &Machine, says: &str, end: impl Fn(&Machine)) {
    let reverted = machine.session().revert().unwrap();
    let Some(NotRevertedReason::InUse(why)) = reason(&reverted, "link ifb0") else {
        panic!("{says}: {reverted:#?}");
    };
    assert!(why.contains(says), "{why}");
    assert!(machine.shows("link", "ifb0").is_some());
    assert_eq!(machine.kernel.snapshot().get("lost"), None);
    // Packets are lost without it, whoever asks for it.
    let forced = machine.fork();
    let reverted = forced.session().force(true).revert().unwrap();
    assert!(reason(&reverted, "link ifb0").is_some(), "{reverted:#?}");
    end(machine);
    assert_eq!(machine.session().revert().unwrap().not_reverted, []);
    assert_eq!(machine.shows("link", "ifb0"), None);
    assert_eq!(machine.kernel.snapshot().get("lost"), None);
}

fn shaped() -> Machine {
    let machine = Machine::new();
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    machine
}

#[test]
fn an_ifb_that_a_filter_at_a_root_sends_to_stays() {
    let machine = shaped();
    classful(&machine, "x0", 0x1_0000);
    send(&machine, "x0", 0x1_0000, "ifb0");
    let end = |machine: &Machine| classful(machine, "x0", 0x2_0000);
    stays_while(&machine, "a filter of x0 still sends packets to it", end);
}

#[test]
fn an_ifb_that_an_interface_is_on_top_of_stays() {
    let machine = shaped();
    machine.kernel.put_on_top("ifb0.7", "ifb0");
    stays_while(
        &machine,
        "the interface ifb0.7 is on top of it",
        |machine| {
            machine.kernel.pull_out("ifb0.7");
        },
    );
}

#[test]
fn an_ifb_that_is_a_port_stays() {
    let machine = shaped();
    machine.kernel.plug_in("br0", "bridge");
    machine.kernel.make_port("ifb0", "br0");
    stays_while(&machine, "it is a port of br0", |machine| {
        machine.kernel.pull_out("br0");
    });
}

/// Another program deletes our IFB and makes one of its own with that name.
#[test]
fn an_ifb_that_another_program_has_made_in_its_place_is_not_touched() {
    for force in [false, true] {
        let machine = shaped();
        machine.kernel.pull_out("ifb0");
        machine.kernel.plug_in("ifb0", "ifb");
        classful(&machine, "ifb0", 0x1_0000);
        let theirs = [machine.shows("link", "ifb0"), machine.shows("root", "ifb0")];
        let reverted = machine.session().force(force).revert().unwrap();
        assert_eq!(reverted.not_reverted, [], "{reverted:#?}");
        let gone = |undone: &hosttune_core::Undone| undone.knob.text == "root qdisc of ifb0";
        assert!(
            reverted
                .undone
                .iter()
                .any(|undone| gone(undone) && undone.already)
        );
        let now = [machine.shows("link", "ifb0"), machine.shows("root", "ifb0")];
        assert_eq!(now, theirs);
        assert_eq!(machine.shows("hook", "w0"), None);
        assert!(machine.store.is_empty());
    }
}

/// Ours has another name now.
#[test]
fn an_ifb_of_ours_is_found_although_another_program_has_its_name() {
    for force in [false, true] {
        let machine = shaped();
        machine.kernel.rename("ifb0", "dl0");
        machine.kernel.plug_in("ifb0", "ifb");
        classful(&machine, "ifb0", 0x1_0000);
        let theirs = [machine.shows("link", "ifb0"), machine.shows("root", "ifb0")];
        // What is asked for by its name is not theirs.
        let named = shaper("w0").through("ifb0");
        let error = named.apply(&mut machine.session()).unwrap_err();
        assert!(error.to_string().contains("ifb0"), "{error}");
        assert!(!named.verify(&machine.session()).unwrap().is_as_wanted());
        let pending = machine.session().status().unwrap().pending;
        let link = pending
            .iter()
            .find(|pending| pending.knob.kind == "ifb-link");
        let seen = &link.unwrap().seen;
        assert!(seen.contains("renamed to dl0"), "{seen}");
        let reverted = machine.session().force(force).revert().unwrap();
        assert_eq!(reverted.not_reverted, [], "{reverted:#?}");
        let now = [machine.shows("link", "ifb0"), machine.shows("root", "ifb0")];
        assert_eq!(now, theirs);
        assert_eq!(machine.shows("link", "dl0"), None);
        assert_eq!(machine.kernel.snapshot().get("lost"), None);
        assert!(machine.store.is_empty());
    }
}

/// An apply makes the IFB again, and with it all that needs it.
#[test]
fn what_an_apply_repairs_is_drift() {
    let machine = shaped();
    machine.kernel.pull_out("ifb0");
    let gone = shaper("w0").verify(&machine.session()).unwrap();
    let states: Vec<_> = gone
        .items
        .iter()
        .map(|item| (&item.knob, &item.state))
        .collect();
    let drifted = states.iter().filter(|(_, state)| **state == State::Drifted);
    assert_eq!(drifted.count(), 3, "{states:#?}");
    assert!(
        states
            .iter()
            .all(|(_, state)| matches!(state, State::Drifted | State::Matches)),
        "{states:#?}"
    );
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    assert!(
        shaper("w0")
            .verify(&machine.session())
            .unwrap()
            .is_as_wanted()
    );
}
