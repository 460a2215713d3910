//! Tests of this crate.

mod bench;
mod daemon_files;
mod drop_in;
mod effective;
mod merge;
mod protocol;
mod runtime;
mod settings;
mod users;

use proptest::prelude::ProptestConfig;

/// The number of cases, which `PROPTEST_CASES` overrides.
fn cases(usual: u32) -> ProptestConfig {
    let set = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: set.and_then(|cases| cases.parse().ok()).unwrap_or(usual),
        ..ProptestConfig::default()
    }
}
