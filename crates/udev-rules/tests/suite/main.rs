//! udev rules: parsed, evaluated and written, without udev.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests read the stock rules past everything that they test, say what they found, and fail where they cannot go on"
)]

mod judged;
mod laws;
mod order;
mod outcomes;
mod stock;

use hosttune_test_machine::cases;
