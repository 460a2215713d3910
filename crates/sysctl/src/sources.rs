//! Which file and line sets a key when the machine boots, and why the others do not.
//!
//! The order is systemd's, see sysctl.d(5): the `*.conf` files of five directories are merged by
//! base name, a file in a directory of higher precedence masks files of the same name in the
//! others, and the remaining files are read in the order of their base names, compared as bytes.
//! Assignments are then carried out in order, and the last one determines the value. There are
//! three exceptions, checked against systemd-sysctl 252 and its source (src/sysctl/sysctl.c):
//!
//! * An assignment to a key by name takes precedence over a glob, whatever their order.
//! * `-key` excludes the key from globs. For systemd it also drops an earlier assignment of the
//!   same text, and a later assignment drops the exclusion, since they share one table entry.
//! * An assignment that repeats the text and the value of an earlier one keeps the position of the
//!   earlier one, which matters between two globs.
//!
//! `/etc/sysctl.conf` is read by procps (`sysctl --system`) after all other files, and not by
//! systemd. Debian links it into `/etc/sysctl.d` as `99-sysctl.conf`. It is counted once, at the
//! position where it takes effect for the chosen [`Loader`].

use std::collections::BTreeMap;
use std::error::Error;

use crate::conf::{Document, Statement};
use crate::key::{Key, KeyPattern};

/// The directories of sysctl.d(5) in descending precedence. `/lib` is a separate directory only on
/// systems where it is not a link to `/usr/lib`.
pub const DIRECTORIES: [&str; 5] = [
    "/etc/sysctl.d",
    "/run/sysctl.d",
    "/usr/local/lib/sysctl.d",
    "/usr/lib/sysctl.d",
    "/lib/sysctl.d",
];

/// The file that procps reads after all others.
pub const SYSCTL_CONF: &str = "/etc/sysctl.conf";

/// Access to the sysctl files of a host. All paths are absolute, and either beneath
/// [`DIRECTORIES`] or [`SYSCTL_CONF`].
pub trait Directories {
    /// The error of a failed read.
    type Error: Error + Send + Sync + 'static;

    /// The names in a directory, in any order; empty if the directory does not exist.
    ///
    /// # Errors
    ///
    /// When the directory exists and cannot be listed.
    fn names(&self, directory: &str) -> Result<Vec<String>, Self::Error>;

    /// The content of a file, following symbolic links.
    ///
    /// # Errors
    ///
    /// When the file exists and cannot be read.
    fn content(&self, path: &str) -> Result<Content, Self::Error>;

    /// The path with all symbolic links resolved, or the path itself if it does not exist. Two
    /// paths that resolve to the same path are the same file.
    ///
    /// # Errors
    ///
    /// When a link cannot be read.
    fn resolved(&self, path: &str) -> Result<String, Self::Error>;
}

/// The result of [`Directories::content`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// There is no such file, or it is a dangling link. A dangling link still masks files of the
    /// same name in directories of lower precedence.
    Missing,
    /// A link to `/dev/null`, which masks files of the same name in directories of lower
    /// precedence.
    Masked,
    /// The bytes of the file. An empty file masks like a link to `/dev/null`.
    Bytes(Vec<u8>),
}

/// The program whose order and rules apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Loader {
    /// systemd-sysctl, which runs at boot on systemd machines and reads [`SYSCTL_CONF`] only
    /// through a link.
    Systemd,
    /// `sysctl --system` of procps, which reads [`SYSCTL_CONF`] last, and for which an exclusion
    /// applies to globs but drops no assignment.
    Procps,
}

/// Why the files could not be read. Unreadable files are not skipped, because the skipped file
/// could be the one that wins.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourcesError<E: Error + 'static> {
    /// A directory could not be listed.
    #[error("cannot list the sysctl directory {directory}")]
    List {
        /// The directory.
        directory: String,
        /// The underlying error.
        #[source]
        source: E,
    },
    /// A file could not be read, or its links could not be resolved.
    #[error("cannot read the sysctl file {path}")]
    Read {
        /// The file.
        path: String,
        /// The underlying error.
        #[source]
        source: E,
    },
}

/// One of the files that [`Sources`] lists.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceFile {
    /// The absolute path.
    pub path: String,
    /// The parsed content; empty for a mask.
    pub document: Document,
    /// The file of the same base name that masks this one.
    pub masked_by: Option<String>,
}

/// All sysctl files of a host in the order in which a loader reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    files: Vec<SourceFile>,
    loader: Loader,
}

/// A line in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The absolute path.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
}

/// One line that sets or excludes a key; see [`Sources::who_sets`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// The file and line.
    pub place: Place,
    /// The key or glob on the line.
    pub pattern: KeyPattern,
    /// The value as a loader writes it; `None` for an exclusion.
    pub value: Option<String>,
    /// Whether the loader ignores a failure to set it.
    pub ignore_failure: bool,
    /// Whether the line takes effect, and if not, why.
    pub standing: Standing,
}

impl Setting {
    /// Whether this line determines the value.
    pub fn is_winner(&self) -> bool {
        self.standing == Standing::Wins
    }
}

/// Whether a line takes effect, and if not, why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// Its value is the last one written to the key.
    Wins,
    /// A later line is written after it, or replaces it.
    Overridden {
        /// The later line.
        by: Place,
    },
    /// It is a glob, and a line that names the key takes precedence over every glob.
    BeatenByName {
        /// The line that names the key.
        by: Place,
    },
    /// An exclusion excludes the key from this glob or, with systemd, drops this assignment.
    Excluded {
        /// The exclusion.
        by: Place,
    },
    /// It is an exclusion in force, which sets nothing itself.
    Excludes,
    /// Its file is masked.
    Masked {
        /// The masking file.
        by: String,
    },
}

impl Sources {
    /// Reads all files in the order of the loader.
    ///
    /// # Errors
    ///
    /// When a directory or a file exists and cannot be read.
    pub fn collect<D: Directories>(
        directories: &D,
        loader: Loader,
    ) -> Result<Self, SourcesError<D::Error>> {
        let resolved = |path: &str| {
            directories
                .resolved(path)
                .map_err(|source| SourcesError::Read {
                    path: path.to_owned(),
                    source,
                })
        };
        let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut listed = Vec::new();
        for directory in DIRECTORIES {
            let real = resolved(directory)?;
            if listed.contains(&real) {
                continue;
            }
            listed.push(real);
            let names = directories
                .names(directory)
                .map_err(|source| SourcesError::List {
                    directory: directory.to_owned(),
                    source,
                })?;
            for name in names.into_iter().filter(|name| is_read(name, loader)) {
                let path = format!("{directory}/{name}");
                by_name.entry(name).or_default().push(path);
            }
        }
        let content = |path: &str| {
            directories
                .content(path)
                .map_err(|source| SourcesError::Read {
                    path: path.to_owned(),
                    source,
                })
        };
        let last = match loader {
            Loader::Procps if content(SYSCTL_CONF)? != Content::Missing => {
                Some(resolved(SYSCTL_CONF)?)
            }
            Loader::Procps | Loader::Systemd => None,
        };
        let mut files = Vec::new();
        for paths in by_name.into_values() {
            // The lowest precedence first, so that a masked file precedes the one that masks it.
            for (rank, path) in paths.iter().enumerate().rev() {
                // procps reads a linked sysctl.conf twice. The second time determines the values,
                // so the file is counted at that position.
                if let Some(last) = &last
                    && rank == 0
                    && resolved(path)? == *last
                {
                    continue;
                }
                let masked_by = (rank > 0).then(|| paths[0].clone());
                files.push(SourceFile {
                    path: path.clone(),
                    document: document(content(path)?),
                    masked_by,
                });
            }
        }
        if last.is_some() {
            files.push(SourceFile {
                path: SYSCTL_CONF.to_owned(),
                document: document(content(SYSCTL_CONF)?),
                masked_by: None,
            });
        }
        Ok(Self { files, loader })
    }

    /// All files in the order in which they are read, including masked ones, each of which precedes
    /// the file that masks it.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// Lists every line that sets or excludes the key under any of its names, in order. At most one
    /// of them wins.
    pub fn who_sets(&self, key: &Key) -> Vec<Setting> {
        let names = key.names();
        let mut settings: Vec<Setting> = Vec::new();
        let mut table = Table::default();
        for file in &self.files {
            for (line, statement) in file.document.statements() {
                let (pattern, value, ignore_failure) = match statement {
                    Statement::Assignment(assignment)
                        if self.loader == Loader::Procps && !assignment.is_read_by_procps =>
                    {
                        continue;
                    }
                    Statement::Assignment(assignment) => (
                        &assignment.pattern,
                        Some(assignment.value.clone()),
                        assignment.ignore_failure,
                    ),
                    Statement::Exclusion(pattern) => (pattern, None, false),
                    Statement::Blank | Statement::Comment | Statement::Unknown => continue,
                };
                if !names.iter().any(|name| pattern.matches(name)) {
                    continue;
                }
                let standing = match &file.masked_by {
                    Some(by) => Standing::Masked { by: by.clone() },
                    None => Standing::Excludes,
                };
                let masked = file.masked_by.is_some();
                settings.push(Setting {
                    place: Place {
                        file: file.path.clone(),
                        line,
                    },
                    pattern: pattern.clone(),
                    value,
                    ignore_failure,
                    standing,
                });
                if !masked {
                    table.add(&settings, self.loader);
                }
            }
        }
        table.judge(&mut settings, &names);
        settings
    }
}

/// A loader's table of statements in the order in which they are carried out, as indices into the
/// list of settings.
#[derive(Default)]
struct Table {
    order: Vec<usize>,
    /// `(dropped, by)`: statements that were replaced by a later one of the same text.
    replaced: Vec<(usize, usize)>,
}

impl Table {
    /// Adds the last of the settings.
    fn add(&mut self, settings: &[Setting], loader: Loader) {
        let Some(new) = settings.len().checked_sub(1) else {
            return;
        };
        if loader == Loader::Procps {
            self.order.push(new);
            return;
        }
        let same_text = |place: &usize| settings[*place].pattern == settings[new].pattern;
        match self.order.iter().position(same_text) {
            Some(at) if settings[self.order[at]].value == settings[new].value => {
                // The later line is the one to edit, but it keeps the position of the earlier one.
                self.replaced.push((self.order[at], new));
                self.order[at] = new;
            }
            Some(at) => {
                self.replaced.push((self.order.remove(at), new));
                self.order.push(new);
            }
            None => self.order.push(new),
        }
    }

    /// Determines the standing of every setting that is not masked.
    fn judge(&self, settings: &mut [Setting], names: &[Key]) {
        let place = |settings: &[Setting], index: usize| settings[index].place.clone();
        // A glob sets the names of the key that no other line sets or excludes by name. If there is
        // none, the last such line determines its standing.
        let mut written: Vec<usize> = Vec::new();
        let mut standings: Vec<(usize, Standing)> = Vec::new();
        for &index in &self.order {
            let setting = &settings[index];
            if setting.value.is_none() {
                continue;
            }
            if !setting.pattern.is_glob() {
                written.push(index);
                continue;
            }
            let taken_by = |name: &Key| {
                self.order.iter().copied().rev().find(|&other| {
                    let other = &settings[other].pattern;
                    !other.is_glob() && other.matches(name)
                })
            };
            let matched: Vec<Option<usize>> = names
                .iter()
                .filter(|name| setting.pattern.matches(name))
                .map(taken_by)
                .collect();
            match matched.iter().copied().flatten().last() {
                Some(by) if matched.iter().all(Option::is_some) => {
                    let by_place = place(settings, by);
                    let standing = if settings[by].value.is_some() {
                        Standing::BeatenByName { by: by_place }
                    } else {
                        Standing::Excluded { by: by_place }
                    };
                    standings.push((index, standing));
                }
                _ => written.push(index),
            }
        }
        let winner = written.last().copied();
        for &index in &written {
            let standing = match winner {
                Some(winner) if winner != index => Standing::Overridden {
                    by: place(settings, winner),
                },
                _ => Standing::Wins,
            };
            standings.push((index, standing));
        }
        for &(index, by) in &self.replaced {
            let by_place = place(settings, by);
            let standing = if settings[by].value.is_none() && settings[index].value.is_some() {
                Standing::Excluded { by: by_place }
            } else {
                Standing::Overridden { by: by_place }
            };
            standings.push((index, standing));
        }
        for (index, standing) in standings {
            settings[index].standing = standing;
        }
    }
}

/// Whether a loader reads a file of this name. systemd skips hidden files, procps does not.
fn is_read(name: &str, loader: Loader) -> bool {
    name.ends_with(".conf") && !(loader == Loader::Systemd && name.starts_with('.'))
}

fn document(content: Content) -> Document {
    match content {
        Content::Bytes(bytes) => Document::parse(&bytes),
        Content::Missing | Content::Masked => Document::default(),
    }
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;
