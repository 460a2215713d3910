//! The properties that a running daemon has loaded.

use std::fmt;

use hosttune_core::{Host, HostError, HostErrorKind, Knob, Lifetime, Operation};
use serde::{Deserialize, Serialize};

use crate::runtime::PipeWire;

/// A property of the running daemon, such as `default.clock.quantum`, as its configuration files had
/// it when it started. It cannot be set: it changes when the daemon is restarted.
///
/// It is the text after all files and rules were merged, before it is clamped
/// ([`Clock::loaded`](crate::Clock::loaded)), from the properties of the daemon's Core object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LoadedProperty(String);

impl LoadedProperty {
    /// The property with this key.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LoadedProperty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of the running PipeWire", self.0)
    }
}

impl Knob for LoadedProperty {
    const NAME: &'static str = "pipewire-loaded-property";
    const LIFETIME: Lifetime = Lifetime::Disk;
    /// The text of the property; `None` if the daemon does not have it or none runs.
    type State = Option<String>;

    fn read(&self, host: &Host) -> Result<Option<String>, HostError> {
        let view = host.backend::<PipeWire>()?.view(host.look())?;
        Ok(view.and_then(|view| view.core.property(&self.0).map(str::to_owned)))
    }

    fn set(&self, _: &mut Host, _: &Option<String>) -> Result<(), HostError> {
        Err(
            HostError::new(Operation::Backend, self.to_string(), HostErrorKind::Refused)
                .detail("a daemon reads its configuration only when it starts")
                .with_hint("restart it: systemctl --user restart pipewire.service"),
        )
    }

    fn show(&self, state: &Option<String>) -> String {
        state.clone().unwrap_or_else(|| "not set".to_owned())
    }
}
