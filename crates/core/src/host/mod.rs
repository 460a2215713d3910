//! The tuned machine: its files, its backends, and the gate that every change passes.
//!
//! What a [`Host`] can do is only known at run time (a captured tree, no PipeWire socket). It is
//! therefore one concrete type with backends added to it, and not a type parameter of everything.
//! Reading takes `&Host`, changing takes `&mut Host`: a plan that writes does not compile.

mod choice;
mod error;
mod file_system;
mod fs;
mod gate;
pub(crate) mod linux;
mod mounts;
mod network_namespace;
mod read_epoch;
pub(crate) mod regular;
mod replacement;
mod user_namespace;

use std::any::{Any, TypeId, type_name};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::{HostError, HostErrorKind, Operation};
pub use file_system::{FileSystem, Partition};
pub use fs::{AttributeValue, Entry, EntryKind, FileContent, Fs, RootKind};
pub use gate::{Change, Gate};
pub use linux::LinuxHost;
pub use mounts::unescaped_path;
pub use read_epoch::ReadEpoch;

pub(crate) use self::error::hint;
use self::gate::pass;
use self::mounts::Mounts;
pub(crate) use self::network_namespace::Whereabouts;
use self::read_epoch::Answer;
pub(crate) use self::read_epoch::ReadGuard;
use crate::unsupported::{Unsupported, UnsupportedKind};

/// The tuned machine.
pub struct Host {
    fs: Box<dyn Fs>,
    backends: HashMap<TypeId, Box<dyn Any + Send>>,
    gate: Option<Box<dyn Gate>>,
    epochs: Cell<u64>,
    read_epoch: Cell<Option<ReadEpoch>>,
    /// The last reads of this read epoch: see [`read`](Self::read).
    last: RefCell<VecDeque<Answer>>,
    /// The mounts in this read epoch.
    mounts: RefCell<Option<Mounts>>,
    /// The network namespace, if it was asked for in this read epoch.
    namespace: RefCell<Option<Option<String>>>,
}

impl Host {
    /// A host with a file system and no backends.
    pub fn new(fs: impl Fs + 'static) -> Self {
        Self {
            fs: Box::new(fs),
            backends: HashMap::new(),
            gate: None,
            epochs: Cell::new(0),
            read_epoch: Cell::new(None),
            last: RefCell::default(),
            mounts: RefCell::default(),
            namespace: RefCell::default(),
        }
    }

    /// Adds a backend (netlink, a daemon's socket). There is one of each type; the last one added
    /// is used.
    #[must_use]
    pub fn with_backend<W: Send + 'static>(mut self, backend: W) -> Self {
        self.backends.insert(TypeId::of::<W>(), Box::new(backend));
        self
    }

    /// Sets the gate that every change passes.
    #[must_use]
    pub fn gated(mut self, gate: impl Gate + 'static) -> Self {
        self.gate = Some(Box::new(gate));
        self
    }

    /// The kind of the root: the live system, a captured tree, an image.
    pub fn root_kind(&self) -> RootKind {
        self.fs.root_kind()
    }

    /// Reads a whole file as text.
    ///
    /// # Errors
    /// As [`read`](Self::read), and `Malformed` if it is not UTF-8.
    pub fn read_text(&self, path: impl AsRef<Path>) -> Result<String, HostError> {
        let path = path.as_ref();
        String::from_utf8(self.read(path)?)
            .map_err(|_| HostError::malformed(path.display().to_string(), "it is not UTF-8 text"))
    }

    /// Reads a whole regular file of at most `most` bytes: for a file that may be larger than the 64 MiB
    /// up to which [`read`](Self::read) reads, such as a kernel module. Nothing of it is kept.
    ///
    /// # Errors
    /// As [`read`](Self::read), and `Malformed` if it is larger.
    pub fn read_up_to(&self, path: impl AsRef<Path>, most: u64) -> Result<Vec<u8>, HostError> {
        self.fs.read_up_to(path.as_ref(), most)
    }

    /// Opens a regular file of any size to read it part by part: for a file that is not to be in memory as a whole,
    /// such as an initramfs image. Nothing of it is kept.
    ///
    /// # Errors
    /// As [`read`](Self::read); errors of reading come from the reader.
    pub fn reader(
        &self,
        path: impl AsRef<Path>,
    ) -> Result<Box<dyn std::io::Read + Send>, HostError> {
        self.fs.reader(path.as_ref())
    }

    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// Any error from the host; `Missing` if the directory does not exist.
    pub fn list(&self, directory: impl AsRef<Path>) -> Result<Vec<String>, HostError> {
        self.fs.list(directory.as_ref())
    }

    /// As [`list`](Self::list); empty if there is no such directory.
    ///
    /// # Errors
    /// Any other error from the host.
    pub fn list_if_there(&self, path: impl AsRef<Path>) -> Result<Vec<String>, HostError> {
        match self.list(path) {
            Err(error) if *error.kind() == HostErrorKind::Missing => Ok(Vec::new()),
            listed => listed,
        }
    }

    /// The entry at a path, without following a symlink; `None` if the path does not exist.
    ///
    /// # Errors
    /// Any error from the host, except for a missing path.
    pub fn entry(&self, path: impl AsRef<Path>) -> Result<Option<Entry>, HostError> {
        self.fs.entry(path.as_ref())
    }

    /// Whether a path exists.
    ///
    /// # Errors
    /// As [`entry`](Self::entry).
    pub fn exists(&self, path: impl AsRef<Path>) -> Result<bool, HostError> {
        Ok(self.entry(path)?.is_some())
    }

    /// A file's content with its mode and owner; `None` if the file does not exist.
    ///
    /// # Errors
    /// Any error from the host, except for a missing file.
    pub fn file(&self, path: impl AsRef<Path>) -> Result<Option<FileContent>, HostError> {
        self.fs.file(path.as_ref())
    }

    /// As [`file`](Self::file), without the bytes: for a file of any size that is to be replaced.
    ///
    /// # Errors
    /// Any error from the host, except for a missing file.
    pub fn file_without_bytes(
        &self,
        path: impl AsRef<Path>,
    ) -> Result<Option<FileContent>, HostError> {
        self.fs.file_without_bytes(path.as_ref())
    }

    /// The size of a file in bytes; `None` if there is no regular file.
    ///
    /// # Errors
    /// Any error from the host, except for a missing file.
    pub fn file_size(&self, path: impl AsRef<Path>) -> Result<Option<u64>, HostError> {
        self.fs.file_size(path.as_ref())
    }

    /// Whether an earlier write of this file was interrupted and left its unfinished replacement.
    ///
    /// # Errors
    /// Any error from the host.
    pub fn half_written(&self, path: impl AsRef<Path>) -> Result<bool, HostError> {
        self.fs.half_written(path.as_ref())
    }

    /// A backend.
    ///
    /// # Errors
    /// `NotApplicable` if the host has none of that type: an absent daemon is not a crash.
    pub fn backend<W: 'static>(&self) -> Result<&W, HostError> {
        self.backends
            .get(&TypeId::of::<W>())
            .and_then(|backend| backend.downcast_ref())
            .ok_or_else(absent::<W>)
    }

    /// Makes a change through a backend. The change passes the gate.
    ///
    /// # Errors
    /// `NotApplicable` if the host has no such backend, and any error from `change`.
    pub fn change<W: 'static, T>(
        &mut self,
        change: impl FnOnce(&mut W) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        let Self { backends, gate, .. } = self;
        let backend = backends
            .get_mut(&TypeId::of::<W>())
            .and_then(|backend| backend.downcast_mut())
            .ok_or_else(absent::<W>)?;
        pass(
            gate,
            &Change::Backend {
                backend: type_name::<W>(),
            },
            || change(backend),
        )
    }

    /// Writes a value to an existing file, with one `write(2)`.
    ///
    /// It is a single unbuffered write: stdio reports success and loses the kernel's error at
    /// close, and some keys reject a value and its newline in two writes.
    ///
    /// # Errors
    /// Any error from the host. A part of the value may have been written.
    pub fn write_value(&mut self, path: impl AsRef<Path>, bytes: &[u8]) -> Result<(), HostError> {
        let (path, Self { fs, gate, .. }) = (path.as_ref(), self);
        pass(gate, &Change::Value { path, bytes }, || {
            fs.write_value(path, bytes)
        })
    }

    /// Writes a value to an existing file, in a child process with a time limit: for files whose
    /// driver may never return from the write.
    ///
    /// `guard` is a file of the same device that only root can open, such as a PCI function's
    /// `remove`; it is locked and never written. While the write hangs,
    /// [`child_is_writing`](Self::child_is_writing) is true for it, also in other processes.
    ///
    /// # Errors
    /// `Stuck` if the write or an earlier one with this guard hangs: it may still take effect. Any
    /// error from the host.
    pub fn write_value_in_child(
        &mut self,
        path: impl AsRef<Path>,
        bytes: &[u8],
        guard: impl AsRef<Path>,
    ) -> Result<(), HostError> {
        let (path, guard, Self { fs, gate, .. }) = (path.as_ref(), guard.as_ref(), self);
        pass(gate, &Change::Value { path, bytes }, || {
            fs.write_value_in_child(path, bytes, guard)
        })
    }

    /// Whether a [write in a child](Self::write_value_in_child) with this guard is not finished: it
    /// hangs, or its parent was killed a moment ago. False if this process may not open the guard.
    ///
    /// # Errors
    /// Any error from the host.
    pub fn child_is_writing(&self, guard: impl AsRef<Path>) -> Result<bool, HostError> {
        self.fs.child_is_writing(guard.as_ref())
    }

    /// Waits until no [write in a child](Self::write_value_in_child) with this guard is left
    /// unfinished, for at most ten seconds and not twice for one that hangs: a process that was
    /// killed leaves a child behind that is about to finish. False if one is still unfinished then.
    ///
    /// # Errors
    /// Any error from the host.
    pub fn child_ends(&self, guard: impl AsRef<Path>) -> Result<bool, HostError> {
        self.fs.child_ends(guard.as_ref())
    }

    /// Creates or atomically replaces a file, durably.
    ///
    /// # Errors
    /// Any error from the host; the file is then unchanged.
    pub fn put_file(
        &mut self,
        path: impl AsRef<Path>,
        content: &FileContent,
    ) -> Result<(), HostError> {
        let (path, Self { fs, gate, .. }) = (path.as_ref(), self);
        pass(gate, &Change::File { path, content }, || {
            fs.put_file(path, content)
        })
    }

    /// Sets a variable of the firmware: a file in `/sys/firmware/efi/efivars`, whose first four bytes are
    /// its attributes. The flag with which the kernel protects such files is taken off for the change.
    ///
    /// # Errors
    /// Any error from the host; the variable is then unchanged.
    pub fn put_firmware_variable(
        &mut self,
        path: impl AsRef<Path>,
        bytes: &[u8],
    ) -> Result<(), HostError> {
        let (path, Self { fs, gate, .. }) = (path.as_ref(), self);
        pass(gate, &Change::Value { path, bytes }, || {
            fs.put_firmware_variable(path, bytes)
        })
    }

    /// Removes a variable of the firmware.
    ///
    /// # Errors
    /// Any error from the host.
    pub fn remove_firmware_variable(&mut self, path: impl AsRef<Path>) -> Result<(), HostError> {
        let (path, Self { fs, gate, .. }) = (path.as_ref(), self);
        pass(gate, &Change::Removal { path }, || {
            fs.remove_firmware_variable(path)
        })
    }

    /// Creates one directory with mode 0755.
    ///
    /// # Errors
    /// Any error from the host.
    pub fn create_directory(&mut self, path: impl AsRef<Path>) -> Result<(), HostError> {
        let (path, Self { fs, gate, .. }) = (path.as_ref(), self);
        pass(gate, &Change::Directory { path }, || {
            fs.create_directory(path)
        })
    }

    /// Removes a file or an empty directory, durably.
    ///
    /// # Errors
    /// Any error from the host.
    pub fn remove(&mut self, path: impl AsRef<Path>) -> Result<(), HostError> {
        let (path, Self { fs, gate, .. }) = (path.as_ref(), self);
        pass(gate, &Change::Removal { path }, || fs.remove(path))
    }

    /// Removes the leftovers of interrupted writes that were seen beside values: see
    /// [`Fs::leftovers`]. One that cannot be removed stays; it is not part of any value.
    pub(crate) fn clear_leftovers(&mut self) {
        for path in self.fs.leftovers() {
            let Self { fs, gate, .. } = &mut *self;
            let _ = pass(gate, &Change::Removal { path: &path }, || {
                fs.remove_leftover(&path)
            });
        }
    }

    /// Waits, by the host's clock; a fake machine in memory does not sleep.
    pub fn pause(&self, time: Duration) {
        self.fs.pause(time);
    }

    /// The ID of the running boot, from `/proc/sys/kernel/random/boot_id`.
    ///
    /// Empty if there is none: an image has not booted.
    ///
    /// # Errors
    /// If the file exists and cannot be read.
    pub fn boot_id(&self) -> Result<String, HostError> {
        match self.read_text(Path::new("/proc/sys/kernel/random/boot_id")) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(error) if *error.kind() == HostErrorKind::Missing => Ok(String::new()),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("fs", &self.fs)
            .field("wires", &self.backends.len())
            .field("gated", &self.gate.is_some())
            .finish()
    }
}

fn absent<W>() -> HostError {
    HostError::not_applicable(
        Operation::Backend,
        type_name::<W>(),
        Unsupported::new(
            UnsupportedKind::NoBackend,
            format!("this host has no backend of type {}", type_name::<W>()),
        ),
    )
}

/// Checks that a path is absolute and without `..`, the form in which knobs name files.
///
/// # Errors
/// `OutsideRoot` for a relative path or one with a `..` segment.
pub fn host_path(path: impl Into<PathBuf>) -> Result<PathBuf, HostError> {
    use std::path::Component;
    let path = path.into();
    let plain = path.is_absolute()
        && path
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if plain {
        Ok(path)
    } else {
        Err(HostError::new(
            Operation::Read,
            path.display().to_string(),
            HostErrorKind::OutsideRoot,
        )
        .with_hint("give an absolute path without '..'"))
    }
}
