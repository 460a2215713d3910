//! Whether the running kernel was booted with a parameter.

use std::fmt;

use hosttune_core::{Host, HostError, Knob, Operation, Unsupported, UnsupportedKind};
use serde::{Deserialize, Serialize};

use crate::command_line::{CommandLineSetting, KernelCommandLine, RUNNING_LINE};

/// A setting of the kernel command line as the running kernel got it, from `/proc/cmdline`. It can be
/// read and not set.
///
/// This is the verdict on a boot loader's files: whatever they contain, only what is in
/// `/proc/cmdline` was in effect at boot. What another program writes later to the same place (a
/// sysctl, for example) is not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootedSetting(CommandLineSetting);

/// What the command line of the running kernel has of a setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Booted {
    /// Whether the setting is met.
    pub is_met: bool,
    /// The occurrences of the parameter, as they are written.
    pub text: String,
}

impl BootedSetting {
    /// The knob for a setting.
    pub fn new(setting: CommandLineSetting) -> Self {
        Self(setting)
    }

    /// The state in which the setting is met.
    pub fn met(&self) -> Booted {
        Booted {
            is_met: true,
            text: self.0.to_string(),
        }
    }
}

impl fmt::Display for BootedSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of the running kernel", self.0.name())
    }
}

impl Knob for BootedSetting {
    const NAME: &'static str = "booted-setting";
    type State = Booted;

    fn read(&self, host: &Host) -> Result<Booted, HostError> {
        let line = KernelCommandLine::parse(host.read(RUNNING_LINE)?);
        let texts: Vec<String> = line
            .all(self.0.name())
            .map(|argument| String::from_utf8_lossy(argument.text()).into_owned())
            .collect();
        Ok(Booted {
            is_met: self.0.is_met(&line),
            text: match texts.as_slice() {
                [] => format!("without {}", self.0.name()),
                texts => texts.join(" "),
            },
        })
    }

    fn set(&self, _: &mut Host, _: &Booted) -> Result<(), HostError> {
        Err(HostError::not_applicable(
            Operation::Write,
            RUNNING_LINE,
            read_only(),
        ))
    }

    fn satisfies(&self, seen: &Booted, wanted: &Booted) -> bool {
        seen.is_met == wanted.is_met
    }

    fn unsupported(&self, _: &Host, _: &Booted) -> Result<Option<Unsupported>, HostError> {
        Ok(Some(read_only()))
    }

    fn show(&self, state: &Booted) -> String {
        match state.is_met {
            // What is written differently, such as with `-` for `_`, is not another value.
            true => self.0.to_string(),
            false => state.text.clone(),
        }
    }
}

fn read_only() -> Unsupported {
    Unsupported::new(
        UnsupportedKind::ReadOnly,
        "the command line of the running kernel is fixed",
    )
    .hint("change it in the boot loader's configuration and reboot")
}
