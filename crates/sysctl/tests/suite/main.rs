//! Sysctls: the laws on a simulated kernel, the programs that load sysctl.d files, and the running kernel.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests look at the host past everything that they test, say what they found, and fail where they cannot go on"
)]

mod captured;
mod effects;
mod facts;
mod fake;
mod laws;
mod loaders;
mod namespaces;
mod own_namespace;
mod real_kernel;
mod trees;
mod walk;
