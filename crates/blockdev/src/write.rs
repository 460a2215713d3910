//! Writing a value to a queue attribute, and interpreting the errors.

use std::time::Duration;

use hosttune_core::{Host, HostError, HostErrorKind, Unsupported, UnsupportedKind};

use crate::name::DiskName;
use crate::scheduler::{gone, is_absent};

const EAGAIN: i32 = rustix::io::Errno::AGAIN.raw_os_error();

/// Pauses between retries of a write to a queue that is frozen at the moment.
const AGAIN: [Duration; 3] = [
    Duration::from_millis(5),
    Duration::from_millis(20),
    Duration::from_millis(80),
];

/// Writes a value. A refusal by one disk must not stop changes to the others, so it becomes a
/// [`Unsupported`]; `unavailable` returns which one.
pub(crate) fn value(
    host: &mut Host,
    disk: &DiskName,
    path: &str,
    text: &str,
    unavailable: impl FnOnce(&Host) -> Option<Unsupported>,
) -> Result<(), HostError> {
    let line = format!("{text}\n");
    let mut answer = host.write_value(path, line.as_bytes());
    for pause in AGAIN {
        match &answer {
            // EAGAIN means that the queue's lock was not obtained and nothing was written.
            Err(error) if is_busy(error) => host.pause(pause),
            _ => break,
        }
        answer = host.write_value(path, line.as_bytes());
    }
    let Err(error) = answer else { return Ok(()) };
    let error = error.wanted(text);
    let unsupported = if is_absent(&error) && !crate::disk::is_there(host, disk).unwrap_or(true) {
        Some(gone(disk))
    } else if is_busy(&error) {
        Some(
            Unsupported::new(
                UnsupportedKind::Busy,
                format!("the queue of {disk} is frozen: its driver is recreating it"),
            )
            .hint("try again once that is done"),
        )
    } else if *error.kind() == HostErrorKind::Refused || is_absent(&error) {
        unavailable(host)
    } else {
        None
    };
    Err(match unsupported {
        Some(unsupported) => error.with_kind(HostErrorKind::NotApplicable(unsupported)),
        None => error,
    })
}

fn is_busy(error: &HostError) -> bool {
    *error.kind() == HostErrorKind::Busy || error.errno() == Some(EAGAIN)
}
