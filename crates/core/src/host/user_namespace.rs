//! What cannot be written here: it is on a read-only mount, or belongs to another user namespace.

use std::path::Path;

use super::{Host, HostError, RootKind};
use crate::unsupported::{Unsupported, UnsupportedKind};

impl Host {
    /// Why a path cannot be written, if it belongs to another user namespace than this process, which is root in its
    /// own. Links in the path are not resolved.
    ///
    /// # Errors
    /// Any error from the file system, except for a missing path.
    pub fn owned_elsewhere(
        &self,
        path: impl AsRef<Path>,
    ) -> Result<Option<Unsupported>, HostError> {
        if self.root_kind() != RootKind::Live || !self.fs.is_owned_elsewhere(path.as_ref())? {
            return Ok(None);
        }
        let why = "it is not of this user namespace, and only root of the machine may write it";
        let unsupported = Unsupported::new(UnsupportedKind::NotInThisNamespace, why);
        Ok(Some(unsupported.hint(
            "run this as root in the initial user namespace, outside of the container",
        )))
    }

    /// Why an existing file cannot be written from here: its [mount is read-only](Self::read_only_mount), or it is
    /// [not of this user namespace](Self::owned_elsewhere). `None` if it can, as far as that is known.
    ///
    /// # Errors
    /// As of these.
    pub fn unwritable_here(
        &self,
        path: impl AsRef<Path>,
    ) -> Result<Option<Unsupported>, HostError> {
        let path = path.as_ref();
        match self.read_only_mount(path)? {
            None => self.owned_elsewhere(path),
            found => Ok(found),
        }
    }
}
