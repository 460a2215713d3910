//! udev rules: parsed, evaluated and written, without udev.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests read the stock rules past everything that they test, say what they found, and fail where they cannot go on"
)]

mod judged;
mod laws;
mod order;
mod outcomes;
mod stock;

use proptest::prelude::ProptestConfig;

/// The number of cases of a law: `PROPTEST_CASES` if that is set, otherwise `usual`.
fn cases(usual: u32) -> ProptestConfig {
    let set = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: set.and_then(|cases| cases.parse().ok()).unwrap_or(usual),
        max_shrink_iters: 5_000,
        max_global_rejects: u32::MAX,
        ..ProptestConfig::default()
    }
}
