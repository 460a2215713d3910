//! The texts of a guest, and the programs that read them.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests start the programs that read the texts, say what could not be tested, and fail where they cannot go on"
)]

mod hook;
mod laws;
mod libvirt;
mod looking_glass;
mod memory_lock;
mod qemu;
mod support;
