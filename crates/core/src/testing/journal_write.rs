//! How the accesses to journals of a process with a crash point fail, for every kind of store.

use rustix::io::Errno;

use super::crash_point::{CrashPoint, Why};
use crate::journal::{JournalError, JournalLocation, Store};

/// The error of an operation on a journal file.
pub(super) fn failed(
    store: &impl Store,
    operation: &'static str,
    location: JournalLocation,
    owner: &str,
    errno: i32,
) -> JournalError {
    JournalError::Failed {
        operation,
        path: store.path(location, owner),
        errno: Errno::from_raw_os_error(errno),
    }
}

/// Makes one write, unless the process has crashed or the write fails. `make` is told whether it is cut short.
pub(super) fn write<S: Store>(
    store: &mut S,
    crash_point: &CrashPoint,
    (location, owner): (JournalLocation, &str),
    make: impl FnOnce(&mut S, bool) -> Result<(), JournalError>,
) -> Result<(), JournalError> {
    let failed = |store: &S, why| {
        let errno = match why {
            Why::Died => Errno::IO.raw_os_error(),
            Why::Answered(errno) => errno,
        };
        failed(store, "write", location, owner, errno)
    };
    crash_point.begin().map_err(|why| failed(store, why))?;
    let made = make(store, crash_point.is_cut_short());
    match crash_point.end() {
        Some(why) => Err(failed(store, why)),
        None => made,
    }
}

/// Whether room for a later record can be reserved: not by a process that has crashed, and not where the call
/// fails, as on a full disk. Nobody is told of that.
pub(super) fn can_reserve(crash_point: &CrashPoint) -> bool {
    !crash_point.is_dead() && crash_point.reads().is_ok()
}
