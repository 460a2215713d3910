//! Black-box tests of the host binaries: on captured trees, on this kernel, and on stock kernels.
//!
//! Tests that measure time are in another test program, `measure`.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests look at the host past everything that they test, say what they found, and fail where they cannot go on"
)]

mod command_line;
mod helped_runs;
mod hosts;
mod lending;
mod network_namespaces;
mod power_cut;
mod real_kernel;
mod runs;
mod shaping;
mod sound;
mod systemd;
mod systemd_boot;
mod walk;
