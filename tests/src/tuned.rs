//! tuned, as `scripts/machine` has unpacked it. It runs in the machine, never out here.

use std::path::PathBuf;

use crate::{MachineError, kernel};

/// Where tuned 2.20 is unpacked, with what it imports: `etc/tuned`, `usr/sbin/tuned`, and its
/// modules below `usr/lib/python3/dist-packages`. The machines of tests see it at the same path.
///
/// # Errors
/// Where `scripts/machine` has not unpacked it.
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

/// Where it is unpacked, if it is.
pub(crate) fn directory() -> PathBuf {
    kernel::directory().join("tuned")
}
