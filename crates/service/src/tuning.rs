//! The tuning: a service is stopped.

use hosttune_core::{Error, Planner, Tuning, Why};

use crate::{Service, ServiceState};

/// A service that is to be stopped. It is stopped until the revert, or until the next boot.
#[derive(Debug, Clone, PartialEq)]
pub struct StoppedService {
    service: Service,
    why: Option<Why>,
}

impl StoppedService {
    /// The service of this unit, such as `irqbalance.service`.
    pub fn new(unit: impl Into<String>) -> Self {
        Self {
            service: Service { unit: unit.into() },
            why: None,
        }
    }

    /// Adds the reason.
    #[must_use]
    pub fn why(mut self, why: impl Into<Why>) -> Self {
        self.why = Some(why.into());
        self
    }
}

impl Tuning for StoppedService {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        let request = at.want(&self.service, &ServiceState::Stopped);
        if let Some(why) = &self.why {
            request.why(why.clone());
        }
        Ok(())
    }
}
