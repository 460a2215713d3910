//! Facts of this machine, of machines that were made up, and of what no machine shows.

mod bad_input;
mod captured;
mod machines;
mod many;
mod recorded;
mod schema;
mod told;
mod virtual_machines;
