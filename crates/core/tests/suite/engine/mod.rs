//! What the engine owes, one test for each promise.
//!
//! The laws next door find what nobody thought of; these tests say what was thought of, each
//! under its name, so that a broken promise is read off the list. They run on the laws' machine.

mod applying;
mod busy;
mod errors;
mod going;
mod hidden;
mod journal;
mod lessons;
mod owners;
mod planning;
mod recovering;
mod renamed;
mod replaced;
mod requirements;
mod restoring;
mod reverting;
mod stacked;
mod strangers;

mod told;
mod truncated;
mod verifying;
