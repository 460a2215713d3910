//! Read epochs: times in which the host is only read, and all reads may reflect one moment.

use std::path::{Path, PathBuf};

use super::{Host, HostError};

/// A read epoch: a time in which the host is only read, and all reads may reflect one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadEpoch(u64);

/// A file that was read in a read epoch, and the result.
pub(super) type Answer = (PathBuf, Result<Vec<u8>, HostError>);

/// How many of the last reads are kept in a read epoch. A repeated read follows soon after the
/// first, because the knobs of one device are close together.
const KEPT_IN_AN_EPOCH: usize = 16;

/// A longer file is not the value of a knob, but a list of modules or a configuration.
const LARGEST_KEPT: usize = 4096;

impl Host {
    /// The current read epoch, if there is one; a plan and a verify are one each.
    ///
    /// Within a read epoch a backend may repeat an earlier answer without asking again, and should,
    /// because a plan asks about one device many times. Outside of a read epoch every answer is
    /// fresh, because changes have to be read back.
    pub fn look(&self) -> Option<ReadEpoch> {
        self.read_epoch.get()
    }

    /// Runs `ask` in one [read epoch](Self::look), or in the current one: for a knob that asks many
    /// questions about one device before it changes anything.
    pub fn in_one_look<T>(&self, ask: impl FnOnce(&Self) -> T) -> T {
        let _read_guard = self.begin_read();
        ask(self)
    }

    /// Begins a read epoch, or joins the current one; it ends when the returned guard is dropped.
    pub(crate) fn begin_read(&self) -> ReadGuard<'_> {
        let before = self.read_epoch.get();
        if before.is_some() {
            return ReadGuard { host: self, before };
        }
        self.epochs.set(self.epochs.get() + 1);
        self.last.borrow_mut().clear();
        self.mounts.replace(None);
        self.namespace.replace(None);
        let before = self.read_epoch.replace(Some(ReadEpoch(self.epochs.get())));
        ReadGuard { host: self, before }
    }

    /// Reads a whole file. In a [read epoch](Self::look) a recent result is returned again, because
    /// a plan derives the state of a knob, whether it is supported, and its side effects from the
    /// same file.
    ///
    /// # Errors
    /// Any error from the host; `Missing` if the file does not exist.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Vec<u8>, HostError> {
        let path = path.as_ref();
        if self.read_epoch.get().is_none() {
            return self.fs.read(path);
        }
        let mut last = self.last.borrow_mut();
        let known = last
            .iter()
            .find(|(known, _)| known.as_os_str() == path.as_os_str());
        if let Some((_, answer)) = known {
            return answer.clone();
        }
        let answer = self.fs.read(path);
        if answer
            .as_ref()
            .is_ok_and(|bytes| bytes.len() > LARGEST_KEPT)
        {
            return answer;
        }
        if last.len() == KEPT_IN_AN_EPOCH {
            last.pop_front();
        }
        last.push_back((path.to_owned(), answer.clone()));
        answer
    }
}

/// Ends a read epoch when dropped.
#[derive(Debug)]
pub(crate) struct ReadGuard<'a> {
    host: &'a Host,
    before: Option<ReadEpoch>,
}

impl Drop for ReadGuard<'_> {
    fn drop(&mut self) {
        self.host.read_epoch.set(self.before);
        self.host.last.borrow_mut().clear();
        self.host.mounts.replace(None);
    }
}

#[cfg(test)]
#[cfg(feature = "testing")]
mod tests {
    use super::*;
    use crate::testing::{Behaviour, CrashPoint, Memory};

    #[test]
    fn a_look_is_as_of_one_moment_and_what_comes_after_it_is_fresh() {
        let memory = Memory::new().file("/sys/value", "1", Behaviour::takes_all());
        let host = Host::new(memory.host(&CrashPoint::lives()));
        let read = || host.read_text("/sys/value").unwrap();
        let look = host.begin_read();
        assert_eq!(read(), "1\n");
        assert!(host.read("/sys/none").is_err());
        memory.write("/sys/value", "2").unwrap();
        assert_eq!(read(), "1\n");
        // Only the last few are kept.
        for number in 0..KEPT_IN_AN_EPOCH {
            let _ = host.read(format!("/sys/{number}"));
        }
        assert_eq!(read(), "2\n");
        drop(look);
        memory.write("/sys/value", "3").unwrap();
        assert_eq!(read(), "3\n");
        memory.write("/sys/value", "4").unwrap();
        assert_eq!(read(), "4\n");
    }
}
