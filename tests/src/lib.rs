//! What tests need that turn a real kernel's knobs.
#![expect(
    clippy::disallowed_methods,
    reason = "this is what the crates are tested with: it starts the machine and reads the kernel by itself"
)]

mod error;

pub use error::MachineError;
