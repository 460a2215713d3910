//! The helper's socket and what it executes, on this kernel.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests look at files past everything that they test, say what was not run, and fail where they cannot go on"
)]

mod installed;
mod listening;
mod server;
