//! The states that verify reports for a request, each once.

use hosttune_core::testing::Machine;
use hosttune_core::{Finding, State};
use hosttune_core::{Planner, Tuning, When};

use crate::support::{NeverSupported, Noted, Secret, apply, machine, process, say, write};
use crate::toys::Dial;

fn dial(name: &str) -> Dial {
    Dial(name.to_owned())
}

/// What verify reports for a single request.
fn stands(machine: &Machine, request: impl Fn(&mut Planner<'_>)) -> Finding {
    let report = say(request).verify(&process(machine)).unwrap();
    assert_eq!(report.items.len(), 1);
    report.items[0].clone()
}

#[test]
fn a_value_that_is_there_matches() {
    let item = stands(&machine(), |at| {
        at.want(&dial("a"), &"0".into());
    });
    assert_eq!(item.state, State::Matches);
}

#[test]
fn another_value_is_drift_and_both_are_shown() {
    let item = stands(&machine(), |at| {
        at.want(&dial("a"), &"5".into());
    });
    assert_eq!(item.state, State::Drifted);
    assert_eq!(item.to_string(), "a is 0, wanted 5");
}

#[test]
fn what_a_stranger_changed_after_apply_is_drift() {
    let machine = machine();
    let tuning = say(|at| {
        at.want(&dial("a"), &"5".into());
    });
    apply(&machine, &tuning);
    write(&machine, "/sys/dial/a", "7");
    let report = tuning.verify(&process(&machine)).unwrap();
    assert!(!report.is_as_wanted());
}

#[test]
fn what_the_kernel_made_of_a_value_is_rounded_and_no_drift() {
    let machine = machine();
    let want = |at: &mut Planner<'_>| {
        at.want(&dial("round"), &"15".into());
    };
    apply(&machine, &say(want));
    let item = stands(&machine, want);
    assert_eq!(item.state, State::Rounded);
    assert_eq!(item.seen_text, "12");
    assert!(!item.state.is_drift());
}

#[test]
fn what_reads_as_it_was_wanted_is_not_called_rounded() {
    let item = stands(&machine(), |at| {
        at.want(&Noted, &"0".into());
    });
    assert_eq!(item.seen, Some("0;a note".into()));
    assert_eq!(item.state, State::Matches);
}

#[test]
fn what_does_not_apply_says_why_and_what_to_do() {
    let item = stands(&machine(), |at| {
        at.want(&NeverSupported, &"5".into());
    });
    let State::NotApplicable { unsupported } = &item.state else {
        panic!("{item:?}");
    };
    assert_eq!(unsupported.why, "this kernel has none");
    assert_eq!(item.hint().as_deref(), Some("load its module"));
}

#[test]
fn what_is_deferred_or_expected_is_pending_until_it_shows() {
    let machine = machine();
    let deferred = |at: &mut Planner<'_>| {
        at.want(&dial("a"), &"5".into()).deferred(When::Initramfs);
    };
    let expected = |at: &mut Planner<'_>| {
        at.expect(&dial("b"), &"5".into(), When::Reload);
    };
    let pending = |until| State::Pending { until };
    assert_eq!(stands(&machine, deferred).state, pending(When::Initramfs));
    assert_eq!(stands(&machine, expected).state, pending(When::Reload));
    write(&machine, "/sys/dial/a", "5");
    write(&machine, "/sys/dial/b", "5");
    assert_eq!(stands(&machine, deferred).state, State::Matches);
    assert_eq!(stands(&machine, expected).state, State::Matches);
}

#[test]
fn what_is_deferred_or_expected_is_no_step() {
    let tuning = say(|at| {
        at.want(&dial("a"), &"5".into()).deferred(When::Reboot);
        at.expect(&dial("b"), &"5".into(), When::Reload);
    });
    assert!(tuning.plan(&process(&machine())).unwrap().is_empty());
}

#[test]
fn what_something_else_beats_is_overridden_and_says_by_what() {
    let item = stands(&machine(), |at| {
        at.want(&dial("a"), &"0".into())
            .overridden_by(Some("/etc/z.conf:3".into()));
    });
    assert_eq!(
        item.state,
        State::Overridden {
            by: "/etc/z.conf:3".into()
        }
    );
    assert!(item.state.is_drift());
}

#[test]
fn what_cannot_be_read_is_unverifiable_and_says_why() {
    let item = stands(&machine(), |at| {
        at.want(&Secret, &"5".into());
    });
    let State::Unverifiable { why } = &item.state else {
        panic!("{item:?}");
    };
    assert!(why.contains("/sys/secret"), "{why}");
    assert!(why.contains("Permission denied"), "{why}");
}

#[test]
fn a_means_is_not_in_the_report() {
    let tuning = say(|at| {
        at.intermediate(&dial("a"), &"3".into());
        at.want(&dial("a"), &"5".into());
    });
    let report = tuning.verify(&process(&machine())).unwrap();
    assert_eq!(report.items.len(), 1);
    assert_eq!(report.items[0].wanted_text, "5");
}

#[test]
fn a_report_survives_being_stored() {
    let tuning = say(|at| {
        at.want(&dial("a"), &"5".into()).why("reasons");
        at.want(&NeverSupported, &"5".into());
        at.want(&Secret, &"5".into());
        at.expect(&dial("b"), &"5".into(), When::Reload);
    });
    let report = tuning.verify(&process(&machine())).unwrap();
    let text = serde_json::to_string(&report).unwrap();
    let again: hosttune_core::Report = serde_json::from_str(&text).unwrap();
    assert_eq!(again, report);
}
