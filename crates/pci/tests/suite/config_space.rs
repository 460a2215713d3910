//! Configuration spaces, built byte by byte.

use hosttune_pci::{Acs, ConfigSpace};
use proptest::prelude::*;

/// A space of 4096 bytes with these extended capabilities: offset, id, next, and what follows.
fn space(header_type: u8, capabilities: &[(usize, u16, u16, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    bytes[..4].copy_from_slice(&[0xde, 0x10, 0x84, 0x26]);
    bytes[0x0e] = header_type;
    for (at, id, next, rest) in capabilities {
        bytes[*at..at + 2].copy_from_slice(&id.to_le_bytes());
        bytes[at + 2..at + 4].copy_from_slice(&(next << 4 | 1).to_le_bytes());
        bytes[at + 4..at + 4 + rest.len()].copy_from_slice(rest);
    }
    bytes
}

#[test]
fn capabilities_are_found_in_the_list() {
    let serial = [0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21];
    let acs = [0x5f, 0, 0x1d, 0];
    let bytes = space(
        0x81,
        &[
            (0x100, 0x0001, 0x148, &[]),
            (0x148, 0x0003, 0x158, &serial),
            (0x158, 0x000d, 0, &acs),
        ],
    );
    let space = ConfigSpace::parse(&bytes).unwrap();
    // The uppermost bit says that there are several functions.
    assert_eq!(space.header_type, 1);
    assert_eq!(space.serial_number, Some(0x2122_2324_2526_2728));
    assert_eq!(
        space.acs,
        Some(Acs {
            capability: 0x5f,
            control: 0x1d
        })
    );
    assert!(space.acs.unwrap().isolates() && space.is_complete);
}

#[test]
fn a_port_isolates_if_what_it_has_is_on() {
    let acs = |capability, control| {
        Acs {
            capability,
            control,
        }
        .isolates()
    };
    assert!(!acs(0x1d, 0) && !acs(0x1d, 0x1c) && acs(0x1d, 0x1d));
    // What a port does not have is not missing.
    assert!(acs(0x01, 0x01) && acs(0, 0) && !acs(0x05, 0x01));
}

#[test]
fn a_dead_device_and_too_few_bytes_give_nothing() {
    assert_eq!(ConfigSpace::parse(&[0xff; 4096]), None);
    assert_eq!(ConfigSpace::parse(&[]), None);
    assert_eq!(ConfigSpace::parse(&[0; 14]), None);
    // What a process reads that is not root.
    let short = &space(0, &[(0x100, 3, 0, &[1; 8])])[..64];
    let short = ConfigSpace::parse(short).unwrap();
    assert_eq!((short.serial_number, short.is_complete), (None, false));
}

#[test]
fn a_list_that_leads_in_a_circle_ends() {
    let bytes = space(0, &[(0x100, 1, 0x140, &[]), (0x140, 2, 0x100, &[])]);
    assert_eq!(ConfigSpace::parse(&bytes).unwrap().acs, None);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = ConfigSpace::parse(&bytes);
    }
}
