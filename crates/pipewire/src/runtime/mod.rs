//! Settings of a running daemon, changed through its metadata `settings`.
//!
//! These values are in effect at once and end with the daemon: when it is restarted, or when the
//! user logs out, its configuration applies again. They are therefore reverted only on the daemon
//! that they were set on, which is recognized by its cookie (see
//! [`CoreInfo`](crate::protocol::CoreInfo)); a change whose daemon has ended is gone with it.
//!
//! The metadata repeats every value that is written to it, sensible or not, so it shows that a
//! value was accepted and not that it is in effect. What is in effect is shown by the drivers that
//! run: see [`verify`](grade::verify), and [`probe`] for devices that do not run.

pub mod grade;
mod key;
mod live;
mod pipewire;
pub mod probe;
mod rates;
mod refined;
pub mod scheduling;
mod setting;
#[cfg(feature = "testing")]
pub mod testing;
mod tuning;

pub use grade::{Grade, GradeReport, KeyGrade};
pub use key::SettingKey;
pub use live::NativeDaemon;
pub use pipewire::{Daemon, DaemonView, PipeWire, RunningDriver, Value, virtual_machine};
pub use rates::{RatesState, RuntimeRates};
pub use setting::{RuntimeSetting, SettingState, SettingValue};
pub use tuning::RuntimeSettings;

/// Registers the knob types of this module with a session.
pub fn knobs(registry: &mut hosttune_core::Registry) {
    registry.add::<RuntimeSetting>();
    registry.add::<RuntimeRates>();
}
