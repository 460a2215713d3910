//! tuned, as `scripts/machine` has unpacked it. It runs in the machine, never out here.

use std::path::PathBuf;

use crate::{MachineError, kernel};

/// Where tuned 2.20 is unpacked, with what it imports: `etc/tuned`, `usr/sbin/tuned`, and its
/// modules below `usr/lib/python3/dist-packages`. A machine sees it that has it
/// [shared](crate::Builder::share).
///
/// # Errors
/// Where `scripts/machine` has not unpacked it.
pub fn tuned() -> Result<PathBuf, MachineError> {
    let directory = kernel::directory().join("tuned");
    if directory.join("usr/sbin/tuned").exists() {
        return Ok(directory.canonicalize().unwrap_or(directory));
    }
    Err(MachineError::NotFetched {
        what: "tuned".to_owned(),
        directory,
    })
}
