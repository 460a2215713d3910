//! Disks: the laws on fake disks, udev rules, hot-plugged disks, and stock kernels.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests look at the host past everything that they test, say what they found, and fail where they cannot go on"
)]

mod hotplug;
mod laws;
mod real_kernel;
mod udev;
mod uevent;

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
