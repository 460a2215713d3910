//! Cases of which there are many, each of which costs seconds on an emulated processor: the oldest and
//! the newest stock kernel divide them between them.
//!
//! What depends on the kernel is tried whole on each, over fewer moments. That every moment of a program
//! is tried is what counts here, and it is: each on one of the two.

use crate::Kernel;
use crate::inside::{EVERY_CASE, release};

/// Whether the case of this number is to be tried by this process.
///
/// Inside of the machine every second one is: the even ones on the oldest kernel and on the one in
/// between, the odd ones on the newest. All are outside of the machine, and with `HOSTTUNE_EVERY_CASE`
/// set, as `scripts/soak` does.
#[must_use]
pub fn is_shared_out(case: u64) -> bool {
    is_one_in(2, case)
}

/// Whether the case of this number is to be tried by this process, where each kernel takes one in `parts`.
///
/// With more than two parts the check run leaves some cases out, the same ones in every run: they are
/// `scripts/soak`'s, which sets `HOSTTUNE_EVERY_CASE`. For what is composed of parts that are tried whole where
/// they stand, and for cases that are drawn.
#[must_use]
pub fn is_one_in(parts: u64, case: u64) -> bool {
    let Some(release) = release() else {
        return true;
    };
    let is_newest = Kernel::Newest.is_release(&release);
    is_every_case() || case % parts == u64::from(is_newest)
}

/// How many cases are drawn in this process: `cases`, and one in `parts` of them in the check run inside of the
/// machine.
#[must_use]
pub fn drawn(cases: usize, parts: usize) -> usize {
    if release().is_none() || is_every_case() {
        cases
    } else {
        cases.div_ceil(parts)
    }
}

/// The same for a test that stays outside of the machine and has one with this kernel.
#[must_use]
pub fn is_shared_out_to(kernel: Kernel, case: u64) -> bool {
    is_every_case() || case % 2 == u64::from(kernel == Kernel::Newest)
}

fn is_every_case() -> bool {
    std::env::var_os(EVERY_CASE).is_some()
}

/// Whether a program is to be killed at every system call also where that takes hours:
/// `HOSTTUNE_EVERY_CASE=calls`, as `scripts/soak --every-call` sets it.
pub(crate) fn is_every_call() -> bool {
    std::env::var_os(EVERY_CASE).is_some_and(|value| value == "calls")
}
