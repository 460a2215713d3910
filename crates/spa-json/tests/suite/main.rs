//! The tests of `hosttune-spa-json`.

mod dump;
mod laws;
mod oracle;
mod reading;
mod types;

use proptest::prelude::ProptestConfig;

/// The number of cases, which `PROPTEST_CASES` overrides.
fn cases(usual: u32) -> ProptestConfig {
    let set = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: set.and_then(|cases| cases.parse().ok()).unwrap_or(usual),
        ..ProptestConfig::default()
    }
}
