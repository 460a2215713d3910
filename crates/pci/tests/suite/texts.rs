//! Ids, classes, names, slots, releases, reserved regions: what the kernel prints.

use hosttune_pci::{
    Class, Ids, Names, PciId, PowerState, ReservedRegion, ResetMethod, SlotPath, ViabilityRule,
    is_vfio_driver,
};

#[test]
fn ids_are_two_numbers() {
    let ids: Ids = "10de:2684".parse().unwrap();
    assert_eq!((ids.vendor, ids.device), (PciId::NVIDIA, PciId(0x2684)));
    assert_eq!(ids.to_string(), "10de:2684");
    for text in [
        "",
        "10de",
        "10de:",
        "10de:268",
        "10de:2684:1",
        "10de 2684",
        "*:2684",
    ] {
        let error = text.parse::<Ids>().unwrap_err().to_string();
        assert!(error.contains("10de:2684"), "{error}");
    }
}

#[test]
fn a_class_tells_the_kind() {
    let class = |text: &str| text.parse::<Class>().unwrap();
    assert!(class("0x030000").is_vga() && class("030000").is_display());
    // The boot GPU of newer processors.
    assert!(class("0x038000").is_display() && !class("0x038000").is_vga());
    assert!(class("0x040300").is_audio() && !class("0x040300").is_display());
    assert!(class("0x060400").is_bridge() && class("0x0c0330").is_usb());
    assert_eq!(class("0x0c0330").to_string(), "0c0330");
    for text in ["", "0x03", "0300", "0x03000g", "0x0300000"] {
        assert!(text.parse::<Class>().is_err(), "{text}");
    }
    assert!(Class::new(1 << 24).is_none());
}

#[test]
fn a_slot_has_no_bus_numbers() {
    let at = |target| {
        let (slot, functions) = SlotPath::parse(target).unwrap();
        let functions: Vec<String> = functions.iter().map(ToString::to_string).collect();
        (slot.as_str().to_owned(), functions)
    };
    let (slot, functions) = at("../../../devices/pci0000:00/0000:00:01.1/0000:0d:00.1");
    assert_eq!(slot, "pci0000:00/01.1/00.1");
    assert_eq!(functions, ["0000:00:01.1", "0000:0d:00.1"]);
    let (renumbered, _) = at("../../../devices/pci0000:00/0000:00:01.1/0000:0e:00.1");
    assert_eq!(renumbered, slot);
    let (other, _) = at("../../../devices/pci0000:00/0000:00:01.2/0000:0d:00.1");
    assert_ne!(other, slot);
    let (vmd, functions) =
        at("../../../devices/pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0");
    assert_eq!(vmd, "pci0000:00/0e.0/06.0/00.0");
    assert_eq!(functions.len(), 3);
    assert_eq!(SlotPath::parse("../devices/virtual/net/lo"), None);
    assert_eq!(SlotPath::parse(""), None);
}

#[test]
fn names_are_found_where_they_are_wanted() {
    let text = "# a comment\n\n10de  NVIDIA Corporation\n\t2684  AD102 [GeForce RTX 4090]\n\t\t10de 16f4  A board\n\t2685  Another\n1022  AMD\n\t2684  Not this one\nC 03  Display controller\n\t00  VGA compatible controller\n";
    let ids: Ids = "10de:2684".parse().unwrap();
    let names = Names::parse(text, [ids]);
    assert_eq!(names.vendor(PciId::NVIDIA), Some("NVIDIA Corporation"));
    assert_eq!(names.device(ids), Some("AD102 [GeForce RTX 4090]"));
    assert_eq!(names.device("10de:2685".parse().unwrap()), None);
    assert_eq!(names.vendor(PciId(0x1022)), None);
    assert_eq!(Names::parse("\u{0}\n\t\n10de", [ids]), Names::default());
}

#[test]
fn the_rule_follows_the_release() {
    let rule = ViabilityRule::of_release;
    assert_eq!(rule("5.18.19-generic\n"), Some(ViabilityRule::Bridges));
    assert_eq!(rule("5.19.0"), Some(ViabilityRule::ManagedDma));
    assert_eq!(
        rule("6.12.117+deb12-amd64"),
        Some(ViabilityRule::ManagedDma)
    );
    assert_eq!(rule("7.3-rc1"), Some(ViabilityRule::ManagedDma));
    assert_eq!(rule(""), None);
}

#[test]
fn drivers_of_vfio_are_told_by_their_names() {
    for name in [
        "vfio-pci",
        "mlx5_vfio_pci",
        "nvgrace-gpu-vfio-pci",
        "vfio_pci",
    ] {
        assert!(is_vfio_driver(name), "{name}");
    }
    for name in [
        "",
        "vfio",
        "pci-stub",
        "pcieport",
        "novfio-pciport",
        "xvfio-pci",
    ] {
        assert!(!is_vfio_driver(name), "{name}");
    }
}

#[test]
fn a_direct_region_blocks_and_a_relaxable_one_does_not() {
    let regions = ReservedRegion::parse(
        "0x000000007b000000 0x000000007fffffff direct\n\
         0x00000000fee00000 0x00000000feefffff msi\n\
         0x0000000000000000 0x0000000000ffffff direct-relaxable\nrubbish\n",
    );
    assert_eq!(regions.len(), 3);
    assert_eq!(regions[0].start, 0x7b00_0000);
    let blocks: Vec<bool> = regions.iter().map(ReservedRegion::blocks).collect();
    assert_eq!(blocks, [true, false, false]);
}

#[test]
fn words_of_the_kernel_are_kept() {
    for word in [
        "device_specific",
        "acpi",
        "flr",
        "af_flr",
        "pm",
        "bus",
        "cxl_bus",
        "new",
    ] {
        assert_eq!(ResetMethod::from(word.to_owned()).as_str(), word);
    }
    assert_eq!(PowerState::parse("D3cold\n"), PowerState::D3cold);
    assert_eq!(PowerState::parse("error"), PowerState::Unknown);
    assert!(!PowerState::D3hot.is_awake() && PowerState::D0.is_awake());
}
