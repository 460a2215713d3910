//! Shaping: the laws over a double of the kernel, CAKE beside `tc`, and stock kernels.
//!
//! Where time is measured is a test program of its own, `measure`.

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
mod stock_kernels;

use proptest::prelude::ProptestConfig;

/// What a law is tried with: `PROPTEST_CASES` cases where that is set, and this many where not.
fn cases(usual: u32) -> ProptestConfig {
    let set = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: set.and_then(|cases| cases.parse().ok()).unwrap_or(usual),
        max_shrink_iters: 20_000,
        max_global_rejects: u32::MAX,
        ..ProptestConfig::default()
    }
}
