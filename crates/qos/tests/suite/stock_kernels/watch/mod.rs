//! Shaping that stays while the device comes and goes, beside others that manage it too.
//!
//! The decisions alone, for every order of things; then over the double of the kernel, with its own
//! clock; then on stock kernels, with the tools that people use.

mod decisions;
mod fake;
mod kernel;
