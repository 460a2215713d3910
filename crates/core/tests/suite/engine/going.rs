//! Devices that disappear while they are changed or reverted: a disk that is unplugged, a CPU that is
//! taken offline.

use std::fmt;

use hosttune_core::error::StepFailure;
use hosttune_core::host::Operation;
use hosttune_core::testing::{Behaviour, Machine, Snapshot, World};
use hosttune_core::{
    Error, Host, HostError, HostErrorKind, Knob, Registry, State, Tuning, Unsupported,
    UnsupportedKind,
};
use serde::{Deserialize, Serialize};

use crate::support::{apply, at_every_death, behave, get, process, say};
use crate::toys::{self, Dial};

const VALUE: &str = "/sys/plug/value";
const ENODEV: i32 = 19;

/// A device that can be unplugged; its state is `null` then.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Plug;

impl fmt::Display for Plug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("plug")
    }
}

fn unplugged() -> Unsupported {
    Unsupported::new(UnsupportedKind::Missing, "it is not plugged in")
}

impl Knob for Plug {
    const NAME: &'static str = "plug";
    type State = Option<String>;
    fn read(&self, host: &Host) -> Result<Self::State, HostError> {
        match host.read_text(VALUE) {
            Ok(text) => Ok(Some(text.trim_end().to_owned())),
            Err(error) if *error.kind() == HostErrorKind::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }
    fn set(&self, host: &mut Host, to: &Self::State) -> Result<(), HostError> {
        let to = to.as_deref().unwrap_or_default();
        let written = host.write_value(VALUE, to.as_bytes());
        if written.is_err() && !host.exists(VALUE)? {
            return Err(HostError::not_applicable(
                Operation::Write,
                VALUE,
                unplugged(),
            ));
        }
        written
    }
    fn unsupported(&self, host: &Host, _: &Self::State) -> Result<Option<Unsupported>, HostError> {
        Ok((!host.exists(VALUE)?).then(unplugged))
    }
    fn is_gone(&self, seen: &Self::State) -> bool {
        seen.is_none()
    }
}

fn knobs(registry: &mut Registry) {
    toys::knobs(registry);
    registry.add::<Plug>();
}

fn machine() -> Machine {
    Machine::new(
        toys::memory().file(VALUE, "free", Behaviour::takes_all()),
        knobs,
    )
}

/// How the device disappears on a write: with an error, or unnoticed until it is read again.
#[derive(Debug, Clone, Copy)]
enum Goes {
    Refusing,
    Silently,
}

const WAYS: [Goes; 2] = [Goes::Refusing, Goes::Silently];

impl Goes {
    fn begins_on(self, machine: &Machine) {
        let goes = Behaviour::new(move |tree, path, _| {
            tree.remove(path);
            match self {
                Self::Refusing => Err(ENODEV),
                Self::Silently => Ok(()),
            }
        });
        behave(machine, VALUE, goes);
    }

    fn machine(self) -> Machine {
        let machine = machine();
        self.begins_on(&machine);
        machine
    }
}

fn ours() -> Option<String> {
    Some("ours".to_owned())
}

fn plain() -> impl Tuning {
    say(|at| {
        at.want(&Dial("a".into()), &"5".into());
        at.want(&Plug, &ours());
        at.want(&Dial("b".into()), &"5".into());
    })
}

fn required() -> impl Tuning {
    say(|at| {
        at.want(&Dial("a".into()), &"5".into());
        at.want(&Plug, &ours()).required();
        at.want(&Dial("b".into()), &"5".into());
    })
}

/// The complete visible state except that of the device.
fn others(machine: &Machine) -> Snapshot {
    let mut snapshot = machine.snapshot();
    snapshot.remove(VALUE);
    snapshot
}

fn is_put_back(machine: &Machine, death: &str) {
    let reverted = process(machine).revert().unwrap();
    assert_eq!(reverted.not_reverted, [], "{death}");
    assert_eq!(others(machine), others(&self::machine()), "{death}");
    let shown = machine.memory().get(VALUE);
    assert!(matches!(shown.as_deref(), None | Some("free")), "{death}");
    assert!(machine.store().is_empty(), "{death}");
}

#[test]
fn of_what_goes_while_it_is_changed_nothing_is_owed_and_the_others_stand() {
    for goes in WAYS {
        let machine = goes.machine();
        let applied = plain().apply(&mut process(&machine)).unwrap();
        let changed: Vec<&str> = applied
            .changed
            .iter()
            .map(|s| s.knob.text.as_str())
            .collect();
        assert_eq!(changed, ["a", "b"], "{goes:?}");
        let [finding] = &applied.findings[..] else {
            panic!("{goes:?}: {applied:?}");
        };
        assert!(
            matches!(&finding.state, State::NotApplicable { unsupported } if unsupported.kind == UnsupportedKind::Missing),
            "{goes:?}: {finding:?}"
        );
        let status = process(&machine).status().unwrap();
        assert_eq!(status.pending.len(), 2, "{goes:?}");
        assert!(status.refused.is_empty(), "{goes:?}");
        is_put_back(&machine, &format!("{goes:?}"));
    }
}

#[test]
fn what_went_and_comes_back_is_a_step_again() {
    for goes in WAYS {
        let machine = goes.machine();
        apply(&machine, &plain());
        assert!(plain().plan(&process(&machine)).unwrap().is_empty());
        behave(&machine, VALUE, Behaviour::takes_all());
        machine.memory().change(|tree| tree.set(VALUE, "came"));
        let plan = plain().plan(&process(&machine)).unwrap();
        assert_eq!(plan.steps.len(), 1, "{goes:?}");
        apply(&machine, &plain());
        assert_eq!(get(&machine, VALUE), "ours", "{goes:?}");
        assert!(process(&machine).revert().unwrap().is_complete());
        assert_eq!(get(&machine, VALUE), "came", "{goes:?}");
        assert_eq!(others(&machine), others(&self::machine()), "{goes:?}");
        assert!(machine.store().is_empty(), "{goes:?}");
    }
}

#[test]
fn where_it_is_required_all_is_taken_back() {
    for goes in WAYS {
        let machine = goes.machine();
        let error = required().apply(&mut process(&machine)).unwrap_err();
        let Error::RolledBack { cause } = &error else {
            panic!("{goes:?}: {error:?}");
        };
        assert_eq!(cause.knob, "plug", "{goes:?}");
        match goes {
            Goes::Refusing => assert!(matches!(cause.failure, StepFailure::Refused(_))),
            Goes::Silently => assert!(matches!(cause.failure, StepFailure::NotTaken { .. })),
        }
        assert_eq!(others(&machine), others(&self::machine()), "{goes:?}");
        assert!(machine.store().is_empty(), "{goes:?}");
    }
}

#[test]
fn whoever_dies_while_a_thing_goes_leaves_nothing_that_is_not_put_back() {
    for goes in WAYS {
        let prepare = || goes.machine();
        let writes = at_every_death(prepare, |session| drop(plain().apply(session)), is_put_back);
        // The intent, three changes with a record of the result of each, and the end.
        assert_eq!(writes, 8, "{goes:?}");
        let writes = at_every_death(
            prepare,
            |session| drop(required().apply(session)),
            is_put_back,
        );
        assert!(writes > 8, "{goes:?}: {writes}");
    }
}

#[test]
fn what_goes_while_it_is_put_back_is_not_owed_any_more() {
    for goes in WAYS {
        let machine = machine();
        apply(&machine, &plain());
        goes.begins_on(&machine);
        let reverted = process(&machine).revert().unwrap();
        assert_eq!(reverted.not_reverted, [], "{goes:?}");
        assert_eq!(reverted.undone.len(), 3, "{goes:?}");
        assert_eq!(machine.memory().get(VALUE), None, "{goes:?}");
        assert_eq!(others(&machine), others(&self::machine()), "{goes:?}");
        assert!(machine.store().is_empty(), "{goes:?}");
    }
}

#[test]
fn whoever_dies_while_it_goes_on_the_way_back_leaves_nothing_that_is_not_put_back() {
    for goes in WAYS {
        let prepare = || {
            let machine = machine();
            apply(&machine, &plain());
            goes.begins_on(&machine);
            machine
        };
        let writes = at_every_death(prepare, |session| drop(session.revert()), is_put_back);
        assert!(writes > 6, "{goes:?}: {writes}");
    }
}

/// A device that refuses but is still there stays pending.
#[test]
fn what_refuses_on_the_way_back_and_stays_is_owed_still() {
    let machine = machine();
    apply(&machine, &plain());
    behave(&machine, VALUE, Behaviour::refuses(ENODEV));
    let reverted = process(&machine).revert().unwrap();
    assert_eq!(reverted.not_reverted.len(), 1);
    behave(&machine, VALUE, Behaviour::takes_all());
    is_put_back(&machine, "at last");
}
