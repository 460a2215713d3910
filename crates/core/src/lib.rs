//! Plan, apply, verify and revert host settings, with an exact way back.
pub mod error;
pub mod file;
pub mod host;
pub mod journal;
mod knob;
mod plan;
mod report;
mod selection;
mod session;
#[cfg(feature = "testing")]
pub mod testing;
mod tuning;

pub use error::{Cause, Error, HostError, HostErrorKind, Operation, StaleStep, StepFailure};
pub use host::{Host, LinuxHost};
pub use knob::{AnyKnob, Knob, Lack, LackKind, Lifetime, Registry};
pub use plan::{Before, Kept, Plan, Planner, Requirement, Step, When, Why, Wish};
pub use report::{Finding, Report, State};
pub use selection::Selection;
pub use session::{Applied, Left, LeftBecause, Owed, Reverted, Session, Status, Undone};
pub use tuning::Tuning;
