//! Kernel modules and modprobe.d: the laws on fakes of modprobe and the kernel's module loader, the installed
//! modprobe, and stock kernels.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests look at the host past everything that they test, say what they found, and fail where they cannot go on"
)]

mod generated_image;
mod image_generators;
mod initramfs_copy;
mod laws;
mod modprobe_d;
mod module_options;
mod real_kernel;
