//! PCI devices: parsing, and reading on a fake bus and on the build machine.

#![expect(clippy::unwrap_used, reason = "tests fail where they cannot go on")]

mod addresses;
mod bus;
mod captured;
mod config_space;
mod reading;
mod texts;
