//! The values of a captured tree.

use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::LinuxHost;
use crate::host::choice;
use crate::host::error::{HostError, Operation};
use crate::host::fs::{FileContent, RootKind};
use crate::host::regular::{LARGEST_VALUE, Unread, read_value};
use crate::host::replacement::TreeValue;

impl LinuxHost {
    /// Reads a value of a tree.
    pub(super) fn read_captured(&self, path: &Path) -> Result<Vec<u8>, Unread> {
        if self
            .tree_value(path)
            .is_ok_and(|value| value.has_leftover())
        {
            self.leftovers.saw(path);
        }
        match self.open_to_read(path, LARGEST_VALUE)? {
            // A captured value is shorter than the buffer, and a regular file returns all of it.
            Some(open) => read_value(open),
            None => Ok(Vec::new()),
        }
    }

    /// Locates a value of a tree.
    pub(super) fn tree_value(&self, path: &Path) -> Result<TreeValue, Errno> {
        TreeValue::find(path, |directory| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            self.resolve(directory, flags, Mode::empty())
        })
    }

    /// Writes a value of a tree: a regular file, which is replaced as a whole.
    pub(super) fn write_captured(&self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        let fail = self.fail(Operation::Write, path);
        let wanted = || String::from_utf8_lossy(bytes).trim_end().to_owned();
        let value = self.tree_value(path).map_err(&fail)?;
        let old = value
            .content()
            .map_err(|unread| unread.into_error(Operation::Write, self.shown(path)))?;
        let chosen = if self.kind == RootKind::Captured && path.starts_with("/sys") {
            choice::moved(&old.bytes, bytes)
        } else {
            None
        };
        // A file that was captured without its last newline, as by a shell's substitution, stays so.
        let had_none = !old.bytes.is_empty() && !old.bytes.ends_with(b"\n");
        let bytes = match chosen {
            None if had_none => bytes.strip_suffix(b"\n").unwrap_or(bytes).to_owned(),
            None => bytes.to_owned(),
            Some(Ok(list)) => list,
            Some(Err(choice::NotOffered)) => return Err(fail(Errno::INVAL).wanted(wanted())),
        };
        value
            .replace(&FileContent { bytes, ..old })
            .map_err(|errno| fail(errno).wanted(wanted()))
    }
}
