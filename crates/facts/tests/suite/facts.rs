//! Facts of this machine, of invented machines, and of input that no machine shows.

mod bad_input;
mod captured;
mod machines;
mod many;
mod recorded;
mod schema;
mod told;
mod virtual_machines;
