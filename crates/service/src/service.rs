//! The knob: one service.

use std::fmt;

use hosttune_core::host::RootKind;
use hosttune_core::{
    Host, HostError, HostErrorKind, Knob, Operation, Unsupported, UnsupportedKind,
};
use serde::{Deserialize, Serialize};

use crate::Services;

/// The directory that exists exactly where systemd is the init (`sd_booted(3)`).
const BOOTED: &str = "/run/systemd/system";

/// The longest name of a unit (`systemd.unit(5)`).
const LONGEST_NAME: usize = 255;

/// A service of systemd, by the name of its unit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Service {
    /// The name, such as `irqbalance.service`.
    pub unit: String,
}

/// Whether a service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ServiceState {
    /// The init of the host is not systemd, or nothing runs, as in an image.
    NoSystemd,
    /// There is no such unit.
    Missing,
    /// It does not run; it may have failed.
    Stopped,
    /// It runs or is being started.
    Running,
}

impl Service {
    fn unusable(&self) -> Option<Unsupported> {
        let usable = self.unit.len() <= LONGEST_NAME
            && self.unit.len() > ".service".len()
            && self.unit.ends_with(".service")
            && !self.unit.starts_with('-')
            && self
                .unit
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte));
        if usable {
            return None;
        }
        let why = format!(
            "'{}' is not the name of a service",
            self.unit.escape_debug()
        );
        Some(
            Unsupported::new(UnsupportedKind::ValueUnavailable, why)
                .hint("name a unit that ends with .service"),
        )
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service {}", self.unit)
    }
}

impl Knob for Service {
    const NAME: &'static str = "service";
    type State = ServiceState;

    fn read(&self, host: &Host) -> Result<ServiceState, HostError> {
        if self.unusable().is_some() || !host.exists(BOOTED)? {
            return Ok(ServiceState::NoSystemd);
        }
        host.backend::<Services>()?.manager().state(&self.unit)
    }

    fn set(&self, host: &mut Host, to: &ServiceState) -> Result<(), HostError> {
        if let Some(unsupported) = self.unusable() {
            return Err(HostError::not_applicable(
                Operation::Backend,
                self.to_string(),
                unsupported,
            ));
        }
        match to {
            ServiceState::Running => {
                host.change::<Services, ()>(|services| services.manager_mut().start(&self.unit))
            }
            ServiceState::Stopped => {
                host.change::<Services, ()>(|services| services.manager_mut().stop(&self.unit))
            }
            ServiceState::Missing | ServiceState::NoSystemd => {
                Err(
                    HostError::new(Operation::Remove, self.to_string(), HostErrorKind::Refused)
                        .detail("a unit is removed by its package"),
                )
            }
        }
    }

    fn unsupported(&self, host: &Host, _: &ServiceState) -> Result<Option<Unsupported>, HostError> {
        if let Some(unsupported) = self.unusable() {
            return Ok(Some(unsupported));
        }
        if host.root_kind() == RootKind::Image {
            return Ok(Some(
                Unsupported::new(
                    UnsupportedKind::NotRunning,
                    "this is an image, in which nothing runs",
                )
                .hint(format!(
                    "mask it in the image: systemctl --root DIR mask {}",
                    self.unit
                )),
            ));
        }
        if !host.exists(BOOTED)? {
            return Ok(Some(
                Unsupported::new(
                    UnsupportedKind::Missing,
                    "the init of this host is not systemd",
                )
                .hint("stop it as the init of this host does"),
            ));
        }
        if host.backend::<Services>().is_err() {
            return Ok(Some(
                Unsupported::new(
                    UnsupportedKind::NoBackend,
                    "this program has no backend that stops services",
                )
                .hint("add the backend Services::live() to the session, or stop it by hand"),
            ));
        }
        Ok(match self.read(host)? {
            ServiceState::Missing => Some(
                Unsupported::new(
                    UnsupportedKind::Missing,
                    format!("there is no unit {}", self.unit),
                )
                .hint("without its package there is nothing to stop"),
            ),
            _ => None,
        })
    }

    fn is_gone(&self, seen: &ServiceState) -> bool {
        matches!(seen, ServiceState::Missing | ServiceState::NoSystemd)
    }

    fn show(&self, state: &ServiceState) -> String {
        match state {
            ServiceState::NoSystemd => "no systemd",
            ServiceState::Missing => "missing",
            ServiceState::Stopped => "stopped",
            ServiceState::Running => "running",
        }
        .to_owned()
    }
}
