//! Which functions are one card. A card is lent as a whole: without a reset of its own, a function
//! is reset with the bus, and VFIO does that only if all functions on it are bound to vfio-pci.

use hosttune_pci::{Device, Devices, Sriov};

/// How a function in the slot of a selected one belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Membership {
    /// It is the same card.
    SameCard,
    /// It only shares the slot, for this reason.
    Separate(&'static str),
}

/// The other functions in the slot of `selected`.
pub(crate) fn others<'a>(
    selected: &'a Device,
    sriov: &Sriov,
    devices: &'a Devices,
) -> Vec<(&'a Device, Membership)> {
    let in_slot: Vec<&Device> = devices.in_slot_of(selected.address).collect();
    let is_integrated_graphics = in_slot.iter().any(|device| device.class.is_encryption());
    let belongs = |other: &Device| {
        let separate = if matches!(sriov, Sriov::Virtual { .. }) {
            "virtual functions are lent one by one"
        } else if selected.parents.is_empty() {
            "functions on the root bus are parts of the chipset or processor, not of a card"
        } else if other.has_bus_below || other.class.is_bridge() {
            "it is a bridge"
        } else if is_integrated_graphics && !is_audio_of(other, selected) {
            "it is another part of the processor"
        } else {
            return Membership::SameCard;
        };
        Membership::Separate(separate)
    };
    let others = in_slot
        .iter()
        .filter(|other| other.address != selected.address);
    others.map(|other| (*other, belongs(other))).collect()
}

/// Whether a function is the audio output of a display in a processor. The board's audio controller
/// in the same slot has ids of the processor's maker and not of the graphics; the output is the
/// function after the display.
fn is_audio_of(other: &Device, display: &Device) -> bool {
    let next = display.address.function() + 1;
    display.class.is_display()
        && other.class.is_audio()
        && other.ids.vendor == display.ids.vendor
        && other.address.function() == next
}

/// The order in which functions are unbound: audio first, which depends on the display (a device
/// link to it), the display last. They are bound in the opposite order.
pub(crate) fn unbind_rank(device: &Device) -> u8 {
    if device.class.is_audio() {
        0
    } else if device.class.is_display() {
        2
    } else {
        1
    }
}
