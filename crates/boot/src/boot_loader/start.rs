//! How the running kernel was started, as the variables of the firmware tell it: those of the boot loader
//! interface (<https://systemd.io/BOOT_LOADER_INTERFACE>) and of systemd-stub(7). They are made anew at each boot.

use hosttune_core::{Host, HostError, HostErrorKind, Knob};

use crate::boot_once::EfiVariable;

/// Where the firmware tells whether Secure Boot is on: one byte behind four of attributes.
const SECURE_BOOT: &str =
    "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// How the running kernel was started. Everything is unknown without EFI, and in an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Start {
    /// The loader and its release (`LoaderInfo`).
    pub(super) loader: Option<String>,
    /// The UUID, in small letters, of the partition that the loader is on (`LoaderDevicePartUUID`).
    pub(super) partition: Option<String>,
    /// The id of the entry that was started (`LoaderEntrySelected`): the name of its file, without the
    /// counters of its boots.
    pub(crate) selected: Option<String>,
    /// The stub of a unified kernel image (`StubInfo`).
    stub: Option<String>,
    is_secure: bool,
}

impl Start {
    /// Reads the variables.
    ///
    /// # Errors
    /// If one exists and cannot be read.
    pub(crate) fn read(host: &Host) -> Result<Self, HostError> {
        let text = |name: &str| -> Result<Option<String>, HostError> {
            let variable = EfiVariable {
                name: name.to_owned(),
            };
            let text = variable.read(host)?.text();
            Ok(text.filter(|text| !text.is_empty()))
        };
        let secure = match host.read(SECURE_BOOT) {
            Err(error) if *error.kind() == HostErrorKind::Missing => Vec::new(),
            bytes => bytes?,
        };
        Ok(Self {
            loader: text("LoaderInfo")?,
            partition: text("LoaderDevicePartUUID")?.map(|uuid| uuid.to_ascii_lowercase()),
            selected: text("LoaderEntrySelected")?,
            stub: text("StubInfo")?,
            is_secure: secure.get(4) == Some(&1),
        })
    }

    /// The evidence that the line of the running kernel is a part of a unified kernel image; `None` if it is
    /// that of an entry, or if nothing tells.
    ///
    /// An entry file can start an image too. Its line then replaces that of the image, and is ignored under
    /// Secure Boot.
    pub(crate) fn unified_image(&self) -> Option<String> {
        let has_end = |end: &str| {
            let selected = self.selected.as_deref().unwrap_or_default();
            selected.to_ascii_lowercase().ends_with(end)
        };
        if has_end(".efi") {
            let selected = self.selected.as_deref().unwrap_or_default();
            return Some(format!(
                "the EFI variable LoaderEntrySelected is '{selected}'"
            ));
        }
        let stub = self.stub.as_deref()?;
        let is_replaced = has_end(".conf") && !self.is_secure;
        (!is_replaced).then(|| format!("the EFI variable StubInfo is '{stub}'"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_that_of_the_image_unless_an_entry_replaces_it() {
        for (selected, stub, is_secure, evidence) in [
            (None, None, false, None),
            (Some("a.conf"), None, true, None),
            (
                Some("Arch.EFI"),
                None,
                false,
                Some("LoaderEntrySelected is 'Arch.EFI'"),
            ),
            (
                None,
                Some("stub 256"),
                false,
                Some("StubInfo is 'stub 256'"),
            ),
            (Some("a.conf"), Some("stub 256"), false, None),
            (Some("a.conf"), Some("stub 256"), true, Some("StubInfo")),
            (Some("auto-windows"), None, false, None),
        ] {
            let start = Start {
                selected: selected.map(str::to_owned),
                stub: stub.map(str::to_owned),
                is_secure,
                ..Start::default()
            };
            let found = start.unified_image();
            assert_eq!(found.is_some(), evidence.is_some(), "{start:?}");
            assert!(
                found
                    .unwrap_or_default()
                    .contains(evidence.unwrap_or_default())
            );
        }
    }
}
