//! A requested parameter of the kernel command line.

use hosttune_core::{Request, Requirement, Why};
use serde::{Deserialize, Serialize};

use super::grub;
use crate::command_line::CommandLineSetting;

/// A requested setting of the kernel command line, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootSetting {
    /// The setting.
    pub setting: CommandLineSetting,
    /// The reason.
    #[serde(default)]
    pub why: Why,
    /// Whether it is an error if the request does not apply.
    #[serde(default)]
    pub requirement: Requirement,
}

hosttune_core::why_and_requirement!(BootSetting);

impl BootSetting {
    /// Requests a setting.
    pub fn new(setting: CommandLineSetting) -> Self {
        Self {
            setting,
            why: Why::default(),
            requirement: Requirement::Plain,
        }
    }

    /// Whether the setting can be kept with GRUB, in a file that only adds parameters.
    pub fn can_be_kept(&self) -> bool {
        grub::objection(&self.setting).is_none()
    }

    pub(super) fn on<'p, 'a>(&self, request: Request<'p, 'a>) -> Request<'p, 'a> {
        request.why(self.why.clone()).requirement(self.requirement)
    }
}
