//! Waiting for what happens in the background.

use std::time::{Duration, Instant};

/// How long anything may take, as a watchdog only: many times the longest that was seen on an emulated
/// processor beside a load. Nothing that works comes near it.
const LIMIT: Duration = Duration::from_secs(300);

/// Waits until this holds.
///
/// # Panics
///
/// Where it does not within five minutes.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
