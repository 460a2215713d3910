//! The rules files of a host, in udev's order.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use hosttune_core::host::EntryKind;
use hosttune_core::{Host, HostError, HostErrorKind};

use super::text::Document;
use super::{Problem, ProblemKind};

/// The rules directories, highest priority first. `/lib` counts only if it is not a link to
/// `/usr/lib`.
const DIRECTORIES: [&str; 5] = [
    "/etc/udev/rules.d",
    "/run/udev/rules.d",
    "/usr/local/lib/udev/rules.d",
    "/usr/lib/udev/rules.d",
    "/lib/udev/rules.d",
];

/// All rules of a host, in the order in which udevd processes them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleFiles {
    files: Vec<RuleFile>,
}

/// A rules file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuleFile {
    /// Its absolute path.
    pub path: String,
    /// The contents; empty for a mask.
    pub document: Document,
    /// The file of the same name in a directory of higher priority, because of which udevd ignores
    /// this one.
    pub masked_by: Option<String>,
}

/// A position in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The absolute path.
    pub file: String,
    /// The first line of the rule, counted from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl RuleFiles {
    /// Reads all rules files, in bytewise order of their base names. Of files with the same name,
    /// the one in the directory with the highest priority counts.
    ///
    /// A link to `/dev/null`, an empty file and a dangling link mask files of lower priority and
    /// have no rules themselves.
    ///
    /// # Errors
    /// If a directory or file exists and cannot be read, since a file that is left out may be the
    /// one that sets something.
    pub fn read(host: &Host) -> Result<Self, HostError> {
        let mut files = Vec::new();
        for found in found(host)?.into_values() {
            // Lowest priority first, so that a masked file comes before the one that masks it.
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

    /// Reads the files that udevd reads, if any of them contains one of these texts. Otherwise
    /// returns `None` without parsing, as most hosts have no rule about the attributes in question.
    ///
    /// `instead` gives the path and the contents of one file, which replace an existing file of
    /// that path; its contents are not searched.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn mentioning(
        host: &Host,
        texts: &[&str],
        instead: Option<(&str, &str)>,
    ) -> Result<Option<Self>, HostError> {
        let mut by_name = found(host)?;
        if let Some((path, _)) = instead {
            let name = path.rsplit('/').next().unwrap_or(path);
            let same = by_name.entry(name.to_owned()).or_default();
            // A file of ours is in the directory with the highest priority.
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

    /// Uses these files, in this order, with none masked.
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

    /// All files, including masked ones, each before the file that masks it.
    pub fn files(&self) -> &[RuleFile] {
        &self.files
    }

    /// The files that udevd reads, in order.
    pub fn read_by_udev(&self) -> impl Iterator<Item = &RuleFile> {
        self.files.iter().filter(|file| file.masked_by.is_none())
    }

    /// Removes the file with this path, to evaluate the others without it.
    #[must_use]
    pub fn without(mut self, path: &str) -> Self {
        self.files.retain(|file| file.path != path);
        self
    }

    /// Reports the problems in the files that udevd reads.
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

/// An existing rules file.
struct Found {
    path: String,
    /// The target, if it is a link.
    target: Option<PathBuf>,
}

impl Found {
    /// Its contents; empty for a mask.
    fn bytes(&self, host: &Host) -> Result<Vec<u8>, HostError> {
        // `/dev/null` is not opened, because a captured tree does not contain it.
        if let Some(target) = &self.target
            && super::device::beside(Path::new(&self.path), target) == Path::new("/dev/null")
        {
            return Ok(Vec::new());
        }
        match host.read(&self.path) {
            Ok(bytes) => Ok(bytes),
            Err(error) if *error.kind() == HostErrorKind::Missing => Ok(Vec::new()),
            // A link to a directory or a loop of links: udevd reads nothing from it.
            Err(error) if matches!(error.errno(), Some(EISDIR | ELOOP)) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

const EISDIR: i32 = 21;
const ELOOP: i32 = 40;

/// All files by name; those of one name are sorted by priority, highest first.
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
            // systemd skips hidden files and directories.
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
