//! The NVIDIA GPUs of a host. Nothing here wakes one.
//!
//! sysfs answers `vendor`, `device`, `class` and `power/runtime_status` from memory. The PCI
//! `config` of a sleeping device and the driver's `information` would wake it: the first is never
//! read, and the second only while the GPU is awake.

use std::collections::BTreeMap;

use hosttune_core::{Host, HostError, HostErrorKind};
use serde::{Deserialize, Serialize};

use crate::generation::Generation;

pub(crate) const DEVICES: &str = "/sys/bus/pci/devices";
pub(crate) const OF_DRIVER: &str = "/proc/driver/nvidia/gpus";

/// A fact that only the driver knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Fact {
    /// The driver says so.
    Known(String),
    /// The GPU sleeps, and asking would wake it.
    Asleep,
    /// The kernel does not say whether the GPU sleeps, so it was not asked.
    NotAsked,
    /// No program has opened the GPU since the driver was loaded, so the driver does not know yet.
    NotOpenedYet,
    /// The driver is not loaded, or does not use this GPU.
    NoDriver,
}

/// One NVIDIA GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Gpu {
    /// The PCI address: `0000:01:00.0`.
    pub address: String,
    /// The PCI device id.
    pub device: u16,
    /// The generation; `None` if the id is in no known range.
    pub generation: Option<Generation>,
    /// Whether it sleeps now (runtime D3); `None` if the kernel does not say.
    pub is_asleep: Option<bool>,
    /// The name of the model.
    pub model: Fact,
    /// The version of the video BIOS.
    pub video_bios: Fact,
    /// The version of the firmware of the GPU System Processor, or that there is none.
    pub firmware: Fact,
}

impl Gpu {
    /// The GPU for messages: `GPU 0000:01:00.0 [10de:1401]`.
    pub fn name(&self) -> String {
        format!("GPU {} [10de:{:04x}]", self.address, self.device)
    }
}

/// The NVIDIA GPUs, by address.
///
/// # Errors
/// If a directory or file exists and cannot be read.
pub fn gpus(host: &Host) -> Result<Vec<Gpu>, HostError> {
    let mut found = Vec::new();
    for address in host.list_if_there(DEVICES)? {
        let of_device = format!("{DEVICES}/{address}");
        if hexadecimal(host, &format!("{of_device}/vendor"))? != Some(0x10de) {
            continue;
        }
        // Display controllers: VGA (0300) and 3D (0302). The sound function has the same vendor.
        let class = hexadecimal(host, &format!("{of_device}/class"))?;
        if !matches!(class.map(|class| class >> 8), Some(0x0300 | 0x0302)) {
            continue;
        }
        let device = hexadecimal(host, &format!("{of_device}/device"))?;
        let Some(device) = device.and_then(|device| u16::try_from(device).ok()) else {
            continue;
        };
        let status = optional(host, &format!("{of_device}/power/runtime_status"))?;
        let is_asleep = match status.as_deref().map(str::trim) {
            Some("active") => Some(false),
            Some("suspended" | "suspending" | "resuming") => Some(true),
            // "unsupported" and "error": runtime power management is off for the device.
            _ => None,
        };
        let fact = facts(host, &address, is_asleep)?;
        found.push(Gpu {
            generation: Generation::of_device(device),
            device,
            is_asleep,
            model: fact("Model"),
            video_bios: fact("Video BIOS"),
            firmware: fact("GPU Firmware"),
            address,
        });
    }
    Ok(found)
}

/// Looks facts up in the driver's `information` of a GPU that is awake.
fn facts(
    host: &Host,
    address: &str,
    is_asleep: Option<bool>,
) -> Result<impl Fn(&str) -> Fact + use<>, HostError> {
    let is_used = host
        .list_if_there(OF_DRIVER)?
        .iter()
        .any(|known| known == address);
    let is_awake = is_asleep == Some(false);
    let text = match is_used && is_awake {
        true => optional(host, &format!("{OF_DRIVER}/{address}/information"))?,
        false => None,
    };
    let fields: BTreeMap<String, String> = information(&text.unwrap_or_default());
    Ok(move |key: &str| match fields.get(key) {
        _ if !is_used => Fact::NoDriver,
        _ if is_asleep.is_none() => Fact::NotAsked,
        _ if !is_awake => Fact::Asleep,
        // Before the first program opens the GPU, its BIOS is all question marks.
        Some(value) if !value.contains('?') && value != "N/A" => Fact::Known(value.clone()),
        _ => Fact::NotOpenedYet,
    })
}

/// The fields of `/proc/driver/nvidia/gpus/ADDRESS/information`: names, padded with tabs.
pub fn information(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

/// The text of a file; `None` if it does not exist.
pub(crate) fn optional(host: &Host, path: &str) -> Result<Option<String>, HostError> {
    match host.read_text(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if *error.kind() == HostErrorKind::Missing => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn hexadecimal(host: &Host, path: &str) -> Result<Option<u32>, HostError> {
    let text = optional(host, path)?.unwrap_or_default();
    let digits = text.trim().strip_prefix("0x");
    Ok(digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()))
}
