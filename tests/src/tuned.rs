//! tuned, as unpacked by `scripts/machine`. It runs only in the machine, never on the build machine.

use std::path::PathBuf;

use crate::{MachineError, kernel};

/// Returns the directory with tuned 2.20 and its imports: `etc/tuned`, `usr/sbin/tuned`, and modules below
/// `usr/lib/python3/dist-packages`. It has the same path in the test machine.
///
/// # Errors
/// Fails if `scripts/machine` has not unpacked it.
pub fn tuned() -> Result<PathBuf, MachineError> {
    let unpacked = directory();
    if unpacked.join("usr/sbin/tuned").exists() {
        return Ok(unpacked.canonicalize().unwrap_or(unpacked));
    }
    Err(MachineError::NotFetched {
        what: "tuned".to_owned(),
        directory: unpacked,
    })
}

/// Returns the directory of tuned, which may not exist.
pub(crate) fn directory() -> PathBuf {
    kernel::directory().join("tuned")
}
