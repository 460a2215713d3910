//! Facts of this machine, of machines that were made up, and of what no machine shows.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "trees are made here, and other tools asked"
)]

#[path = "facts/bad_input.rs"]
mod bad_input;
mod capture;
#[path = "facts/captured.rs"]
mod captured;
#[path = "facts/machines.rs"]
mod machines;
#[path = "facts/many.rs"]
mod many;
mod peers;
#[path = "facts/recorded.rs"]
mod recorded;
#[path = "facts/schema.rs"]
mod schema;
#[path = "facts/told.rs"]
mod told;
#[path = "facts/virtual_machines.rs"]
mod virtual_machines;
