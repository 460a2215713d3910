//! The facts of stock kernels on known hardware.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use hosttune_facts::{Container, Facts, Hypervisor, NicKind, PciId, Transport, X86_64Level};
use hosttune_test_machine::{inside_stock_kernels, wait_until};

use crate::{capture, peers};

inside_stock_kernels!(
    a_card_tells_its_speed_while_it_is_up,
    facts_are_those_of_the_hardware,
);

/// e1000e shows 1000 Mbit/s once it has negotiated the speed with its link partner.
fn a_card_tells_its_speed_while_it_is_up() {
    let host = capture::host_at(Path::new("/"));
    let card = || {
        let mut nics = Facts::of(&host).nics.unwrap().into_iter();
        nics.find(|nic| nic.driver.as_deref() == Some("e1000e"))
            .unwrap()
    };
    let set = |state: &str| {
        let status = Command::new("ip")
            .args(["link", "set", &card().name, state])
            .status();
        assert!(status.unwrap().success(), "{state}");
    };
    assert_eq!(card().speed_megabits, None);
    set("up");
    wait_until("the card has a speed", || card().speed_megabits.is_some());
    let up = card();
    set("down");
    assert_eq!(up.speed_megabits, Some(1000), "{up}");
    assert_eq!(card().speed_megabits, None);
}

fn facts_are_those_of_the_hardware() {
    let live = capture::host_at(Path::new("/"));
    let facts = Facts::with_identifiers(&live);
    println!("{facts}");
    known(&facts);
    peers::agree(&facts);

    let tree = tempfile::tempdir().unwrap();
    capture::capture(&Facts::sources(), tree.path());
    let captured = capture::host_at(tree.path());
    assert_eq!(Facts::with_identifiers(&captured), facts);
    let anonymous = Facts::of(&captured);
    assert_eq!(anonymous, Facts::of(&live));
    // The addresses of the cards start with this.
    assert!(serde_json::json!(facts).to_string().contains("52:54:00"));
    let text = format!("{anonymous}{}", serde_json::json!(anonymous));
    for identifier in ["52:54:00", "nvme-a", "scsi-rotational", "0123456789abcdef"] {
        assert!(!text.contains(identifier), "{identifier} in {text}");
    }
}

/// The hardware that the machine was started with.
fn known(facts: &Facts) {
    assert_eq!(facts.virtualisation.hypervisor, Some(Hypervisor::Qemu));
    assert_eq!(facts.virtualisation.container, Some(Container::None));
    assert!(facts.is_virtual() && !facts.is_container() && !facts.has_nvidia());
    assert_eq!(facts.machine.manufacturer.as_deref(), Some("QEMU"));
    assert_eq!((facts.cpu.cores, facts.cpu.threads), (Some(2), Some(2)));
    assert!(facts.cpu.x86_64_level >= Some(X86_64Level::V2));
    assert_eq!(facts.cpu.frequency_driver.as_deref(), Some("acpi-cpufreq"));

    let mut transports: BTreeMap<Transport, u32> = BTreeMap::new();
    for disk in facts.disks.as_ref().unwrap() {
        *transports.entry(disk.transport).or_default() += 1;
        assert_eq!(disk.size_bytes, 64 << 20, "{disk}");
        assert_eq!(disk.removable, Some(false), "{disk}");
        let has_model = disk.transport != Transport::Virtio;
        assert_eq!(disk.model.is_some(), has_model, "{disk}");
    }
    let expected = [
        (Transport::Nvme, 2),
        (Transport::Sata, 1),
        (Transport::Scsi, 2),
        (Transport::Virtio, 1),
    ];
    assert_eq!(transports, expected.into());

    let nics = facts.nics.as_ref().unwrap().iter();
    let mut cards: Vec<&str> = nics
        .filter(|nic| nic.kind == NicKind::Physical)
        .filter_map(|nic| nic.driver.as_deref())
        .collect();
    cards.sort_unstable();
    assert_eq!(cards, ["e1000", "e1000", "e1000e", "virtio_net"]);

    let [gpu] = facts.gpus.as_deref().unwrap() else {
        panic!("{:?}", facts.gpus);
    };
    assert_eq!(
        (gpu.vendor_id, gpu.device_id),
        (Some(PciId(0x1234)), Some(PciId(0x1111)))
    );
    assert!(gpu.driver.as_deref().unwrap().starts_with("bochs"), "{gpu}");
    assert_eq!(facts.kernel.parameter("intel_iommu"), Some("on"));
}
