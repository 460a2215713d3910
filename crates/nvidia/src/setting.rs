//! One requested parameter, as plain data.

use hosttune_core::{Request, Requirement, Why};
use serde::{Deserialize, Serialize};

use crate::parameter::DriverModule;

/// A requested value of one parameter of the driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NvidiaSetting {
    /// The module.
    pub module: DriverModule,
    /// The parameter, with or without `NVreg_`.
    pub parameter: String,
    /// The value. A number in any base, signed or unsigned.
    pub value: String,
    /// The reason for the value.
    #[serde(default)]
    pub why: Why,
    /// Whether it is an error if the request does not apply.
    #[serde(default)]
    pub requirement: Requirement,
}

hosttune_core::why_and_requirement!(NvidiaSetting);

impl NvidiaSetting {
    /// Requests a value of a parameter of a module.
    pub fn new(
        module: DriverModule,
        parameter: impl Into<String>,
        value: impl std::fmt::Display,
    ) -> Self {
        Self {
            module,
            parameter: parameter.into(),
            value: value.to_string(),
            why: Why::default(),
            requirement: Requirement::Plain,
        }
    }

    /// Requests a value of a parameter of the main module: `NVreg_NAME`.
    pub fn nvreg(name: impl Into<String>, value: impl std::fmt::Display) -> Self {
        Self::new(DriverModule::Nvidia, name, value)
    }

    /// The name as a module option: with `NVreg_` for the main module.
    pub fn option(&self) -> String {
        let prefix = self.module.prefix();
        let name = self
            .parameter
            .strip_prefix(prefix)
            .unwrap_or(&self.parameter);
        format!("{prefix}{name}")
    }

    pub(crate) fn text(&self) -> String {
        format!("{} {}={}", self.module, self.option(), self.value)
    }

    pub(crate) fn on<'p, 'a>(&self, request: Request<'p, 'a>) -> Request<'p, 'a> {
        request.why(self.why.clone()).requirement(self.requirement)
    }
}
