//! What a set of requested parameters needs or risks on this host, each with its reason.

use std::collections::BTreeMap;
use std::path::Path;

use hosttune_core::host::EntryKind;
use hosttune_core::{Host, HostError, HostErrorKind};

use crate::driver::InstalledDriver;
use crate::gpu::optional;
use crate::parameter::{DriverModule, Parameter};
use crate::registry::RegistryDwords;

/// A requested parameter, as its 32 bits or its text.
pub(crate) type Requested = BTreeMap<(DriverModule, &'static str), String>;

/// What has to be known of a host to judge parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Whether the host is a notebook, by its DMI chassis type; `None` if it does not say.
    pub is_notebook: Option<bool>,
    /// Whether the driver has `/proc/driver/nvidia/suspend`, which means that suspending is done by
    /// services and not by notifiers; `None` if no driver is loaded.
    pub has_suspend_file: Option<bool>,
    /// Which of the suspend services systemd starts: one that is wanted, not masked, and installed.
    pub enabled_services: Vec<&'static str>,
    /// Which of them are masked, so that systemd does not start them, whatever wants them.
    pub masked_services: Vec<&'static str>,
    /// Which of them have no unit file.
    pub missing_services: Vec<&'static str>,
    /// Whether SELinux is enforcing.
    pub enforces_selinux: bool,
    /// The directory of `TemporaryFilePath`, if it does not exist.
    pub missing_directory: Option<String>,
}

/// The services that save video memory, and the unit that wants each.
const SERVICES: [(&str, &str); 3] = [
    ("nvidia-suspend.service", "systemd-suspend.service.wants"),
    (
        "nvidia-hibernate.service",
        "systemd-hibernate.service.wants",
    ),
    ("nvidia-resume.service", "systemd-suspend.service.wants"),
];

/// DMI chassis types of notebooks: portable, laptop, notebook, sub-notebook, convertible, detachable.
const NOTEBOOKS: [&str; 6] = ["8", "9", "10", "14", "31", "32"];

impl Surroundings {
    /// Reads them.
    ///
    /// # Errors
    /// If a file exists and cannot be read.
    pub fn read(host: &Host, temporary_file_path: Option<&str>) -> Result<Self, HostError> {
        let chassis = optional(host, "/sys/class/dmi/id/chassis_type")?;
        let is_loaded = host.exists("/proc/driver/nvidia/version")?;
        let has_suspend_file = match is_loaded {
            true => Some(host.exists("/proc/driver/nvidia/suspend")?),
            false => None,
        };
        let mut services: [Vec<&'static str>; 3] = Default::default();
        let [enabled, masked, missing] = &mut services;
        for (service, wants) in SERVICES {
            match unit(host, service)? {
                Unit::Missing => missing.push(service),
                Unit::Masked => masked.push(service),
                Unit::Installed if is_wanted(host, service, wants)? => enabled.push(service),
                Unit::Installed => {}
            }
        }
        let [enabled_services, masked_services, missing_services] = services;
        let enforcing = optional(host, "/sys/fs/selinux/enforce")?;
        let missing_directory = match temporary_file_path {
            Some(path) if path.starts_with('/') && !host.exists(path)? => Some(path.to_owned()),
            _ => None,
        };
        Ok(Self {
            is_notebook: chassis.map(|kind| NOTEBOOKS.contains(&kind.trim())),
            has_suspend_file,
            enabled_services,
            masked_services,
            missing_services,
            enforces_selinux: enforcing.is_some_and(|text| text.trim() == "1"),
            missing_directory,
        })
    }
}

/// Where systemd looks for units, the first that has one wins: systemd.unit(5).
const UNITS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// The unit file that systemd takes.
enum Unit {
    Missing,
    /// It is a link to `/dev/null`, or empty.
    Masked,
    Installed,
}

fn unit(host: &Host, service: &str) -> Result<Unit, HostError> {
    for directory in UNITS {
        let path = format!("{directory}/{service}");
        let link = match host.entry(&path)?.map(|entry| entry.kind) {
            None => continue,
            Some(EntryKind::Link(target)) => Some(target),
            Some(_) => None,
        };
        // A captured tree has no `/dev/null`.
        if link.is_some_and(|target| target == Path::new("/dev/null")) {
            return Ok(Unit::Masked);
        }
        match host.read(&path) {
            Ok(bytes) if bytes.is_empty() => return Ok(Unit::Masked),
            // What may not be read is there.
            Ok(_) => return Ok(Unit::Installed),
            Err(error) if *error.kind() == HostErrorKind::Denied => return Ok(Unit::Installed),
            // A link that leads nowhere is no unit file.
            Err(error) if *error.kind() == HostErrorKind::Missing => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Unit::Missing)
}

fn is_wanted(host: &Host, service: &str, wants: &str) -> Result<bool, HostError> {
    for directory in UNITS {
        if host.exists(format!("{directory}/{wants}/{service}"))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Why a value of a parameter is not written on this host, with what to do instead; `None` if
/// nothing speaks against it.
pub fn objection(
    parameter: &Parameter,
    value: u32,
    around: &Surroundings,
) -> Option<(String, String)> {
    let leave = "leave it out: the driver's default, 3, chooses for notebooks by itself".to_owned();
    match (parameter.name, value, around.is_notebook) {
        ("DynamicPowerManagement", 2, Some(false) | None) => Some((
            "an explicit 2 is for notebooks: on a desktop it can take the GPU off the bus".into(),
            leave,
        )),
        ("DynamicPowerManagement", 2, Some(true)) => Some((
            "an explicit 2 keeps the driver from allowing runtime power management by itself, and needs a udev rule for power/control".into(),
            leave,
        )),
        ("EnableS0ixPowerManagement", 1, Some(false)) => Some((
            "S0ix is never used on desktops".into(),
            "leave it out".into(),
        )),
        _ => None,
    }
}

/// Notes on the requested parameters. Each is a sentence with its reason.
pub(crate) fn notes(
    requested: &Requested,
    dwords: &RegistryDwords,
    driver: &InstalledDriver,
    around: &Surroundings,
) -> Vec<String> {
    let nvidia = |name| {
        requested
            .get(&(DriverModule::Nvidia, name))
            .map(String::as_str)
    };
    let drm = |name| {
        requested
            .get(&(DriverModule::Drm, name))
            .map(String::as_str)
    };
    let mut notes = Vec::new();
    let uses_notifiers = nvidia("UseKernelSuspendNotifiers") == Some("1");
    if nvidia("PreserveVideoMemoryAllocations") == Some("1") && !uses_notifiers {
        // No driver is loaded: only a branch that has notifiers can do without the services.
        let needs_services = around.has_suspend_file.unwrap_or(driver.branch() < 595);
        if needs_services {
            notes.extend(note_services(around));
        }
    }
    if let Some(directory) = &around.missing_directory {
        notes.push(format!(
            "the directory {directory} of NVreg_TemporaryFilePath does not exist: the driver uses /tmp, which needs the space of all video memory"
        ));
    }
    if uses_notifiers && around.enforces_selinux {
        notes.push(
            "with NVreg_UseKernelSuspendNotifiers=1 the driver writes its file as systemd-sleep, which SELinux denies on some distributions: test suspending".to_owned(),
        );
    }
    if drm("fbdev") == Some("1") && drm("modeset") == Some("0") {
        notes.push("nvidia_drm.fbdev=1 does nothing while nvidia_drm.modeset is 0".to_owned());
    }
    if drm("modeset") == Some("1") && drm("fbdev") == Some("0") {
        notes.push(
            "with nvidia_drm.fbdev=0 the firmware's framebuffer stays as a second card: do not choose a card by its number".to_owned(),
        );
    }
    for (key, _) in dwords.pairs() {
        if crate::parameter::find(DriverModule::Nvidia, key)
            .is_some_and(|known| known.shown == Some(key))
        {
            continue;
        }
        notes.push(
            match key.starts_with("PowerMizer") || key == "PerfLevelSrc" {
                true => {
                    format!("no branch of the open modules reads the key {key} of RegistryDwords")
                }
                false => format!("nothing shows whether the key {key} of RegistryDwords acts"),
            },
        );
    }
    notes
}

/// What to do about the suspend services that systemd does not start; `None` if it starts all.
fn note_services(around: &Surroundings) -> Option<String> {
    let services = SERVICES.iter().map(|(service, _)| *service);
    let needed: Vec<&str> = services
        .filter(|service| !around.enabled_services.contains(service))
        .collect();
    if needed.is_empty() {
        return None;
    }
    let (masked, missing) = (&around.masked_services, &around.missing_services);
    let mut to_enable = needed.clone();
    to_enable.retain(|service| !missing.contains(service));
    let mut todo = Vec::new();
    if !missing.is_empty() {
        todo.push(format!(
            "install the package that has the missing {} (on Debian nvidia-suspend-common)",
            missing.join(" ")
        ));
    }
    if !masked.is_empty() {
        todo.push(format!("systemctl unmask {}", masked.join(" ")));
    }
    if !to_enable.is_empty() {
        todo.push(format!("systemctl enable {}", to_enable.join(" ")));
    }
    Some(format!(
        "NVreg_PreserveVideoMemoryAllocations=1 needs {}, otherwise suspending fails with EIO: {}",
        needed.join(" "),
        todo.join("; ")
    ))
}
