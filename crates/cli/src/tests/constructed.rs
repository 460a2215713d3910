//! Answers that no small tree produces: every state, reason and outcome, checked against the schemas
//! and as text.

use hosttune_blockdev::DiskEvent;
use hosttune_core::{
    AnyKnob, Applied, Before, Cause, Error, Finding, HostError, Lifetime, NotReverted,
    NotRevertedReason, Operation, PendingRevert, Plan, Report, Requirement, Reverted, State,
    Status, Step, StepFailure, Undone, Unsupported, UnsupportedKind, When, Why,
};
use hosttune_qos::{WatchEvent, Yielded};
use hosttune_run::priority::{NiceScope, ProcessorShare};
use hosttune_run::{ProcessId, RunRecord, RunRecords};
use hosttune_sysctl::{Place, Standing};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::arguments::Global;
use super::super::colour::Look;
use super::super::failure::Failure;
use super::super::other_writers::OtherWriter;
use super::super::run_shared::Runs;
use super::super::text::{self, Page};
use super::super::{explain, json, watch};
use super::schema::{assert_notices_every_change, assert_valid};
use crate::exit::Exit;

/// A value that only the engine makes, as a program reads it that stored it.
fn stored<T: DeserializeOwned>(document: Value) -> T {
    serde_json::from_value(document).unwrap()
}

fn knob(text: &str) -> AnyKnob {
    AnyKnob {
        kind: "sysctl".into(),
        id: json!(text),
        text: text.into(),
    }
}

fn step(name: &str, from: Option<&str>, to: &str) -> Step {
    let before = from.map_or(Before::DependsOnEarlierStep, |from| {
        Before::Known(json!(from))
    });
    stored(json!({
        "part": "network/receive",
        "knob": knob(name),
        "from": before,
        "to": to,
        "from_text": from.unwrap_or("(depends on an earlier step)"),
        "to_text": to,
        "why": Why::new("room for a gigabit at 250 ms").looks_wrong("that is a lot"),
        "lifetime": Lifetime::Boot,
        "means": false,
        "requirement": Requirement::Plain,
    }))
}

fn finding(name: &str, state: State) -> Finding {
    let state = serde_json::to_value(state).unwrap();
    stored(json!({
        "part": "memory",
        "knob": knob(name),
        "name": name,
        "wanted": "100",
        "wanted_text": "100",
        "seen": "60",
        "seen_text": "60",
        "state": state,
        "why": Why::new("zram is swap here"),
        "requirement": Requirement::Plain,
    }))
}

fn every_state() -> Vec<Finding> {
    let unsupported = Unsupported::new(
        UnsupportedKind::ValueUnavailable,
        "this kernel offers reno, cubic",
    )
    .hint("modprobe tcp_bbr")
    .module("tcp_bbr");
    let mut findings = vec![
        finding("a.matches", State::Matches),
        finding("a.drifted", State::Drifted),
        finding("a.rounded", State::Rounded),
        finding("a.lacking", State::NotApplicable { unsupported }),
        finding(
            "a.pending",
            State::Pending {
                until: When::Initramfs,
            },
        ),
        finding(
            "a.overridden",
            State::Overridden {
                by: "/etc/x.conf:3".into(),
            },
        ),
        finding(
            "a.dark",
            State::Unverifiable {
                why: "it cannot be read".into(),
            },
        ),
    ];
    // A finding that was skipped by name has neither a knob nor values.
    let unsupported = Unsupported::new(UnsupportedKind::NoBackend, "there is none");
    let mut skipped = finding("radio", State::NotApplicable { unsupported });
    (skipped.knob, skipped.wanted, skipped.seen) = (None, None, None);
    skipped.wanted_text.clear();
    skipped.seen_text.clear();
    findings.push(skipped);
    findings
}

pub(super) fn every_left() -> Vec<NotReverted> {
    [
        NotRevertedReason::Theirs,
        NotRevertedReason::Waits,
        NotRevertedReason::InUse("its use count is 1".into()),
        NotRevertedReason::WaitsFor("zram0 swap header".into()),
        NotRevertedReason::Refused("Invalid argument (os error 22)".into()),
        NotRevertedReason::NotTaken,
        NotRevertedReason::Unreadable("gone".into()),
        NotRevertedReason::Hidden("all processors of policy0 are offline".into()),
        NotRevertedReason::SideEffect("x: refused".into()),
        NotRevertedReason::Interrupted,
        NotRevertedReason::AnotherNetworkNamespace(
            "it belongs to another network namespace (net:[4026532240]): run this there".into(),
        ),
        NotRevertedReason::Stuck("cannot write unbind: it hangs in the kernel".into()),
    ]
    .into_iter()
    .map(|reason| {
        stored(json!({
            "part": "memory",
            "knob": knob("vm.swappiness"),
            "ours": "100",
            "original": "60",
            "seen": "10",
            "reason": reason,
        }))
    })
    .collect()
}

fn undone(already: bool) -> Undone {
    stored(json!({
        "part": "memory",
        "knob": knob("vm.dirty_ratio"),
        "ours": "10",
        "original": "20",
        "already": already,
    }))
}

pub(super) fn reverted(left: Vec<NotReverted>) -> Reverted {
    let mut reverted = Reverted::default();
    reverted.undone = vec![undone(false), undone(true)];
    reverted.not_reverted = left;
    reverted.by_reboot = 3;
    reverted
}

fn plan() -> Plan {
    let steps = [
        step("vm.swappiness", Some("60"), "100"),
        step(
            "net.ipv4.tcp_rmem",
            Some("4096 131072 6291456"),
            "4096 1048576 33554432",
        ),
        step("net.ipv4.tcp_congestion_control", None, "bbr"),
    ];
    stored(json!({
        "owner": "gaming",
        "steps": steps,
        "findings": every_state(),
        "notes": ["a note"],
        "provisional": "an earlier apply was interrupted",
    }))
}

fn report(items: &[Finding], notes: &[String]) -> Report {
    stored(json!({ "owner": "gaming", "items": items, "notes": notes }))
}

pub(super) fn page() -> Page {
    Page {
        look: Look::plain(),
        name: "gaming",
        global: Global::default(),
        machine: "Linux 6.12".into(),
        is_root: true,
    }
}

/// Checks that the document is valid and that changed documents are not.
pub(super) fn check(schema: &str, document: &impl serde::Serialize) -> Value {
    let document = serde_json::to_value(document).unwrap();
    assert_valid(schema, &document);
    assert_notices_every_change(schema, &document);
    document
}

#[test]
fn everything_that_happens_while_watching() {
    let failed = Error::from(HostError::malformed("the answer", "of 3 bytes"));
    let happened = [
        WatchEvent::Applied(Applied::default()),
        WatchEvent::AsWanted,
        WatchEvent::NoDevice,
        WatchEvent::Yielded(Yielded::Reverted),
        WatchEvent::Failed(failed),
    ];
    let documents = happened.map(|event| check("watch", &watch::Happened::of_line("eth0", &event)));
    assert_eq!(
        documents.map(|document| document["event"].as_str().unwrap().to_owned()),
        ["applied", "as-wanted", "no-device", "left", "failed"]
    );
    let failed = Error::from(HostError::malformed("the answer", "of 3 bytes"));
    let knobs = vec!["sda scheduler".to_owned()];
    let unsupported = vec!["sda scheduler: it has none".to_owned()];
    let happened = [
        DiskEvent::Applied(Applied::default()),
        DiskEvent::AsWanted,
        DiskEvent::Left { knobs },
        DiskEvent::NotApplicable { unsupported },
        DiskEvent::Failed(failed),
    ];
    let documents = happened.map(|event| check("watch", &watch::Happened::of_disk("sda", &event)));
    assert_eq!(
        documents.map(|document| document["event"].as_str().unwrap().to_owned()),
        ["applied", "as-wanted", "left", "not-applicable", "failed"]
    );
}

#[test]
fn a_plan_with_everything() {
    let plan = plan();
    let document = check("plan", &json::planned(&plan));
    assert_eq!(document["steps"][2]["from"], json!(null));
    assert_eq!(document["steps"][0]["from"], "60");
    assert_eq!(document["not_applicable"][0]["module"], "tcp_bbr");
    assert_eq!(document["not_applicable"][1]["wanted"], json!(null));
    assert_eq!(document["as_wanted"], json!(["a.matches", "a.rounded"]));
    let text = text::planned(&page(), &plan, false);
    for line in [
        "gaming on Linux 6.12: 3 changes, 1 drifted, 1 overridden, 1 pending, 1 rounded by the kernel, 2 not applicable",
        "an earlier apply was interrupted.",
        "    vm.swappiness                    60 → 100           room for a gigabit at 250 ms (intentional;",
        "                                     → 4096 1048576 33554432",
        "  already as wanted: 2",
        "  note: a note",
        "Apply: gaming apply      Revert at any time: gaming revert",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(
        text.lines().skip(1).all(|line| line.chars().count() <= 100),
        "{text}"
    );
}

#[test]
fn a_report_with_every_state() {
    let report = report(&every_state(), &notes());
    let document = check("verify", &json::verified(&report));
    let states: Vec<&str> = document["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["state"].as_str().unwrap())
        .collect();
    assert_eq!(
        states,
        [
            "matches",
            "drifted",
            "rounded",
            "not-applicable",
            "pending",
            "overridden",
            "unknown",
            "not-applicable"
        ]
    );
    assert_eq!(document["items"][7]["seen"], json!(null));
    let text = text::verified(&page(), &report, true);
    for line in [
        "NOT as wanted: 2 of 8 are, 1 drifted",
        "is 60, wanted 100",
        "after the next initramfs",
        "overridden by /etc/x.conf:3",
        "try: modprobe tcp_bbr",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn an_apply_in_every_outcome() {
    let mut applied = Applied::default();
    applied.changed = vec![step("vm.swappiness", Some("60"), "100")];
    applied.findings = every_state();
    applied.notes = notes();
    applied.recovered = Some(reverted(Vec::new()));
    let document = check("apply", &json::applied(&applied));
    assert_eq!(document["outcome"], "applied");
    let mut reviewed = plan();
    reviewed.findings.clear();
    let text = text::applied(&page(), &applied, Some(&reviewed));
    for line in [
        "An interrupted run was recovered first: 2 changes reverted, 3 undone by an earlier reboot",
        "Done: 1 change made and read back.",
        "The kernel refused",
        "Revert at any time: gaming revert",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    applied.recovered = Some(reverted(every_left()));
    let document = check("apply", &json::applied(&applied));
    assert_eq!(document["outcome"], "rollback-incomplete");
    assert_eq!(document["not_reverted"].as_array().unwrap().len(), 12);
    applied = Applied::declined();
    assert_eq!(
        check("apply", &json::applied(&applied))["outcome"],
        "declined"
    );
    applied.declined = false;
    assert_eq!(
        check("apply", &json::applied(&applied))["outcome"],
        "nothing-to-do"
    );
}

fn cause() -> Box<Cause> {
    let error = HostError::from_errno(Operation::Write, "/proc/sys/vm/swappiness", 13)
        .wanted("100")
        // The hint is set here: the one derived from the errno depends on the user who runs the test.
        .with_hint("run it as root");
    Box::new(Cause {
        knob: "vm.swappiness".into(),
        part: "memory".into(),
        wanted: "100".into(),
        failure: StepFailure::Refused(error),
    })
}

#[test]
fn a_failed_apply_says_why_once_and_what_to_do() {
    let failure = Failure::from(Error::RolledBack { cause: cause() });
    assert_eq!(failure.exit(), Exit::Refused);
    assert_eq!(
        failure.chain(),
        [
            "vm.swappiness could not be set to 100",
            "the change was refused",
            "cannot write /proc/sys/vm/swappiness (wanted 100)",
            "Permission denied (os error 13)"
        ]
    );
    assert_eq!(failure.hint().as_deref(), Some("run it as root"));
    assert_eq!(
        check("apply", &json::apply_failed(&failure))["outcome"],
        "rolled-back"
    );
    let failure = Failure::from(Error::RollbackIncomplete {
        cause: cause(),
        left: every_left(),
    });
    assert_eq!(failure.exit(), Exit::Incomplete);
    let document = check("apply", &json::apply_failed(&failure));
    assert_eq!(document["outcome"], "rollback-incomplete");
    assert_eq!(document["error"]["exit_code"], 4);
    assert_eq!(document["not_reverted"][0]["seen"], "10");
    let failure = Failure::from(Error::Locked {
        holder: "process 7".into(),
    });
    assert_eq!(
        check("apply", &json::apply_failed(&failure))["outcome"],
        "refused"
    );
    check("error", &json::failed(&failure));
}

#[test]
fn a_revert_in_every_outcome() {
    let theirs = every_left().into_iter().take(4).collect::<Vec<_>>();
    for (left, undone, outcome, exit) in [
        (Vec::new(), true, "reverted", Exit::Done),
        (Vec::new(), false, "nothing-to-do", Exit::Done),
        (theirs, true, "not-reverted", Exit::Drift),
        (every_left(), true, "rollback-incomplete", Exit::Incomplete),
    ] {
        let mut answer = reverted(left);
        if !undone {
            answer.undone.clear();
            answer.by_reboot = 0;
        }
        assert_eq!(
            check("revert", &json::reverted(&answer, &notes(), None))["outcome"],
            outcome
        );
        assert_eq!(Exit::of_reverted(&answer), exit);
    }
    let text = text::reverted(&page(), &reverted(every_left()), &notes());
    for line in [
        "1 reverted, 1 already reverted, 3 undone by an earlier reboot, 12 not reverted",
        "set to 100, original 60, now 10",
        "another process has set it since",
        "it is in use: its use count is 1",
        "it waits for zram0 swap header",
        "gaming revert --force",
        "Continue: gaming revert",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let stuck = every_left().into_iter().take(6).collect();
    let text = text::reverted(&page(), &reverted(stuck), &notes());
    let line = "Resolve the remaining conflicts, then run: gaming revert";
    assert!(text.contains(line), "{text}");
    check("revert", &json::revert_declined());
    let failure = Failure::from(Error::Owner("x".into()));
    check("revert", &json::revert_failed(&failure));
}

fn notes() -> Vec<String> {
    vec!["a note".into()]
}

fn status() -> Status {
    let pending: PendingRevert = stored(json!({
        "part": "memory",
        "knob": knob("vm.swappiness"),
        "ours": "100",
        "original": "60",
        "seen": "10",
        "is_ours": false,
    }));
    let first: PendingRevert = stored(json!({
        "part": "memory",
        "knob": knob("vm.swappiness"),
        "ours": "100",
        "original": "70",
        "seen": "100",
        "is_ours": true,
        "replaced": "60",
    }));
    let mut status = Status::default();
    status.pending = vec![first, pending];
    status.open = Some("an earlier revert was interrupted".into());
    status.refused = vec!["net.x: no".into()];
    status.by_reboot = 2;
    status
}

fn runs() -> Runs {
    let process = |pid| ProcessId {
        pid,
        start_ticks: 7,
        boot: "b".into(),
    };
    let run = |pid, watchdog: Option<i32>| RunRecord {
        runner: process(pid),
        watchdog: watchdog.map(process),
        command_pid: pid + 1,
        command: "game --fast".into(),
        user: watchdog.map(|_| 1000),
        network_namespace: None,
        pid_namespace: Some(format!("pid:[{pid}]")),
        power_profile: watchdog.map(|_| "performance at org.example".into()),
    };
    Runs {
        active: RunRecords(vec![run(40, Some(50)), run(60, None)]),
        unknown: RunRecords(vec![run(60, None)]),
        shares: vec![
            Some(ProcessorShare {
                nice: -10,
                scope: NiceScope::Session,
                weight: None,
                session_nice: Some(0),
            }),
            None,
        ],
        status: status(),
    }
}

#[test]
fn the_commands_that_run_tuned() {
    let text = text::runs(&page(), &runs());
    for line in [
        "41        game --fast  (runner 40, watchdog 50, for user 1000)",
        "nice -10 counts only against processes of its session",
        "that session counts with nice 0 against others",
        "(runner 60, no watchdog; numbers in pid:[60])",
        "whether it still runs cannot be known from this PID namespace",
        "2 changes held by them until the last one ends",
        "60 → 100",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("Revert: "), "{text}");
    let ended = Runs {
        active: RunRecords::default(),
        ..runs()
    };
    let text = text::runs(&page(), &ended);
    for line in [
        "2 changes left by runs that have ended",
        "Revert: gaming revert",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert_eq!(text::runs(&page(), &Runs::default()), "");
}

#[test]
fn a_status_with_everything() {
    let status = status();
    check("status", &json::standing(&status, &notes(), &runs(), None));
    let text = text::standing(&page(), &Status::default(), &[], 3);
    assert!(
        text.contains("no changes by apply, 3 by commands that run tuned"),
        "{text}"
    );
    let text = text::standing(&page(), &status, &notes(), 0);
    for line in [
        "1 change active",
        "2 undone by a reboot",
        "an earlier revert was interrupted",
        "70 → 100",
        "another process set 60 before the last apply",
        "60 → 100",
        "is 10 now",
        "refused by this kernel",
        "Revert: gaming revert",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn an_explanation_of_a_sysctl() {
    let report = report(&[finding("vm.swappiness", State::Drifted)], &[]);
    let plan = plan();
    let answer = explain::explain("vm/swappiness", &report, Some(&plan), Ok(status())).unwrap();
    check("explain", &json::explained(&answer));
    let text = text::explained(&page(), &answer);
    for line in [
        "zram is swap here",
        "60 → 100, no longer in effect",
        "accepts             one number from 0 to 200",
        "until the next boot",
        "See what sets it at boot: gaming who-sets vm.swappiness",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let unread = explain::explain("vm.swappiness", &report, None, Err("no".into())).unwrap();
    check("explain", &json::explained(&unread));
}

#[test]
fn settings_in_every_standing() {
    use super::super::who_sets::WhoSets;
    use hosttune_sysctl::{Content, Directories, Loader, Sources};

    struct Files;
    impl Directories for Files {
        type Error = std::convert::Infallible;
        fn names(&self, directory: &str) -> Result<Vec<String>, Self::Error> {
            Ok(match directory {
                "/etc/sysctl.d" => vec!["10-a.conf".into(), "20-b.conf".into()],
                "/usr/lib/sysctl.d" => vec!["10-a.conf".into()],
                _ => Vec::new(),
            })
        }
        fn content(&self, path: &str) -> Result<Content, Self::Error> {
            Ok(Content::Bytes(match path {
                "/etc/sysctl.d/10-a.conf" => b"vm.s* = 1\nvm.swappiness = 2\n".to_vec(),
                _ => b"-vm.swappiness = 3\n".to_vec(),
            }))
        }
        fn resolved(&self, path: &str) -> Result<String, Self::Error> {
            Ok(path.to_owned())
        }
    }
    let sources = Sources::collect(&Files, Loader::Systemd).unwrap();
    let answer = WhoSets {
        key: "vm.swappiness".into(),
        seen: Some("60".into()),
        settings: sources.who_sets(&"vm.swappiness".parse().unwrap()),
        procps_winner: Some(Place {
            file: "/etc/sysctl.conf".into(),
            line: 4,
        }),
        others: vec![OtherWriter {
            program: "udev",
            place: Place {
                file: "/etc/udev/rules.d/99-x.rules".into(),
                line: 3,
            },
            value: "150".into(),
            when: "when KERNEL==\"zram0\"".into(),
        }],
    };
    let document = check("who-sets", &json::who_sets(&answer));
    assert_eq!(
        document["winner"],
        json!({"file": "/etc/sysctl.d/20-b.conf", "line": 1})
    );
    let by = Place {
        file: "/etc/sysctl.d/20-b.conf".into(),
        line: 1,
    };
    let mut excluded = answer;
    excluded.settings[0].standing = Standing::Excluded { by };
    excluded.settings[1].standing = Standing::Excludes;
    excluded.settings[1].value = None;
    excluded.seen = None;
    check("who-sets", &json::who_sets(&excluded));
    let text = text::who_sets(&page(), &excluded);
    assert!(
        text.contains("excluded by /etc/sysctl.d/20-b.conf:1"),
        "{text}"
    );
    assert!(text.contains("/etc/sysctl.conf:4 wins"), "{text}");
}
