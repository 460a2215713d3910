//! The files under `/dev` that belong to a device.

use hosttune_core::host::EntryKind;
use hosttune_core::{Host, HostError, HostErrorKind};
use hosttune_pci::{Address, Device};

use super::disks::multipath_directories;

/// Directories below a device are nested deeply only for USB: controller, root hub, hubs, device,
/// interface, class, name.
const DEEPEST: usize = 24;

/// Directories without devices in them.
const WITHOUT_DEVICES: [&str; 4] = ["power", "msi_irqs", "queue", "statistics"];

/// The directories below a device, itself first, without those of PCI functions behind a bridge.
pub(super) fn directories(host: &Host, address: Address) -> Result<Vec<String>, HostError> {
    directories_below(host, address.directory())
}

fn directories_below(host: &Host, directory: String) -> Result<Vec<String>, HostError> {
    let mut found = Vec::new();
    let mut left = vec![(directory, 0)];
    while let Some((directory, depth)) = left.pop() {
        let names = match host.list(&directory) {
            Ok(names) => names,
            Err(error) if is_absent(&error) => continue,
            Err(error) => return Err(error),
        };
        for name in names {
            if depth == DEEPEST
                || WITHOUT_DEVICES.contains(&name.as_str())
                || name.parse::<Address>().is_ok()
            {
                continue;
            }
            let path = format!("{directory}/{name}");
            let entry = host.entry(&path)?;
            if entry.is_some_and(|entry| entry.kind == EntryKind::Directory) {
                left.push((path, depth + 1));
            }
        }
        found.push(directory);
    }
    found.sort_unstable();
    Ok(found)
}

/// The files under `/dev` through which a device is used.
pub(super) fn nodes(host: &Host, address: Address) -> Result<Vec<String>, HostError> {
    let mut found = Vec::new();
    if hosttune_pci::is_stuck(host, address)? {
        // Some of these files could not be read, and it is neither lent nor unbound.
        return Ok(found);
    }
    let mut searched = directories(host, address)?;
    for directory in multipath_directories(host, address)? {
        searched.extend(directories_below(host, directory)?);
    }
    for directory in searched {
        found.extend(group_node(host, &directory)?);
        // The name of an input device comes from its maker and is not always UTF-8: usbhid cuts a long
        // one in the middle of a character.
        let uevent = match host.read(format!("{directory}/uevent")) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if is_absent(&error) => continue,
            Err(error) => return Err(error),
        };
        let name = uevent
            .lines()
            .find_map(|line| line.strip_prefix("DEVNAME="));
        // Since Linux 3.5 the name has no `/dev/`.
        found.extend(name.map(|name| format!("/dev/{}", name.trim_start_matches("/dev/"))));
    }
    let Some(device) = Device::read(host, address)? else {
        return Ok(found);
    };
    match device.driver.as_deref() {
        // NVIDIA's own nodes are not below the device; all but the first are shared by all cards.
        Some("nvidia") => {
            found.extend(nvidia_nodes(host, address)?);
            let shared = ["nvidiactl", "nvidia-modeset", "nvidia-uvm"];
            found.extend(shared.map(|name| format!("/dev/{name}")));
        }
        // Shared by all cards of AMD.
        Some("amdgpu") => found.push("/dev/kfd".to_owned()),
        _ => {}
    }
    Ok(found)
}

/// The node of the IOMMU group of a device: its own group, which can be opened once, also through another
/// member that a VFIO driver has; or that of a mediated device below it, such as a vGPU.
fn group_node(host: &Host, directory: &str) -> Result<Option<String>, HostError> {
    let entry = host.entry(format!("{directory}/iommu_group"))?;
    let Some(EntryKind::Link(target)) = entry.map(|entry| entry.kind) else {
        return Ok(None);
    };
    let group = target.file_name().and_then(|name| name.to_str());
    Ok(group.map(|group| format!("/dev/vfio/{group}")))
}

/// The node of one card of NVIDIA's driver, from the driver's own file. Reading that file wakes a
/// suspended card: where the card may be suspended, it is any of the nodes.
fn nvidia_nodes(host: &Host, address: Address) -> Result<Vec<String>, HostError> {
    let status = match host.read_text(address.file("power/runtime_status")) {
        Ok(status) => status,
        Err(error) if is_absent(&error) => String::new(),
        Err(error) => return Err(error),
    };
    if status.trim() == "active" {
        let information = format!("/proc/driver/nvidia/gpus/{address}/information");
        let minor = host.read_text(information).ok().and_then(|text| {
            let line = text
                .lines()
                .find(|line| line.starts_with("Device Minor:"))?;
            line.rsplit(':').next()?.trim().parse::<u32>().ok()
        });
        if let Some(minor) = minor {
            return Ok(vec![format!("/dev/nvidia{minor}")]);
        }
    }
    let names = match host.list("/dev") {
        Ok(names) => names,
        Err(error) if is_absent(&error) => Vec::new(),
        Err(error) => return Err(error),
    };
    let is_card = |name: &&String| {
        name.strip_prefix("nvidia").is_some_and(|minor| {
            !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let cards = names.iter().filter(is_card);
    Ok(cards.map(|name| format!("/dev/{name}")).collect())
}

pub(super) fn is_absent(error: &HostError) -> bool {
    matches!(error.kind(), HostErrorKind::Missing | HostErrorKind::Gone)
        || error.is_not_a_directory()
}
