//! Whether NVIDIA's driver lets a card go.

use hosttune_core::UnsupportedKind;
use hosttune_pci::Device;

use super::Assessment;
use crate::refusal::Refusal;
use crate::usage::Unbinding;
use crate::view::View;

const WHAT_HELPS: &str = "end the display manager and what else draws on NVIDIA's cards, then unload it: modprobe -r nvidia_drm; or set options nvidia_drm modeset=0, or install the driver 580.105.08 or a later one";

/// Refuses a card whose driver would wait for ever for nvidia_drm. A process that has it open is found
/// elsewhere; this use has no process.
pub(super) fn refuse(view: &View, found: &mut Assessment) {
    let is_nvidias = |device: &&Device| device.driver.as_deref() == Some("nvidia");
    let cards: Vec<_> = found.lent.iter().filter(is_nvidias).collect();
    let mut refusals = Vec::new();
    for card in cards {
        let address = card.address;
        match view.nvidia.unbinding() {
            Unbinding::Returns => {}
            Unbinding::Hangs => {
                let version = view.nvidia.version.as_deref().unwrap_or_default();
                let why = format!(
                    "nvidia_drm has it open (modeset is Y), and NVIDIA's driver {version} waits for that for ever when it is unbound"
                );
                let refusal = Refusal::new(address, UnsupportedKind::Busy, why, WHAT_HELPS);
                refusals.push(refusal.until_reboot());
            }
            Unbinding::Unknown => found.notes.push(format!(
                "whether nvidia_drm has {address} open is not known: with modeset=1, drivers before 580.105.08 wait for that for ever when they are unbound"
            )),
        }
    }
    found.refusals.extend(refusals);
}
