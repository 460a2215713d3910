//! Shaping on stock kernels: everything that a machine can have run after one another in it, which is
//! started once for all of them.
//!
//! What wants a machine in which no module is loaded yet is in `modules`.

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
