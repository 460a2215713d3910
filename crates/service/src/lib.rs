//! Services of systemd that a tuning stops, and a revert starts again.
//!
//! ```no_run
//! use hosttune_core::{Session, Tuning};
//! use hosttune_service::{Services, StoppedService};
//!
//! let quiet = StoppedService::new("irqbalance.service")
//!     .why("interrupts stay where they are while the game runs");
//!
//! let mut session = Session::live("gaming")?
//!     .with(hosttune_service::knobs)
//!     .with_backend(Services::live());
//! println!("{}", quiet.apply(&mut session)?);
//! println!("{}", quiet.revert(&mut session)?); // starts it, unless it was stopped before
//! # Ok::<(), hosttune_core::Error>(())
//! ```
//!
//! - [`Service`]: the knob, one unit. [`ServiceState`]: whether it runs.
//! - [`StoppedService`]: the tuning.
//! - [`Services`]: the backend that asks systemd, through `systemctl`.
//!
//! A stopped service is started again by the next boot, by a program that wants it, and by an upgrade of its
//! package; `verify` shows that. On a host whose init is not systemd nothing is stopped, and it is said.

mod backend;
mod service;
mod systemctl;
#[cfg(feature = "testing")]
pub mod testing;
mod tuning;

pub use backend::{ServiceManager, Services};
pub use service::{Service, ServiceState};
pub use tuning::StoppedService;

/// Registers the knob.
pub fn knobs(registry: &mut hosttune_core::Registry) {
    registry.add::<Service>();
}
