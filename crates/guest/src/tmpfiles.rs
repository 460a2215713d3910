//! A line of tmpfiles.d for the shared memory.

use crate::shared_memory::SharedMemory;

/// Where the line belongs.
#[must_use]
pub fn path(owner: &str) -> String {
    format!("/etc/tmpfiles.d/60-hosttune-{owner}.conf")
}

/// The line that makes the file at boot, for members of the group `kvm`. Without it QEMU makes the
/// file as its own user, and no program of the host's user can open it.
///
/// `f` makes an empty file and leaves one that is there; QEMU gives it its size.
#[must_use]
pub fn line(memory: &SharedMemory) -> String {
    format!("f {} 0660 root kvm -\n", memory.path())
}
