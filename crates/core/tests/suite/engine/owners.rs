//! More than one owner, and more than one process.

use hosttune_core::testing::{CrashPoint, Machine, World};
use hosttune_core::{Error, Host, Session, Tuning};

use crate::support::{OWNER, apply, dials, get, knobs, machine};

fn of(machine: &Machine, owner: &str) -> Session {
    machine.session_of(owner, &CrashPoint::lives()).unwrap()
}

#[test]
fn a_session_can_be_sent_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Session>();
}

#[test]
fn a_second_session_gets_an_error_at_once_that_names_who_holds_the_lock() {
    let machine = machine();
    // Clones of one store share its lock, as two processes on one machine do.
    let session = |owner: &str| {
        let host = Host::new(machine.memory().host(&CrashPoint::lives()));
        Session::new(host, owner, machine.store().clone(), &machine.boot())
            .unwrap()
            .with(knobs)
            .program(format!("{owner} 1.2.3"))
    };
    let (wants, mut second) = (dials(&[("a", 5)]), session("second"));
    assert!(
        session("first")
            .apply_reviewed(
                |at| wants.declare(at),
                |_| {
                    for error in [
                        wants.apply(&mut second).unwrap_err(),
                        second.revert().unwrap_err(),
                        second.recover().unwrap_err(),
                    ] {
                        let Error::Locked { holder } = &error else {
                            panic!("{error:?}");
                        };
                        let process = format!("process {}", std::process::id());
                        assert!(holder.contains(&process), "{holder}");
                        assert!(holder.contains("first 1.2.3"), "{holder}");
                    }
                    // Planning and verifying need no lock.
                    let _ = wants.plan(&second).unwrap();
                    let _ = wants.verify(&second).unwrap();
                    true
                },
            )
            .unwrap()
            .is_complete()
    );
    assert!(session("second").revert().unwrap().is_complete());
    assert_eq!(get(&machine, "/sys/dial/a"), "5");
}

#[test]
fn an_owner_whose_name_cannot_name_a_journal_is_refused() {
    let machine = machine();
    let long = "x".repeat(65);
    for name in ["", "../etc/passwd", "a/b", ".hidden", "Loud", "ä", &long] {
        let error = machine.session_of(name, &CrashPoint::lives()).unwrap_err();
        assert!(matches!(error, Error::Owner(_)), "{name}: {error:?}");
    }
}

#[test]
fn owners_stack_the_newer_reverts_and_then_the_older() {
    let machine = machine();
    let was = machine.snapshot();
    let _ = dials(&[("a", 3), ("b", 3)])
        .apply(&mut of(&machine, "older"))
        .unwrap();
    let between = machine.snapshot();
    let _ = dials(&[("a", 5)])
        .apply(&mut of(&machine, "newer"))
        .unwrap();
    assert!(of(&machine, "newer").revert().unwrap().is_complete());
    assert_eq!(machine.snapshot(), between);
    assert!(of(&machine, "older").revert().unwrap().is_complete());
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

#[test]
fn the_older_owner_passes_on_what_the_newer_set_and_has_nothing_left() {
    let machine = machine();
    let was = machine.snapshot();
    let _ = dials(&[("a", 3), ("b", 3)])
        .apply(&mut of(&machine, "older"))
        .unwrap();
    let _ = dials(&[("a", 5)])
        .apply(&mut of(&machine, "newer"))
        .unwrap();
    let reverted = of(&machine, "older").revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    assert_eq!(get(&machine, "/sys/dial/a"), "5");
    assert_eq!(get(&machine, "/sys/dial/b"), "0");
    assert_eq!(of(&machine, "older").status().unwrap().pending, []);
    assert!(of(&machine, "newer").revert().unwrap().is_complete());
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

/// The newer owner only holds what the older has set; then the change is passed on to it.
#[test]
fn what_was_held_and_then_passed_on_is_told_once() {
    let machine = machine();
    let was = machine.snapshot();
    let wanted = dials(&[("a", 3), ("b", 3)]);
    let _ = wanted.apply(&mut of(&machine, "older")).unwrap();
    let _ = wanted.apply(&mut of(&machine, "newer")).unwrap();
    assert!(of(&machine, "older").revert().unwrap().is_complete());
    let pending = of(&machine, "newer").status().unwrap().pending;
    let told: Vec<_> = pending
        .iter()
        .map(|pending| (&*pending.knob.text, &*pending.original, &*pending.ours))
        .collect();
    assert_eq!(told, [("a", "0", "3"), ("b", "0", "3")]);
    let reverted = of(&machine, "newer").revert().unwrap();
    assert_eq!(reverted.undone.len(), 2);
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

#[test]
fn an_owner_does_not_put_right_what_another_left_open() {
    let machine = machine();
    let crash_point = CrashPoint::dies_at(2, hosttune_core::testing::Moment::Before);
    dials(&[("a", 5)])
        .apply(&mut machine.session_of("dead", &crash_point).unwrap())
        .unwrap_err();
    apply(&machine, &dials(&[("b", 5)]));
    assert!(of(&machine, OWNER).revert().unwrap().is_complete());
    assert_eq!(get(&machine, "/sys/dial/a"), "5");
    let _ = of(&machine, "dead").recover().unwrap();
    assert_eq!(get(&machine, "/sys/dial/a"), "0");
    assert!(machine.store().is_empty());
}
