//! The PCI display controllers.

use std::fmt;

use hosttune_pci::{Address, Class, PciId};
use serde::{Deserialize, Serialize};

use crate::source::{Source, plain};

const DIRECTORY: &str = "/sys/bus/pci/devices";
const NVIDIA_MODULE: &str = "/sys/module/nvidia/version";
const NVIDIA_PROC: &str = "/proc/driver/nvidia/version";

/// The files that are read; see [`Facts::sources`](crate::Facts::sources).
pub(crate) const SOURCES: &[&str] = &[
    DIRECTORY,
    "/sys/bus/pci/devices/*",
    "/sys/bus/pci/devices/*/boot_vga",
    "/sys/bus/pci/devices/*/class",
    "/sys/bus/pci/devices/*/device",
    "/sys/bus/pci/devices/*/driver",
    "/sys/bus/pci/devices/*/vendor",
    NVIDIA_MODULE,
    NVIDIA_PROC,
];

/// A PCI display controller: base class 03 of the PCI Code and ID Assignment Specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Gpu {
    /// Its address, such as `0000:01:00.0`.
    pub bus_address: String,
    /// Its vendor id.
    pub vendor_id: Option<PciId>,
    /// Its vendor's name, if it is a known vendor of display controllers.
    pub vendor: Option<String>,
    /// Its device id.
    pub device_id: Option<PciId>,
    /// The bound driver, such as `amdgpu`; `vfio-pci` if it is passed through to a virtual machine.
    pub driver: Option<String>,
    /// The version of that driver; only NVIDIA's has one.
    pub driver_version: Option<String>,
    /// Whether the firmware displayed its messages on it; reported only by VGA controllers.
    pub boot_vga: Option<bool>,
}

impl Gpu {
    /// Returns all controllers by address, or `None` if the kernel shows no PCI bus.
    pub(crate) fn all(source: Source<'_>) -> Option<Vec<Self>> {
        let names = source.names(DIRECTORY)?;
        let at = |name: &String| Self::at(source, name);
        Some(names.iter().filter_map(at).collect())
    }

    fn at(source: Source<'_>, name: &str) -> Option<Self> {
        let address: Address = name.parse().ok()?;
        let file = |name: &str| address.file(name);
        if !source.number::<Class>(file("class"))?.is_display() {
            return None;
        }
        let vendor_id = source.number::<PciId>(file("vendor"));
        let driver = source.link_name(file("driver"));
        let driver_version = match driver.as_deref() {
            Some("nvidia") => nvidia_version(source),
            _ => None,
        };
        Some(Self {
            bus_address: address.to_string(),
            vendor_id,
            vendor: vendor_id.and_then(PciId::vendor_name).map(str::to_owned),
            device_id: source.number(file("device")),
            driver,
            driver_version,
            boot_vga: source.flag(file("boot_vga")),
        })
    }
}

/// Returns the version of the loaded module. The module on disk may already be another version.
fn nvidia_version(source: Source<'_>) -> Option<String> {
    source.value(NVIDIA_MODULE).or_else(|| {
        let text = source.lines(NVIDIA_PROC)?;
        plain(version_of_nvrm(&text)?)
    })
}

/// Returns the version in `NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 …` or
/// `NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35.03  Release Build …`: the first word
/// that consists of numbers separated by dots.
fn version_of_nvrm(text: &str) -> Option<&str> {
    let line = text
        .lines()
        .find(|line| line.starts_with("NVRM version:"))?;
    let is_version = |word: &&str| {
        word.contains('.')
            && word
                .split('.')
                .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    line.split_whitespace().find(is_version)
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.vendor.as_deref().unwrap_or("unknown vendor"))?;
        if let (Some(vendor), Some(device)) = (self.vendor_id, self.device_id) {
            write!(f, " [{vendor}:{device}]")?;
        }
        write!(f, " at {}", self.bus_address)?;
        match (&self.driver, &self.driver_version) {
            (Some(driver), Some(version)) => write!(f, ", {driver} {version}")?,
            (Some(driver), None) => write!(f, ", {driver}")?,
            (None, _) => f.write_str(", no driver")?,
        }
        if self.boot_vga == Some(true) {
            f.write_str(", firmware display")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_in_both_forms() {
        for (text, version) in [
            (
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\nGCC version:  gcc version 12.2.0\n",
                Some("550.54.14"),
            ),
            (
                "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35.03  Release Build  (root@build)\n",
                Some("560.35.03"),
            ),
            ("GCC version:  gcc version 12.2.0\n", None),
            ("NVRM version: none at all\n", None),
        ] {
            assert_eq!(version_of_nvrm(text), version);
        }
    }
}
