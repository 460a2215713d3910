//! Waits for conditions that become true in the background.

use std::time::{Duration, Instant};

/// Watchdog for any wait: many times the longest observed on an emulated processor under load.
const LIMIT: Duration = Duration::from_secs(300);

/// Waits until a condition holds; `what` describes it in the panic message.
///
/// # Panics
///
/// Panics if it does not hold within five minutes.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(
            begun.elapsed() < LIMIT,
            "timed out after {LIMIT:?} waiting for: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
