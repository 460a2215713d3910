//! Shaping: the laws on a fake kernel, CAKE compared with `tc`, and stock kernels.
//!
//! Tests that measure time are in a test program of their own, `measure`.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests look at the host past everything that they test, say what they found, and fail where they cannot go on"
)]

mod cake_beside_tc;
mod laws;
mod links;
mod looks;
mod modules;
mod namespace;
mod sqm;
mod stock_kernels;
mod walk;

use hosttune_test_machine::cases;
