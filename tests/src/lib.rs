//! What tests need that turn a real kernel's knobs.
#![expect(
    clippy::disallowed_methods,
    reason = "this is what the crates are tested with: it starts the machine and reads the kernel by itself"
)]

mod error;
mod hardware;
mod image;
pub mod inside;
mod kernel;
mod kills;
mod machine;
mod snapshot;
mod traced;

pub use error::MachineError;
pub use hardware::{DISKS, Disk};
pub use kernel::Kernel;
pub use kills::{At, Kills};
pub use machine::{Builder, Machine, Output, StateDisk, Stream};
pub use snapshot::{Difference, Seen, Snapshot, Subtree};
pub use traced::{Stop, Traced};
