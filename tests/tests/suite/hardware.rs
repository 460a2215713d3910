//! The hardware of the machine, as each kernel sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;

use hosttune_test_machine::{DISKS, inside_every_kernel, wait_until};

inside_every_kernel!(
    every_device_has_its_driver,
    every_disk_is_found_by_its_serial_number,
    cards_with_a_function_for_sound_and_those_without_acs_share_a_group,
    every_module_that_crates_name_can_be_loaded,
    governors_turn_both_processors,
    a_packet_goes_from_card_to_card,
);

/// The last component of a link's target; empty if there is no link.
fn leads_to(link: impl AsRef<Path>) -> String {
    let to = fs::read_link(link.as_ref()).unwrap_or_default();
    to.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn entries(directory: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
}

fn text(path: impl AsRef<Path>) -> String {
    let text = fs::read_to_string(path.as_ref());
    text.unwrap_or_default().trim().to_owned()
}

fn every_device_has_its_driver() {
    let drivers: Vec<String> = entries("/sys/bus/pci/devices")
        .iter()
        .map(|device| leads_to(device.join("driver")))
        .filter(|driver| !driver.is_empty())
        .collect();
    let count = |name: &str| drivers.iter().filter(|driver| *driver == name).count();
    for (driver, devices) in [
        ("e1000e", 1),
        ("e1000", 2),
        ("nvme", 2),
        ("ahci", 1),
        ("xhci_hcd", 1),
        ("snd_hda_intel", 1),
        ("pcieport", 6),
    ] {
        assert_eq!(count(driver), devices, "{driver} among {drivers:?}");
    }
    // The name of the display driver differs between kernels.
    assert_eq!(count("bochs-drm") + count("bochs"), 1, "{drivers:?}");
    let virtio: BTreeSet<String> = entries("/sys/bus/virtio/devices")
        .iter()
        .map(|device| leads_to(device.join("driver")))
        .collect();
    for driver in ["virtio_net", "virtio_blk", "virtio_scsi"] {
        assert!(virtio.contains(driver), "{driver} among {virtio:?}");
    }
    assert_eq!(text("/sys/devices/system/cpu/online"), "0-1");
    assert!(Path::new("/sys/class/sound/pcmC0D0p").exists());
}

fn every_disk_is_found_by_its_serial_number() {
    let mut found = BTreeMap::new();
    for disk in entries("/sys/block") {
        let name = disk.file_name().unwrap().to_string_lossy().into_owned();
        let serial = [disk.join("serial"), disk.join("device/serial")]
            .iter()
            .map(text)
            .find(|serial| !serial.is_empty());
        // SCSI disks, and ATA disks, which look like them, have it in a page of vital product data: four
        // bytes, then the number.
        let page = fs::read(disk.join("device/vpd_pg80")).unwrap_or_default();
        let page = page.get(4..).map(|serial| {
            let serial = serial.split(|byte| *byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(serial).trim().to_owned()
        });
        let rotational = text(disk.join("queue/rotational"));
        let Some(serial) = serial.or(page) else {
            continue;
        };
        // Skips the hidden paths of NVMe multipath disks, such as nvme0c0n1.
        if !name.contains('c') || !name.starts_with("nvme") {
            found.insert(serial, (name, rotational));
        }
    }
    for disk in DISKS {
        let (name, rotational) = found
            .get(disk.serial)
            .unwrap_or_else(|| panic!("no {} among {found:?}", disk.serial));
        let (start, turns) = match disk.serial {
            "nvme-a" | "nvme-b" => ("nvme", "0"),
            "scsi-rotational" => ("sd", "1"),
            "scsi-solid" | "ata" => ("sd", "0"),
            // virtio disks always show as rotational: their driver does not ask the device.
            _ => ("vd", "1"),
        };
        assert!(name.starts_with(start), "{name} for {}", disk.serial);
        assert_eq!(rotational, turns, "{}", disk.serial);
    }
}

fn cards_with_a_function_for_sound_and_those_without_acs_share_a_group() {
    let groups: Vec<BTreeSet<String>> = entries("/sys/kernel/iommu_groups")
        .iter()
        .map(|group| {
            entries(&group.join("devices").to_string_lossy())
                .iter()
                .map(|device| text(device.join("class")) + " " + &leads_to(device.join("driver")))
                .collect()
        })
        .collect();
    let classes = |group: &BTreeSet<String>| -> Vec<String> {
        let class = |device: &String| device.chars().take(6).collect();
        group.iter().map(class).collect()
    };
    // Display and audio, and nothing else.
    assert!(
        groups
            .iter()
            .any(|group| classes(group) == ["0x0380", "0x0403"]),
        "{groups:?}"
    );
    let shared = entries("/sys/kernel/iommu_groups")
        .into_iter()
        .any(|group| {
            let devices = entries(&group.join("devices").to_string_lossy());
            let cards = devices
                .iter()
                .filter(|device| leads_to(device.join("driver")) == "e1000");
            cards.count() == 2
        });
    assert!(shared, "{groups:?}");
    // Every other device that is passed to guests is alone in its group.
    for driver in ["e1000e", "nvme", "xhci_hcd"] {
        let alone = groups.iter().filter(|group| {
            group.len() == 1 && group.iter().all(|device| device.ends_with(driver))
        });
        assert!(alone.count() >= 1, "{driver} in {groups:?}");
    }
}

/// All modules that the crates name or that a tuned host has. A built-in module counts as loaded.
const MODULES: [&str; 43] = [
    "act_mirred",
    "bfq",
    "br_netfilter",
    "brd",
    "cls_matchall",
    "cls_u32",
    "cpufreq_conservative",
    "cpufreq_ondemand",
    "cpufreq_powersave",
    "cpufreq_userspace",
    "dm_mod",
    "dummy",
    "e1000",
    "e1000e",
    "ext4",
    "ifb",
    "kyber-iosched",
    "loop",
    "nf_conntrack",
    "null_blk",
    "nvme",
    "sch_cake",
    "sch_fq",
    "sch_fq_codel",
    "sch_ingress",
    "sch_netem",
    "sch_tbf",
    "scsi_debug",
    "sd_mod",
    "snd-aloop",
    "snd-dummy",
    "snd-hda-intel",
    "tcp_bbr",
    "tcp_dctcp",
    "veth",
    "vfio",
    "vfio_iommu_type1",
    "vfio_pci",
    "virtio_blk",
    "virtio_scsi",
    "xhci_pci",
    "zram",
    "acpi-cpufreq",
];

fn every_module_that_crates_name_can_be_loaded() {
    let loaded = || -> BTreeSet<String> {
        let modules = text("/proc/modules");
        let names = modules.lines().filter_map(|line| line.split(' ').next());
        names.map(ToOwned::to_owned).collect()
    };
    let release = text("/proc/sys/kernel/osrelease");
    let builtin: BTreeSet<String> = text(format!("/lib/modules/{release}/modules.builtin"))
        .lines()
        .filter_map(|path| {
            Some(
                path.rsplit('/')
                    .next()?
                    .strip_suffix(".ko")?
                    .replace('-', "_"),
            )
        })
        .collect();
    let before = loaded();
    for module in MODULES {
        // Without devices, which later tests would see.
        let options: &[&str] = match module {
            "ifb" => &["numifbs=0"],
            "dummy" => &["numdummies=0"],
            "null_blk" => &["nr_devices=0"],
            "scsi_debug" => &["add_host=0"],
            "brd" => &["rd_nr=0"],
            "zram" => &["num_devices=0"],
            _ => &[],
        };
        let output = Command::new("modprobe").arg(module).args(options).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{module}: {said}");
        let name = module.replace('-', "_");
        assert!(
            Path::new("/sys/module").join(&name).exists() || builtin.contains(&name),
            "{module} is not there after it was loaded"
        );
    }
    // Unloaded again, in several passes because some of them depend on others.
    for _ in 0..4 {
        for module in loaded().difference(&before) {
            let _ = Command::new("modprobe").args(["-r", "-q", module]).status();
        }
    }
    let left: Vec<String> = loaded().difference(&before).cloned().collect();
    assert!(left.is_empty(), "cannot be unloaded: {left:?}");
}

fn governors_turn_both_processors() {
    for policy in ["policy0", "policy1"] {
        let directory = Path::new("/sys/devices/system/cpu/cpufreq").join(policy);
        assert_eq!(text(directory.join("scaling_driver")), "acpi-cpufreq");
        assert_eq!(text(directory.join("cpuinfo_min_freq")), "800000");
        assert_eq!(text(directory.join("cpuinfo_max_freq")), "3600000");
        let governor = directory.join("scaling_governor");
        let before = text(&governor);
        let other = if before == "performance" {
            "schedutil"
        } else {
            "performance"
        };
        fs::write(&governor, other).unwrap();
        assert_eq!(text(&governor), other);
        fs::write(&governor, &before).unwrap();
        assert_eq!(text(&governor), before);
    }
}

fn a_packet_goes_from_card_to_card() {
    let of = |driver: &str| -> Vec<String> {
        entries("/sys/class/net")
            .iter()
            .filter(|link| leads_to(link.join("device/driver")) == driver)
            .map(|link| link.file_name().unwrap().to_string_lossy().into_owned())
            .collect()
    };
    let ip = |arguments: &str| {
        let output = Command::new("ip")
            .args(arguments.split(' '))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "ip {arguments}: {said}");
        String::from_utf8(output.stdout).unwrap()
    };
    // In another network namespace: within one, the kernel would deliver the packet without the cards.
    let (one, other) = (&of("e1000e")[0], &of("virtio_net")[0]);
    ip("netns add peer");
    ip(&format!("link set {other} netns peer"));
    ip(&format!("addr add 192.0.2.1/24 dev {one}"));
    ip(&format!("link set {one} up"));
    ip(&format!("-n peer addr add 192.0.2.2/24 dev {other}"));
    ip(&format!("-n peer link set {other} up"));
    // The ARP request is a broadcast, and the reply goes to one card. Whether anything receives the datagram
    // itself does not matter.
    let mut neighbour = String::new();
    wait_until("the other card answers", || {
        let socket = UdpSocket::bind("192.0.2.1:0");
        let _ = socket.and_then(|socket| socket.send_to(b"anybody there?", "192.0.2.2:9"));
        neighbour = ip("neigh show 192.0.2.2");
        neighbour.contains("52:54:00:00:00:02")
    });
    // Restores the network.
    ip(&format!("link set {one} down"));
    ip(&format!("addr flush dev {one}"));
    ip(&format!("-n peer link set {other} netns 1"));
    ip("netns del peer");
    assert!(neighbour.contains("52:54:00:00:00:02"), "{neighbour:?}");
}
