//! Journals in two directories of the host, and the lock beside them.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FallocateFlags, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{JournalError, JournalLocation, Store};
use crate::host::linux::{open_beneath, write_all};
use crate::host::regular::{self, LARGEST_FILE, READING, Unread, read_all};
use crate::host::{Fs, LinuxHost, RootKind};

const LOCK: &str = "lock";

/// Journals in two directories below a root, `0700`, owned by this process's user.
///
/// The directories are created when the first journal is written: a plan leaves no trace.
#[derive(Debug)]
pub struct DirectoryStore {
    root: OwnedFd,
    /// The root as typed, for messages; empty for the live system.
    shown: PathBuf,
    boot: PathBuf,
    disk: PathBuf,
    directories: HashMap<JournalLocation, OwnedFd>,
    files: HashMap<(JournalLocation, String), OwnedFd>,
    lock: Option<OwnedFd>,
    /// The effective user ID of this process.
    us: u32,
    names: Names,
}

/// How the files of a store are named.
#[derive(Debug, Clone, Copy)]
struct Names {
    /// What follows the owner in a file's name.
    suffix: &'static str,
    lock: &'static str,
}

impl DirectoryStore {
    /// The directories `boot` and `disk` below the host's root.
    ///
    /// # Errors
    /// If the descriptor of the root cannot be duplicated.
    pub fn new(
        host: &LinuxHost,
        boot: impl Into<PathBuf>,
        disk: impl Into<PathBuf>,
    ) -> Result<Self, JournalError> {
        let root = host
            .root()
            .try_clone()
            .map_err(|error| JournalError::Failed {
                operation: "keep open",
                path: host.shown(Path::new("/")),
                errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
            })?;
        Ok(Self {
            root,
            shown: host.shown(Path::new("/")).into(),
            boot: boot.into(),
            disk: disk.into(),
            directories: HashMap::new(),
            files: HashMap::new(),
            lock: None,
            us: rustix::process::geteuid().as_raw(),
            names: Names {
                suffix: SUFFIX,
                lock: LOCK,
            },
        })
    }

    /// A store for other files beside the journals: they have their own suffix and lock, and the
    /// same rules for who may have written them. `suffix` begins with a dot and is not `.journal`,
    /// and `lock` is not `lock`.
    #[must_use]
    pub fn beside_journals(mut self, suffix: &'static str, lock: &'static str) -> Self {
        self.names = Names { suffix, lock };
        self
    }

    /// The directories of this process's user: those of [`system`](Self::system) for root and for
    /// any tree, otherwise `$XDG_RUNTIME_DIR/hosttune` and `$XDG_STATE_HOME/hosttune`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of_user(host: &LinuxHost) -> Result<Self, JournalError> {
        if rustix::process::geteuid().is_root() || host.root_kind() != RootKind::Live {
            Self::system(host)
        } else {
            let (boot, disk) = user_directories();
            Self::new(host, boot, disk)
        }
    }

    /// The directories of [`system`](Self::system): until the next boot, and across boots.
    pub const SYSTEM: [&str; 2] = ["/run/hosttune", "/var/lib/hosttune"];

    /// `/run/hosttune` and `/var/lib/hosttune` below the host's root.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn system(host: &LinuxHost) -> Result<Self, JournalError> {
        let [boot, disk] = Self::SYSTEM;
        Self::new(host, boot, disk)
    }

    fn beneath(&self, location: JournalLocation) -> &Path {
        match location {
            JournalLocation::Volatile => &self.boot,
            JournalLocation::Persistent => &self.disk,
        }
    }

    fn shown(&self, path: &Path) -> String {
        let inner = path.strip_prefix("/").unwrap_or(path);
        self.shown.join(inner).display().to_string()
    }

    fn fail(&self, operation: &'static str, path: &Path) -> impl Fn(Errno) -> JournalError + use<> {
        let path = self.shown(path);
        move |errno| match errno {
            Errno::ACCESS | Errno::PERM => JournalError::Denied {
                path: path.clone(),
                errno,
            },
            Errno::LOOP | Errno::XDEV => JournalError::Untrusted {
                path: path.clone(),
                why: "it is a symlink".to_owned(),
            },
            // The error of O_NOFOLLOW with O_DIRECTORY for a symlink.
            Errno::NOTDIR => JournalError::Untrusted {
                path: path.clone(),
                why: "it is a symlink or a file, not a directory".to_owned(),
            },
            errno => JournalError::Failed {
                operation,
                path: path.clone(),
                errno,
            },
        }
    }

    /// The directory, if it exists.
    fn existing(&self, location: JournalLocation) -> Result<Option<OwnedFd>, JournalError> {
        let path = self.beneath(location);
        // The directory is to be listed and flushed as well. A user who may not do that can still
        // be told which file in it is inaccessible.
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |how| open_beneath(&self.root, path, flags | how, Mode::empty());
        match open(OFlags::RDONLY).or_else(|errno| match errno {
            Errno::ACCESS => open(OFlags::PATH),
            other => Err(other),
        }) {
            Ok(directory) => {
                let stat = rustix::fs::fstat(&directory).map_err(self.fail("stat", path))?;
                self.trust(&stat, path)?;
                Ok(Some(directory))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.fail("open", path)(errno)),
        }
    }

    /// The directory, created if it does not exist.
    fn directory(&mut self, location: JournalLocation) -> Result<&OwnedFd, JournalError> {
        if !self.directories.contains_key(&location) {
            let directory = match self.existing(location)? {
                Some(directory) => directory,
                None => self.make(location)?,
            };
            self.directories.insert(location, directory);
        }
        self.directories
            .get(&location)
            .ok_or_else(|| JournalError::Unwritable("the directory is not open".to_owned()))
    }

    fn make(&self, location: JournalLocation) -> Result<OwnedFd, JournalError> {
        let path = self.beneath(location).to_owned();
        let fail = self.fail("create", &path);
        let mut made = PathBuf::new();
        let segments: Vec<_> = path.components().collect();
        for (number, segment) in segments.iter().enumerate() {
            let parent = made.clone();
            made.push(segment);
            if number == 0 {
                continue;
            }
            // Only the last directory belongs to us; /run and /var are shared.
            let mode = if number + 1 == segments.len() {
                0o700
            } else {
                0o755
            };
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let holder = open_beneath(&self.root, &parent, flags, Mode::empty()).map_err(&fail)?;
            match rustix::fs::mkdirat(&holder, segment.as_os_str(), Mode::from_raw_mode(mode)) {
                Ok(()) if location == JournalLocation::Persistent => {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    open_beneath(&self.root, &parent, flags, Mode::empty())
                        .and_then(rustix::fs::fsync)
                        .map_err(&fail)?;
                }
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(fail(errno)),
            }
        }
        self.existing(location)?.ok_or_else(|| fail(Errno::NOENT))
    }

    /// Rejects a file that another user could have written: a journal says what to write as root.
    fn trust(&self, stat: &Stat, path: &Path) -> Result<(), JournalError> {
        let us = self.us;
        let why = if stat.st_uid != us && stat.st_uid != 0 {
            format!("it belongs to user {}, not to {us}", stat.st_uid)
        } else if stat.st_mode & 0o022 != 0 {
            format!(
                "its mode is {:04o}: others can write to it",
                stat.st_mode & 0o7777
            )
        } else {
            return Ok(());
        };
        Err(JournalError::Untrusted {
            path: self.shown(path),
            why,
        })
    }

    /// Rejects a file that is not regular, that another user could have written, or that has
    /// another name: anything written to it would be written there as well.
    fn trust_file(&self, open: &OwnedFd, path: &Path) -> Result<Stat, JournalError> {
        let untrusted = |why| JournalError::Untrusted {
            path: self.shown(path),
            why,
        };
        let stat = rustix::fs::fstat(open).map_err(self.fail("stat", path))?;
        match regular::check(&stat) {
            Ok(()) => {}
            Err(Unread::Errno(errno)) => return Err(self.fail("read", path)(errno)),
            Err(unread) => return Err(untrusted(unread.why().unwrap_or_default())),
        }
        if stat.st_nlink > 1 {
            let why = format!("it has {} hard links", stat.st_nlink);
            return Err(untrusted(why));
        }
        self.trust(&stat, path)?;
        Ok(stat)
    }

    fn file_path(&self, location: JournalLocation, owner: &str) -> PathBuf {
        self.beneath(location).join(self.name(owner))
    }

    fn name(&self, owner: &str) -> String {
        format!("{owner}{}", self.names.suffix)
    }

    /// The name of a file's replacement while it is written.
    fn new_name(&self, owner: &str) -> String {
        format!(".{}.new", self.name(owner))
    }
}

/// The journal directories of a user's own session, by the XDG Base Directory Specification.
fn user_directories() -> (String, String) {
    let set = |name| {
        std::env::var(name)
            .ok()
            .filter(|path| path.starts_with('/'))
    };
    let uid = rustix::process::geteuid().as_raw();
    let home = set("HOME").unwrap_or_else(|| "/nonexistent".to_owned());
    let boot = set("XDG_RUNTIME_DIR").unwrap_or_else(|| format!("/run/user/{uid}"));
    let disk = set("XDG_STATE_HOME").unwrap_or_else(|| format!("{home}/.local/state"));
    (format!("{boot}/hosttune"), format!("{disk}/hosttune"))
}

const SUFFIX: &str = ".journal";
/// The bytes that are reserved behind a journal: an undo names each step with a number of a few digits.
const RESERVED: u64 = 4096;

impl Store for DirectoryStore {
    fn path(&self, location: JournalLocation, owner: &str) -> String {
        self.shown(&self.file_path(location, owner))
    }

    fn read(
        &self,
        location: JournalLocation,
        owner: &str,
    ) -> Result<Option<Vec<u8>>, JournalError> {
        let path = self.file_path(location, owner);
        let opened;
        let directory = match self.directories.get(&location) {
            Some(directory) => directory,
            None => match self.existing(location)? {
                Some(directory) => {
                    opened = directory;
                    &opened
                }
                None => return Ok(None),
            },
        };
        let flags = READING | OFlags::NOFOLLOW;
        let open = match rustix::fs::openat(directory, self.name(owner), flags, Mode::empty()) {
            Ok(open) => open,
            Err(Errno::NOENT) => {
                // A process that was killed while it wrote its first intent has left a file that
                // nothing else would remove. Under the lock no other process is writing one.
                if self.lock.is_some() {
                    let _ = rustix::fs::unlinkat(directory, self.new_name(owner), AtFlags::empty());
                }
                return Ok(None);
            }
            Err(errno) => return Err(self.fail("read", &path)(errno)),
        };
        self.trust_file(&open, &path)?;
        match read_all(open, LARGEST_FILE) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Unread::Errno(errno)) => Err(self.fail("read", &path)(errno)),
            Err(unread) => Err(JournalError::Untrusted {
                path: self.shown(&path),
                why: unread.why().unwrap_or_default(),
            }),
        }
    }

    fn owners(&self, location: JournalLocation) -> Result<Vec<String>, JournalError> {
        let fail = self.fail("list", self.beneath(location));
        let opened;
        let directory = match self.directories.get(&location) {
            Some(directory) => directory,
            None => match self.existing(location)? {
                Some(directory) => {
                    opened = directory;
                    &opened
                }
                None => return Ok(Vec::new()),
            },
        };
        let mut owners = Vec::new();
        // `read_from` opens the directory anew, so each listing starts at the beginning.
        for entry in rustix::fs::Dir::read_from(directory).map_err(&fail)? {
            let entry = entry.map_err(&fail)?;
            let owner = entry.file_name().to_str().ok();
            let owner = owner.and_then(|name| name.strip_suffix(self.names.suffix));
            // The name of an unfinished replacement begins with a dot.
            owners.extend(
                owner
                    .filter(|owner| !owner.starts_with('.'))
                    .map(str::to_owned),
            );
        }
        owners.sort_unstable();
        Ok(owners)
    }

    fn write_at(
        &mut self,
        location: JournalLocation,
        owner: &str,
        offset: u64,
        bytes: &[u8],
        sync: bool,
    ) -> Result<(), JournalError> {
        let path = self.file_path(location, owner);
        let fail = self.fail("write", &path);
        let key = (location, owner.to_owned());
        let mut created = false;
        if !self.files.contains_key(&key) {
            let name = self.name(owner);
            let directory = self.directory(location)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            // Do not wait for the reader of a pipe: it was a file when it was read.
            let flags = flags | OFlags::NONBLOCK;
            let open = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o600))
                .map_err(&fail)?;
            let stat = self.trust_file(&open, &path)?;
            // Anything after the last complete line is the rest of an interrupted write. Truncating to the same
            // length would give up the room that is reserved behind it.
            if u64::try_from(stat.st_size) != Ok(offset) {
                rustix::fs::ftruncate(&open, offset).map_err(&fail)?;
            }
            rustix::fs::seek(&open, rustix::fs::SeekFrom::Start(offset)).map_err(&fail)?;
            created = offset == 0;
            self.files.insert(key.clone(), open);
        }
        let Some(open) = self.files.get(&key) else {
            return Err(fail(Errno::BADF));
        };
        let written = write_all(open, bytes).and_then(|()| {
            if sync {
                rustix::fs::fdatasync(open)
            } else {
                Ok(())
            }
        });
        if let Err(errno) = written {
            // The next write opens the file again and truncates what this one left.
            self.files.remove(&key);
            return Err(fail(errno));
        }
        if created && sync && location == JournalLocation::Persistent {
            // The directory entry must survive as well. If the boot's journal is lost in a power
            // cut, so are the changes that it records.
            rustix::fs::fsync(self.directory(location)?).map_err(&fail)?;
        }
        Ok(())
    }

    fn reserve(&mut self, location: JournalLocation, owner: &str, length: u64) {
        if let Some(open) = self.files.get(&(location, owner.to_owned())) {
            // Not every file system can, and a full one has no room.
            let _ = rustix::fs::fallocate(open, FallocateFlags::KEEP_SIZE, length, RESERVED);
        }
    }

    fn replace(
        &mut self,
        location: JournalLocation,
        owner: &str,
        bytes: &[u8],
    ) -> Result<(), JournalError> {
        let path = self.file_path(location, owner);
        let fail = self.fail("rewrite", &path);
        self.files.remove(&(location, owner.to_owned()));
        let (name, new) = (self.name(owner), self.new_name(owner));
        let directory = self.directory(location)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || rustix::fs::openat(directory, &new, flags, Mode::from_raw_mode(0o600));
        let open = (|| {
            let open = match create() {
                // A leftover of an interrupted rewrite could have another name elsewhere; a new
                // file has none.
                Err(Errno::EXIST) => {
                    rustix::fs::unlinkat(directory, &new, AtFlags::empty())?;
                    create()?
                }
                other => other?,
            };
            write_all(&open, bytes)?;
            rustix::fs::fdatasync(&open)?;
            rustix::fs::renameat(directory, &new, directory, name)?;
            Ok(open)
        })()
        .map_err(&fail)?;
        // Its offset is at the end, where the next record goes.
        self.files.insert((location, owner.to_owned()), open);
        if location == JournalLocation::Volatile {
            // Lost in a power cut, together with the changes that it records.
            return Ok(());
        }
        rustix::fs::fsync(self.directory(location)?).map_err(&fail)
    }

    fn remove(&mut self, location: JournalLocation, owner: &str) -> Result<(), JournalError> {
        let path = self.file_path(location, owner);
        let fail = self.fail("remove", &path);
        self.files.remove(&(location, owner.to_owned()));
        let (name, new) = (self.name(owner), self.new_name(owner));
        let directory = self.directory(location)?;
        match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(fail(errno)),
        }
        // A process that was killed in `replace` may have left it; nothing reads it.
        let _ = rustix::fs::unlinkat(directory, new, AtFlags::empty());
        if location == JournalLocation::Persistent {
            rustix::fs::fsync(self.directory(location)?).map_err(&fail)?;
        }
        Ok(())
    }

    fn lock(&mut self, note: &str) -> Result<(), JournalError> {
        let path = self.boot.join(self.names.lock);
        let fail = self.fail("lock", &path);
        let lock = self.names.lock;
        let directory = self.directory(JournalLocation::Volatile)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let flags = flags | OFlags::NONBLOCK;
        let open = rustix::fs::openat(directory, lock, flags, Mode::from_raw_mode(0o600))
            .map_err(&fail)?;
        self.trust_file(&open, &path)?;
        match rustix::fs::flock(&open, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN) => {
                return Err(JournalError::Locked {
                    holder: holder(&open),
                });
            }
            Err(errno) => return Err(fail(errno)),
        }
        // Name this process, padded so that nothing of a longer predecessor remains.
        let note = format!("{note:<79.79}\n");
        rustix::io::pwrite(&open, note.as_bytes(), 0).map_err(&fail)?;
        self.lock = Some(open);
        Ok(())
    }

    fn unlock(&mut self) {
        // The file stays, because removing it would let two processes lock two files of the same
        // name. It is unlocked and not only closed: a child that another thread has just forked
        // keeps it open until it calls `execve(2)`.
        if let Some(lock) = self.lock.take() {
            let _ = rustix::fs::flock(&lock, FlockOperation::Unlock);
        }
        self.files.clear();
    }

    fn holder(&self) -> Option<String> {
        if self.lock.is_some() {
            return None;
        }
        let directory = self.existing(JournalLocation::Volatile).ok()??;
        let flags = READING | OFlags::NOFOLLOW;
        let open = rustix::fs::openat(&directory, self.names.lock, flags, Mode::empty()).ok()?;
        match rustix::fs::flock(&open, FlockOperation::NonBlockingLockShared) {
            Err(Errno::AGAIN) => Some(holder(&open)),
            _ => None,
        }
    }
}

fn holder(open: &OwnedFd) -> String {
    let mut bytes = [0; 80];
    let length = rustix::io::pread(open, &mut bytes, 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&bytes[..length]);
    match text.trim() {
        "" => "it did not identify itself".to_owned(),
        who => who.to_owned(),
    }
}
