//! Shaping that stays while the device comes and goes, beside others that manage it too.
//!
//! The decisions alone, for every order of things; then over the double of the kernel, with its own
//! clock; then on stock kernels, with the tools that people use.

#![cfg(feature = "testing")]
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "what others do is done with the tools that people use"
)]

#[path = "watch/decisions.rs"]
mod decisions;
#[path = "watch/double.rs"]
mod double;
#[path = "watch/kernel.rs"]
mod kernel;
mod namespace;
