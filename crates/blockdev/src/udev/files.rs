//! The rules files of a host, in udev's order.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use hosttune_core::host::EntryKind;
use hosttune_core::{Host, HostError, HostErrorKind};

use super::text::Document;
use super::{Problem, ProblemKind};

/// The directories of rules, the highest first. `/lib` is one of its own only where it is no link to
/// `/usr/lib`.
const DIRECTORIES: [&str; 5] = [
    "/etc/udev/rules.d",
    "/run/udev/rules.d",
    "/usr/local/lib/udev/rules.d",
    "/usr/lib/udev/rules.d",
    "/lib/udev/rules.d",
];

/// All rules of a host, in the order in which udevd carries them out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleFiles {
    files: Vec<RuleFile>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuleFile {
    /// Its absolute path.
    pub path: String,
    /// What it says; nothing for a mask.
    pub document: Document,
    /// The file of the same name in a higher directory that has udevd pass over this one.
    pub masked_by: Option<String>,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The absolute path.
    pub file: String,
    /// The line that the rule begins at, counted from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl RuleFiles {
    /// Reads them all: by base name from all directories, each name from the highest that has it,
    /// in the order of the names as bytes.
    ///
    /// A link to `/dev/null` and an empty file mask the lower ones and say nothing themselves; so does
    /// a link that leads nowhere.
    ///
    /// # Errors
    /// Where a directory or a file is there and cannot be read: one that is left out could be the one
    /// that sets something.
    pub fn read(host: &Host) -> Result<Self, HostError> {
        let mut files = Vec::new();
        for found in found(host)?.into_values() {
            // Lowest first, so that a masked file stands before the one that masks it.
            for (rank, file) in found.iter().enumerate().rev() {
                files.push(RuleFile {
                    document: Document::parse(&file.bytes(host)?),
                    path: file.path.clone(),
                    masked_by: (rank > 0).then(|| found[0].path.clone()),
                });
            }
        }
        Ok(Self { files })
    }

    /// Those that udevd reads, where any of them holds one of these texts; nothing where none does, and
    /// then none is understood either: most hosts have no rule about what is asked.
    ///
    /// One file is `instead` of the one that is there by its path, if there is one; what it holds does
    /// not count.
    pub(super) fn mentioning(
        host: &Host,
        texts: &[&str],
        instead: Option<(&str, &str)>,
    ) -> Result<Option<Self>, HostError> {
        let mut by_name = found(host)?;
        if let Some((path, _)) = instead {
            let name = path.rsplit('/').next().unwrap_or(path);
            let same = by_name.entry(name.to_owned()).or_default();
            // A file of ours is in the highest of all directories.
            same.clear();
            same.push(Found {
                path: path.to_owned(),
                target: None,
            });
        }
        let mut read = Vec::new();
        let mut mentioned = false;
        for found in by_name.into_values() {
            let Some(file) = found.into_iter().next() else {
                continue;
            };
            let bytes = match instead {
                Some((path, text)) if path == file.path => text.as_bytes().to_owned(),
                _ => {
                    let bytes = file.bytes(host)?;
                    let text = String::from_utf8_lossy(&bytes);
                    mentioned |= texts.iter().any(|wanted| text.contains(wanted));
                    bytes
                }
            };
            read.push((file.path, bytes));
        }
        let documents = read
            .into_iter()
            .map(|(path, bytes)| (path, Document::parse(&bytes)));
        Ok(mentioned.then(|| Self::of(documents)))
    }

    /// These, in this order, none masked.
    pub fn of<P: Into<String>>(files: impl IntoIterator<Item = (P, Document)>) -> Self {
        let files = files.into_iter().map(|(path, document)| RuleFile {
            path: path.into(),
            document,
            masked_by: None,
        });
        Self {
            files: files.collect(),
        }
    }

    /// All files, masked ones among them, each before the file that masks it.
    pub fn files(&self) -> &[RuleFile] {
        &self.files
    }

    /// Those that udevd reads, in order.
    pub fn read_by_udev(&self) -> impl Iterator<Item = &RuleFile> {
        self.files.iter().filter(|file| file.masked_by.is_none())
    }

    /// Without the file of this path: what the others do.
    #[must_use]
    pub fn without(mut self, path: &str) -> Self {
        self.files.retain(|file| file.path != path);
        self
    }

    /// What is wrong in the files that udevd reads.
    pub fn problems(&self) -> Vec<(Place, ProblemKind)> {
        let mut problems = Vec::new();
        for file in self.read_by_udev() {
            for Problem { line, kind } in file.document.problems() {
                let place = Place {
                    file: file.path.clone(),
                    line,
                };
                problems.push((place, kind));
            }
        }
        problems
    }
}

fn is_link(host: &Host, path: &str) -> Result<bool, HostError> {
    let entry = host.entry(path)?;
    Ok(entry.is_some_and(|entry| matches!(entry.kind, EntryKind::Link(_))))
}

/// A file of rules that is there.
struct Found {
    path: String,
    /// Where it leads, if it is a link.
    target: Option<PathBuf>,
}

impl Found {
    /// What it holds; nothing for a mask.
    fn bytes(&self, host: &Host) -> Result<Vec<u8>, HostError> {
        // Not opened: in a captured tree there is no /dev/null.
        if let Some(target) = &self.target
            && super::device::beside(Path::new(&self.path), target) == Path::new("/dev/null")
        {
            return Ok(Vec::new());
        }
        match host.read(&self.path) {
            Ok(bytes) => Ok(bytes),
            Err(error) if *error.kind() == HostErrorKind::Missing => Ok(Vec::new()),
            // A link to a directory, or one that leads in a circle: udevd reads nothing from it.
            Err(error) if matches!(error.errno(), Some(EISDIR | ELOOP)) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

const EISDIR: i32 = 21;
const ELOOP: i32 = 40;

/// All files by name, those of one name with the highest first.
fn found(host: &Host) -> Result<BTreeMap<String, Vec<Found>>, HostError> {
    let mut by_name: BTreeMap<String, Vec<Found>> = BTreeMap::new();
    for directory in DIRECTORIES {
        if directory == "/lib/udev/rules.d" && is_link(host, "/lib")? {
            continue;
        }
        let names = match host.list(directory) {
            Ok(names) => names,
            Err(error) if *error.kind() == HostErrorKind::Missing => continue,
            Err(error) => return Err(error),
        };
        for name in names {
            // systemd passes over hidden files and over directories.
            if !name.ends_with(".rules") || name.starts_with('.') {
                continue;
            }
            let path = format!("{directory}/{name}");
            let target = match host.entry(&path)?.map(|entry| entry.kind) {
                Some(EntryKind::Directory) => continue,
                Some(EntryKind::Link(target)) => Some(target),
                _ => None,
            };
            by_name
                .entry(name)
                .or_default()
                .push(Found { path, target });
        }
    }
    Ok(by_name)
}
