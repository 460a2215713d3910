//! Parameters in the configuration of boot loaders: on trees as distributions have them, and with the loaders
//! themselves.

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
mod comment_lines;
mod grub_menu;
mod grub_menu_away;
mod real_grub;
