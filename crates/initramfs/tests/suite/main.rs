//! The tests of `hosttune-initramfs`.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests look at the host past everything that they test, say what they found, and fail where they cannot go on"
)]

mod contents;
mod cpio;
mod hostile;
mod image;
mod location;
mod programs;
mod reading;

use hosttune_test_machine::cases;
