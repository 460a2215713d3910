//! The backend that asks a service manager.

use std::fmt;

use hosttune_core::HostError;

use crate::ServiceState;
use crate::systemctl::Systemctl;

/// A service manager: systemd, or a fake of it.
pub trait ServiceManager: fmt::Debug + Send {
    /// Whether a unit runs.
    ///
    /// # Errors
    /// If the manager does not answer.
    fn state(&self, unit: &str) -> Result<ServiceState, HostError>;

    /// Starts a unit, and waits until it has started.
    ///
    /// # Errors
    /// If it cannot be started.
    fn start(&mut self, unit: &str) -> Result<(), HostError>;

    /// Stops a unit, and waits until it has stopped.
    ///
    /// # Errors
    /// If it cannot be stopped.
    fn stop(&mut self, unit: &str) -> Result<(), HostError>;
}

/// The backend of a host with services. Without it this crate stops nothing.
#[derive(Debug)]
pub struct Services(Box<dyn ServiceManager>);

impl Services {
    /// A backend that uses the systemd of this machine.
    #[must_use]
    pub fn live() -> Self {
        Self::over(Systemctl)
    }

    /// A backend that uses any other manager.
    #[must_use]
    pub fn over(manager: impl ServiceManager + 'static) -> Self {
        Self(Box::new(manager))
    }

    pub(crate) fn manager(&self) -> &dyn ServiceManager {
        &*self.0
    }

    pub(crate) fn manager_mut(&mut self) -> &mut dyn ServiceManager {
        &mut *self.0
    }
}
