//! `hosttune pci`, on a captured tree.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use hosttune_core::Host;
use hosttune_core::testing::{CrashPoint, Memory};
use hosttune_pci::Address;
use hosttune_pci::testing::{Bus as FakeBus, Fault, Function as FakeFunction};
use serde_json::{Value, json};

use super::asked::hosttune;
use super::schema::{assert_notices_every_change, assert_valid};
use crate::colour::Look;
use crate::exit::Exit;
use crate::pci::{Bus, StuckDevices};
use crate::{json as documents, text as texts};

fn write(root: &Path, path: &str, content: &str) {
    let path = root.join(path.trim_start_matches('/'));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// One function: its address, the directories above it, ids, class, driver, group.
struct Function<'a>(&'a str, &'a str, [&'a str; 2], &'a str, &'a str, u32);

impl Function<'_> {
    fn write(&self, root: &Path) -> String {
        let Self(address, above, [vendor, device], class, driver, group) = self;
        let directory = format!("sys/devices/pci0000:00/{above}{address}");
        for (name, value) in [
            ("vendor", *vendor),
            ("device", *device),
            ("class", *class),
            ("subsystem_vendor", "0x1043"),
            ("subsystem_device", "0x889d"),
            ("driver_override", "(null)"),
        ] {
            write(root, &format!("{directory}/{name}"), &format!("{value}\n"));
        }
        let links = root.join("sys/bus/pci/devices");
        fs::create_dir_all(&links).unwrap();
        let target = format!("../../../devices/pci0000:00/{above}{address}");
        symlink(target, links.join(address)).unwrap();
        let link = |name: &str, to: String| symlink(to, root.join(&directory).join(name)).unwrap();
        if !driver.is_empty() {
            link("driver", format!("../../../../bus/pci/drivers/{driver}"));
        }
        link(
            "iommu_group",
            format!("../../../../kernel/iommu_groups/{group}"),
        );
        directory
    }
}

/// A graphics card with audio behind a port, asleep, and a network card that has the default route.
fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    let root = tree.path();
    write(root, "proc/sys/kernel/osrelease", "6.12.0\n");
    write(root, "sys/class/iommu/dmar0/devices", "");
    write(
        root,
        "usr/share/misc/pci.ids",
        "10de  NVIDIA Corporation\n\t2684  AD102 [GeForce \u{1b}[31mRTX 4090]\n",
    );
    let port = ["0x8086", "0x1901"];
    let port = Function("0000:00:01.0", "", port, "0x060400", "pcieport", 1).write(root);
    write(root, &format!("{port}/secondary_bus_number"), "1\n");
    let behind = "0000:00:01.0/";
    let gpu = ["0x10de", "0x2684"];
    let gpu = Function("0000:01:00.0", behind, gpu, "0x030000", "nouveau", 1).write(root);
    write(root, &format!("{gpu}/power_state"), "D3cold\n");
    write(root, &format!("{gpu}/reset_method"), "\n");
    write(
        root,
        &format!("{gpu}/drm/card0/uevent"),
        "DEVNAME=dri/card0\n",
    );
    write(
        root,
        &format!("{gpu}/drm/card0/card0-DP-1/status"),
        "connected\n",
    );
    let audio = ["0x10de", "0x22ba"];
    Function("0000:01:00.1", behind, audio, "0x040300", "", 1).write(root);
    let nic = ["0x8086", "0x10d3"];
    let nic = Function("0000:00:03.0", "", nic, "0x020000", "e1000e", 2).write(root);
    write(root, &format!("{nic}/power_state"), "D0\n");
    write(root, &format!("{nic}/reset_method"), "flr bus\n");
    write(root, &format!("{nic}/sriov_totalvfs"), "7\n");
    write(root, &format!("{nic}/sriov_numvfs"), "0\n");
    write(root, &format!("{nic}/net/eth0/flags"), "0x1003\n");
    write(root, "sys/class/net/eth0/flags", "0x1003\n");
    let group = "sys/kernel/iommu_groups/2/reserved_regions";
    write(
        root,
        group,
        "0x00000000000e0000 0x00000000000fffff direct\n",
    );
    fs::create_dir_all(root.join("proc/812/fd")).unwrap();
    write(root, "proc/812/comm", "Xorg\n");
    symlink("/dev/dri/card0", root.join("proc/812/fd/9")).unwrap();
    tree
}

fn of<'v>(document: &'v Value, address: &str) -> &'v Value {
    let devices = document["devices"].as_array().unwrap();
    let mut devices = devices.iter();
    devices.find(|device| device["address"] == address).unwrap()
}

#[test]
fn pci_devices_are_shown_by_group() {
    let tree = tree();
    let ran = hosttune(&["pci", "--root", tree.path().to_str().unwrap()]);
    assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    let wanted = "\
4 PCI devices in 2 IOMMU groups

group 1
  0000:00:01.0 PCI bridge [8086:1901]
      driver pcieport, power state unknown
  0000:01:00.0 VGA controller [10de:2684] NVIDIA Corporation AD102 [GeForce \u{fffd}[31mRTX 4090]
      driver nouveau, behind 0000:00:01.0, asleep (D3cold), no reset of its own
      1 monitor is connected
      open in Xorg (process 812, /dev/dri/card0)
  0000:01:00.1 audio device [10de:22ba] NVIDIA Corporation
      no driver, behind 0000:00:01.0, power state unknown, resets unknown
  a virtual machine gets this group only after 0000:01:00.0 has left its driver

group 2
  0000:00:03.0 Ethernet controller [8086:10d3]
      driver e1000e, reset flr bus, 0 of 7 virtual functions
      interface eth0 is up
  firmware uses memory with this group (a direct reserved region): no virtual machine gets it
";
    assert_eq!(ran.out, wanted);
    assert_eq!(ran.err, "");
}

#[test]
fn the_same_devices_as_a_document() {
    let tree = tree();
    let ran = hosttune(&["pci", "--json", "--root", tree.path().to_str().unwrap()]);
    let document = ran.document();
    assert_valid("pci", &document);
    assert_notices_every_change("pci", &document);
    assert_eq!(document["iommu"], "active");
    let group = &document["groups"][0];
    assert_eq!(group["used_by_host"], json!(["0000:01:00.0"]));
    let gpu = of(&document, "0000:01:00.0");
    assert_eq!(gpu["reset_methods"], json!([]));
    assert_eq!(gpu["power"], "D3cold");
    assert_eq!(gpu["slot"], "pci0000:00/01.0/00.0");
    assert_eq!(gpu["uses"][1]["process"], 812);
    let nic = of(&document, "0000:00:03.0");
    assert_eq!(nic["virtual_functions"], json!({"total": 7, "provided": 0}));
    assert_eq!(of(&document, "0000:01:00.1")["driver"], Value::Null);
    assert_eq!(
        nic["is_stuck"],
        Value::Null,
        "a tree of files tells nothing"
    );
}

/// A bus in memory with one device that hangs, as it is shown to root, to a user, and of a captured
/// tree.
#[test]
fn a_stuck_device_is_shown_to_root_and_a_user_is_told_what_is_missing() {
    let nic = FakeFunction::new("0000:00:03.0", "8086:10d3", "020000")
        .group(2)
        .file("remove", "");
    let bus = FakeBus::new(Memory::new().directory("/proc/sys"))
        .with_driver("e1000e", &["8086:10d3"])
        .with(nic);
    let address: Address = "0000:00:03.0".parse().unwrap();
    bus.fail(Fault::UnbindHangs { address });
    let unbind = "/sys/bus/pci/drivers/e1000e/unbind";
    assert!(bus.write(unbind, "0000:00:03.0").is_err());
    let host = Host::new(bus.host(&CrashPoint::lives()));
    for (stuck, value, says) in [
        (StuckDevices::Known, json!(true), false),
        (StuckDevices::NeedRoot, Value::Null, true),
        (StuckDevices::NotRunning, Value::Null, false),
    ] {
        let bus = Bus::read(&host, stuck).unwrap();
        let document = serde_json::to_value(documents::bus(&bus)).unwrap();
        assert_valid("pci", &document);
        assert_eq!(of(&document, "0000:00:03.0")["is_stuck"], value);
        let text = texts::bus(Look::plain(), &bus);
        assert_eq!(text.contains("only root can see them"), says, "{text}");
    }
}

#[test]
fn a_host_without_pci_or_iommu_is_told_so() {
    let tree = tempfile::tempdir().unwrap();
    let root = tree.path();
    write(root, "proc/sys/kernel/osrelease", "6.12.0\n");
    let at = root.to_str().unwrap().to_owned();
    // Nothing is known of what was not captured.
    let ran = hosttune(&["pci", "--root", &at]);
    assert_eq!(ran.exit, Exit::Refused, "{ran:?}");
    assert!(
        ran.err.contains("its PCI devices were not captured"),
        "{}",
        ran.err
    );
    fs::create_dir_all(root.join("sys/bus/pci/devices")).unwrap();
    assert_eq!(hosttune(&["pci", "--root", &at]).out, "no PCI devices\n");
    let document = hosttune(&["pci", "--root", &at, "--json"]).document();
    assert_valid("pci", &document);
    assert_eq!(document["devices"], json!([]));

    write(root, "sys/firmware/acpi/tables/DMAR", "");
    let nic = ["0x8086", "0x10d3"];
    let nic = Function("0000:00:03.0", "", nic, "0x020000", "e1000e", 2).write(root);
    fs::remove_file(root.join(nic).join("iommu_group")).unwrap();
    let ran = hosttune(&["pci", "--root", &at]);
    assert!(
        ran.out.starts_with("1 PCI device, no IOMMU groups\n"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("intel_iommu=on"), "{}", ran.out);
    assert!(
        ran.out.contains("\nin no IOMMU group\n  0000:00:03.0 "),
        "{}",
        ran.out
    );
    let document = hosttune(&["pci", "--root", &at, "--json"]).document();
    assert_valid("pci", &document);
    assert_eq!(document["iommu"], "intel-off");
    assert_eq!(document["devices"][0]["group"], Value::Null);
}
