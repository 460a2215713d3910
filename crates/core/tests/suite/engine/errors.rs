//! Error messages: each describes its own level and leaves the rest to its source.

use hosttune_core::error::{StaleStep, StepFailure};
use hosttune_core::host::{HostError, HostErrorKind, Operation};
use hosttune_core::journal::JournalError;
use hosttune_core::testing::{Behaviour, World};
use hosttune_core::{
    AnyKnob, Cause, Error, NotReverted, NotRevertedReason, Tuning, Unsupported, UnsupportedKind,
};
use rustix::io::Errno;

use crate::support::{EINVAL, NeverSupported, behave, dials, machine, process, say};
use crate::toys::Dial;

fn journal_errors() -> Vec<JournalError> {
    let path = || "/run/hosttune/x.journal".to_owned();
    let program = || "gaming 0.1.0".to_owned();
    vec![
        JournalError::Damaged {
            path: path(),
            line: 3,
            unread: 100,
        },
        JournalError::Newer {
            path: path(),
            version: 2,
            program: program(),
        },
        JournalError::UnknownKnob {
            path: path(),
            kind: "dial".into(),
            program: program(),
        },
        JournalError::Untrusted {
            path: path(),
            why: "its mode is 0777".into(),
        },
        JournalError::Denied {
            path: path(),
            errno: Errno::ACCESS,
        },
        JournalError::Failed {
            operation: "write",
            path: path(),
            errno: Errno::NOSPC,
        },
        JournalError::Unwritable("no".into()),
        JournalError::Locked { holder: program() },
    ]
}

fn host_errors() -> Vec<HostError> {
    let unsupported =
        Unsupported::new(UnsupportedKind::Missing, "this kernel has none").hint("load it");
    let mut errors: Vec<HostError> = [1, 2, 5, 6, 13, 16, 18, 19, 22, 28, 30, 34, 40]
        .into_iter()
        .map(|errno| HostError::from_errno(Operation::Write, "/sys/dial/a", errno).wanted("5"))
        .collect();
    errors.push(HostError::not_applicable(
        Operation::Backend,
        "the bus",
        unsupported,
    ));
    errors.push(HostError::malformed("/sys/dial/a", "it is not a number"));
    errors.push(
        HostError::new(Operation::Create, "/etc/x", HostErrorKind::OutsideRoot)
            .detail("it leads out")
            .with_hint("remove it"),
    );
    errors
}

fn cause(failure: StepFailure) -> Box<Cause> {
    Box::new(Cause {
        knob: "a".into(),
        part: "games".into(),
        wanted: "5".into(),
        failure,
    })
}

fn errors() -> Vec<Error> {
    let text = str::to_owned;
    // As a program reads it in a report: only the engine makes one.
    let left: NotReverted = serde_json::from_value(serde_json::json!({
        "part": "games",
        "knob": AnyKnob::of(&Dial("b".into())),
        "ours": "5",
        "original": "0",
        "seen": "7",
        "reason": NotRevertedReason::Theirs,
    }))
    .unwrap();
    let mut failures = vec![StepFailure::NotTaken { seen: text("7") }];
    for error in host_errors() {
        failures.push(StepFailure::Refused(error.clone()));
        failures.push(StepFailure::Unreadable(error));
    }
    failures.extend(journal_errors().into_iter().map(StepFailure::Journal));
    let finding = match say(|at| {
        at.want(&NeverSupported, &"5".into()).required();
    })
    .plan(&process(&machine()))
    {
        Err(Error::NotApplicable(findings)) => findings,
        other => panic!("{other:?}"),
    };
    let mut errors = vec![
        Error::Conflict {
            knob: text("a"),
            first_part: text("games"),
            first: text("5"),
            second_part: text("quiet"),
            second: text("2"),
        },
        Error::DependsOnEarlierStep { knob: text("a") },
        Error::Unregistered { name: text("dial") },
        Error::NotApplicable(finding),
        Error::Stale(vec![StaleStep {
            knob: text("a"),
            planned: text("0"),
            seen: text("7"),
        }]),
        Error::Locked {
            holder: text("process 1"),
        },
        Error::Owner(text("../x")),
        Error::tuning("no such profile", "name another"),
    ];
    errors.extend(host_errors().into_iter().map(Error::Host));
    errors.extend(journal_errors().into_iter().map(Error::Journal));
    for failure in failures {
        errors.push(Error::RolledBack {
            cause: cause(failure.clone()),
        });
        errors.push(Error::RollbackIncomplete {
            cause: cause(failure),
            left: vec![left.clone()],
        });
    }
    errors
}

fn says_it_once(error: &(dyn std::error::Error + 'static)) {
    let mut shown = vec![error.to_string()];
    let mut next = error.source();
    while let Some(source) = next {
        let text = source.to_string();
        assert!(!text.is_empty());
        for above in &shown {
            assert!(!above.contains(&text), "'{above}' repeats '{text}'");
        }
        shown.push(text);
        next = source.source();
    }
}

#[test]
fn no_error_repeats_its_source() {
    for error in errors() {
        says_it_once(&error);
    }
    for error in journal_errors() {
        says_it_once(&error);
    }
    for error in host_errors() {
        says_it_once(&error);
    }
}

#[test]
fn every_error_is_one_line_without_a_full_stop() {
    for error in errors() {
        let text = error.to_string();
        assert!(
            !text.is_empty() && !text.contains('\n') && !text.ends_with('.'),
            "{text}"
        );
    }
}

#[test]
fn an_error_of_the_host_names_the_knob_the_path_the_operation_the_errno_and_what_was_wanted() {
    let machine = machine();
    behave(&machine, "/sys/dial/a", Behaviour::refuses(EINVAL));
    let error = dials(&[("a", 5)])
        .apply(&mut process(&machine))
        .unwrap_err();
    let mut chain = vec![error.to_string()];
    let mut next = std::error::Error::source(&error);
    while let Some(source) = next {
        chain.push(source.to_string());
        next = source.source();
    }
    assert_eq!(
        chain[1..],
        [
            "a could not be set to 5",
            "the change was refused",
            "cannot write /sys/dial/a (wanted 5)",
            "Invalid argument (os error 22)",
        ]
    );
    assert_eq!(process(&machine).status().unwrap().pending, []);
    assert!(machine.store().is_empty());
}

#[test]
fn what_can_be_mended_has_a_hint() {
    let mended = |error: &Error| error.hint().is_some();
    let denied = HostError::from_errno(Operation::Write, "/sys/dial/a", 13);
    assert!(mended(&Error::Host(denied.clone())));
    assert!(mended(&Error::RolledBack {
        cause: cause(StepFailure::Refused(denied))
    }));
    for error in journal_errors() {
        let dull = matches!(error, JournalError::Unwritable(_));
        assert_eq!(error.hint().is_some(), !dull, "{error}");
    }
}
