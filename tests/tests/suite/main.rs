//! Tests of the test machine: its hardware, its failures, and what snapshots and kills find.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests look at the host past everything that they test, say what they found, and fail where they cannot go on"
)]

mod failures;
mod hardware;
mod kills;
mod snapshot;
