//! Unrecorded and interrupted runs, as text, as documents and as exit codes.

use hosttune_core::{Cause, Error, NotRevertedReason, Reverted, StepFailure, Unrecorded};

use super::super::failure::Failure;
use super::super::{json, text};
use super::constructed::{check, every_left, page, reverted};
use crate::exit::Exit;

fn full() -> Option<Unrecorded> {
    Some(Unrecorded {
        why: "cannot write /run/hosttune/gaming.journal: No space left on device".into(),
        hint: Some("free some space on that file system and try again".into()),
    })
}

fn cause(failure: StepFailure) -> Option<Box<Cause>> {
    Some(Box::new(Cause {
        knob: "vm.swappiness".into(),
        part: "sysctl".into(),
        wanted: "100".into(),
        failure,
    }))
}

fn without_record(mut answer: Reverted) -> Reverted {
    answer.unrecorded = full();
    answer
}

#[test]
fn a_revert_that_could_not_be_recorded_lists_what_it_put_back() {
    let answer = without_record(reverted(Vec::new()));
    let exit = Exit::of_reverted(&answer);
    assert_eq!((exit, exit.code()), (Exit::Unrecorded, 5));
    let failure = Failure::unrecorded(&full().unwrap(), exit, "gaming revert");
    assert_eq!(failure.exit(), Exit::Unrecorded);
    assert!(failure.hint().unwrap().contains("free some space"));
    assert!(failure.hint().unwrap().contains("gaming revert"));
    let document = check("revert", &json::reverted(&answer, &[], Some(&failure)));
    assert_eq!(document["outcome"], "unrecorded");
    assert_eq!(document["changed"].as_array().unwrap().len(), 1);
    assert_eq!(document["error"]["exit_code"], 5);
    let text = text::reverted(&page(), &answer, &[]);
    assert!(text.contains("1 reverted"), "{text}");
    assert!(text.contains("journal not cleared"), "{text}");

    // The worse outcome is reported.
    let answer = without_record(reverted(every_left()));
    assert_eq!(Exit::of_reverted(&answer), Exit::Incomplete);
}

#[test]
fn an_apply_that_could_not_be_recorded_was_taken_back() {
    let taken_back = Box::new(without_record(reverted(Vec::new())));
    let failure = Failure::from(Error::Unrecorded {
        cause: cause(StepFailure::NotTaken { seen: "60".into() }),
        reverted: taken_back.clone(),
    });
    assert_eq!(failure.exit(), Exit::Unrecorded);
    let document = check("apply", &json::apply_failed(&failure));
    assert_eq!(document["outcome"], "unrecorded");
    assert!(document["recovered"].is_null());
    let message = failure.to_string();
    for part in ["vm.swappiness", "were undone", "No space left"] {
        assert!(message.contains(part), "{message}");
    }

    // An earlier run was recovered, and no new apply was started.
    let failure = Failure::from(Error::Unrecorded {
        cause: None,
        reverted: taken_back,
    });
    let document = check("apply", &json::apply_failed(&failure));
    assert_eq!(document["outcome"], "unrecorded");
    assert_eq!(
        document["recovered"]["changed"].as_array().unwrap().len(),
        1
    );
    assert!(failure.hint().unwrap().contains("free some space"));
}

#[test]
fn an_interrupted_run_says_how_far_it_is() {
    for (undone, says) in [
        (0, "nothing was changed"),
        (1, "the one completed step"),
        (7, "all 7 completed steps"),
    ] {
        let failure = Failure::from(Error::Interrupted {
            before: "vm.swappiness".into(),
            undone,
        });
        assert_eq!(failure.exit(), Exit::Refused);
        assert!(failure.to_string().contains(says), "{failure}");
        assert!(failure.to_string().contains("vm.swappiness"), "{failure}");
        let document = check("apply", &json::apply_failed(&failure));
        assert_eq!(document["outcome"], "rolled-back");
    }
    let left = every_left();
    let interrupted = left
        .into_iter()
        .filter(|left| left.reason == NotRevertedReason::Interrupted)
        .collect();
    let answer = reverted(interrupted);
    assert_eq!(Exit::of_reverted(&answer), Exit::Incomplete);
    let text = text::reverted(&page(), &answer, &[]);
    assert!(
        text.contains("the revert was interrupted before this step"),
        "{text}"
    );
    assert!(text.contains("gaming revert"), "{text}");
    check("revert", &json::reverted(&answer, &[], None));
}
