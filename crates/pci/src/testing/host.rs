//! The files of a host whose PCI bus is fake.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hosttune_core::host::{Entry, FileContent, Fs, RootKind};
use hosttune_core::testing::MemoryHost;
use hosttune_core::{HostError, HostErrorKind, Operation};

use super::Bus;
use super::kernel::HANGS;
use crate::address::Address;

/// The files of a machine in memory for one process. Writes go to the [`Bus`].
#[derive(Debug)]
pub struct BusHost {
    bus: Bus,
    files: MemoryHost,
}

/// The attributes for which the kernel takes the lock of the device also when they are read.
const LOCKED: [&str; 3] = ["driver_override", "uevent", "sriov_numvfs"];

impl BusHost {
    pub(super) fn new(bus: Bus, files: MemoryHost) -> Self {
        Self { bus, files }
    }

    fn written(&mut self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        let (shown, text) = (path.display().to_string(), String::from_utf8_lossy(bytes));
        self.bus.write(&shown, &text).map_err(|errno| match errno {
            HANGS => stuck(path),
            errno => HostError::from_errno(Operation::Write, shown.clone(), errno)
                .wanted(text.trim_end()),
        })
    }

    /// Whether a file belongs to a function with a change that does not return.
    fn hangs(&self, file: &Path) -> bool {
        let names = file.iter().filter_map(|name| name.to_str());
        let mut addresses = names.filter_map(|name| name.parse::<Address>().ok());
        addresses.any(|address| self.bus.hangs(address))
    }
}

fn stuck(path: &Path) -> HostError {
    let shown = path.display().to_string();
    HostError::new(Operation::Write, shown, HostErrorKind::Stuck)
        .detail("it hangs in the kernel")
        .with_hint("end what uses the device, then run it again")
}

impl Fs for BusHost {
    fn root_kind(&self) -> RootKind {
        self.files.root_kind()
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, HostError> {
        assert!(
            !LOCKED.iter().any(|name| path.ends_with(name)) || !self.hangs(path),
            "the kernel would wait for ever: {} is read",
            path.display()
        );
        self.files.read(path)
    }

    fn list(&self, directory: &Path) -> Result<Vec<String>, HostError> {
        self.files.list(directory)
    }

    fn entry(&self, path: &Path) -> Result<Option<Entry>, HostError> {
        self.files.entry(path)
    }

    fn file(&self, path: &Path) -> Result<Option<FileContent>, HostError> {
        self.files.file(path)
    }

    fn half_written(&self, path: &Path) -> Result<bool, HostError> {
        self.files.half_written(path)
    }

    fn write_value(&mut self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        let written = self.written(path, bytes);
        assert!(
            !matches!(&written, Err(error) if *error.kind() == HostErrorKind::Stuck),
            "the kernel would wait for ever: {} is written",
            path.display()
        );
        written
    }

    fn write_value_in_child(
        &mut self,
        path: &Path,
        bytes: &[u8],
        guard: &Path,
    ) -> Result<(), HostError> {
        if self.hangs(guard) {
            return Err(stuck(path));
        }
        self.written(path, bytes)
    }

    fn child_is_writing(&self, guard: &Path) -> Result<bool, HostError> {
        Ok(self.hangs(guard))
    }

    fn put_file(&mut self, path: &Path, content: &FileContent) -> Result<(), HostError> {
        self.files.put_file(path, content)
    }

    fn create_directory(&mut self, path: &Path) -> Result<(), HostError> {
        self.files.create_directory(path)
    }

    fn remove(&mut self, path: &Path) -> Result<(), HostError> {
        self.files.remove(path)
    }

    fn leftovers(&mut self) -> Vec<PathBuf> {
        self.files.leftovers()
    }

    fn pause(&self, time: Duration) {
        self.files.pause(time);
        self.bus.pass_time(time);
    }
}
