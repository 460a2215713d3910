//! The configuration space of a PCI device, without the registers that the device itself changes.

use std::path::Path;

use super::{Seen, files};

/// Length of the part that every device has. After it come the extended capabilities, whose error counters and logs
/// are not settings.
const PLAIN: usize = 256;

/// Offset of the pointer to the capability list, and the status bit that says whether there is one.
const FIRST: usize = 0x34;
const STATUS: usize = 0x06;
const HAS_LIST: u8 = 1 << 4;

/// Offset of the header type, and its value for a bridge.
const HEADER: usize = 0x0e;
const BRIDGE: u8 = 1;

/// Reads the configuration space, unless that could wake up the device.
pub(super) fn seen(path: &Path) -> Seen {
    let control = files::read(&path.with_file_name("power").join("control"));
    if control == Seen::Holds(b"auto\n".to_vec()) {
        return Seen::Is("the configuration space of a device that may be suspended".into());
    }
    match files::read(path) {
        Seen::Holds(bytes) => Seen::Holds(without_status(bytes)),
        other => other,
    }
}

/// Blanks the status registers, which record past events.
fn without_status(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(PLAIN);
    let mut blank = vec![(STATUS, 2)];
    let at = |offset: usize| bytes.get(offset).copied().unwrap_or(0);
    if at(HEADER) & 0x7f == BRIDGE {
        blank.push((0x1e, 2));
    }
    let mut capability = usize::from(at(FIRST));
    // At most as many as fit, because the list of a broken device may be a loop.
    for _ in 0..PLAIN / 4 {
        if at(STATUS) & HAS_LIST == 0 || capability < 0x40 {
            break;
        }
        // Power management, which has the power state; MSI, whose target follows the CPU affinity of the
        // interrupt; PCI Express: status of device, link, slot, root and second link.
        let registers: &[(usize, usize)] = match at(capability) {
            0x01 => &[(4, 2)],
            0x05 => &[(4, 12)],
            0x10 => &[(0x0a, 2), (0x12, 2), (0x1a, 2), (0x20, 4), (0x32, 2)],
            _ => &[],
        };
        blank.extend(
            registers
                .iter()
                .map(|(from, length)| (capability + from, *length)),
        );
        capability = usize::from(at(capability + 1)) & !3;
    }
    for (from, length) in blank {
        let end = (from + length).min(bytes.len());
        if let Some(register) = bytes.get_mut(from..end) {
            register.fill(0);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        bytes[STATUS] = HAS_LIST;
        bytes[FIRST] = 0x40;
        bytes[0x40..0x42].copy_from_slice(&[0x01, 0x50]);
        bytes[0x50..0x52].copy_from_slice(&[0x10, 0x50]);
        bytes
    }

    #[test]
    fn a_setting_shows_and_a_status_does_not() {
        let was = without_status(device());
        assert_eq!(was.len(), PLAIN);
        // Latency timer, device control, link control, and a byte outside of any capability.
        for setting in [0x0d, 0x58, 0x60, 0xf0] {
            let mut changed = device();
            changed[setting] ^= 1;
            assert_ne!(without_status(changed), was, "{setting:#x}");
        }
        // Status, power state, device status, link status, an error counter.
        for status in [0x07, 0x44, 0x5a, 0x63, 0x104] {
            let mut changed = device();
            changed[status] ^= 1;
            assert_eq!(without_status(changed), was, "{status:#x}");
        }
    }
}
