//! Latency under load, measured between two hosts, and graded only where a grade is justified.
//!
//! A full queue shows in the time that other packets spend in it. Probes are therefore sent while
//! nothing else is on the path, while TCP downloads, while it uploads, and while it does both. What
//! they take longer than on the idle path is the delay that the queues add. One end is a
//! [`Responder`], the other runs a [`LatencyTest`]. Nothing here changes any setting.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//!
//! use hosttune_latency::{Comparison, Configured, LatencyTest, Phase};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // At the other end of the link: Responder::bind("0.0.0.0:8585")?
//! let line = Configured {
//!     download_bits_per_second: Some(100_000_000),
//!     upload_bits_per_second: Some(40_000_000),
//! };
//! let test = LatencyTest::new("server.example:8585").configured(line);
//! let before = test.run(&mut |_| ControlFlow::Continue(()))?;
//! // Shape the link here.
//! let after = test.run(&mut |_| ControlFlow::Continue(()))?;
//! for phase in Comparison::between(&before, &after).phases {
//!     println!("{}: {:?} times lower", phase.phase, phase.p95_times_lower);
//! }
//! println!("{:?}", after.phase(Phase::Download).and_then(|result| result.verdict.clone()));
//! # Ok(())
//! # }
//! ```
//!
//! # What is counted
//! - A probe and its answer are 32 bytes of UDP, one every 20 ms, timed by the monotonic clock. An
//!   answer within five seconds counts with all of its delay; a probe without one is lost.
//! - Goodput is what TCP delivered at the receiving end: here for downloads, and at the responder
//!   for uploads, so that data in a send buffer does not count.
//! - Percentiles use the nearest rank: each is a round trip that was measured.
//!
//! # Vocabulary
//! - [`Responder`], [`LatencyTest`]: the two ends. [`Phase`], [`Direction`]: what is loaded.
//! - [`Measurement`]: the result, as plain data; [`Comparison`]: of two results.
//! - [`Verdict`]: [`Grades`], or [`Ungraded`] and why. [`judge`] decides.
//! - [`chart`]: draws one measurement or two. [`advice`]: what to do about the result.

mod advice;
mod chart;
mod comparison;
mod connection;
mod error;
mod grade;
mod latency_test;
mod load;
mod measurement;
mod message;
mod phase;
mod probes;
mod responder;
mod round_trips;
mod session;
mod verdict;
#[cfg(test)]
mod verdict_tests;

pub use advice::{Advice, advice};
pub use chart::chart;
pub use comparison::{ComparedPhase, Comparison};
pub use error::{MeasureError, ResponderError};
pub use grade::Grade;
pub use latency_test::{LatencyTest, Progress, Stage};
pub use measurement::{Configured, Increase, Measurement, PhaseResult, Probe};
pub use phase::{Direction, Phase};
pub use responder::{Limits, Responder};
pub use round_trips::{RoundTripStatistics, percentile};
pub use verdict::{
    FEWEST_SAMPLES, Grades, LEAST_LOAD_BESIDE_PERCENT, LEAST_LOAD_PERCENT, MOST_LOST_PERCENT,
    Ungraded, Verdict, judge,
};
