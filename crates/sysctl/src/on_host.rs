//! The sysctl files of a host, read through the host: beneath its root and never outside.

use std::path::{Component, Path, PathBuf};

use hosttune_core::host::EntryKind;
use hosttune_core::{Host, HostError, HostErrorKind};

use crate::sources::{Content, Directories};

/// How many symbolic links one path may go through, as in the kernel (MAXSYMLINKS).
const MOST_LINKS: usize = 40;

/// The directories of a host, for [`Sources::collect`](crate::Sources::collect).
#[derive(Debug, Clone, Copy)]
pub struct OnHost<'h> {
    host: &'h Host,
    /// A file as it will be, whatever stands there now.
    planned: Option<(&'h str, &'h [u8])>,
}

impl<'h> OnHost<'h> {
    /// The files as they are.
    pub fn new(host: &'h Host) -> Self {
        Self {
            host,
            planned: None,
        }
    }

    /// The files as they will be once `path` holds `bytes`.
    #[must_use]
    pub fn with_file(mut self, path: &'h str, bytes: &'h [u8]) -> Self {
        self.planned = Some((path, bytes));
        self
    }
}

impl Directories for OnHost<'_> {
    type Error = HostError;

    fn names(&self, directory: &str) -> Result<Vec<String>, HostError> {
        let mut names = match self.host.list(directory) {
            Err(error) if *error.kind() == HostErrorKind::Missing => Vec::new(),
            other => other?,
        };
        // Loaders pass over a directory of such a name.
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
        // A link that leads in a circle says as little as one that leads nowhere.
        let Some(resolved) = follow(self.host, Path::new(path))? else {
            return Ok(Content::Missing);
        };
        if resolved == Path::new("/dev/null") {
            return Ok(Content::Masked);
        }
        match self.host.entry(&resolved)?.map(|entry| entry.kind) {
            // Loaders open a link to a directory and read nothing from it.
            None | Some(EntryKind::Directory) => Ok(Content::Missing),
            Some(_) => self.host.read(&resolved).map(Content::Bytes),
        }
    }

    fn resolved(&self, path: &str) -> Result<String, HostError> {
        let resolved = follow(self.host, Path::new(path))?;
        Ok(resolved.map_or_else(|| path.to_owned(), |path| path.display().to_string()))
    }
}

/// The path after every symbolic link in it was followed. What does not exist is kept as it is:
/// a link to nothing still has a place it leads to. `None` for links that lead in a circle.
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

/// The names in a path, the last first.
fn segments(path: &Path) -> Vec<PathBuf> {
    path.components()
        .rev()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| PathBuf::from(part.as_os_str()))
        .collect()
}
