//! Fan speeds: an example of a seventh subsystem, in a third-party crate.

use std::fmt::{Display, Formatter, Result as Written};

use hosttune_core::{AnyKnob, Error, Host, HostError, Knob, Planner, Registry, Tuning};
use serde::{Deserialize, Serialize};

/// The transport, a backend of the host: reads and sets a channel, in percent.
pub struct Bus {
    pub get: Box<dyn Fn(u8) -> Result<u8, HostError> + Send>,
    pub set: Box<dyn FnMut(u8, u8) -> Result<(), HostError> + Send>,
}

/// The speed of one channel, in percent; the controller rounds down to steps of 5.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FanSpeed(pub u8);

impl Display for FanSpeed {
    fn fmt(&self, f: &mut Formatter<'_>) -> Written {
        write!(f, "fan {}", self.0)
    }
}

impl Knob for FanSpeed {
    const NAME: &'static str = "fan-speed";
    type State = u8;
    fn read(&self, host: &Host) -> Result<u8, HostError> {
        (host.backend::<Bus>()?.get)(self.0)
    }
    fn set(&self, host: &mut Host, to: &u8) -> Result<(), HostError> {
        host.change(|bus: &mut Bus| (bus.set)(self.0, *to))
    }
    fn satisfies(&self, seen: &u8, wanted: &u8) -> bool {
        *seen == wanted - wanted % 5
    }
    /// The controller spins the exhaust (1) up whenever the intake (0) changes.
    fn side_effects(&self, _: &Host, _: &u8) -> Result<Vec<AnyKnob>, HostError> {
        let exhaust = (self.0 == 0).then(|| AnyKnob::of(&FanSpeed(1)));
        Ok(exhaust.into_iter().collect())
    }
}

/// Registers the knob with a session.
pub fn knobs(registry: &mut Registry) {
    registry.add::<FanSpeed>();
}

/// Sets channels to speeds in percent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Quiet(pub Vec<(u8, u8)>);

impl Tuning for Quiet {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        for (channel, to) in &self.0 {
            at.want(&FanSpeed(*channel), to).why("it is heard");
        }
        Ok(())
    }
}
