//! The document of `guest`.

use hosttune_guest::{FileState, Guest};
use hosttune_pci::Address;
use serde::Serialize;

use super::super::guest::Texts;

/// `guest.schema.json`.
#[derive(Debug, Serialize)]
pub(crate) struct GuestDocument<'a> {
    name: &'a str,
    cores: u32,
    memory_mib: u64,
    devices: &'a [Address],
    shared_memory: Option<SharedView<'a>>,
    libvirt: &'a str,
    qemu: &'a [String],
    hook: &'a str,
}

#[derive(Debug, Serialize)]
struct SharedView<'a> {
    path: String,
    size_mib: u64,
    file: &'static str,
    tmpfiles: &'a str,
}

/// The document of a guest.
pub(crate) fn guest<'a>(guest: &'a Guest, texts: &'a Texts) -> GuestDocument<'a> {
    let shared = guest.shared().map(|memory| SharedView {
        path: memory.path(),
        size_mib: memory.mebibytes(),
        file: match texts.file_state {
            Some(FileState::Absent) => "absent",
            Some(FileState::File) => "file",
            Some(FileState::TooSmall { .. }) => "too-small",
            _ => "other",
        },
        tmpfiles: texts.tmpfiles.as_deref().unwrap_or_default(),
    });
    GuestDocument {
        name: guest.name().as_str(),
        cores: guest.cores(),
        memory_mib: guest.mebibytes(),
        devices: guest.functions(),
        shared_memory: shared,
        libvirt: &texts.libvirt,
        qemu: &texts.qemu,
        hook: &texts.hook,
    }
}
