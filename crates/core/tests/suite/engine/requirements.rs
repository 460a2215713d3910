//! What happens to an unsupported request: plain, required, optional or deferred, strict or not.

use hosttune_core::testing::World;
use hosttune_core::{Error, Tuning, Unsupported, UnsupportedKind, When};
use hosttune_core::{Requirement, State};

use crate::support::{NeverSupported, machine, process, say};
use crate::toys::Dial;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Wanted {
    Plain,
    Required,
    Optional,
    Deferred,
}

/// Plans and applies one such request beside a supported one; returns its state, or `None` if it was an
/// error.
fn outcome(wanted: Wanted, strict: bool) -> Option<State> {
    let machine = machine();
    let was = machine.snapshot();
    let tuning = say(|at| {
        at.want(&Dial("a".into()), &"5".into());
        let request = at.want(&NeverSupported, &"5".into());
        match wanted {
            // As a tuning does whose own requirement is the default.
            Wanted::Plain => request.requirement(Requirement::Plain),
            Wanted::Required => request.required(),
            Wanted::Optional => request.optional(),
            Wanted::Deferred => request.deferred(When::Reboot),
        };
    });
    let plan = tuning.plan(process(&machine).strict(strict));
    let applied = tuning.apply(process(&machine).strict(strict));
    match (plan, applied) {
        (Ok(plan), Ok(applied)) => {
            assert_eq!(plan.findings, applied.findings);
            assert_eq!(applied.changed.len(), 1);
            Some(plan.findings[0].state.clone())
        }
        (Err(Error::NotApplicable(planned)), Err(Error::NotApplicable(applied))) => {
            assert_eq!(planned, applied);
            assert_eq!(planned[0].hint().as_deref(), Some("load its module"));
            assert_eq!(machine.snapshot(), was);
            assert!(machine.store().is_empty());
            None
        }
        other => panic!("{wanted:?}, strict {strict}: {other:?}"),
    }
}

fn is_skipped(wanted: Wanted, strict: bool) -> bool {
    matches!(outcome(wanted, strict), Some(State::NotApplicable { .. }))
}

#[test]
fn a_plain_wish_that_does_not_apply_is_skipped_and_reported() {
    assert!(is_skipped(Wanted::Plain, false));
}

#[test]
fn a_plain_wish_that_does_not_apply_is_an_error_under_strict() {
    assert_eq!(outcome(Wanted::Plain, true), None);
}

#[test]
fn a_required_wish_that_does_not_apply_is_an_error_always() {
    assert_eq!(outcome(Wanted::Required, false), None);
    assert_eq!(outcome(Wanted::Required, true), None);
}

#[test]
fn an_optional_wish_that_does_not_apply_is_never_an_error() {
    assert!(is_skipped(Wanted::Optional, false));
    assert!(is_skipped(Wanted::Optional, true));
}

#[test]
fn a_deferred_wish_is_pending_strict_or_not() {
    let pending = Some(State::Pending {
        until: When::Reboot,
    });
    assert_eq!(outcome(Wanted::Deferred, false), pending);
    assert_eq!(outcome(Wanted::Deferred, true), pending);
}

#[test]
fn what_a_tuning_skips_is_reported_and_an_error_under_strict_unless_optional() {
    let skipping = |optional: bool| {
        say(move |at| {
            let request = at.skip(
                "the dongle",
                Unsupported::new(UnsupportedKind::Missing, "not plugged in"),
            );
            if optional {
                request.optional();
            }
        })
    };
    let machine = machine();
    let plan = skipping(false).plan(&process(&machine)).unwrap();
    assert_eq!(plan.findings[0].to_string(), "the dongle: not plugged in");
    let mut strict = process(&machine);
    strict.strict(true);
    assert!(matches!(
        skipping(false).plan(&strict),
        Err(Error::NotApplicable(_))
    ));
    let _ = skipping(true).plan(&strict).unwrap();
}

#[test]
fn all_that_is_required_and_lacking_is_said_at_once() {
    let tuning = say(|at| {
        at.want(&NeverSupported, &"5".into()).required();
        at.skip(
            "the dongle",
            Unsupported::new(UnsupportedKind::Missing, "not plugged in"),
        )
        .required();
    });
    match tuning.plan(&process(&machine())) {
        Err(Error::NotApplicable(findings)) => assert_eq!(findings.len(), 2),
        other => panic!("{other:?}"),
    }
}
