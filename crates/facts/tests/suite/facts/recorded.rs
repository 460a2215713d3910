//! A host that records each file system access.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hosttune_core::host::{Entry, FileContent, Fs, RootKind};
use hosttune_core::testing::{CrashPoint, Memory};
use hosttune_core::{Host, HostError, LinuxHost};

/// The paths that were accessed, in order.
pub(crate) type Seen = Arc<Mutex<Vec<PathBuf>>>;

#[derive(Debug)]
pub(crate) struct Recorded {
    files: Box<dyn Fs>,
    seen: Seen,
}

impl Recorded {
    pub(crate) fn over(files: impl Fs + 'static) -> Self {
        Self {
            files: Box::new(files),
            seen: Seen::default(),
        }
    }

    pub(crate) fn live() -> Self {
        Self::over(LinuxHost::live().unwrap())
    }

    pub(crate) fn of(memory: &Memory) -> Self {
        Self::over(memory.host(&CrashPoint::lives()))
    }

    pub(crate) fn seen(&self) -> Seen {
        Arc::clone(&self.seen)
    }

    pub(crate) fn into_host(self) -> Host {
        Host::new(self)
    }

    fn note(&self, path: &Path) {
        self.seen.lock().unwrap().push(path.to_owned());
    }
}

impl Fs for Recorded {
    fn root_kind(&self) -> RootKind {
        self.files.root_kind()
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, HostError> {
        self.note(path);
        self.files.read(path)
    }

    fn list(&self, directory: &Path) -> Result<Vec<String>, HostError> {
        self.note(directory);
        self.files.list(directory)
    }

    fn entry(&self, path: &Path) -> Result<Option<Entry>, HostError> {
        self.note(path);
        self.files.entry(path)
    }

    fn file(&self, path: &Path) -> Result<Option<FileContent>, HostError> {
        self.note(path);
        self.files.file(path)
    }

    fn half_written(&self, path: &Path) -> Result<bool, HostError> {
        panic!("facts ask for a half-written {}", path.display());
    }

    fn write_value(&mut self, path: &Path, _: &[u8]) -> Result<(), HostError> {
        panic!("facts write {}", path.display());
    }

    fn put_file(&mut self, path: &Path, _: &FileContent) -> Result<(), HostError> {
        panic!("facts write {}", path.display());
    }

    fn create_directory(&mut self, path: &Path) -> Result<(), HostError> {
        panic!("facts make {}", path.display());
    }

    fn remove(&mut self, path: &Path) -> Result<(), HostError> {
        panic!("facts remove {}", path.display());
    }

    fn pause(&self, _: Duration) {
        panic!("facts wait");
    }
}
