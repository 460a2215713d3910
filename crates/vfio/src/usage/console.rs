//! What draws the text console: framebuffers, fbcon, and what the firmware left behind.

use std::collections::{BTreeMap, BTreeSet};

use hosttune_core::host::EntryKind;
use hosttune_core::{Host, HostError, Knob, attribute};
use hosttune_pci::{Address, Device};

use crate::console_driver::{ConsoleBinding, ConsoleDriver};

const FRAMEBUFFERS: &str = "/sys/class/graphics";
const PLATFORM: &str = "/sys/bus/platform/devices";
const NVIDIA_FBDEV: &str = "/sys/module/nvidia_drm/parameters/fbdev";

/// The platform devices that the kernel makes of the firmware's framebuffer at boot
/// (`drivers/firmware/sysfb.c`), without their numbers.
const OF_FIRMWARE: [&str; 5] = [
    "simple-framebuffer.",
    "efi-framebuffer.",
    "vesa-framebuffer.",
    "vga-framebuffer.",
    "ega-framebuffer.",
];

/// What draws the text console.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Consoles {
    /// Whether fbcon draws consoles.
    pub(crate) is_fbcon_bound: bool,
    /// The framebuffers, such as `fb0`, with the PCI function that each belongs to; `None` for those of
    /// the firmware and of other buses.
    pub(crate) framebuffers: BTreeMap<String, Option<Address>>,
    /// The firmware's framebuffers that are still there.
    pub(crate) of_firmware: Vec<String>,
    /// The functions that the firmware has used for its screen (`boot_vga`), which only those of the
    /// class VGA say.
    pub(crate) boot_vga: BTreeSet<Address>,
    /// Whether NVIDIA's driver makes a framebuffer for the console (`fbdev` of nvidia_drm, from its
    /// version 545 on); `None` where it does not say.
    pub(crate) nvidia_draws: Option<bool>,
}

impl Consoles {
    /// Reads them.
    pub(crate) fn read<'d>(
        host: &Host,
        displays: impl Iterator<Item = &'d Device>,
    ) -> Result<Self, HostError> {
        let mut found = Self {
            is_fbcon_bound: ConsoleDriver::framebuffer().read(host)? == ConsoleBinding::Bound,
            ..Self::default()
        };
        for name in host.list_if_there(FRAMEBUFFERS)? {
            let is_one = name
                .strip_prefix("fb")
                .is_some_and(|number| number.parse::<u32>().is_ok());
            if !is_one {
                continue;
            }
            let entry = host.entry(format!("{FRAMEBUFFERS}/{name}"))?;
            let Some(EntryKind::Link(target)) = entry.map(|entry| entry.kind) else {
                continue;
            };
            // The nearest function: those before it are bridges.
            let parts = target.iter().rev().filter_map(|part| part.to_str());
            let of = parts.filter_map(|part| part.parse().ok()).next();
            found.framebuffers.insert(name, of);
        }
        let is_of_firmware = |name: &String| OF_FIRMWARE.iter().any(|kind| name.starts_with(kind));
        found.of_firmware = host.list_if_there(PLATFORM)?;
        found.of_firmware.retain(is_of_firmware);
        for device in displays {
            let boot_vga = attribute::read(host, device.address.file("boot_vga"))?;
            if boot_vga.as_deref() == Some("1") {
                found.boot_vga.insert(device.address);
            }
        }
        let fbdev = attribute::read(host, NVIDIA_FBDEV)?;
        found.nvidia_draws = fbdev.map(|fbdev| fbdev == "Y");
        Ok(found)
    }

    /// The framebuffers of a function.
    pub(crate) fn of(&self, address: Address) -> impl Iterator<Item = &str> {
        let all = self.framebuffers.iter();
        all.filter(move |(_, of)| **of == Some(address))
            .map(|(name, _)| name.as_str())
    }

    /// Whether fbcon draws on framebuffers of these functions and could draw on no other one.
    pub(crate) fn end_with(&self, addresses: &BTreeSet<Address>) -> bool {
        let is_one = |of: &Option<Address>| of.is_some_and(|address| addresses.contains(&address));
        self.is_fbcon_bound
            && !self.framebuffers.is_empty()
            && self.framebuffers.values().all(is_one)
    }
}
