//! Facts of this machine, of invented machines, of captured trees, and of stock kernels.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests look at the host past everything that they test, say what they found, and fail where they cannot go on"
)]

mod capture;
mod captures;
mod facts;
mod peers;
mod real_kernel;
