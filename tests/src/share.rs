//! Shares out large numbers of cases, each of which takes seconds on an emulated processor, between the oldest
//! and the newest stock kernel.
//!
//! Everything that depends on the kernel is tried on both kernels, at fewer moments. The important point is that
//! every moment of a program is tried on at least one of them.

use crate::Kernel;
use crate::inside::{EVERY_CASE, release};

/// Whether this process tries the case with this number.
///
/// In the machine, every second case is tried: the even ones on the oldest kernel and on the one in between, the
/// odd ones on the newest. Outside of the machine, and if `HOSTTUNE_EVERY_CASE` is set (by `scripts/soak`), all
/// cases are tried.
#[must_use]
pub fn is_shared_out(case: u64) -> bool {
    is_one_in(2, case)
}

/// Whether this process tries the case with this number, if each kernel takes one in `parts`.
///
/// With more than two parts, the check run omits some cases, the same ones in every run. Only `scripts/soak` tries
/// them, which sets `HOSTTUNE_EVERY_CASE`. This is for operations whose components are all tried in their own
/// tests, and for generated cases.
#[must_use]
pub fn is_one_in(parts: u64, case: u64) -> bool {
    let Some(release) = release() else {
        return true;
    };
    let is_newest = Kernel::Newest.is_release(&release);
    is_every_case() || case % parts == u64::from(is_newest)
}

/// Returns how many cases this process generates: `cases`, or one in `parts` of them if the check run is in the
/// machine.
#[must_use]
pub fn drawn(cases: usize, parts: usize) -> usize {
    if release().is_none() || is_every_case() {
        cases
    } else {
        cases.div_ceil(parts)
    }
}

/// Like [`is_shared_out`], for a test that runs on the build machine and uses a machine with this kernel.
#[must_use]
pub fn is_shared_out_to(kernel: Kernel, case: u64) -> bool {
    is_every_case() || case % 2 == u64::from(kernel == Kernel::Newest)
}

fn is_every_case() -> bool {
    std::env::var_os(EVERY_CASE).is_some()
}

/// Whether to kill programs at every system call even if that takes hours: `HOSTTUNE_EVERY_CASE=calls`, which
/// `scripts/soak --every-call` sets.
pub(crate) fn is_every_call() -> bool {
    std::env::var_os(EVERY_CASE).is_some_and(|value| value == "calls")
}
