//! Whole files and directories as knobs: what survives a reboot.
//!
//! [`ConfigFile`] is one file that is ours, or that we change as a whole; its
//! state keeps every byte, mode, owner and extended attribute of what was there
//! before. Editing single lines of somebody else's file is a matter of the file's
//! grammar and belongs to the crate that knows it; it ends in this knob as well.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{HostError, HostErrorKind, Operation};
use crate::host::{EntryKind, FileContent, Host, host_path};
use crate::knob::{Knob, Lack, LackKind, Lifetime, Registry};

/// Makes the kinds of knob in this module known; every session has them.
pub fn knobs(registry: &mut Registry) {
    registry.add::<ConfigFile>();
    registry.add::<Directory>();
}

/// One file, by its absolute path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConfigFile(PathBuf);

impl ConfigFile {
    /// The file at an absolute path without `..`.
    ///
    /// # Errors
    /// `OutsideRoot` for any other path.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, HostError> {
        host_path(path).map(Self)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for ConfigFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.display())
    }
}

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileState {
    /// There is none.
    Absent,
    /// It holds this.
    Present(FileContent),
    /// A write was cut short: the file is what it was, and beside it stands a replacement that
    /// was never put in its place.
    HalfWritten(Option<FileContent>),
}

impl Knob for ConfigFile {
    const NAME: &'static str = "file";
    const LIFETIME: Lifetime = Lifetime::Disk;
    type State = FileState;

    fn read(&self, host: &Host) -> Result<FileState, HostError> {
        let content = host.file(&self.0)?;
        if host.half_written(&self.0)? {
            return Ok(FileState::HalfWritten(content));
        }
        Ok(content.map_or(FileState::Absent, FileState::Present))
    }

    fn turn(&self, host: &mut Host, to: &FileState) -> Result<(), HostError> {
        match to {
            FileState::Present(content) => host.put_file(&self.0, content),
            FileState::Absent => host.remove(&self.0),
            FileState::HalfWritten(_) => {
                Err(
                    HostError::new(Operation::Create, self.to_string(), HostErrorKind::Refused)
                        .detail("a half-written file is nothing to go to"),
                )
            }
        }
    }

    /// The same bytes and mode count: who owns a file and how it is labelled is the
    /// distribution's to decide when the file is new.
    fn counts_as(&self, seen: &FileState, wanted: &FileState) -> bool {
        match (seen, wanted) {
            (FileState::Present(seen), FileState::Present(wanted)) => {
                seen.bytes == wanted.bytes && seen.mode == wanted.mode
            }
            _ => seen == wanted,
        }
    }

    fn lacks(&self, host: &Host, _: &FileState) -> Result<Option<Lack>, HostError> {
        Ok(match host.entry(&self.0)?.map(|entry| entry.kind) {
            None | Some(EntryKind::File) => host.read_only_mount(&self.0)?,
            Some(EntryKind::Link(target)) => Some(
                Lack::new(
                    LackKind::Managed,
                    format!(
                        "it is a symlink to {}: something else makes it",
                        target.display()
                    ),
                )
                .hint("change it where it is made"),
            ),
            Some(EntryKind::Directory | EntryKind::Other) => {
                Some(Lack::new(LackKind::Other, "it is not a file"))
            }
        })
    }

    /// A replacement that was never put in its place is cleared away by whatever is written next:
    /// what the file itself holds is what it was.
    fn original(&self, seen: &FileState) -> Option<FileState> {
        Some(match seen {
            FileState::HalfWritten(Some(content)) => FileState::Present(content.clone()),
            FileState::HalfWritten(None) => FileState::Absent,
            whole => whole.clone(),
        })
    }

    fn torn(&self, seen: &FileState, from: &FileState, to: &FileState) -> bool {
        let FileState::HalfWritten(now) = seen else {
            return false;
        };
        let now = now.clone().map_or(FileState::Absent, FileState::Present);
        now == *from || self.counts_as(&now, to)
    }

    fn show(&self, state: &FileState) -> String {
        match state {
            FileState::Absent => "absent".to_owned(),
            FileState::Present(content) => {
                let lines = content.bytes.split_inclusive(|byte| *byte == b'\n').count();
                let noun = if lines == 1 { "line" } else { "lines" };
                format!("{lines} {noun}, {} bytes", content.bytes.len())
            }
            FileState::HalfWritten(_) => "half written".to_owned(),
        }
    }
}

/// One directory that has to be there for a file of ours, by its absolute path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Directory(PathBuf);

impl Directory {
    /// The directory at an absolute path without `..`.
    ///
    /// # Errors
    /// `OutsideRoot` for any other path.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, HostError> {
        host_path(path).map(Self)
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.display())
    }
}

/// What a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DirectoryState {
    /// There is none.
    Absent,
    /// It is there and holds nothing.
    Empty,
    /// It holds something.
    Used,
}

impl Knob for Directory {
    const NAME: &'static str = "directory";
    const LIFETIME: Lifetime = Lifetime::Disk;
    type State = DirectoryState;

    fn read(&self, host: &Host) -> Result<DirectoryState, HostError> {
        match host.entry(&self.0)? {
            None => Ok(DirectoryState::Absent),
            Some(_) if host.list(&self.0)?.is_empty() => Ok(DirectoryState::Empty),
            Some(_) => Ok(DirectoryState::Used),
        }
    }

    /// Only an empty directory is removed; what others have put into it is not taken from them.
    fn turn(&self, host: &mut Host, to: &DirectoryState) -> Result<(), HostError> {
        match to {
            DirectoryState::Absent => {
                let holds = host.list(&self.0)?;
                if let Some(first) = holds.first() {
                    let busy = HostErrorKind::Busy;
                    let error = HostError::new(Operation::Remove, self.to_string(), busy);
                    return Err(match holds.len() {
                        1 => error.detail(format!("it holds {first}")),
                        some => error.detail(format!("it holds {first} and {} more", some - 1)),
                    });
                }
                host.remove(&self.0)
            }
            DirectoryState::Empty => host.create_directory(&self.0),
            DirectoryState::Used => Ok(()),
        }
    }

    /// One that holds something is there as well: what it holds is another knob's, or somebody
    /// else's.
    fn lacks(&self, host: &Host, to: &DirectoryState) -> Result<Option<Lack>, HostError> {
        match to {
            DirectoryState::Absent => Ok(None),
            _ => host.read_only_mount(&self.0),
        }
    }

    fn counts_as(&self, seen: &DirectoryState, wanted: &DirectoryState) -> bool {
        seen == wanted || (*seen, *wanted) == (DirectoryState::Used, DirectoryState::Empty)
    }

    fn show(&self, state: &DirectoryState) -> String {
        match state {
            DirectoryState::Absent => "absent",
            DirectoryState::Empty => "an empty directory",
            DirectoryState::Used => "a directory in use",
        }
        .to_owned()
    }
}
