//! Kernel files that hold one value each: what the knobs of all such files have in common.
//!
//! What a value means, and what a missing file means (a device that has gone, a feature that this
//! kernel lacks), is each knob's own.

use std::path::Path;

use crate::host::{Host, HostError, HostErrorKind, Operation};
use crate::{Unsupported, UnsupportedKind};

/// Reads such a file without the blanks around its value. `None` if there is no file, or its device
/// has gone since it was opened (ENODEV).
///
/// # Errors
/// Any other error from the host.
pub fn read(host: &Host, path: impl AsRef<Path>) -> Result<Option<String>, HostError> {
    match host.read_text(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if matches!(error.kind(), HostErrorKind::Missing | HostErrorKind::Gone) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// As [`read`], for a number.
///
/// # Errors
/// As there, and if the value is not a number.
pub fn read_number(host: &Host, path: impl AsRef<Path>) -> Result<Option<u64>, HostError> {
    let path = path.as_ref();
    let Some(text) = read(host, path)? else {
        return Ok(None);
    };
    let number = text.parse().map_err(|_| {
        HostError::malformed(
            path.display().to_string(),
            format!("'{text}' is not a number"),
        )
    })?;
    Ok(Some(number))
}

/// Why a file that exists cannot be written: the kernel shows it read-only, for the given reason, or
/// it is on a read-only mount. `None` if it can.
///
/// # Errors
/// Any error from the host.
pub fn unwritable(
    host: &Host,
    path: impl AsRef<Path>,
    read_only: &str,
) -> Result<Option<Unsupported>, HostError> {
    let path = path.as_ref();
    match host.entry(path)? {
        Some(entry) if !entry.owner_may_write() => {
            Ok(Some(Unsupported::new(UnsupportedKind::ReadOnly, read_only)))
        }
        _ => host.unwritable_here(path),
    }
}

/// The error of [`Knob::set`](crate::Knob::set) for a state without a value, with what cannot be
/// done: the kernel makes and removes such files itself.
pub fn no_value(path: impl AsRef<Path>, what: &str) -> HostError {
    let path = path.as_ref().display().to_string();
    HostError::new(Operation::Remove, path, HostErrorKind::Refused).detail(what)
}
