//! Latency under load: over paths in this process, with peers that misbehave, and over a bottleneck
//! of a real kernel, with and without CAKE.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the paths are made with the tools that people use, and what was measured is shown"
)]

mod bottleneck;
mod ends;
mod paths;
mod relay;
mod shaped;

use std::ops::ControlFlow;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use hosttune_latency::{Configured, LatencyTest, Progress};

/// Threads are counted only while no other test has any, and an emulated kernel is timed only while
/// nothing else runs here.
static THREADS: RwLock<()> = RwLock::new(());

/// A guard for a test that may run beside others.
fn beside_others() -> impl Drop {
    THREADS.read().unwrap_or_else(PoisonError::into_inner)
}

/// A guard for a test that must run alone.
fn alone() -> impl Drop {
    THREADS.write().unwrap_or_else(PoisonError::into_inner)
}

/// Repeats a measurement in this process up to three times. This machine may be busy with something
/// else, which makes results longer, fewer or lost, and never better. A defect of the product shows
/// every time. Each failure is printed.
fn in_one_of_three(look: impl Fn()) {
    for another in ["twice", "a third time"] {
        if panic::catch_unwind(AssertUnwindSafe(&look)).is_ok() {
            return;
        }
        println!("measured {another}, since this machine may have been busy");
    }
    look();
}

fn go_on(_: &Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A short test over a link that is configured with this rate in each direction: 300 probes per
/// phase.
fn short(server: &impl ToString, bits_per_second: Option<u64>) -> LatencyTest {
    LatencyTest::new(server.to_string())
        .phase(Duration::from_millis(900))
        .warm_up(Duration::from_millis(400))
        .drain(Duration::from_secs(3))
        .probe_every(Duration::from_millis(3))
        .configured(Configured {
            download_bits_per_second: bits_per_second,
            upload_bits_per_second: bits_per_second,
        })
}
