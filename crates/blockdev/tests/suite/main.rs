//! Disks: the laws over doubles of the kernel, udev's rules, disks that come, and stock kernels.

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

/// What a law is tried with: `PROPTEST_CASES` cases where that is set, and this many where not.
fn cases(usual: u32) -> ProptestConfig {
    let set = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: set.and_then(|cases| cases.parse().ok()).unwrap_or(usual),
        max_shrink_iters: 5_000,
        max_global_rejects: u32::MAX,
        ..ProptestConfig::default()
    }
}
