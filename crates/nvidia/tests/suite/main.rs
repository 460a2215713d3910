//! The NVIDIA driver's parameters: on reconstructed trees of each branch, and the laws over them.
//!
//! No GPU and no driver of NVIDIA's takes part. What is captured and what is reconstructed is said in
//! `tree.rs`.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests read their fixtures, and fail where they cannot go on"
)]

mod cards;
mod distributions;
mod laws;
mod parsing;
mod runtime;
mod runtime_laws;
mod runtime_program;
mod states;
mod surroundings;
mod tree;
