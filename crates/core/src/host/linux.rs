//! The one place that opens files of the host.
//!
//! Every path is resolved beneath the root with `openat2(2)` and
//! `RESOLVE_IN_ROOT` (Linux 5.6), so an absolute symlink inside a captured tree
//! or an image points into that tree, and nothing leads out of it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use super::choice;
use super::fs::{AttributeValue, Entry, EntryKind, FileContent, Fs, RootKind};
use crate::error::{HostError, HostErrorKind, Operation};

/// What follows a target's name while its replacement is being written. The name
/// begins with a dot and ends in none of the suffixes that loaders look for.
const REPLACEMENT_SUFFIX: &str = ".hosttune-new";

/// The files beneath one root directory of a Linux machine.
#[derive(Debug)]
pub struct LinuxHost {
    root: OwnedFd,
    shown: PathBuf,
    kind: RootKind,
    /// Pseudo-files kept open: see [`read_live`](Self::read_live).
    open: Mutex<HashMap<PathBuf, OwnedFd>>,
}

/// How many pseudo-files are kept open at most; a process may have 1024 files open.
const KEPT_OPEN: usize = 256;

impl LinuxHost {
    /// The running system, `/`.
    ///
    /// # Errors
    /// Where `/` cannot be opened.
    pub fn live() -> Result<Self, HostError> {
        Self::open(Path::new("/"), Some(RootKind::Live))
    }

    /// The tree beneath a directory: the running system for `/`, a captured tree
    /// where it holds `proc/sys`, an image where it does not.
    ///
    /// # Errors
    /// Where `root` is no directory or cannot be opened.
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
            // Until it is known, what is beneath the root is looked for beneath it.
            kind: RootKind::Captured,
            open: Mutex::default(),
        };
        host.kind = match kind {
            Some(kind) => kind,
            None if host.entry(Path::new("/proc/sys"))?.is_some() => RootKind::Captured,
            None => RootKind::Image,
        };
        Ok(host)
    }

    /// The directory all paths are beneath.
    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// A path as a person would type it on the machine that runs this.
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
            // Nothing leads out of "/", and the check that nothing does costs a plain value's read
            // a third more.
            return open_live(path, flags, mode);
        }
        open_beneath(&self.root, path, flags, mode)
    }

    /// Reads a value of the running kernel.
    ///
    /// A knob is read when it is planned and again after each turn, and opening costs more than
    /// reading. The kernel works the value out anew for every read at offset 0, and answers a
    /// read of something that has gone meanwhile with ENOENT or ENODEV. What has its name by then is
    /// another file (a disk that came back, what a governor can be told once it is in use again): so
    /// it is opened anew.
    fn read_live(&self, path: &Path) -> Result<Vec<u8>, Errno> {
        let mut kept = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = kept.get(path) {
            match read_value(open) {
                Err(Errno::NODEV | Errno::NOENT | Errno::NXIO) => kept.remove(path),
                other => return other,
            };
        }
        let open = self.resolve(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let value = read_value(&open)?;
        if kept.len() < KEPT_OPEN {
            kept.insert(path.to_owned(), open);
        }
        Ok(value)
    }

    /// The directory that holds `path`, and the last segment.
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

    /// Flushes a directory, so that a name in it survives a power cut.
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

/// Opens `path` with `root` as its root directory, whatever symlinks say.
pub(crate) fn open_beneath(
    root: impl AsFd,
    path: &Path,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    loop {
        match rustix::fs::openat2(&root, path, flags, mode, ResolveFlags::IN_ROOT) {
            // EAGAIN: a rename somewhere raced with the check of `..`; openat2(2) says to retry.
            Err(Errno::INTR | Errno::AGAIN) => {}
            other => return other,
        }
    }
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

/// Where one read delivers a whole value: the handlers behind these files answer
/// a read at offset 0 with all they have and every later one with nothing.
fn delivers_whole(path: &Path) -> bool {
    path.starts_with("/proc/sys") || path.starts_with("/sys")
}

/// Reads a value from its beginning, in one read where it fits a page.
fn read_value(file: impl AsFd) -> Result<Vec<u8>, Errno> {
    // One byte more than a page: what fills it is known to be longer than any attribute.
    let mut bytes = vec![0; 4096 + 1];
    loop {
        match rustix::io::pread(&file, &mut bytes[..], 0) {
            Ok(count) if count == bytes.len() => bytes.resize(bytes.len() * 4, 0),
            Ok(count) => {
                bytes.truncate(count);
                return Ok(bytes);
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Reads to the end of an open file.
pub(crate) fn read_all(file: impl AsFd) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; 4096];
    let mut filled = 0;
    loop {
        match rustix::io::read(&file, &mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => {
                filled += count;
                if filled == bytes.len() {
                    bytes.resize(bytes.len() * 4, 0);
                }
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Writes all of `bytes`, more than one `write(2)` only where the file takes it in parts.
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
        let bytes = if self.kind == RootKind::Live && delivers_whole(path) {
            self.read_live(path)
        } else if delivers_whole(path) {
            // A captured value is shorter than the buffer, and of a file that says it all.
            self.resolve(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .and_then(read_value)
        } else {
            self.resolve(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .and_then(read_all)
        };
        bytes.map_err(self.fail(Operation::Read, path))
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
                Ok(name) => names.push(name.to_owned()),
                // A name that is not UTF-8 names nothing that the kernel or a loader reads.
                Err(_) => {}
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn entry(&self, path: &Path) -> Result<Option<Entry>, HostError> {
        let fail = self.fail(Operation::Read, path);
        if self.kind == RootKind::Live {
            // Beneath "/" there is nothing to be led out of: one call instead of three, unless
            // there is a link to be read. By its path also where it is kept open: a file that has
            // gone is as good as before to whoever holds it.
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            match rustix::fs::statx(&self.root, path, flags, StatxFlags::TYPE | StatxFlags::MODE) {
                Ok(stat)
                    if FileType::from_raw_mode(u32::from(stat.stx_mode)) != FileType::Symlink =>
                {
                    return Ok(Some(entry_of(u32::from(stat.stx_mode), None)));
                }
                Ok(_) => {}
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
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
                Some(String::from_utf8_lossy(target.as_bytes()).into_owned())
            }
            _ => None,
        };
        Ok(Some(entry_of(mode, link)))
    }

    fn file(&self, path: &Path) -> Result<Option<FileContent>, HostError> {
        let fail = self.fail(Operation::Read, path);
        let open = match self.resolve(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(open) => open,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(fail(errno)),
        };
        let stat = rustix::fs::fstat(&open).map_err(&fail)?;
        Ok(Some(FileContent {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            attributes: attributes(&open).map_err(&fail)?,
            bytes: read_all(open).map_err(&fail)?,
        }))
    }

    fn half_written(&self, path: &Path) -> Result<bool, HostError> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(false);
        };
        Ok(self.entry(&directory.join(replacement_of(name)))?.is_some())
    }

    fn write_value(&mut self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        let fail = self.fail(Operation::Write, path);
        let chosen = if self.kind == RootKind::Captured && path.starts_with("/sys") {
            let list = self
                .resolve(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .and_then(read_all)
                .map_err(&fail)?;
            choice::moved(&list, bytes)
        } else {
            None
        };
        let bytes = match &chosen {
            None => bytes,
            Some(Ok(list)) => list,
            Some(Err(choice::NotOffered)) => {
                let word = String::from_utf8_lossy(bytes);
                return Err(fail(Errno::INVAL).wanted(word.trim_end().to_owned()));
            }
        };
        let mut flags = OFlags::WRONLY | OFlags::CLOEXEC;
        if self.kind != RootKind::Live {
            // A captured value is an ordinary file: what was longer must go. The live
            // kernel has nothing to truncate.
            flags |= OFlags::TRUNC;
        }
        let open = self.resolve(path, flags, Mode::empty()).map_err(&fail)?;
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

    fn put_file(&mut self, path: &Path, content: &FileContent) -> Result<(), HostError> {
        let fail = self.fail(Operation::Create, path);
        let (directory, name) = self.parent(Operation::Create, path)?;
        let replacement = replacement_of(name);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = rustix::fs::openat(&directory, &*replacement, flags, Mode::from_raw_mode(0o600))
            .map_err(&fail)?;
        let written = (|| {
            write_all(&open, &content.bytes)?;
            for (name, value) in &content.attributes {
                rustix::fs::fsetxattr(
                    &open,
                    name.as_str(),
                    &value.0,
                    rustix::fs::XattrFlags::empty(),
                )?;
            }
            let now = rustix::fs::fstat(&open)?;
            if (now.st_uid, now.st_gid) != (content.uid, content.gid) {
                rustix::fs::fchown(
                    &open,
                    Some(rustix::fs::Uid::from_raw(content.uid)),
                    Some(rustix::fs::Gid::from_raw(content.gid)),
                )?;
            }
            rustix::fs::fchmod(&open, Mode::from_raw_mode(content.mode))?;
            rustix::fs::fsync(&open)?;
            rustix::fs::renameat(&directory, &*replacement, &directory, name)
        })();
        if let Err(errno) = written {
            // The target is untouched; the half-written replacement must not stay.
            let _ = rustix::fs::unlinkat(&directory, &*replacement, AtFlags::empty());
            return Err(fail(errno));
        }
        match path.parent() {
            Some(parent) => self.sync_directory(parent).map_err(&fail),
            None => Ok(()),
        }
    }

    fn create_directory(&mut self, path: &Path) -> Result<(), HostError> {
        let fail = self.fail(Operation::Create, path);
        let (parent, name) = self.parent(Operation::Create, path)?;
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)).map_err(&fail)?;
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
            // Only the leftover was there: it is what there was to remove.
            Err(Errno::NOENT) if leftover => {}
            other => other.map_err(&fail)?,
        }
        match path.parent() {
            Some(parent) => self.sync_directory(parent).map_err(&fail),
            None => Ok(()),
        }
    }

    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// The name under which a file's replacement is written, beside the file.
fn replacement_of(name: &OsStr) -> OsString {
    let mut replacement = OsString::from(".");
    replacement.push(name);
    replacement.push(REPLACEMENT_SUFFIX);
    replacement
}

/// All extended attributes of an open file; none where the file system has no such thing.
fn attributes(file: impl AsFd) -> Result<Vec<(String, AttributeValue)>, Errno> {
    let mut names = vec![0_u8; 1024];
    let length = match rustix::fs::flistxattr(&file, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    };
    names.truncate(length);
    let mut found = Vec::new();
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let Ok(name) = std::str::from_utf8(name) else {
            continue;
        };
        // 64 KiB is XATTR_SIZE_MAX.
        let mut value = vec![0_u8; 65536];
        let length = rustix::fs::fgetxattr(&file, name, &mut value)?;
        value.truncate(length);
        found.push((name.to_owned(), AttributeValue(value)));
    }
    Ok(found)
}
