//! Files that are replaced as a whole: written beside the target and renamed over it.
//!
//! Whenever the writer is killed, the name refers to the old file or to the new one. The new file
//! is always newly created (`O_EXCL`): a leftover of that name could have a second name outside the
//! root, and truncating it would empty that file.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Access, AtFlags, FileType, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;

use super::fs::{AttributeValue, FileContent};
use super::linux::write_all;
use super::regular::{self, LARGEST_VALUE, READING, Unread};

/// The suffix of a target's name while its replacement is being written. The name begins with a dot
/// and does not end in a suffix that loaders look for.
const SUFFIX: &str = ".hosttune-new";

/// The name under which a file's replacement is written, beside the file.
pub(super) fn replacement_of(name: &OsStr) -> OsString {
    let mut replacement = OsString::from(".");
    replacement.push(name);
    replacement.push(SUFFIX);
    replacement
}

/// Whether a name was made by [`replacement_of`].
pub(super) fn is_replacement(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(SUFFIX)
}

/// Replaces the file `name` in `directory`; on failure that file is unchanged.
pub(super) fn replace(
    directory: &OwnedFd,
    name: &OsStr,
    content: &FileContent,
    durably: bool,
) -> Result<(), Errno> {
    let replacement = replacement_of(name);
    match rustix::fs::unlinkat(directory, &*replacement, AtFlags::empty()) {
        // A directory of that name is not a leftover; creating the file will report it.
        Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = rustix::fs::openat(directory, &*replacement, flags, Mode::from_raw_mode(0o600))?;
    let written = (|| {
        write_all(&open, &content.bytes)?;
        for (name, value) in &content.attributes {
            rustix::fs::fsetxattr(&open, name.as_str(), &value.0, XattrFlags::empty())?;
        }
        let now = rustix::fs::fstat(&open)?;
        if (now.st_uid, now.st_gid) != (content.uid, content.gid) {
            rustix::fs::fchown(
                &open,
                Some(Uid::from_raw(content.uid)),
                Some(Gid::from_raw(content.gid)),
            )?;
        }
        rustix::fs::fchmod(&open, Mode::from_raw_mode(content.mode))?;
        if durably {
            rustix::fs::fsync(&open)?;
        }
        rustix::fs::renameat(directory, &*replacement, directory, name)
    })();
    if written.is_err() {
        // The target is unchanged; remove the unfinished replacement.
        let _ = rustix::fs::unlinkat(directory, &*replacement, AtFlags::empty());
    }
    written
}

/// A value of a tree: the file that its path resolves to, in the directory that contains it.
#[derive(Debug)]
pub(super) struct TreeValue {
    directory: OwnedFd,
    name: OsString,
}

/// The maximum number of links to follow, as in the kernel (MAXSYMLINKS).
const MOST_LINKS: usize = 40;

impl TreeValue {
    /// Resolves a path to the file; `open_directory` opens a directory below the root and never
    /// outside.
    pub(super) fn find(
        path: &Path,
        open_directory: impl Fn(&Path) -> Result<OwnedFd, Errno>,
    ) -> Result<Self, Errno> {
        let mut path = path.to_owned();
        for _ in 0..MOST_LINKS {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(Errno::ISDIR);
            };
            let directory = open_directory(parent)?;
            match rustix::fs::readlinkat(&directory, name, Vec::new()) {
                // Relative to the directory of the link; the kernel resolves `..`.
                Ok(target) => path = parent.join(OsStr::new(&*target.to_string_lossy())),
                // It is not a link.
                Err(Errno::INVAL | Errno::NOENT) => {
                    let name = name.to_owned();
                    return Ok(Self { directory, name });
                }
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::LOOP)
    }

    /// Whether it has a leftover replacement.
    pub(super) fn has_leftover(&self) -> bool {
        let replacement = replacement_of(&self.name);
        rustix::fs::statat(&self.directory, &*replacement, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
    }

    /// Removes the leftover replacement.
    pub(super) fn remove_leftover(&self) -> Result<(), Errno> {
        rustix::fs::unlinkat(
            &self.directory,
            &*replacement_of(&self.name),
            AtFlags::empty(),
        )
    }

    /// The file with its metadata.
    pub(super) fn content(&self) -> Result<FileContent, Unread> {
        let stat = rustix::fs::statat(&self.directory, &*self.name, AtFlags::SYMLINK_NOFOLLOW)?;
        regular::check(&stat)?;
        let flags = READING | OFlags::NOFOLLOW;
        let open = rustix::fs::openat(&self.directory, &*self.name, flags, Mode::empty())?;
        let open = regular::checked(open, LARGEST_VALUE)?;
        Ok(FileContent {
            bytes: regular::read_all(&open, LARGEST_VALUE)?,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            attributes: attributes(&open)?,
        })
    }

    /// Replaces the file. Another name of the old file keeps the old content.
    pub(super) fn replace(&self, content: &FileContent) -> Result<(), Errno> {
        // The rename needs only a writable directory, so check the permissions of the file as the
        // kernel would.
        rustix::fs::accessat(
            &self.directory,
            &*self.name,
            Access::WRITE_OK,
            AtFlags::EACCESS,
        )?;
        replace(&self.directory, &self.name, content, false)
    }
}

/// The values of a tree beside which a leftover of an interrupted write was seen.
#[derive(Debug, Default)]
pub(super) struct Leftovers(Mutex<BTreeSet<PathBuf>>);

impl Leftovers {
    pub(super) fn saw(&self, path: &Path) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(path.to_owned());
    }

    pub(super) fn take(&mut self) -> BTreeSet<PathBuf> {
        let seen = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(seen)
    }
}

/// All extended attributes of an open file; empty if the file system does not support any.
pub(super) fn attributes(file: impl AsFd) -> Result<Vec<(String, AttributeValue)>, Errno> {
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
