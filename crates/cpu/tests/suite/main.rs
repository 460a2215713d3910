//! Frequency scaling: the laws on fakes of the kernel's drivers, and stock kernels.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests look at the host past everything that they test, say what they found, and fail where they cannot go on"
)]

mod kept_free;
mod laws;
mod real_kernel;
