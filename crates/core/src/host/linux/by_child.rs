//! The methods of the host whose writes a child makes.

use std::path::Path;

use rustix::fs::Mode;

use super::child_write::{Outcome, is_locked, lock, write};
use super::{LinuxHost, WRITING};
use crate::host::error::{HostError, HostErrorKind, Operation};
use crate::host::fs::{Fs, RootKind};

/// The hint for a write that hangs.
const STUCK: &str = "end what still uses the device and revert again; if it still hangs then, only a reboot brings the device back";

impl LinuxHost {
    /// As `Fs::write_value_in_child`.
    pub(super) fn write_by_child(
        &mut self,
        path: &Path,
        bytes: &[u8],
        guard: &Path,
    ) -> Result<(), HostError> {
        if self.kind != RootKind::Live {
            return self.write_captured(path, bytes);
        }
        let fail = self.fail(Operation::Write, path);
        let wanted = String::from_utf8_lossy(bytes).trim_end().to_owned();
        let stuck = |detail: String| {
            HostError::new(
                Operation::Write,
                path.display().to_string(),
                HostErrorKind::Stuck,
            )
            .wanted(wanted.clone())
            .detail(detail)
            .with_hint(STUCK)
        };
        let open = |path: &Path| self.resolve(path, WRITING, Mode::empty());
        let file = open(path).map_err(&fail)?;
        let held = open(guard).map_err(self.fail(Operation::Write, guard))?;
        let patience = self.hanging.patience(guard, self.limit);
        if !lock(&held, patience).map_err(&fail)? {
            return Err(stuck(
                "an earlier change of this device still hangs in the kernel".into(),
            ));
        }
        match write(file, held, bytes, self.limit) {
            Outcome::Written => Ok(()),
            Outcome::Refused(errno) => Err(fail(errno).wanted(wanted)),
            Outcome::Failed(said) => Err(HostError::new(
                Operation::Write,
                path.display().to_string(),
                HostErrorKind::Other,
            )
            .wanted(wanted)
            .detail(said)),
            Outcome::TookTooLong => Err(stuck(format!(
                "it was not finished within {} seconds",
                self.limit.as_secs()
            ))),
            Outcome::Hangs => {
                self.hanging.add(guard);
                Err(stuck(format!(
                    "it hangs in the kernel since {} seconds",
                    self.limit.as_secs()
                )))
            }
            Outcome::NoProgram => self.write_value(path, bytes),
        }
    }

    /// As `Fs::child_is_writing`.
    pub(super) fn is_written_by_child(&self, guard: &Path) -> Result<bool, HostError> {
        if self.kind != RootKind::Live {
            return Ok(false);
        }
        match self.resolve(guard, WRITING, Mode::empty()) {
            Ok(open) => is_locked(open).map_err(self.fail(Operation::Read, guard)),
            // Only root may open it, and without the device there is none.
            Err(_) => Ok(false),
        }
    }

    /// As `Fs::child_ends`.
    pub(super) fn is_left_by_child(&self, guard: &Path) -> Result<bool, HostError> {
        if self.kind != RootKind::Live {
            return Ok(true);
        }
        match self.resolve(guard, WRITING, Mode::empty()) {
            Ok(open) => self
                .hanging
                .ends(guard, open, self.limit)
                .map_err(self.fail(Operation::Read, guard)),
            Err(_) => Ok(true),
        }
    }
}
