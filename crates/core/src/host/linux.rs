//! The one place that opens files of the host.
//!
//! Every path is resolved below the root with `openat2(2)` and
//! `RESOLVE_IN_ROOT` (Linux 5.6), so an absolute symlink inside a captured tree
//! or an image points into that tree, and nothing leads out of it.

mod by_child;
mod captured;
mod child_write;
mod firmware_variable;
mod reading;

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use super::error::{HostError, HostErrorKind, Operation};
use super::fs::{Entry, EntryKind, FileContent, Fs, RootKind};
use super::regular::{self, LARGEST_FILE, Unread, read_all};
use super::replacement::{Leftovers, attributes, is_replacement, replace, replacement_of};

use child_write::Hanging;

/// The files below a root directory of a Linux machine.
#[derive(Debug)]
pub struct LinuxHost {
    root: OwnedFd,
    shown: PathBuf,
    kind: RootKind,
    /// Pseudo-files kept open: see [`read_live`](Self::read_live).
    open: Mutex<HashMap<PathBuf, OwnedFd>>,
    leftovers: Leftovers,
    /// How long a child may write: see [`child_write`].
    limit: Duration,
    hanging: Hanging,
    /// Whether a key below `/proc/sys` was seen to belong to a user who is not in this user namespace.
    sees_keys_of_others: AtomicBool,
}

/// The user that stands for all who are not in this user namespace (`DEFAULT_OVERFLOWUID` in
/// `include/linux/highuid.h`; `/proc/sys/kernel/overflowuid` can change it, and nothing does).
const OVERFLOW: u32 = 65534;

/// How many pseudo-files are kept open at most; a process may have 1024 files open.
const KEPT_OPEN: usize = 256;

/// How kernel files are opened to be written.
const WRITING: OFlags = OFlags::WRONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// A captured tree has at least one of these. Not `/sys/kernel`, because images keep debugging
/// information for eBPF there.
const OF_A_KERNEL: [&str; 7] = [
    "/proc/sys",
    "/proc/version",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices",
    "/sys/class",
    "/sys/block",
];

impl LinuxHost {
    /// The running system.
    ///
    /// # Errors
    /// If `/` cannot be opened.
    pub fn live() -> Result<Self, HostError> {
        Self::open(Path::new("/"), Some(RootKind::Live))
    }

    /// The tree below a directory: the running system for `/`, a captured tree if it contains files
    /// that only a running kernel provides, otherwise an image.
    ///
    /// # Errors
    /// If `root` is not a directory or cannot be opened.
    pub fn at(root: impl AsRef<Path>) -> Result<Self, HostError> {
        let root = root.as_ref();
        Self::open(root, (root == Path::new("/")).then_some(RootKind::Live))
    }

    fn open(root: &Path, kind: Option<RootKind>) -> Result<Self, HostError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open(root, flags, Mode::empty()).map_err(|errno| {
            let error = HostError::from_raw(Operation::Read, root.display().to_string(), errno);
            match errno {
                Errno::NOTDIR => {
                    error.with_hint("--root takes a directory: '/', a captured tree or an image")
                }
                Errno::NOENT => error.with_hint("there is no such directory"),
                _ => error,
            }
        })?;
        let mut host = Self {
            root: descriptor,
            shown: root.to_owned(),
            // Until the kind is known, paths are resolved below the root.
            kind: RootKind::Captured,
            open: Mutex::default(),
            leftovers: Leftovers::default(),
            limit: child_write::LIMIT,
            hanging: Hanging::default(),
            sees_keys_of_others: AtomicBool::new(false),
        };
        host.kind = match kind {
            Some(kind) => kind,
            None if host.is_of_a_running_kernel()? => RootKind::Captured,
            None => RootKind::Image,
        };
        Ok(host)
    }

    /// Sets how long a [write by a child](Fs::write_value_in_child) may take; by default 60 seconds.
    #[must_use]
    pub fn write_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The directory that all paths are below.
    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Whether the tree contains files from a kernel. An image has empty directories as mount
    /// points for `/proc` and `/sys`.
    fn is_of_a_running_kernel(&self) -> Result<bool, HostError> {
        for path in OF_A_KERNEL {
            if self.entry(Path::new(path))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A file with its metadata, and the bytes that `bytes` reads of it; `None` if it is missing.
    fn content(
        &self,
        path: &Path,
        most: u64,
        bytes: impl Fn(OwnedFd) -> Result<Vec<u8>, Unread>,
    ) -> Result<Option<FileContent>, HostError> {
        let content = || -> Result<FileContent, Unread> {
            let Some(open) = self.open_to_read(path, most)? else {
                return Ok(FileContent::new(Vec::new()));
            };
            let stat = rustix::fs::fstat(&open)?;
            Ok(FileContent {
                mode: stat.st_mode & 0o7777,
                uid: stat.st_uid,
                gid: stat.st_gid,
                attributes: attributes(&open)?,
                bytes: bytes(open)?,
            })
        };
        match content() {
            Ok(content) => Ok(Some(content)),
            Err(Unread::Errno(Errno::NOENT | Errno::NOTDIR)) => Ok(None),
            Err(unread) => Err(unread.into_error(Operation::Read, self.shown(path))),
        }
    }

    /// Rejects a running system without `/proc`, with that reason.
    pub(crate) fn need_proc(&self) -> Result<(), HostError> {
        let sys = Path::new("/proc/sys");
        match self.entry(sys)? {
            Some(_) => Ok(()),
            None => {
                let missing = self.fail(Operation::Read, sys)(Errno::NOENT);
                Err(self.unless_mounted(sys, missing))
            }
        }
    }

    /// A path as a person would type it on the machine that runs this program.
    pub(crate) fn shown(&self, path: &Path) -> String {
        if self.kind == RootKind::Live {
            return path.display().to_string();
        }
        let beneath = path.strip_prefix("/").unwrap_or(path);
        self.shown.join(beneath).display().to_string()
    }

    fn fail(&self, operation: Operation, path: &Path) -> impl Fn(Errno) -> HostError + use<> {
        let shown = self.shown(path);
        move |errno| HostError::from_raw(operation, shown.clone(), errno)
    }

    fn resolve(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        if self.kind == RootKind::Live {
            // Nothing leads out of "/", and checking that would make reading a plain value a third
            // more expensive.
            return open_live(path, flags, mode);
        }
        open_beneath(&self.root, path, flags, mode)
    }

    /// The directory of `path`, and its last component.
    fn parent<'p>(
        &self,
        operation: Operation,
        path: &'p Path,
    ) -> Result<(OwnedFd, &'p OsStr), HostError> {
        let (Some(parent), Some(Component::Normal(name))) =
            (path.parent(), path.components().next_back())
        else {
            return Err(HostError::new(
                operation,
                self.shown(path),
                HostErrorKind::OutsideRoot,
            ));
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = self
            .resolve(parent, flags, Mode::empty())
            .map_err(self.fail(operation, parent))?;
        Ok((directory, name))
    }

    /// Flushes a directory, so that its entries survive a power cut.
    fn sync_directory(&self, path: &Path) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::fsync(self.resolve(path, flags, Mode::empty())?)
    }
}

fn open_live(path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    loop {
        match rustix::fs::open(path, flags, mode) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Opens `path` with `root` as its root directory, also for symlinks.
pub(crate) fn open_beneath(
    root: impl AsFd,
    path: &Path,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    loop {
        match rustix::fs::openat2(&root, path, flags, mode, ResolveFlags::IN_ROOT) {
            // EAGAIN: a concurrent rename raced with the check of `..`; openat2(2) says to retry.
            Err(Errno::INTR | Errno::AGAIN) => {}
            other => return other,
        }
    }
}

fn text_of(target: &CStr) -> String {
    String::from_utf8_lossy(target.to_bytes()).into_owned()
}

fn entry_of(mode: u32, link: Option<String>) -> Entry {
    let kind = match (FileType::from_raw_mode(mode), link) {
        (FileType::RegularFile, _) => EntryKind::File,
        (FileType::Directory, _) => EntryKind::Directory,
        (FileType::Symlink, Some(target)) => EntryKind::Link(target.into()),
        _ => EntryKind::Other,
    };
    Entry {
        kind,
        mode: mode & 0o7777,
    }
}

/// Whether one read returns the whole value: the handlers behind these files return everything for
/// a read at offset 0 and nothing for later ones.
fn delivers_whole(path: &Path) -> bool {
    path.starts_with("/proc/sys") || path.starts_with("/sys")
}

/// Writes all of `bytes`, with more than one `write(2)` only if the file accepts them in parts.
pub(crate) fn write_all(file: impl AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(&file, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

impl Fs for LinuxHost {
    fn root_kind(&self) -> RootKind {
        self.kind
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, HostError> {
        let bytes = match (self.kind, delivers_whole(path)) {
            (RootKind::Live, true) => self.read_live(path),
            (_, true) => self.read_captured(path),
            (_, false) => self.read_plain(path),
        };
        bytes.map_err(|unread| {
            let error = unread.into_error(Operation::Read, self.shown(path));
            match unread {
                Unread::Errno(Errno::NOENT) => self.unless_mounted(path, error),
                _ => error,
            }
        })
    }

    fn read_up_to(&self, path: &Path, most: u64) -> Result<Vec<u8>, HostError> {
        let bytes = self.read_plain_up_to(path, most);
        bytes.map_err(|unread| unread.into_error(Operation::Read, self.shown(path)))
    }

    fn reader(&self, path: &Path) -> Result<Box<dyn std::io::Read + Send>, HostError> {
        match self.open_to_read(path, u64::MAX) {
            Ok(Some(open)) => Ok(Box::new(std::fs::File::from(open))),
            Ok(None) => Ok(Box::new(std::io::empty())),
            Err(unread) => Err(unread.into_error(Operation::Read, self.shown(path))),
        }
    }

    fn list(&self, directory: &Path) -> Result<Vec<String>, HostError> {
        let fail = self.fail(Operation::List, directory);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = self
            .resolve(directory, flags, Mode::empty())
            .map_err(&fail)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(open).map_err(&fail)? {
            let name = entry.map_err(&fail)?;
            match name.file_name().to_str() {
                Ok("." | "..") => {}
                // A leftover of an interrupted write is not a file of the kernel.
                Ok(name) if self.kind != RootKind::Live && is_replacement(name) => {}
                Ok(name) => names.push(name.to_owned()),
                // No name that the kernel or a loader reads is invalid UTF-8.
                Err(_) => {}
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn is_owned_elsewhere(&self, path: &Path) -> Result<bool, HostError> {
        if self.kind != RootKind::Live {
            return Ok(false);
        }
        let is_seen = if path.starts_with("/proc/sys") {
            self.sees_keys_of_others.load(Ordering::Relaxed)
        } else {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            match rustix::fs::statx(&self.root, path, flags, StatxFlags::UID) {
                Ok(stat) => stat.stx_uid == OVERFLOW,
                Err(Errno::NOENT | Errno::NOTDIR) => false,
                Err(errno) => return Err(self.fail(Operation::Read, path)(errno)),
            }
        };
        // A plan of a user without root is one for root.
        if !is_seen || !rustix::process::geteuid().is_root() {
            return Ok(false);
        }
        // The owner alone does not tell: a user of that number can exist, and root may write its files. The
        // kernel's own check does, which for a key is that of its table.
        let asked = rustix::fs::accessat(&self.root, path, Access::WRITE_OK, AtFlags::EACCESS);
        Ok(matches!(asked, Err(Errno::ACCESS | Errno::PERM)))
    }

    fn file_size(&self, path: &Path) -> Result<Option<u64>, HostError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let stat = self
            .resolve(path, flags, Mode::empty())
            .and_then(rustix::fs::fstat);
        match stat {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                Ok(u64::try_from(stat.st_size).ok())
            }
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(self.fail(Operation::Read, path)(errno)),
        }
    }

    fn entry(&self, path: &Path) -> Result<Option<Entry>, HostError> {
        let fail = self.fail(Operation::Read, path);
        if self.kind == RootKind::Live {
            // Nothing leads out of "/": one system call instead of four, or two for a link. The path
            // is used even if the file is kept open, because a deleted file looks unchanged through
            // its descriptor.
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            let mode = match rustix::fs::statx(
                &self.root,
                path,
                flags,
                StatxFlags::TYPE | StatxFlags::MODE,
            ) {
                Ok(stat) => {
                    // The kernel always fills it in. Asked here, it costs no call of its own.
                    if stat.stx_uid == OVERFLOW && path.starts_with("/proc/sys") {
                        self.sees_keys_of_others.store(true, Ordering::Relaxed);
                    }
                    u32::from(stat.stx_mode)
                }
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
                Err(errno) => return Err(fail(errno)),
            };
            if FileType::from_raw_mode(mode) != FileType::Symlink {
                return Ok(Some(entry_of(mode, None)));
            }
            match rustix::fs::readlinkat(&self.root, path, Vec::new()) {
                Ok(target) => return Ok(Some(entry_of(mode, Some(text_of(&target))))),
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
                // It has been replaced since, by what is no link: both are asked of one descriptor.
                Err(Errno::INVAL) => {}
                Err(errno) => return Err(fail(errno)),
            }
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = match self.resolve(path, flags, Mode::empty()) {
            Ok(open) => open,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(fail(errno)),
        };
        let stat = rustix::fs::statx(
            &open,
            c"",
            AtFlags::EMPTY_PATH,
            StatxFlags::TYPE | StatxFlags::MODE,
        )
        .map_err(&fail)?;
        let mode = u32::from(stat.stx_mode);
        let link = match FileType::from_raw_mode(mode) {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&open, c"", Vec::new()).map_err(&fail)?;
                Some(text_of(&target))
            }
            _ => None,
        };
        Ok(Some(entry_of(mode, link)))
    }

    fn file(&self, path: &Path) -> Result<Option<FileContent>, HostError> {
        self.content(path, LARGEST_FILE, |open| read_all(open, LARGEST_FILE))
    }

    fn file_without_bytes(&self, path: &Path) -> Result<Option<FileContent>, HostError> {
        self.content(path, u64::MAX, |_| Ok(Vec::new()))
    }

    fn half_written(&self, path: &Path) -> Result<bool, HostError> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(false);
        };
        Ok(self.entry(&directory.join(replacement_of(name)))?.is_some())
    }

    fn write_value(&mut self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        if self.kind != RootKind::Live {
            return self.write_captured(path, bytes);
        }
        let fail = self.fail(Operation::Write, path);
        let open = self.resolve(path, WRITING, Mode::empty()).map_err(&fail)?;
        let kept = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // A file that was read as a value has been checked.
        if !kept.contains_key(path) {
            let stat = rustix::fs::fstat(&open).map_err(&fail)?;
            regular::check(&stat)
                .map_err(|unread| unread.into_error(Operation::Write, self.shown(path)))?;
        }
        drop(kept);
        loop {
            match rustix::io::write(&open, bytes) {
                Ok(count) if count == bytes.len() => return Ok(()),
                Ok(count) => {
                    return Err(fail(Errno::IO)
                        .detail(format!("the kernel took {count} of {} bytes", bytes.len())));
                }
                Err(Errno::INTR) => {}
                Err(errno) => {
                    return Err(
                        fail(errno).wanted(String::from_utf8_lossy(bytes).trim_end().to_owned())
                    );
                }
            }
        }
    }

    fn write_value_in_child(
        &mut self,
        path: &Path,
        bytes: &[u8],
        guard: &Path,
    ) -> Result<(), HostError> {
        self.write_by_child(path, bytes, guard)
    }

    fn child_is_writing(&self, guard: &Path) -> Result<bool, HostError> {
        self.is_written_by_child(guard)
    }

    fn child_ends(&self, guard: &Path) -> Result<bool, HostError> {
        self.is_left_by_child(guard)
    }

    fn put_file(&mut self, path: &Path, content: &FileContent) -> Result<(), HostError> {
        let fail = self.fail(Operation::Create, path);
        let (directory, name) = self.parent(Operation::Create, path)?;
        replace(&directory, name, content, true).map_err(&fail)?;
        match path.parent() {
            Some(parent) => self.sync_directory(parent).map_err(&fail),
            None => Ok(()),
        }
    }

    fn put_firmware_variable(&mut self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        if self.kind != RootKind::Live {
            return self.put_file(path, &FileContent::new(bytes));
        }
        let (directory, name) = self.parent(Operation::Write, path)?;
        firmware_variable::write(&directory, name, bytes).map_err(self.fail(Operation::Write, path))
    }

    fn remove_firmware_variable(&mut self, path: &Path) -> Result<(), HostError> {
        if self.kind != RootKind::Live {
            return self.remove(path);
        }
        let (directory, name) = self.parent(Operation::Remove, path)?;
        firmware_variable::remove(&directory, name).map_err(self.fail(Operation::Remove, path))
    }

    fn create_directory(&mut self, path: &Path) -> Result<(), HostError> {
        let fail = self.fail(Operation::Create, path);
        let (parent, name) = self.parent(Operation::Create, path)?;
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mkdirat(&parent, name, mode).map_err(&fail)?;
        // As for a file, whatever the umask is: other programs read what is in it.
        rustix::fs::chmodat(&parent, name, mode, AtFlags::empty()).map_err(&fail)?;
        match path.parent() {
            Some(parent) => self.sync_directory(parent).map_err(&fail),
            None => Ok(()),
        }
    }

    fn remove(&mut self, path: &Path) -> Result<(), HostError> {
        let fail = self.fail(Operation::Remove, path);
        let (parent, name) = self.parent(Operation::Remove, path)?;
        let leftover =
            rustix::fs::unlinkat(&parent, &*replacement_of(name), AtFlags::empty()).is_ok();
        match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => {
                rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR).map_err(&fail)?;
            }
            // Only the leftover existed, and it has been removed.
            Err(Errno::NOENT) if leftover => {}
            other => other.map_err(&fail)?,
        }
        match path.parent() {
            Some(parent) => self.sync_directory(parent).map_err(&fail),
            None => Ok(()),
        }
    }

    fn leftovers(&mut self) -> Vec<PathBuf> {
        self.leftovers.take().into_iter().collect()
    }

    fn remove_leftover(&mut self, path: &Path) -> Result<(), HostError> {
        self.tree_value(path)
            .and_then(|value| value.remove_leftover())
            .map_err(self.fail(Operation::Remove, path))
    }

    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }
}
