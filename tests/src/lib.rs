//! What tests need that turn a real kernel's knobs.
#![expect(
    clippy::disallowed_methods,
    reason = "this is what the crates are tested with: it starts the machine and reads the kernel by itself"
)]

mod error;
mod kills;
mod snapshot;
mod traced;

pub use error::MachineError;
pub use kills::{At, Kills};
pub use snapshot::{Difference, Seen, Snapshot, Subtree};
pub use traced::{Stop, Traced};
