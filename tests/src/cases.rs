//! How many cases a property test runs.

use proptest::test_runner::Config;

/// The configuration of a property test: `PROPTEST_CASES` cases if that is set, and otherwise `usual`.
///
/// A failing case is shrunk for long, and a strategy may reject as many values as it likes.
#[must_use]
pub fn cases(usual: u32) -> Config {
    let set = std::env::var("PROPTEST_CASES").ok();
    Config {
        cases: set.and_then(|cases| cases.parse().ok()).unwrap_or(usual),
        max_shrink_iters: 20_000,
        max_global_rejects: u32::MAX,
        ..Config::default()
    }
}
