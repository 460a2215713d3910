//! The file system that a path is on, so that it can be told later whether that one is mounted.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::mounts::{self, Mounts};
use super::{Host, HostError, HostErrorKind, RootKind};
use crate::unsupported::Unsupported;

/// The file system that a path is on, as it is saved with a change of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSystem {
    /// Where it is mounted.
    pub mount_point: String,
    /// The UUID that udev has found on its device (`ID_FS_UUID`), if it is on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
}

/// A partition, as udev has found it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partition {
    /// Its UUID in the partition table (`ID_PART_ENTRY_UUID`), in small letters.
    pub uuid: String,
    /// Its type (`ID_PART_ENTRY_TYPE`), in small letters: a UUID on a disk with a GPT.
    pub kind: String,
}

impl FileSystem {
    /// Why a file, which was on this file system when it was changed, cannot be told now: the path is on
    /// another file system. `None` if it is the same one, or if nothing tells that it is not.
    ///
    /// Where the UUID of one of both is not known, the mount points are compared. Then a file that is
    /// not below the old mount point has moved, and its content tells what became of it.
    ///
    /// # Errors
    /// As [`Host::file_system`].
    pub fn why_away(&self, host: &Host, file: &str) -> Result<Option<String>, HostError> {
        let Some(now) = host.file_system(file)? else {
            return Ok(None);
        };
        let name = match (&self.uuid, &now.uuid) {
            (Some(uuid), Some(now)) if uuid == now => return Ok(None),
            (Some(uuid), Some(_)) => format!(" with the UUID {uuid}"),
            _ if self.mount_point == now.mount_point || !self.contains(file) => return Ok(None),
            _ => String::new(),
        };
        Ok(Some(format!(
            "when {file} was changed, it was on the file system{name} at {}, and now the file system at {} is there: mount the first again, then revert again",
            self.mount_point, now.mount_point
        )))
    }

    fn contains(&self, file: &str) -> bool {
        let rest = file.strip_prefix(self.mount_point.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.starts_with('/'))
    }
}

impl Host {
    /// Why it cannot be told what became of a file in a directory that always has other files, such as one of a
    /// boot loader: the file system that the file `was` on when it was changed is not mounted now.
    ///
    /// # Errors
    /// As [`Host::file_system`], and any error of looking into the directory.
    pub fn file_out_of_reach(
        &self,
        file: &str,
        was: Option<&FileSystem>,
    ) -> Result<Option<String>, HostError> {
        if let Some(was) = was
            && let Some(why) = was.why_away(self, file)?
        {
            return Ok(Some(why));
        }
        let Some((directory, _)) = file.rsplit_once('/') else {
            return Ok(None);
        };
        if self.exists(file)? || !self.list_if_there(directory)?.is_empty() {
            return Ok(None);
        }
        Ok(Some(format!(
            "{file} is not there, and neither is any other file in {directory}: if the boot partition is not mounted, mount it; then revert again"
        )))
    }

    /// Why a path cannot be written, if the running system has it on a read-only mount; `None` also
    /// if that cannot be determined. Links in the path are not resolved.
    ///
    /// # Errors
    /// If the list of mounts exists and cannot be read.
    pub fn read_only_mount(
        &self,
        path: impl AsRef<Path>,
    ) -> Result<Option<Unsupported>, HostError> {
        if self.root_kind() != RootKind::Live {
            return Ok(None);
        }
        let path = path.as_ref().to_string_lossy();
        self.with_mounts(|mounts| mounts.unsupported(&path))
    }

    /// The file system that a path is on; `None` if the list of mounts does not tell, and in a system
    /// image. Links in the path are not resolved.
    ///
    /// # Errors
    /// If the list of mounts exists and cannot be read.
    pub fn file_system(&self, path: impl AsRef<Path>) -> Result<Option<FileSystem>, HostError> {
        if self.root_kind() == RootKind::Image {
            return Ok(None);
        }
        let path = path.as_ref().to_string_lossy();
        let mount = self.with_mounts(|mounts| {
            let (point, device, source) = mounts.mount(&path)?;
            Some((point.to_owned(), device.to_owned(), source.to_owned()))
        })?;
        let Some((mount_point, device, source)) = mount else {
            return Ok(None);
        };
        Ok(Some(FileSystem {
            mount_point,
            uuid: self.file_system_uuid(&device, &source),
        }))
    }

    /// The partition that a path is on; `None` if udev does not tell, and in a system image. Links in the
    /// path are not resolved.
    ///
    /// # Errors
    /// If the list of mounts exists and cannot be read.
    pub fn partition(&self, path: impl AsRef<Path>) -> Result<Option<Partition>, HostError> {
        if self.root_kind() == RootKind::Image {
            return Ok(None);
        }
        let path = path.as_ref().to_string_lossy();
        let mount = self.with_mounts(|mounts| {
            let (_, device, source) = mounts.mount(&path)?;
            Some((device.to_owned(), source.to_owned()))
        })?;
        let found = mount.and_then(|(device, source)| self.udev_data(&device, &source));
        Ok(found.and_then(|found| {
            Some(Partition {
                uuid: property(&found, "ID_PART_ENTRY_UUID")?.to_ascii_lowercase(),
                kind: property(&found, "ID_PART_ENTRY_TYPE")?.to_ascii_lowercase(),
            })
        }))
    }

    fn file_system_uuid(&self, device: &str, source: &str) -> Option<String> {
        property(&self.udev_data(device, source)?, "ID_FS_UUID")
    }

    /// What udev has found on a device. A file system of several devices (btrfs) has a number of its
    /// own, and its source is one of them.
    fn udev_data(&self, device: &str, source: &str) -> Option<String> {
        let text = |path: String| {
            let bytes = self.fs.read(Path::new(&path)).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        let device = match (device.starts_with("0:"), source.strip_prefix("/dev/")) {
            (false, _) => device.to_owned(),
            (true, Some(name)) if !name.contains('/') => {
                text(format!("/sys/class/block/{name}/dev"))?
            }
            (true, _) => return None,
        };
        text(format!("/run/udev/data/b{}", device.trim()))
    }

    /// Asks the list of mounts, which is empty if it cannot be read.
    fn with_mounts<T>(&self, ask: impl FnOnce(&Mounts) -> T) -> Result<T, HostError> {
        if let Some(known) = self.mounts.borrow().as_ref() {
            return Ok(ask(known));
        }
        let mounts = match self.fs.read(Path::new(mounts::LIST)) {
            Ok(list) => Mounts::parse(&String::from_utf8_lossy(&list)),
            Err(error)
                if matches!(error.kind(), HostErrorKind::Missing | HostErrorKind::Denied) =>
            {
                Mounts::default()
            }
            Err(error) => return Err(error),
        };
        let answer = ask(&mounts);
        if self.read_epoch.get().is_some() {
            self.mounts.replace(Some(mounts));
        }
        Ok(answer)
    }
}

/// A property in what udev has saved of a device.
fn property(data: &str, name: &str) -> Option<String> {
    let of_it = |line: &str| {
        let line = line.strip_prefix("E:")?.strip_prefix(name)?;
        Some(line.strip_prefix('=')?.to_owned())
    };
    data.lines().find_map(of_it)
}
