//! Lending devices: the laws on a fake bus, each refusal, and stock kernels.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests look at the host past everything that they test, say what they found, and fail where they cannot go on"
)]

mod at_boot;
mod at_boot_ids;
mod cards;
mod console;
mod failures;
mod guests;
mod hidden_uses;
mod kinds;
mod laws;
mod own_settings;
mod real_kernel;
mod refusals;
mod selecting;
mod stuck;
mod support;
mod tuned;
