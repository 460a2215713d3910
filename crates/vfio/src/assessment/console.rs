//! What becomes of the text console and of the firmware's framebuffer.

use std::collections::BTreeSet;

use hosttune_pci::{Address, Device};

use super::Assessment;
use crate::refusal::{Consent, Refusal};
use crate::view::{View, is_lent};

/// Refuses what ends the text console, and says what no return brings back.
pub(super) fn refuse(view: &View, found: &mut Assessment) {
    let leaves = |device: &&Device| device.class.is_display() && !is_lent(device);
    let leaving: Vec<Device> = found.lent.iter().filter(leaves).cloned().collect();
    let addresses: BTreeSet<Address> = leaving.iter().map(|device| device.address).collect();
    let consoles = &view.consoles;
    found.ends_console = consoles.end_with(&addresses);
    for device in &leaving {
        let address = device.address;
        let names: Vec<&str> = consoles.of(address).collect();
        if names.is_empty() || !consoles.is_fbcon_bound {
            continue;
        }
        let names = names.join(", ");
        if found.ends_console {
            let why = format!(
                "the text console is drawn on its framebuffer {names}: the host has no console while it is lent"
            );
            found
                .refusals
                .push(Refusal::unless(address, Consent::Console, why));
        } else {
            found.notes.push(format!(
                "consoles on the framebuffer {names} of {address} move to another framebuffer, and do not move back by themselves"
            ));
        }
    }
    let is_nvidias = |device: &Device| device.driver.as_deref() == Some("nvidia");
    for device in leaving.iter().filter(|device| is_nvidias(device)) {
        if consoles.nvidia_draws == Some(false) {
            found.notes.push(format!(
                "nvidia_drm draws no console of its own (fbdev is N): after the return of {} there is no text console before the next boot; screens of X and Wayland come back",
                device.address
            ));
        }
    }
    if consoles.of_firmware.is_empty() {
        return;
    }
    let firmware = consoles.of_firmware.join(", ");
    for device in &leaving {
        let address = device.address;
        if !device.class.is_vga() {
            // Only for VGA does vfio-pci remove conflicting framebuffers (vfio_pci_is_vga).
            found.notes.push(format!(
                "the firmware's framebuffer ({firmware}) is still there, and vfio-pci does not remove it for a device of class {}: if it is in the memory of {address}, the virtual machine cannot use that; let the device's own driver take it first",
                device.class
            ));
        } else if consoles.boot_vga.contains(&address) {
            let why = format!(
                "vfio-pci removes the firmware's framebuffer ({firmware}), which only the next boot makes again: after the return there is a text console only if the device's own driver draws one"
            );
            found
                .refusals
                .push(Refusal::unless(address, Consent::FirmwareFramebuffer, why));
        }
    }
}
