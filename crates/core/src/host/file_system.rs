//! The file system that a path is on, so that it can be told later whether that one is mounted.

use serde::{Deserialize, Serialize};

use super::{Host, HostError};

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
