//! Shaping on stock kernels: everything that a machine can have run after one another in it, which is
//! started once for all of them.
//!
//! What wants a machine in which no module is loaded yet is in `modules`.

#![cfg(feature = "testing")]
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "what was there before, and what others do, is made with the tools that people use"
)]

mod bad_input;
mod cake_mq;
mod double;
mod live;
#[path = "../namespace/mod.rs"]
mod namespace;
mod others;
mod passage;
mod shaping;
mod traffic;
mod watch;
