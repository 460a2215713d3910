//! The engine: its laws, each of its promises, journals of earlier releases, and real file systems.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests look at the host past everything that they test, and fail where they cannot go on"
)]

mod directories;
mod directory;
mod engine;
mod fnmatch;
mod interrupted;
mod journals;
mod laws;
mod live;
mod motor;
mod network_namespaces;
mod owners;
mod rounding;
mod support;
mod toys;
mod trees;
