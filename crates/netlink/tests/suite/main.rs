//! rtnetlink of the running kernel. Nothing is changed outside a network namespace of the test's own.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests say what they could not run, and fail where they cannot go on"
)]

mod running_kernel;
