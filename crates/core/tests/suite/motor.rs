//! A simulated motor: a mode recreates its settings or has none, and one setting moves another.

use std::fmt;

use hosttune_core::host::Operation;
use hosttune_core::testing::{Behaviour, Machine, Memory};
use hosttune_core::{
    AnyKnob, Error, Host, HostError, HostErrorKind, Knob, Planner, Registry, Tuning, Unsupported,
    UnsupportedKind,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

pub(crate) const MODE: &str = "/sys/motor/mode";
pub(crate) const CEILING: &str = "/sys/motor/ceiling";
pub(crate) const SPEED: &str = "/sys/motor/speed";

/// The mode of a motor. Changing it resets the settings to those of the new mode, or removes them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Mode;

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mode")
    }
}

impl Knob for Mode {
    const NAME: &'static str = "mode";
    type State = String;
    fn read(&self, host: &Host) -> Result<String, HostError> {
        host.read_text(MODE).map(|text| text.trim_end().to_owned())
    }
    fn set(&self, host: &mut Host, to: &String) -> Result<(), HostError> {
        host.write_value(MODE, to.as_bytes())
    }
    fn side_effects(&self, _: &Host, _: &String) -> Result<Vec<AnyKnob>, HostError> {
        Ok([CEILING, SPEED]
            .map(|path| AnyKnob::of(&Setting(path.to_owned())))
            .into())
    }
}

/// A setting of a mode; `null` if the mode does not have it. Setting the ceiling sets the speed to half
/// of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Setting(pub(crate) String);

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn no_setting() -> Unsupported {
    Unsupported::new(UnsupportedKind::Missing, "this mode has no such setting")
}

impl Knob for Setting {
    const NAME: &'static str = "setting";
    type State = Option<String>;
    fn read(&self, host: &Host) -> Result<Self::State, HostError> {
        match host.read_text(&self.0) {
            Ok(text) => Ok(Some(text.trim_end().to_owned())),
            Err(error) if *error.kind() == HostErrorKind::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }
    fn set(&self, host: &mut Host, to: &Self::State) -> Result<(), HostError> {
        let to = to.as_deref().unwrap_or_default();
        host.write_value(&self.0, to.as_bytes())
            .map_err(|error| match error.kind() {
                HostErrorKind::Missing => {
                    HostError::not_applicable(Operation::Write, &self.0, no_setting())
                }
                _ => error,
            })
    }
    fn unsupported(&self, host: &Host, _: &Self::State) -> Result<Option<Unsupported>, HostError> {
        let unsupported = || no_setting().cured_by(&Mode, &"fast".to_owned());
        Ok((!host.exists(&self.0)?).then(unsupported))
    }
    fn side_effects(&self, _: &Host, _: &Self::State) -> Result<Vec<AnyKnob>, HostError> {
        let moved = (self.0 == CEILING).then(|| AnyKnob::of(&Self(SPEED.to_owned())));
        Ok(moved.into_iter().collect())
    }
    fn is_gone(&self, seen: &Self::State) -> bool {
        seen.is_none()
    }
}

pub(crate) fn knobs(registry: &mut Registry) {
    registry.add::<Mode>();
    registry.add::<Setting>();
}

/// What a change of the mode does: it recreates `settings` with the value 100 and removes the others.
/// The mode `bare` has no settings.
pub(crate) fn makes(settings: &'static [&'static str]) -> Behaviour {
    Behaviour::new(move |tree, path, value| {
        // Writing the current mode again changes nothing.
        if tree.get(path).as_deref() == Some(value) {
            return Ok(());
        }
        tree.set(path, value);
        for setting in [CEILING, SPEED] {
            if settings.contains(&setting) && value != "bare" {
                tree.set(setting, "100");
            } else {
                tree.remove(setting);
            }
        }
        Ok(())
    })
}

fn number() -> Behaviour {
    Behaviour::integer(0..=100)
}

fn ceiling() -> Behaviour {
    number().then(|tree, value| {
        let half = value.parse::<u32>().unwrap_or_default() / 2;
        if tree.get(SPEED).is_some() {
            tree.set(SPEED, &half.to_string());
        }
    })
}

/// Adds a motor in the mode `slow` whose settings have been changed to these values.
pub(crate) fn with_motor(memory: Memory, ceiling_at: &str, speed_at: &str) -> Memory {
    memory
        .file(MODE, "slow", makes(&[CEILING, SPEED]))
        .file(CEILING, ceiling_at, ceiling())
        .file(SPEED, speed_at, number())
}

pub(crate) const MODES: [&str; 3] = ["slow", "fast", "bare"];

/// Requests to a motor, in any order.
#[derive(Debug, Clone)]
pub(crate) struct Runs(pub(crate) Vec<Want>);

#[derive(Debug, Clone)]
pub(crate) enum Want {
    Mode(&'static str),
    Setting(&'static str, u8),
}

impl Tuning for Runs {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        for want in &self.0 {
            match want {
                Want::Mode(to) => at.want(&Mode, &(*to).to_owned()),
                Want::Setting(path, to) => {
                    at.want(&Setting((*path).to_owned()), &Some(to.to_string()))
                }
            };
        }
        Ok(())
    }
}

pub(crate) fn runs(modes: &[&'static str]) -> impl Strategy<Value = Runs> {
    let mode = prop::sample::select(modes.to_vec());
    let number = || prop::option::of(prop::sample::select(vec![0, 7, 20, 40, 50, 100_u8]));
    (prop::option::of(mode), number(), number())
        .prop_map(|(mode, ceiling, speed)| {
            let wants = [
                mode.map(Want::Mode),
                ceiling.map(|to| Want::Setting(CEILING, to)),
                speed.map(|to| Want::Setting(SPEED, to)),
            ];
            wants.into_iter().flatten().collect::<Vec<_>>()
        })
        .prop_shuffle()
        .prop_map(Runs)
}

/// A machine with a motor and nothing else.
pub(crate) fn motor(ceiling_at: u8, speed_at: u8) -> Machine {
    let (ceiling_at, speed_at) = (ceiling_at.to_string(), speed_at.to_string());
    Machine::new(with_motor(Memory::new(), &ceiling_at, &speed_at), knobs)
}

impl Runs {
    /// A mode, and then the ceiling.
    pub(crate) fn of(mode: Option<&'static str>, ceiling: Option<u8>) -> Self {
        let mode = mode.map(Want::Mode);
        let ceiling = ceiling.map(|to| Want::Setting(CEILING, to));
        Self(mode.into_iter().chain(ceiling).collect())
    }
}
