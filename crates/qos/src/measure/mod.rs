//! Latency under load, measured between two ends and graded only where that is honest.
//!
//! A full queue shows as the time that other packets spend in it. So probes are sent while nothing
//! else is on the path, while TCP downloads, while it uploads, and while it does both; what they
//! take longer than on the idle path is what the queues add. One end is a [`Responder`], the other
//! runs a [`LatencyTest`]; nothing here turns anything.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//!
//! use hosttune_qos::Rate;
//! use hosttune_qos::measure::{Comparison, Configured, LatencyTest, Phase};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // On the other side of the line: Responder::bind("0.0.0.0:8585")?
//! let line = Configured::new(Some(Rate::mbit(100)), Some(Rate::mbit(40)));
//! let test = LatencyTest::new("server.example:8585").configured(line);
//! let before = test.run(&mut |_| ControlFlow::Continue(()))?;
//! // Here the line is shaped.
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
//! - A probe and its answer are 32 bytes of UDP, one every 20 ms. The clock is the monotonic one.
//!   What is answered within five seconds counts with all of its delay; what is not is lost.
//! - Goodput is what TCP delivered at the receiving end: here for downloads, and for uploads as the
//!   responder counts it, so that nothing counts that only lies in a send buffer.
//! - Percentiles are of the nearest rank: each is a round trip that was seen.
//!
//! # Vocabulary
//! - [`Responder`], [`LatencyTest`]: the two ends. [`Phase`], [`Direction`]: what is loaded.
//! - [`Measurement`]: what came of it, as plain data; [`Comparison`]: of two.
//! - [`Verdict`]: [`Grades`], or [`Ungraded`] and why. [`judge`] decides.
//! - [`chart`]: a picture of one or two. [`advice`]: what to do about it.

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
