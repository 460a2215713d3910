//! The machine that is tuned: its files, its wires, and the one gate that every change passes.
//!
//! A [`Host`] is a value. What it can do is a fact of run time (a captured tree,
//! no PipeWire socket), so it is one concrete type with parts plugged in and not
//! a type parameter of everything. Reading takes `&Host`, changing takes
//! `&mut Host`: a plan that writes does not compile.

mod choice;
mod fs;
pub(crate) mod linux;
mod mounts;
pub(crate) mod regular;
mod replacement;

use std::any::{Any, TypeId, type_name};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use fs::{AttributeValue, Entry, EntryKind, FileContent, Fs, RootKind};
pub use linux::LinuxHost;
pub use mounts::unescaped_path;

use self::mounts::Mounts;
use crate::error::{HostError, Operation};
use crate::knob::{Lack, LackKind};

/// One change on its way to the host, as the [`Gate`] sees it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Change<'a> {
    /// A value written with one `write(2)` to a file that exists.
    Value {
        /// The file.
        path: &'a Path,
        /// What is written, newline included.
        bytes: &'a [u8],
    },
    /// A file created or atomically replaced.
    File {
        /// The file.
        path: &'a Path,
        /// What it will hold.
        content: &'a FileContent,
    },
    /// An empty directory created.
    Directory {
        /// The directory.
        path: &'a Path,
    },
    /// A file or an empty directory removed.
    Removal {
        /// The file or directory.
        path: &'a Path,
    },
    /// A change made through a plugged-in wire.
    Wire {
        /// The Rust type of the wire.
        wire: &'static str,
    },
}

/// Sees every change of the host before and after it is made.
///
/// Tests kill here, traces print here, benchmarks count here. An error from
/// `before` refuses the change; an error from `after` reports it as failed
/// although it landed, which is what a process that dies between the two leaves.
pub trait Gate: Send {
    /// The change is about to be made.
    ///
    /// # Errors
    /// Refuses the change; it is then not made.
    fn before(&mut self, change: &Change<'_>) -> Result<(), HostError>;

    /// The change was made (successfully or not).
    ///
    /// # Errors
    /// Reports a change that landed as failed.
    fn after(&mut self, change: &Change<'_>) -> Result<(), HostError> {
        let _ = change;
        Ok(())
    }
}

/// A time in which a host is only read: all of what is read in it may be as of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look(u64);

/// The machine that is tuned.
pub struct Host {
    fs: Box<dyn Fs>,
    wires: HashMap<TypeId, Box<dyn Any + Send>>,
    gate: Option<Box<dyn Gate>>,
    looks: Cell<u64>,
    looking: Cell<Option<Look>>,
    /// What was read last in this look: see [`read`](Self::read).
    last: RefCell<VecDeque<Answer>>,
    /// The mounts, as of this look.
    mounts: RefCell<Option<Mounts>>,
}

/// A file that was read in a look, and what it said.
type Answer = (PathBuf, Result<Vec<u8>, HostError>);

/// How many of the files that were read last in a look are kept. What is asked twice is asked soon
/// after, as the knobs of one thing stand together.
const KEPT_IN_A_LOOK: usize = 16;

/// What is longer is no value of a knob: a list of modules, a configuration.
const LARGEST_KEPT: usize = 4096;

impl Host {
    /// A host over a file system and nothing else plugged in.
    pub fn new(fs: impl Fs + 'static) -> Self {
        Self {
            fs: Box::new(fs),
            wires: HashMap::new(),
            gate: None,
            looks: Cell::new(0),
            looking: Cell::new(None),
            last: RefCell::default(),
            mounts: RefCell::default(),
        }
    }

    /// Plugs in a transport (netlink, a daemon's socket); one of each type, the last one stays.
    #[must_use]
    pub fn plug<W: Send + 'static>(mut self, wire: W) -> Self {
        self.wires.insert(TypeId::of::<W>(), Box::new(wire));
        self
    }

    /// Puts a gate before every change.
    #[must_use]
    pub fn gated(mut self, gate: impl Gate + 'static) -> Self {
        self.gate = Some(Box::new(gate));
        self
    }

    /// The look that is being taken, if one is: planning and verifying are one each.
    ///
    /// A wire may answer a question that was asked before in the same look without asking again,
    /// and had better: a plan looks at one thing from many sides. Outside of a look every answer
    /// is fresh: what was turned has to be read back.
    pub fn look(&self) -> Option<Look> {
        self.looking.get()
    }

    /// Asks many things in one [look](Self::look), or in the one that is being taken: for a knob that asks
    /// one thing from many sides before it changes anything.
    pub fn in_one_look<T>(&self, ask: impl FnOnce(&Self) -> T) -> T {
        let _looking = self.begin_look();
        ask(self)
    }

    /// Begins a look, or joins the one that has begun; it ends with what is returned.
    pub(crate) fn begin_look(&self) -> Looking<'_> {
        let before = self.looking.get();
        if before.is_some() {
            return Looking { host: self, before };
        }
        self.looks.set(self.looks.get() + 1);
        self.last.borrow_mut().clear();
        self.mounts.replace(None);
        let before = self.looking.replace(Some(Look(self.looks.get())));
        Looking { host: self, before }
    }

    /// What stands beneath the root: the live system, a captured tree, an image.
    pub fn root_kind(&self) -> RootKind {
        self.fs.root_kind()
    }

    /// Reads a whole file. In a [look](Self::look) the answer of just before is given again: a plan asks
    /// what a knob is, what it lacks, and what hangs on it, all from the same file.
    ///
    /// # Errors
    /// Whatever the host answers; `Missing` where there is no such file.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Vec<u8>, HostError> {
        let path = path.as_ref();
        if self.looking.get().is_none() {
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
        if last.len() == KEPT_IN_A_LOOK {
            last.pop_front();
        }
        last.push_back((path.to_owned(), answer.clone()));
        answer
    }

    /// Reads a whole file as text.
    ///
    /// # Errors
    /// As [`read`](Self::read), and `Malformed` where it is not UTF-8.
    pub fn read_text(&self, path: impl AsRef<Path>) -> Result<String, HostError> {
        let path = path.as_ref();
        String::from_utf8(self.read(path)?)
            .map_err(|_| HostError::malformed(path.display().to_string(), "it is not UTF-8 text"))
    }

    /// Why nothing can be written at a path, where the running system has it on a mount that is
    /// read-only; `None` also where that cannot be told. A path through a link is taken as it is
    /// written.
    ///
    /// # Errors
    /// Where the list of mounts is there and cannot be read.
    pub fn read_only_mount(&self, path: impl AsRef<Path>) -> Result<Option<Lack>, HostError> {
        if self.root_kind() != RootKind::Live {
            return Ok(None);
        }
        let path = path.as_ref().to_string_lossy();
        if let Some(known) = self.mounts.borrow().as_ref() {
            return Ok(known.lack(&path));
        }
        let mounts = match self.fs.read(Path::new(mounts::LIST)) {
            Ok(list) => Mounts::parse(&String::from_utf8_lossy(&list)),
            Err(error)
                if matches!(
                    error.kind(),
                    crate::HostErrorKind::Missing | crate::HostErrorKind::Denied
                ) =>
            {
                Mounts::default()
            }
            Err(error) => return Err(error),
        };
        let lack = mounts.lack(&path);
        if self.looking.get().is_some() {
            self.mounts.replace(Some(mounts));
        }
        Ok(lack)
    }

    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// Whatever the host answers; `Missing` where there is no such directory.
    pub fn list(&self, directory: impl AsRef<Path>) -> Result<Vec<String>, HostError> {
        self.fs.list(directory.as_ref())
    }

    /// What stands at a path, a symlink itself and not what it points to; `None` for nothing.
    ///
    /// # Errors
    /// Whatever the host answers, except that a missing path is `Ok(None)`.
    pub fn entry(&self, path: impl AsRef<Path>) -> Result<Option<Entry>, HostError> {
        self.fs.entry(path.as_ref())
    }

    /// Whether anything stands at a path.
    ///
    /// # Errors
    /// As [`entry`](Self::entry).
    pub fn exists(&self, path: impl AsRef<Path>) -> Result<bool, HostError> {
        Ok(self.entry(path)?.is_some())
    }

    /// A file's content with what belongs to it (mode, owner); `None` for no file.
    ///
    /// # Errors
    /// Whatever the host answers, except that a missing file is `Ok(None)`.
    pub fn file(&self, path: impl AsRef<Path>) -> Result<Option<FileContent>, HostError> {
        self.fs.file(path.as_ref())
    }

    /// Whether an earlier write of this file was cut short and left its unfinished replacement.
    ///
    /// # Errors
    /// Whatever the host answers.
    pub fn half_written(&self, path: impl AsRef<Path>) -> Result<bool, HostError> {
        self.fs.half_written(path.as_ref())
    }

    /// A plugged-in wire.
    ///
    /// # Errors
    /// `NotApplicable` where none of that type is plugged in: an absent daemon is not a crash.
    pub fn wire<W: 'static>(&self) -> Result<&W, HostError> {
        self.wires
            .get(&TypeId::of::<W>())
            .and_then(|wire| wire.downcast_ref())
            .ok_or_else(absent::<W>)
    }

    /// Changes something through a plugged-in wire, past the gate.
    ///
    /// # Errors
    /// `NotApplicable` where no such wire is plugged in, and whatever `change` answers.
    pub fn turn<W: 'static, T>(
        &mut self,
        change: impl FnOnce(&mut W) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        let Self { wires, gate, .. } = self;
        let wire = wires
            .get_mut(&TypeId::of::<W>())
            .and_then(|wire| wire.downcast_mut())
            .ok_or_else(absent::<W>)?;
        pass(
            gate,
            &Change::Wire {
                wire: type_name::<W>(),
            },
            || change(wire),
        )
    }

    /// Writes a value to a file that exists, with one `write(2)`.
    ///
    /// One write and no buffered writer: stdio reports success and loses the
    /// kernel's answer at close, and some keys take a value and its newline in
    /// two writes for an error.
    ///
    /// # Errors
    /// Whatever the host answers. The value may have landed in part.
    pub fn write_value(&mut self, path: impl AsRef<Path>, bytes: &[u8]) -> Result<(), HostError> {
        let (path, Self { fs, gate, .. }) = (path.as_ref(), self);
        pass(gate, &Change::Value { path, bytes }, || {
            fs.write_value(path, bytes)
        })
    }

    /// Creates or atomically replaces a file, durably.
    ///
    /// # Errors
    /// Whatever the host answers; the file is then what it was.
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

    /// Creates one directory with mode 0755.
    ///
    /// # Errors
    /// Whatever the host answers.
    pub fn create_directory(&mut self, path: impl AsRef<Path>) -> Result<(), HostError> {
        let (path, Self { fs, gate, .. }) = (path.as_ref(), self);
        pass(gate, &Change::Directory { path }, || {
            fs.create_directory(path)
        })
    }

    /// Removes a file or an empty directory, durably.
    ///
    /// # Errors
    /// Whatever the host answers.
    pub fn remove(&mut self, path: impl AsRef<Path>) -> Result<(), HostError> {
        let (path, Self { fs, gate, .. }) = (path.as_ref(), self);
        pass(gate, &Change::Removal { path }, || fs.remove(path))
    }

    /// Removes what interrupted writes left beside the values that were read: see
    /// [`Fs::leftovers`]. What cannot be removed stays: it is no part of any value.
    pub(crate) fn clear_leftovers(&mut self) {
        for path in self.fs.leftovers() {
            let Self { fs, gate, .. } = &mut *self;
            let _ = pass(gate, &Change::Removal { path: &path }, || {
                fs.remove_leftover(&path)
            });
        }
    }

    /// Lets time pass, as the host counts it; a machine in memory does not sleep.
    pub fn pause(&self, time: Duration) {
        self.fs.pause(time);
    }

    /// The id of the running boot, from `/proc/sys/kernel/random/boot_id`.
    ///
    /// Empty where there is none: an image has not booted.
    ///
    /// # Errors
    /// Where the file is there and cannot be read.
    pub fn boot_id(&self) -> Result<String, HostError> {
        match self.read_text(Path::new("/proc/sys/kernel/random/boot_id")) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(error) if *error.kind() == crate::HostErrorKind::Missing => Ok(String::new()),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("fs", &self.fs)
            .field("wires", &self.wires.len())
            .field("gated", &self.gate.is_some())
            .finish()
    }
}

/// Ends a look where it ends itself.
#[derive(Debug)]
pub(crate) struct Looking<'a> {
    host: &'a Host,
    before: Option<Look>,
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.host.looking.set(self.before);
        self.host.last.borrow_mut().clear();
        self.host.mounts.replace(None);
    }
}

fn pass<T>(
    gate: &mut Option<Box<dyn Gate>>,
    change: &Change<'_>,
    make: impl FnOnce() -> Result<T, HostError>,
) -> Result<T, HostError> {
    let Some(gate) = gate else { return make() };
    gate.before(change)?;
    let made = make();
    gate.after(change)?;
    made
}

fn absent<W>() -> HostError {
    HostError::not_applicable(
        Operation::Wire,
        type_name::<W>(),
        Lack::new(
            LackKind::NoWire,
            format!(
                "nothing of type {} is plugged into this host",
                type_name::<W>()
            ),
        ),
    )
}

/// A path on the host, made absolute and checked for `..`: the form in which knobs name files.
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
            crate::HostErrorKind::OutsideRoot,
        )
        .with_hint("give an absolute path without '..'"))
    }
}

#[cfg(test)]
#[cfg(feature = "testing")]
mod tests {
    use super::*;
    use crate::testing::{Behaviour, Fate, Memory};

    #[test]
    fn a_look_is_as_of_one_moment_and_what_comes_after_it_is_fresh() {
        let memory = Memory::new().file("/sys/value", "1", Behaviour::takes_all());
        let host = Host::new(memory.host(&Fate::lives()));
        let read = || host.read_text("/sys/value").unwrap();
        let look = host.begin_look();
        assert_eq!(read(), "1\n");
        assert!(host.read("/sys/none").is_err());
        memory.write("/sys/value", "2").unwrap();
        assert_eq!(read(), "1\n");
        // Only the last few are kept.
        for number in 0..KEPT_IN_A_LOOK {
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
