//! Tests of the units against the tools of systemd, and of the weight of control groups by the laws of the engine.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests run the tools that they compare with, say what they found, and fail where they cannot go on"
)]

mod power_profile;
mod units;
mod weight;
