//! The values that the loaded driver has, from `/proc/driver/nvidia/params`.

use std::collections::BTreeMap;
use std::fmt;

use hosttune_core::{
    Host, HostError, HostErrorKind, Knob, Operation, Unsupported, UnsupportedKind,
};
use hosttune_modules::ParameterState;
use serde::{Deserialize, Serialize};

use crate::number;
use crate::parameter::{DriverModule, find};

/// The file. Reading it wakes no GPU.
pub const PARAMS_FILE: &str = "/proc/driver/nvidia/params";

/// The parameters in the file, by the names that they have there.
///
/// Numbers are unsigned, texts are quoted without escapes. A text that is not set and an empty one
/// look the same.
pub fn parse(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    lines
        .map(|(name, value)| {
            let quoted = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
            (name.to_owned(), quoted.unwrap_or(value).to_owned())
        })
        .collect()
}

/// A parameter of the module `nvidia`, as the loaded driver shows it. It can be read and not set.
///
/// It is what the driver uses: after modprobe.d, the kernel command line, and the keys of
/// `RegistryDwords` that are named like a parameter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NvidiaParameter(String);

impl NvidiaParameter {
    /// A parameter by its name, with or without `NVreg_`.
    pub fn new(name: &str) -> Self {
        Self(name.strip_prefix("NVreg_").unwrap_or(name).to_owned())
    }

    /// The name, without `NVreg_`.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The name in the file.
    fn shown(&self) -> Option<&str> {
        match find(DriverModule::Nvidia, &self.0) {
            Some(known) => known.shown,
            None => Some(&self.0),
        }
    }
}

impl fmt::Display for NvidiaParameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of the loaded NVIDIA driver", self.0)
    }
}

impl Knob for NvidiaParameter {
    const NAME: &'static str = "nvidia-parameter";
    type State = ParameterState;

    fn read(&self, host: &Host) -> Result<ParameterState, HostError> {
        let text = match host.read_text(PARAMS_FILE) {
            Ok(text) => text,
            Err(error) if *error.kind() == HostErrorKind::Missing => {
                return Ok(ParameterState::NotLoaded);
            }
            Err(error) => return Err(error),
        };
        let value = self.shown().and_then(|shown| parse(&text).remove(shown));
        value.map(ParameterState::Value).ok_or_else(|| {
            HostError::malformed(
                PARAMS_FILE,
                format!(
                    "the driver does not show {}, so its value is unknown",
                    self.0
                ),
            )
        })
    }

    fn set(&self, _: &mut Host, to: &ParameterState) -> Result<(), HostError> {
        let error = HostError::not_applicable(Operation::Write, PARAMS_FILE, read_only());
        Err(error.wanted(self.show(to)))
    }

    fn satisfies(&self, seen: &ParameterState, wanted: &ParameterState) -> bool {
        match (seen, wanted) {
            (ParameterState::Value(seen), ParameterState::Value(wanted)) => {
                seen == wanted
                    || number::parse(seen).is_some_and(|seen| number::parse(wanted) == Some(seen))
            }
            _ => seen == wanted,
        }
    }

    fn unsupported(&self, _: &Host, _: &ParameterState) -> Result<Option<Unsupported>, HostError> {
        Ok(Some(read_only()))
    }

    fn show(&self, state: &ParameterState) -> String {
        match state {
            ParameterState::Value(value) => value.clone(),
            _ => "not loaded".to_owned(),
        }
    }
}

fn read_only() -> Unsupported {
    Unsupported::new(
        UnsupportedKind::ReadOnly,
        "parameters of the driver are set when it is loaded",
    )
    .hint("write them to modprobe.d and reboot")
}
