//! The promises of the engine, one test for each.
//!
//! The laws (`laws.rs`) find cases that nobody thought of. These tests name the known ones, so that the
//! list of failed tests says which promise is broken. They run on the machine of the laws.

mod applying;
mod busy;
mod destroying;
mod errors;
mod generated;
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
