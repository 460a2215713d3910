//! Generates the cases. Each was written by the release of its time.

use std::fs;

use hosttune_core::Tuning;
use hosttune_core::host::FileContent;
use hosttune_core::journal::FORMAT;
use hosttune_core::testing::{Behaviour, CrashPoint, Machine, Moment, World};

use super::{After, Before, FILES, OWNER, folder, reverted};
use crate::support::{self, Fuse, dials, get, say, write};
use crate::toys::{Dial, Want, Wants};

/// Changes a machine so that a journal is left; returns whether a revert undoes all of it.
type Make = fn(&Machine) -> bool;

const CASES: [(&str, Make); 12] = [
    ("finished-apply", finished_apply),
    ("two-applies", two_applies),
    ("interrupted-apply", interrupted_apply),
    ("interrupted-revert", interrupted_revert),
    ("file", file),
    ("half-written-file", half_written_file),
    ("earlier-boot", earlier_boot),
    ("refused", refused),
    ("rewritten", rewritten),
    ("passed-on", passed_on),
    ("held", held),
    ("rounded", rounded),
];

fn apply(machine: &Machine, tuning: &impl Tuning) {
    let mut session = machine.session_of(OWNER, &CrashPoint::lives()).unwrap();
    let _ = tuning.apply(&mut session).unwrap();
}

fn many() -> Wants {
    Wants(vec![
        Want::Dial("round", 15),
        Want::Vector([1, 2, 3]),
        Want::Scheduler(0, "bfq"),
        Want::Queue(0, "depth", 1),
        Want::Passthrough,
        Want::Excursion("a", 9, 5),
    ])
}

fn finished_apply(machine: &Machine) -> bool {
    apply(machine, &many());
    true
}

fn two_applies(machine: &Machine) -> bool {
    apply(machine, &many());
    let again = vec![Want::Scheduler(0, "none"), Want::Dial("round", 4)];
    apply(machine, &("again", Wants(again)));
    true
}

/// Killed after a change and before its mark, on top of a finished apply.
fn interrupted_apply(machine: &Machine) -> bool {
    apply(machine, &dials(&[("a", 3)]));
    let crash_point = CrashPoint::dies_at(8, Moment::After);
    let mut session = machine.session_of(OWNER, &crash_point).unwrap();
    many().apply(&mut session).unwrap_err();
    true
}

/// Killed during the revert of a scheduler: the depth that it resets is restored, the weight is not
/// yet.
fn interrupted_revert(machine: &Machine) -> bool {
    apply(
        machine,
        &Wants(vec![Want::Dial("b", 5), Want::Scheduler(0, "bfq")]),
    );
    let died_there = |machine: &Machine, write: u64| {
        let crash_point = CrashPoint::dies_at(write, Moment::After);
        let mut session = machine.session_of(OWNER, &crash_point).unwrap();
        drop(session.revert());
        get(machine, "/sys/disk0/scheduler") == "mq"
            && get(machine, "/sys/disk0/depth") == "77"
            && get(machine, "/sys/disk0/weight") == "100"
    };
    let write = (0..20)
        .find(|write| died_there(&machine.fork(), *write))
        .unwrap();
    assert!(died_there(machine, write));
    true
}

fn private(machine: &Machine) {
    let mut content = FileContent::new("somebody's, and nobody else's\n");
    (content.mode, content.uid, content.gid) = (0o640, 12, 34);
    let _ = machine.memory().clone().content("/etc/a", content);
}

fn file(machine: &Machine) -> bool {
    private(machine);
    apply(
        machine,
        &Wants(vec![
            Want::File("a", Some(1)),
            Want::Dial("a", 5),
            Want::File("b", None),
        ]),
    );
    true
}

fn half_written_file(machine: &Machine) -> bool {
    private(machine);
    let crash_point = CrashPoint::dies_at(1, Moment::Within);
    let mut session = machine.session_of(OWNER, &crash_point).unwrap();
    Wants(vec![Want::File("a", Some(1)), Want::Dial("a", 5)])
        .apply(&mut session)
        .unwrap_err();
    true
}

/// The new boot sets `a` by itself to the value that we had set. Only the file is still pending.
fn earlier_boot(machine: &Machine) -> bool {
    apply(
        machine,
        &Wants(vec![Want::File("b", Some(1)), Want::Dial("a", 5)]),
    );
    machine.power_cut(false);
    write(machine, "/sys/dial/a", "5");
    false
}

fn refused(machine: &Machine) -> bool {
    apply(
        machine,
        &say(|at| {
            at.want(&Fuse, &"5".into());
            at.want(&Dial("a".into()), &"5".into()).why("a reason");
        }),
    );
    true
}

/// Applied repeatedly, as by a timer, while another process sets the dial just as often.
fn rewritten(machine: &Machine) -> bool {
    let wants = dials(&[("a", 5), ("b", 5)]);
    apply(machine, &wants);
    for _ in 0..20 {
        write(machine, "/sys/dial/a", "7");
        apply(machine, &wants);
    }
    false
}

fn apply_as(machine: &Machine, owner: &str, tuning: &impl Tuning) {
    let mut session = machine.session_of(owner, &CrashPoint::lives()).unwrap();
    let _ = tuning.apply(&mut session).unwrap();
}

/// An older owner has reverted and passed its steps on to this one.
fn passed_on(machine: &Machine) -> bool {
    apply_as(
        machine,
        "older",
        &Wants(vec![
            Want::Dial("a", 5),
            Want::Passthrough,
            Want::Scheduler(0, "bfq"),
        ]),
    );
    apply(
        machine,
        &Wants(vec![
            Want::Dial("a", 0),
            Want::Passthrough,
            Want::Queue(0, "depth", 1),
        ]),
    );
    let mut older = machine.session_of("older", &CrashPoint::lives()).unwrap();
    assert!(older.revert().unwrap().is_complete());
    true
}

/// Holds a value that another owner set. That owner is gone from the machine without a revert, so
/// nothing is pending for it.
fn held(machine: &Machine) -> bool {
    let wants = vec![Want::Dial("a", 5), Want::Dial("b", 5)];
    apply_as(machine, "older", &dials(&[("a", 5)]));
    apply(machine, &Wants(wants));
    false
}

/// A value rounded by the kernel by a rule that the knob does not know.
fn rounded(machine: &Machine) -> bool {
    let clamps = Behaviour::new(|tree, path, value| {
        let number: u32 = value.trim().parse().map_err(|_| support::EINVAL)?;
        tree.set(path, &(number.min(3)).to_string());
        Ok(())
    });
    support::behave(machine, "/sys/dial/a", clamps);
    apply(machine, &dials(&[("a", 5), ("b", 5)]));
    true
}

#[test]
#[ignore = "it writes the cases; those of a released format are never written again"]
fn write_the_cases_that_are_not_there() {
    for (name, make) in CASES {
        let folder = folder(FORMAT).join(name);
        if folder.exists() {
            continue;
        }
        let machine = support::machine();
        let was = machine.snapshot();
        let goes_back = make(&machine);
        let before = Before {
            boot: machine.boot(),
            files: machine.snapshot(),
        };
        let journals: Vec<_> = FILES
            .iter()
            .filter_map(|(place, _)| Some((*place, machine.store().bytes(*place, OWNER)?)))
            .collect();
        let after: After = reverted(&before, &journals);
        // `/etc/a` is set up by the case and is not in the snapshot before it.
        let strange = |path: &&String| goes_back && path.as_str() != "/etc/a";
        for path in was.keys().filter(strange) {
            assert_eq!(after.files.get(path), was.get(path), "{name}");
        }
        fs::create_dir_all(&folder).unwrap();
        for (place, file) in FILES {
            if let Some((_, bytes)) = journals.iter().find(|(of, _)| *of == place) {
                fs::write(folder.join(file), bytes).unwrap();
            }
        }
        let pretty = |text: String| text + "\n";
        let before = serde_json::to_string_pretty(&before).unwrap();
        let after = serde_json::to_string_pretty(&after).unwrap();
        fs::write(folder.join("state.json"), pretty(before)).unwrap();
        fs::write(folder.join("expected.json"), pretty(after)).unwrap();
    }
}
