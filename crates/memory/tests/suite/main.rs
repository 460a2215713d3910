//! Memory: the laws on a fake kernel, and stock kernels.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests look at the host past everything that they test, say what they found, and fail where they cannot go on"
)]

mod laws;
mod real_kernel;
