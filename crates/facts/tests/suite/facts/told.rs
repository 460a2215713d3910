//! The facts of invented machines.

use std::process::Command;

use hosttune_core::Host;
use hosttune_core::testing::{CrashPoint, Memory};
use hosttune_facts::{Certainty, Distribution, Facts, Firmware, Form, Transport};

use super::{machines, virtual_machines};

fn facts(memory: &Memory) -> Facts {
    Facts::of(&Host::new(memory.host(&CrashPoint::lives())))
}

#[test]
fn a_desktop_is_told_on_a_page() {
    let facts = facts(&machines::desktop());
    let expected = "\
machine         board ASUSTeK COMPUTER INC. Z170 PRO GAMING, firmware American Megatrends Inc. 3805, desktop
virtualisation  no virtual machine, no container
processor       Intel(R) Core(TM) i7-6700K CPU @ 4.00GHz, Skylake, x86-64-v3, 4 cores, 8 threads, 1 socket, 1 NUMA node, intel_pstate
memory          15.5 GiB, 11.9 GiB of swap, huge pages of 2 MiB, 1 GiB
disks           nvme0n1: 465.7 GiB, nvme, Samsung SSD 960 EVO 500GB, not rotational
                sda: 3.6 TiB, sata, WDC WD40EZRZ-00G, rotational
                sdb: 28.6 GiB, usb, Ultra Fit, rotational, removable
network         enp0s20u9: physical at 1-9:1.0
                enp0s31f6: physical, e1000e at 0000:00:1f.6, 1000 Mbit/s
                wlp2s0: wireless at 0000:02:00.0
                1 virtual
graphics        Intel [8086:1912] at 0000:00:02.0, no driver
                NVIDIA [10de:1b80] at 0000:01:00.0, nvidia 580.105.08, firmware display
distribution    Arch Linux
kernel          6.18.2-arch1-1 for x86_64, #1 SMP PREEMPT_DYNAMIC Thu, 18 Dec 2025 18:00:18 +0000
command line    initrd=\\initramfs-linux.img root=UUID=… rw quiet mitigations=off
boot            EFI, no secure boot, systemd-boot 259-2-arch
";
    assert_eq!(facts.to_string(), expected);
    assert!(facts.has_nvidia() && !facts.is_virtual() && !facts.is_laptop());
    assert_eq!(facts.kernel.parameter("mitigations"), Some("off"));
    assert_eq!(facts.boot.loader.unwrap().certainty, Certainty::Said);
    // "System manufacturer" is a placeholder.
    assert_eq!(facts.machine.manufacturer, None);
}

#[test]
fn a_laptop_is_one() {
    let facts = facts(&machines::laptop());
    assert!(facts.is_laptop() && facts.cpu.is_amd() && facts.has_nvidia());
    assert_eq!(facts.machine.form, Some(Form::Laptop));
    assert_eq!(facts.machine.battery, Some(true));
    assert_eq!(
        (facts.boot.firmware, facts.boot.secure_boot),
        (Some(Firmware::Efi), Some(true))
    );
    // GRUB reads boot loader entries too, so they do not indicate systemd-boot.
    let loader = facts.boot.loader.unwrap();
    assert_eq!(
        (&*loader.name, loader.certainty),
        ("GRUB", Certainty::Likely)
    );
    let disks = facts.disks.unwrap();
    let told = disks
        .iter()
        .map(|disk| (&*disk.name, disk.transport, disk.model.as_deref()));
    let expected = [
        ("mmcblk0", Transport::Mmc, Some("SN128")),
        ("nvme0n1", Transport::Nvme, None),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    let versions = facts
        .gpus
        .unwrap()
        .into_iter()
        .map(|gpu| gpu.driver_version);
    assert_eq!(
        versions.collect::<Vec<_>>(),
        [None, Some("580.95.05".to_owned())]
    );
    assert_eq!(
        facts.distribution.unwrap().variant_id.as_deref(),
        Some("workstation")
    );
}

#[test]
fn an_older_kernel_says_less() {
    let facts = facts(&machines::older_kernel());
    assert_eq!(
        (facts.cpu.cores, facts.cpu.threads, facts.cpu.sockets),
        (Some(2), Some(4), Some(1))
    );
    assert_eq!(facts.kernel.architecture.as_deref(), Some("x86_64"));
    assert_eq!(facts.boot.firmware, Some(Firmware::Bios));
    assert!(facts.kernel.command_line.unwrap().ends_with("BOOTIF=…"));
    assert_eq!(facts.machine.battery, None);
}

#[test]
fn of_an_image_what_runs_is_unknown() {
    let facts = facts(&machines::image());
    assert_eq!(facts.distribution.unwrap().id, "debian");
    let loader = facts.boot.loader.unwrap();
    assert_eq!(
        (&*loader.name, loader.certainty),
        ("systemd-boot", Certainty::Installed)
    );
    assert_eq!(facts.virtualisation.hypervisor, None);
    // `/.dockerenv` may come from the container that the image was built in.
    assert_eq!(facts.virtualisation.container, None);
    assert_eq!(
        (facts.cpu.threads, facts.disks, facts.boot.firmware),
        (None, None, None)
    );
}

#[test]
fn identifiers_are_told_only_when_they_are_asked_for() {
    let memory = machines::desktop();
    let host = Host::new(memory.host(&CrashPoint::lives()));
    let identified = serde_json::json!(Facts::with_identifiers(&host)).to_string();
    let anonymous = serde_json::json!(Facts::of(&host)).to_string();
    for identifier in ["52:54:00:aa:bb:01", "0a1b2c3d-1234-5678-9abc-0123456789ab"] {
        assert!(identified.contains(identifier) && !anonymous.contains(identifier));
    }
    // A serial number is in neither.
    assert!(!identified.contains("160000000000000"));
}

#[test]
fn every_hypervisor_is_known_by_what_it_shows() {
    for (word, number, memory) in virtual_machines::hypervisors() {
        let found = facts(&memory).virtualisation.hypervisor.unwrap();
        assert_eq!(found.word(), word, "{number}: {:#?}", memory.snapshot());
    }
}

#[test]
fn every_container_is_known_by_what_it_leaves() {
    for (word, number, memory) in virtual_machines::containers() {
        let found = facts(&memory).virtualisation.container.unwrap();
        assert_eq!(found.word(), word, "{number}: {:#?}", memory.snapshot());
    }
}

/// os-release(5) defines the file as what a shell reads.
#[test]
fn a_shell_reads_the_same_distribution() {
    for value in [
        "plain",
        "\"two words\"",
        "'single $HOME'",
        "\"a \\\"quoted\\\" \\$word \\\\ \\`\"",
        "un\"quo\"'ted'",
        "esc\\ aped",
        "\"back\\slash\"",
        "\"\"",
        "''",
        "'it'\\''s'",
        "\"é\"",
        "ends # here",
        "\"#\" #x",
        "a#b",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("os-release");
        std::fs::write(&file, format!("PRETTY_NAME={value}\n")).unwrap();
        let script = ". \"$0\"; printf '%s' \"$PRETTY_NAME\"";
        let said = Command::new("sh")
            .args(["-c", script])
            .arg(&file)
            .output()
            .unwrap();
        let expected = String::from_utf8(said.stdout).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let ours = Distribution::parse(&text).pretty_name;
        let expected = if expected.is_empty() {
            "Linux".to_owned()
        } else {
            expected
        };
        assert_eq!(ours, expected, "{value}");
    }
}
