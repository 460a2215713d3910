//! The configuration files of a host, as bytes.

use std::path::{Path, PathBuf};

use hosttune_core::host::EntryKind;
use hosttune_core::{Host, HostError, HostErrorKind};

use super::environment::{Environment, Layer};

/// A configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigText {
    /// Its path.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// A directory of drop-ins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropIns {
    /// Whose directory it is.
    pub layer: Layer,
    /// The directory that is read or, if none exists, would be.
    pub directory: PathBuf,
    /// Its files whose names end with `.conf`, in the order of their bytes.
    ///
    /// The daemon sorts them by the rules of its locale, which is another order for names that differ
    /// in case or punctuation only.
    pub files: Vec<ConfigText>,
}

/// Everything that a daemon reads for one main file such as `pipewire.conf`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigFiles {
    /// The main file; without one the daemon does not start.
    pub main: Option<ConfigText>,
    /// The drop-ins, by layer.
    pub drop_ins: Vec<DropIns>,
    /// Files and directories that exist and could not be read, and why.
    pub unreadable: Vec<(PathBuf, String)>,
    /// Files that were not read because of their size, and why. The daemon may read them.
    pub unread: Vec<(PathBuf, String)>,
}

/// Too many symlinks on a path, such as one that leads to itself (errno(3)).
const ELOOP: i32 = 40;

impl ConfigFiles {
    /// Reads the files of a host for a main file.
    ///
    /// # Errors
    /// Any error from the host, except for files that do not exist or that this program may not read.
    pub fn collect(host: &Host, environment: &Environment, main: &str) -> Result<Self, HostError> {
        let mut files = Self::default();
        let mut name = main;
        for candidate in environment.config_name.as_deref().into_iter().chain([main]) {
            name = candidate;
            for path in environment.main_files(candidate) {
                files.main = files.read(host, &path)?;
                if files.main.is_some() {
                    break;
                }
            }
            if files.main.is_some() {
                break;
            }
        }
        for (layer, candidates) in environment.drop_in_directories(name) {
            let mut found = None;
            for directory in &candidates {
                if exists(host, directory)? {
                    found = Some(directory);
                    break;
                }
            }
            let Some(directory) = found.or_else(|| candidates.first()) else {
                continue;
            };
            let texts = files.list(host, directory)?;
            files.drop_ins.push(DropIns {
                layer,
                directory: directory.clone(),
                files: texts,
            });
        }
        Ok(files)
    }

    /// The files as they would be with this one written. It must be in a directory of drop-ins;
    /// elsewhere it is not read.
    #[must_use]
    pub fn with_file(mut self, path: &Path, bytes: &[u8]) -> Self {
        for directory in &mut self.drop_ins {
            if Some(directory.directory.as_path()) != path.parent() {
                continue;
            }
            directory.files.retain(|file| file.path != path);
            directory.files.push(ConfigText {
                path: path.to_owned(),
                bytes: bytes.to_owned(),
            });
            directory
                .files
                .sort_by(|one, other| one.path.cmp(&other.path));
        }
        self
    }

    /// The directory of drop-ins of a layer.
    pub fn directory(&self, layer: Layer) -> Option<&Path> {
        let drop_ins = self.drop_ins.iter().find(|one| one.layer == layer)?;
        Some(&drop_ins.directory)
    }

    fn list(&mut self, host: &Host, directory: &Path) -> Result<Vec<ConfigText>, HostError> {
        let names = match host.list(directory) {
            Ok(names) => names,
            Err(error) if *error.kind() == HostErrorKind::Missing => return Ok(Vec::new()),
            Err(error)
                if *error.kind() == HostErrorKind::Denied
                    || error.is_not_a_directory()
                    || is_loop(&error) =>
            {
                self.unreadable
                    .push((directory.to_owned(), error.to_string()));
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        let mut texts = Vec::new();
        for name in names.iter().filter(|name| name.ends_with(".conf")) {
            texts.extend(self.read(host, &directory.join(name))?);
        }
        Ok(texts)
    }

    fn read(&mut self, host: &Host, path: &Path) -> Result<Option<ConfigText>, HostError> {
        // A directory cannot be mapped into memory, so the daemon does not read it.
        let kind = host.entry(path)?.map(|entry| entry.kind);
        if matches!(kind, None | Some(EntryKind::Directory | EntryKind::Other)) {
            return Ok(None);
        }
        match host.read(path) {
            Ok(bytes) => Ok(Some(ConfigText {
                path: path.to_owned(),
                bytes,
            })),
            // A link whose target does not exist.
            Err(error) if *error.kind() == HostErrorKind::Missing => Ok(None),
            Err(error) if *error.kind() == HostErrorKind::Denied || is_loop(&error) => {
                self.unreadable.push((path.to_owned(), error.to_string()));
                Ok(None)
            }
            // A link to a device, from which the daemon reads nothing, or a file that is too large.
            Err(error) if *error.kind() == HostErrorKind::Malformed => {
                self.unread.push((path.to_owned(), error.to_string()));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether a directory is there. The daemon passes over a link that leads to itself.
fn exists(host: &Host, directory: &Path) -> Result<bool, HostError> {
    match host.exists(directory) {
        Err(error) if is_loop(&error) => Ok(false),
        other => other,
    }
}

fn is_loop(error: &HostError) -> bool {
    error.errno() == Some(ELOOP)
}
