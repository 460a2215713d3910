//! Shaping on stock kernels: all tests that can run one after another in one machine, which is
//! started once for them.
//!
//! Tests that need a machine with no modules loaded yet are in `modules`.

mod bad_input;
mod cake_mq;
mod fake;
mod live;
mod others;
mod path_report;
mod renamed;
mod shaping;
mod traffic;
mod watch;
