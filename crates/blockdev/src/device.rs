//! Resolving a path in `/dev` to a disk.

use std::path::{Component, Path, PathBuf};

use hosttune_core::host::EntryKind;
use hosttune_core::{Error, Host, HostError};

use crate::name::DiskName;

/// Why a path does not name a disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// It is a partition, which has no queue of its own.
    #[error("{device} is a partition of {disk}; only whole disks have a request queue")]
    Partition {
        /// The path as given.
        device: String,
        /// The disk that contains it.
        disk: DiskName,
    },
    /// Nothing exists by that name, or it is not a block device.
    #[error("{device} is not a block device")]
    NoBlockDevice {
        /// The path as given.
        device: String,
    },
    /// The host could not be read.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl DeviceError {
    /// A suggestion for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Partition { disk, .. } => Some(format!("use /dev/{}", slashes(disk.as_str()))),
            Self::NoBlockDevice { .. } => Some("list the disks with: lsblk -d".to_owned()),
            Self::Host(error) => error.hint().map(str::to_owned),
        }
    }
}

impl From<DeviceError> for Error {
    fn from(error: DeviceError) -> Self {
        match error {
            DeviceError::Host(error) => error.into(),
            other => Self::Tuning {
                message: other.to_string(),
                hint: other.hint(),
            },
        }
    }
}

/// How many symbolic links one path may go through, as in the kernel.
const MOST_LINKS: usize = 40;

/// Finds the disk that a path in `/dev` refers to: `/dev/sda`, `/dev/disk/by-id/ata-…`, or a bare
/// kernel name.
///
/// # Errors
/// If it is a partition, or not a block device.
pub fn find(host: &Host, device: impl AsRef<Path>) -> Result<DiskName, DeviceError> {
    let device = device.as_ref();
    let shown = device.display().to_string();
    let none = || DeviceError::NoBlockDevice {
        device: shown.clone(),
    };
    let path = follow(host, device)?.ok_or_else(none)?;
    let beneath = path.strip_prefix("/dev").unwrap_or(&path);
    // A slash in a device name is a `!` in sysfs.
    let name = beneath.to_string_lossy().replace('/', "!");
    let name: DiskName = name.parse().map_err(|_| none())?;
    if host.exists(name.directory())? {
        return Ok(name);
    }
    // In sysfs a partition's directory is inside that of its disk.
    let class = host.entry(format!("/sys/class/block/{name}"))?;
    if let Some(EntryKind::Link(target)) = class.map(|entry| entry.kind)
        && let Some(parent) = target.parent().and_then(Path::file_name)
        && let Ok(disk) = parent.to_string_lossy().parse::<DiskName>()
        && host.exists(disk.directory())?
    {
        return Err(DeviceError::Partition {
            device: shown,
            disk,
        });
    }
    Err(none())
}

/// The path in `/dev` with its symbolic links resolved; `None` if it leads elsewhere.
fn follow(host: &Host, device: &Path) -> Result<Option<PathBuf>, HostError> {
    let mut path = if device.is_absolute() {
        device.to_owned()
    } else {
        Path::new("/dev").join(device)
    };
    for _ in 0..MOST_LINKS {
        let Some(plain) = normal(&path) else {
            return Ok(None);
        };
        match host.entry(&plain)?.map(|entry| entry.kind) {
            Some(EntryKind::Link(target)) => {
                path = plain.parent().unwrap_or(Path::new("/")).join(target);
            }
            // A captured tree may have nothing in /dev; sysfs decides what exists.
            _ => return Ok(plain.starts_with("/dev").then_some(plain)),
        }
    }
    Ok(None)
}

/// The path without `.` and `..`.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            Component::Normal(name) => plain.push(name),
            Component::Prefix(_) => return None,
        }
    }
    Some(plain)
}

fn slashes(name: &str) -> String {
    name.replace('!', "/")
}
