//! The firmware and the boot loader.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cpu::CpuInfo;
use crate::source::{Source, plain};

const EFI: &str = "/sys/firmware/efi";
/// SMBIOS tables. A BIOS provides them, but a hypervisor that loads the kernel directly does not.
const SMBIOS: &str = "/sys/class/dmi/id";
/// `EFI_GLOBAL_VARIABLE` of the UEFI specification.
const SECURE_BOOT: &str =
    "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// From systemd's boot loader interface; GRUB's `bli` module and rEFInd set it as well.
const LOADER_INFO: &str =
    "/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
const COMMAND_LINE: &str = "/proc/cmdline";

/// Configuration files of boot loaders, the more specific first. GRUB reads boot loader entries as well,
/// for example on Fedora, so entries mean systemd-boot only if there are no GRUB files.
const CONFIGURATIONS: [(&str, &str); 12] = [
    ("/boot/grub/grub.cfg", "GRUB"),
    ("/boot/grub2/grub.cfg", "GRUB"),
    ("/boot/limine.conf", "Limine"),
    ("/boot/limine/limine.conf", "Limine"),
    ("/boot/refind_linux.conf", "rEFInd"),
    ("/boot/extlinux/extlinux.conf", "extlinux"),
    ("/boot/loader/loader.conf", "systemd-boot"),
    ("/efi/loader/loader.conf", "systemd-boot"),
    ("/boot/efi/loader/loader.conf", "systemd-boot"),
    ("/boot/loader/entries", "systemd-boot"),
    ("/efi/loader/entries", "systemd-boot"),
    ("/boot/efi/loader/entries", "systemd-boot"),
];

/// The files that are read; see [`Facts::sources`](crate::Facts::sources).
pub(crate) const SOURCES: &[&str] = &[
    EFI,
    SMBIOS,
    SECURE_BOOT,
    LOADER_INFO,
    COMMAND_LINE,
    CONFIGURATIONS[0].0,
    CONFIGURATIONS[1].0,
    CONFIGURATIONS[2].0,
    CONFIGURATIONS[3].0,
    CONFIGURATIONS[4].0,
    CONFIGURATIONS[5].0,
    CONFIGURATIONS[6].0,
    CONFIGURATIONS[7].0,
    CONFIGURATIONS[8].0,
    CONFIGURATIONS[9].0,
    CONFIGURATIONS[10].0,
    CONFIGURATIONS[11].0,
];

/// The firmware and the boot loader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Boot {
    /// The firmware; unknown for an image or if a hypervisor loaded the kernel without firmware.
    pub firmware: Option<Firmware>,
    /// Whether UEFI Secure Boot is enabled; unknown without EFI.
    pub secure_boot: Option<bool>,
    /// The boot loader.
    pub loader: Option<Loader>,
}

/// The firmware's interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Firmware {
    /// UEFI.
    Efi,
    /// A PC's BIOS, or EFI's compatibility mode.
    Bios,
}

/// A boot loader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Loader {
    /// Its name: `systemd-boot`, `GRUB`.
    pub name: String,
    /// Its version, if it reports one.
    pub version: Option<String>,
    /// How certain this is.
    pub certainty: Certainty,
}

/// How certain it is that this loader started the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Certainty {
    /// Its configuration exists, but another loader may have started the machine.
    Installed,
    /// Its configuration exists, and the kernel got a parameter that it passes.
    Likely,
    /// The loader reported itself.
    Said,
}

impl Boot {
    pub(crate) fn of(source: Source<'_>, cpu: &CpuInfo) -> Self {
        let is_efi = source.exists(EFI);
        // ARM machines have SMBIOS tables as well, but never a BIOS.
        let is_x86 = cpu.x86_kernel_architecture().is_some();
        Self {
            firmware: match is_efi {
                true => Some(Firmware::Efi),
                false => (is_x86 && source.exists(SMBIOS)).then_some(Firmware::Bios),
            },
            // Four bytes of attributes come before the value, which is one byte.
            secure_boot: match source.bytes(SECURE_BOOT).as_deref() {
                Some([_, _, _, _, 0]) => Some(false),
                Some([_, _, _, _, 1]) => Some(true),
                _ => None,
            },
            loader: Loader::of(source),
        }
    }
}

impl Loader {
    fn of(source: Source<'_>) -> Option<Self> {
        if let Some(said) = source.bytes(LOADER_INFO).and_then(|bytes| efi_text(&bytes)) {
            return Some(Self::said(&said));
        }
        let installed = CONFIGURATIONS.iter().find(|(file, _)| source.exists(file));
        let (_, name) = installed?;
        let line = source.lines(COMMAND_LINE).unwrap_or_default();
        // GRUB and extlinux pass the path of the image to the kernel.
        let tells_image = matches!(*name, "GRUB" | "extlinux")
            && line
                .split_whitespace()
                .any(|word| word.starts_with("BOOT_IMAGE="));
        Some(Self {
            name: (*name).to_owned(),
            version: None,
            certainty: if tells_image {
                Certainty::Likely
            } else {
                Certainty::Installed
            },
        })
    }

    /// Parses `systemd-boot 257.9-1`: the last word is the version if it begins with a digit.
    fn said(text: &str) -> Self {
        let parts = text.rsplit_once(' ');
        let parts = parts.filter(|(_, version)| version.starts_with(|c: char| c.is_ascii_digit()));
        let (name, version) = parts.map_or((text, None), |(name, version)| (name, Some(version)));
        Self {
            name: name.trim_end().to_owned(),
            version: version.map(str::to_owned),
            certainty: Certainty::Said,
        }
    }
}

/// Decodes an EFI variable: four bytes of attributes, then little-endian UTF-16 with a terminating zero.
fn efi_text(bytes: &[u8]) -> Option<String> {
    let (_attributes, value) = bytes.split_at_checked(4)?;
    let units = value
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    plain(&String::from_utf16_lossy(&units))
}

impl fmt::Display for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(version) = &self.version {
            write!(f, " {version}")?;
        }
        f.write_str(match self.certainty {
            Certainty::Said => "",
            Certainty::Likely => " (likely)",
            Certainty::Installed => " (found by its configuration)",
        })
    }
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.firmware {
            Some(Firmware::Efi) => "EFI",
            Some(Firmware::Bios) => "BIOS",
            None => "unknown firmware",
        })?;
        match self.secure_boot {
            Some(true) => f.write_str(", secure boot")?,
            Some(false) => f.write_str(", no secure boot")?,
            None => {}
        }
        match &self.loader {
            Some(loader) => write!(f, ", {loader}"),
            None => f.write_str(", unknown loader"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loader_says_its_name_and_version() {
        let bytes = |text: &str| -> Vec<u8> {
            let units = text.encode_utf16().chain([0]);
            [6, 0, 0, 0]
                .into_iter()
                .chain(units.flat_map(u16::to_le_bytes))
                .collect()
        };
        for (text, name, version) in [
            (
                "systemd-boot 257.9-1~deb13u1",
                "systemd-boot",
                Some("257.9-1~deb13u1"),
            ),
            ("GRUB 2.12", "GRUB", Some("2.12")),
            ("rEFInd", "rEFInd", None),
            ("some loader", "some loader", None),
        ] {
            let loader = Loader::said(&efi_text(&bytes(text)).unwrap());
            assert_eq!((&*loader.name, loader.version.as_deref()), (name, version));
        }
        for nothing in [&b""[..], &[6, 0, 0], &[6, 0, 0, 0], &[6, 0, 0, 0, 0, 0]] {
            assert_eq!(efi_text(nothing), None);
        }
        // Half a character at the end, and half of a surrogate pair.
        assert_eq!(efi_text(&[6, 0, 0, 0, b'a', 0, b'b']), Some("a".into()));
        assert_eq!(efi_text(&[6, 0, 0, 0, 0, 0xd8]), Some("\u{fffd}".into()));
    }
}
