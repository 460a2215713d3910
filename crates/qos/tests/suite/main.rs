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

use proptest::prelude::ProptestConfig;

/// The configuration of a property test: `PROPTEST_CASES` cases if that is set, and otherwise
/// `usual`.
fn cases(usual: u32) -> ProptestConfig {
    let set = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: set.and_then(|cases| cases.parse().ok()).unwrap_or(usual),
        max_shrink_iters: 20_000,
        max_global_rejects: u32::MAX,
        ..ProptestConfig::default()
    }
}
