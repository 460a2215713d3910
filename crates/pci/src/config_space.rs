//! What the configuration space of a function tells.

use serde::{Deserialize, Serialize};

/// The parts of a configuration space that are used here, from its bytes.
///
/// A process that is not root reads only the first 64 bytes, and a conventional PCI function has
/// 256: what lies behind the bytes that were read is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConfigSpace {
    /// The layout of the header: 0 for a device, 1 for a PCI bridge, 2 for a CardBus bridge.
    pub header_type: u8,
    /// The Device Serial Number capability, eight bytes.
    pub serial_number: Option<u64>,
    /// The Access Control Services capability, of a port or a multifunction device.
    pub acs: Option<Acs>,
    /// Whether the extended capabilities were among the bytes. If not, `None` above means unknown.
    pub is_complete: bool,
}

/// Access Control Services: what a port keeps functions from doing to each other.
///
/// The bits are those of the capability (PCI Express Base Specification, 7.7.11): bit 0 source
/// validation, 2 request redirect, 3 completion redirect, 4 upstream forwarding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acs {
    /// What the port can do.
    pub capability: u16,
    /// What is switched on.
    pub control: u16,
}

impl Acs {
    /// The four services that the kernel needs to put functions into groups of their own
    /// (`REQ_ACS_FLAGS` in `drivers/iommu/iommu.c`).
    pub const ISOLATING: u16 = 0b1_1101;

    /// Whether the port isolates what is below it. A service that the port does not have does not
    /// count as missing, as in the kernel's `pci_acs_flags_enabled`: it need not be implemented
    /// where it cannot apply.
    #[must_use]
    pub fn isolates(self) -> bool {
        let needed = Self::ISOLATING & self.capability;
        self.control & needed == needed
    }
}

const SERIAL_NUMBER: u16 = 0x0003;
const ACCESS_CONTROL: u16 = 0x000d;
const FIRST_EXTENDED: usize = 0x100;
/// An extended capability takes at least eight bytes, so a list cannot be longer.
const MOST_CAPABILITIES: usize = (4096 - FIRST_EXTENDED) / 8;

impl ConfigSpace {
    /// Parses the bytes of `config`. `None` if they are all ones, which is the answer of a device
    /// that is gone, or too few.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let header = *bytes.get(0x0e)?;
        if bytes.get(..4)? == [0xff; 4] {
            return None;
        }
        let mut space = Self {
            header_type: header & 0x7f,
            serial_number: None,
            acs: None,
            is_complete: bytes.len() > FIRST_EXTENDED,
        };
        let mut at = FIRST_EXTENDED;
        for _ in 0..MOST_CAPABILITIES {
            let Some(head) = word(bytes, at) else { break };
            let [low, high, next_low, next_high] = head.to_le_bytes();
            match u16::from_le_bytes([low, high]) {
                SERIAL_NUMBER => {
                    let halves = word(bytes, at + 4).zip(word(bytes, at + 8));
                    space.serial_number =
                        halves.map(|(low, high)| u64::from(high) << 32 | u64::from(low));
                }
                ACCESS_CONTROL => {
                    space.acs = word(bytes, at + 4).map(|both| {
                        let [a, b, c, d] = both.to_le_bytes();
                        Acs {
                            capability: u16::from_le_bytes([a, b]),
                            control: u16::from_le_bytes([c, d]),
                        }
                    });
                }
                _ => {}
            }
            let next = usize::from(u16::from_le_bytes([next_low, next_high]) >> 4) & !0x3;
            if next < FIRST_EXTENDED {
                break;
            }
            at = next;
        }
        Some(space)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(four.try_into().ok()?))
}
