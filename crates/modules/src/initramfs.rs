//! What builds the initramfs of a host, which has its own copy of modprobe.d: of `hosttune-initramfs`.

pub use hosttune_initramfs::{InitramfsGenerator, copies_of, installed_generator, rebuild_command};
