//! The tests of `hosttune-initramfs`.

mod contents;
mod cpio;
mod hostile;
mod image;
mod location;
mod programs;
mod reading;

use hosttune_test_machine::cases;
