//! The sysctl files of a host, read through the host and therefore never outside its root.

use std::path::{Component, Path, PathBuf};

use hosttune_core::host::EntryKind;
use hosttune_core::{Host, HostError};

use crate::sources::{Content, Directories};

/// The largest number of symbolic links in the resolution of one path, as in the kernel
/// (`MAXSYMLINKS`).
const MOST_LINKS: usize = 40;

/// The sysctl directories of a host, for [`Sources::collect`](crate::Sources::collect).
#[derive(Debug, Clone, Copy)]
pub struct OnHost<'h> {
    host: &'h Host,
    /// The path and future content of a file that is read instead of the present one.
    planned: Option<(&'h str, &'h [u8])>,
}

impl<'h> OnHost<'h> {
    /// The present files of the host.
    pub fn new(host: &'h Host) -> Self {
        Self {
            host,
            planned: None,
        }
    }

    /// The files of the host after a change that writes `bytes` to `path`.
    #[must_use]
    pub fn with_file(mut self, path: &'h str, bytes: &'h [u8]) -> Self {
        self.planned = Some((path, bytes));
        self
    }
}

impl Directories for OnHost<'_> {
    type Error = HostError;

    fn names(&self, directory: &str) -> Result<Vec<String>, HostError> {
        let mut names = self.host.list_if_there(directory)?;
        // Loaders skip a directory with such a name.
        let mut failure = None;
        names.retain(|name| {
            if !name.ends_with(".conf") {
                return true;
            }
            match self.host.entry(format!("{directory}/{name}")) {
                Ok(Some(entry)) => entry.kind != EntryKind::Directory,
                Ok(None) => true,
                Err(error) => {
                    failure.get_or_insert(error);
                    true
                }
            }
        });
        if let Some(failure) = failure {
            return Err(failure);
        }
        if let Some((path, _)) = self.planned
            && let Some((beneath, name)) = path.rsplit_once('/')
            && beneath == directory
            && !names.iter().any(|known| known == name)
        {
            names.push(name.to_owned());
        }
        Ok(names)
    }

    fn content(&self, path: &str) -> Result<Content, HostError> {
        if let Some((planned, bytes)) = self.planned
            && planned == path
        {
            return Ok(Content::Bytes(bytes.to_vec()));
        }
        // A circular link has no content, like a dangling one.
        let Some(resolved) = follow(self.host, Path::new(path))? else {
            return Ok(Content::Missing);
        };
        if resolved == Path::new("/dev/null") {
            return Ok(Content::Masked);
        }
        match self.host.entry(&resolved)?.map(|entry| entry.kind) {
            // Loaders open a link to a directory, but read nothing from it.
            None | Some(EntryKind::Directory) => Ok(Content::Missing),
            Some(_) => self.host.read(&resolved).map(Content::Bytes),
        }
    }

    fn resolved(&self, path: &str) -> Result<String, HostError> {
        let resolved = follow(self.host, Path::new(path))?;
        Ok(resolved.map_or_else(|| path.to_owned(), |path| path.display().to_string()))
    }
}

/// Resolves every symbolic link in a path. A part that does not exist is kept unchanged, because a
/// dangling link has a target too. `None` for circular links.
fn follow(host: &Host, path: &Path) -> Result<Option<PathBuf>, HostError> {
    let mut resolved = PathBuf::from("/");
    let mut ahead: Vec<PathBuf> = segments(path);
    let mut links = 0;
    while let Some(segment) = ahead.pop() {
        if segment == Path::new("..") {
            resolved.pop();
            continue;
        }
        let next = resolved.join(&segment);
        let kind = host.entry(&next)?.map(|entry| entry.kind);
        let Some(EntryKind::Link(target)) = kind else {
            resolved = next;
            continue;
        };
        links += 1;
        if links > MOST_LINKS {
            return Ok(None);
        }
        if target.is_absolute() {
            resolved = PathBuf::from("/");
        }
        ahead.extend(segments(&target));
    }
    Ok(Some(resolved))
}

/// The names in a path in reverse order.
fn segments(path: &Path) -> Vec<PathBuf> {
    path.components()
        .rev()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| PathBuf::from(part.as_os_str()))
        .collect()
}
