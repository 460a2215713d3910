//! What the engine owes, one test for each promise.
//!
//! The laws next door find what nobody thought of; these tests say what was thought of, each
//! under its name, so that a broken promise is read off the list. They run on the laws' machine.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands, in its helpers too"
)]

#[path = "../laws/machine.rs"]
#[expect(dead_code, reason = "the strategies are the laws' own")]
mod toys;

#[path = "../laws/motor.rs"]
#[expect(dead_code, reason = "the strategies are the laws' own")]
mod motor;

mod applying;
mod busy;
mod errors;
mod going;
mod journal;
mod lessons;
mod owners;
mod planning;
mod recovering;
mod replaced;
mod requirements;
mod restoring;
mod reverting;
mod stacked;
mod strangers;
mod support;
mod truncated;
mod verifying;
