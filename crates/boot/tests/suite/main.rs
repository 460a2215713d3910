//! The kernel command line, modprobe.d and modules: the laws on fakes of modprobe and the kernel's module
//! loader, the installed modprobe, and stock kernels.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests look at the host past everything that they test, say what they found, and fail where they cannot go on"
)]

mod boot_default;
mod boot_files_away;
mod boot_leftovers;
mod boot_limine;
mod boot_loader;
mod boot_loader_entries;
mod boot_loader_grub;
mod boot_managed;
mod boot_modes;
mod boot_once;
mod boot_once_blocks;
mod boot_once_in_entries;
mod boot_once_plan;
mod boot_start;
mod command_line;
mod comment_lines;
mod grub_menu;
mod grub_menu_away;
mod laws;
mod modprobe_d;
mod module_options;
mod real_grub;
mod real_kernel;
