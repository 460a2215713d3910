//! Latency under load: over paths in this process, over ends that misbehave, and over a bottleneck
//! that a real kernel makes, with CAKE and without.

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

use hosttune_qos::measure::{Configured, LatencyTest, Progress};

/// Threads are counted only while nobody else has any, and an emulated kernel is timed only while
/// nothing else is to be done here.
static THREADS: RwLock<()> = RwLock::new(());

/// Together with others.
fn beside_others() -> impl Drop {
    THREADS.read().unwrap_or_else(PoisonError::into_inner)
}

/// With nobody else.
fn alone() -> impl Drop {
    THREADS.write().unwrap_or_else(PoisonError::into_inner)
}

/// What is measured in this process is looked at up to three times: this machine may do something else
/// just then, and that makes what is measured longer, fewer or lost, and never better. What is wrong with
/// the product is wrong each time. Each failure is shown.
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

/// A short test, over a line said to carry this each way: 300 probes to a phase.
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
