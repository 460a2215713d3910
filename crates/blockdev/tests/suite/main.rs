//! Disks: the laws on fake disks, udev rules, hot-plugged disks, and stock kernels.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests look at the host past everything that they test, say what they found, and fail where they cannot go on"
)]

mod hotplug;
mod laws;
mod real_kernel;
mod udev;
mod uevent;

use hosttune_test_machine::cases;
