//! What holds for every guest.

use std::collections::BTreeSet;

use hosttune_guest::{Guest, LookingGlass, Name, Resolution, Version, libvirt, qemu};
use hosttune_pci::Address;
use proptest::prelude::*;

fn address() -> impl Strategy<Value = Address> {
    let domain = prop_oneof![Just(0_u32), 0..0x1_0010_u32];
    (domain, 0..4_u8, 0..32_u8, 0..8_u8).prop_map(|(domain, bus, device, function)| {
        Address::new(domain, bus, device, function).unwrap()
    })
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![
        Just(Version::B7 { hdr: false }),
        Just(Version::B7 { hdr: true }),
        Just(Version::Idd)
    ]
}

fn number(text: &str) -> u32 {
    u32::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap()
}

proptest! {
    /// Two frames (three for the driver) fit, and half of the size would not do.
    #[test]
    fn the_shared_memory_is_the_smallest_power_of_two(
        width in 1..=16_384_u32,
        height in 1..=16_384_u32,
        version in version(),
    ) {
        let resolution = Resolution::new(width, height).unwrap();
        let size = LookingGlass::new(resolution, version).mebibytes();
        prop_assert!(size.is_power_of_two());
        let pixels = f64::from(width) * f64::from(height);
        let mebibyte = f64::from(1 << 20);
        let (frames, more) = match version {
            Version::B7 { hdr } => (pixels * if hdr { 16.0 } else { 8.0 } / mebibyte, 10.0),
            _ => {
                let row = (f64::from(width) * 4.0 / 256.0).ceil() * 256.0;
                (row * f64::from(height) * 3.0 / mebibyte, 4.0)
            }
        };
        let size = f64::from(u32::try_from(size).unwrap());
        prop_assert!(frames + more <= size, "{frames} + {more} in {size}");
        prop_assert!(frames + more > size / 2.0, "{frames} + {more} in {size}");
    }

    /// The XML is well-formed, names each function of the host once, and no place in the guest
    /// twice; each card has function 0.
    #[test]
    fn each_function_is_in_the_guest_once(addresses in prop::collection::vec(address(), 0..12)) {
        let guest = Guest::new(Name::new("a").unwrap(), 1, 1).devices(addresses.iter().copied());
        let xml = libvirt::domain(&guest);
        let document = roxmltree::Document::parse(&xml).unwrap();
        let mut hosts = BTreeSet::new();
        let mut guests = BTreeSet::new();
        for device in document.descendants().filter(|node| node.has_tag_name("hostdev")) {
            prop_assert_eq!(device.attribute("managed"), Some("no"));
            let place = |node: roxmltree::Node| {
                let part = |name| number(node.attribute(name).unwrap());
                (part("domain"), part("bus"), part("slot"), part("function"))
            };
            let addresses = || device.descendants().filter(|node| node.has_tag_name("address"));
            let host = addresses().find(|node| node.attribute("type").is_none()).unwrap();
            let of_guest = addresses().find(|node| node.attribute("type").is_some()).unwrap();
            prop_assert!(hosts.insert(place(host)));
            prop_assert!(guests.insert(place(of_guest)));
        }
        let wanted: BTreeSet<_> = addresses
            .iter()
            .map(|one| {
                let (bus, device) = (u32::from(one.bus()), u32::from(one.device()));
                (one.domain(), bus, device, u32::from(one.function()))
            })
            .collect();
        prop_assert_eq!(&hosts, &wanted);
        for (domain, bus, slot, _) in &guests {
            prop_assert!(guests.contains(&(*domain, *bus, *slot, 0)));
        }
        // QEMU gets the same functions.
        let arguments = qemu::arguments(&guest);
        let lent = arguments.iter().filter(|word| word.starts_with("vfio-pci,"));
        prop_assert_eq!(lent.count(), wanted.len());
    }

    /// No name can end a quote, an argument or an element.
    #[test]
    fn a_name_is_plain_or_refused(text in ".{0,70}") {
        if let Ok(name) = Name::new(&text) {
            prop_assert!(name.as_str().bytes().all(
                |byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte)
            ));
            prop_assert!(!name.as_str().starts_with('-'));
        }
    }
}

#[test]
fn names_of_guests() {
    for text in ["windows11", "Win-11_pro.2", "a+b", &"x".repeat(64)] {
        assert_eq!(Name::new(text).unwrap().as_str(), text);
    }
    for text in [
        "",
        "-windows",
        "a b",
        "a'b",
        "a/b",
        "<a>",
        "ü",
        &"x".repeat(65),
        "a\nb",
    ] {
        let error = Name::new(text).unwrap_err().to_string();
        assert!(error.contains("is not the name of a guest"), "{error}");
        assert!(!error.contains('\n'), "{error:?}");
    }
}
