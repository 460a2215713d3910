//! Whole files and directories as knobs: what survives a reboot.
//!
//! [`ConfigFile`] is a file that is ours or that is changed as a whole. Its state holds the bytes,
//! mode, owner and extended attributes of the original. Editing single lines of a file that others
//! own depends on its grammar and belongs in the crate that knows it; that crate uses this knob
//! too.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::any_knob::AnyKnob;
use crate::error::Error;
use crate::host::{
    EntryKind, FileContent, FileSystem, Host, HostError, HostErrorKind, Operation, host_path,
};
use crate::knob::{Knob, Lifetime};
use crate::plan::{Planner, Request};
use crate::registry::Registry;
use crate::unsupported::{Unsupported, UnsupportedKind};

/// Registers the knob types of this module; every session has them.
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

    /// The path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for ConfigFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.display())
    }
}

/// The state of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileState {
    /// There is no file.
    Absent,
    /// The file has this content.
    Present(FileContent),
    /// A write was interrupted: the file is unchanged, and beside it is a replacement that was
    /// never renamed into place.
    HalfWritten(Option<FileContent>),
}

impl Knob for ConfigFile {
    const NAME: &'static str = "file";
    const LIFETIME: Lifetime = Lifetime::Disk;
    type State = FileState;

    /// The directories above it.
    fn rests_on(&self) -> Vec<AnyKnob> {
        let above = self.0.ancestors().skip(1);
        above
            .filter(|directory| *directory != Path::new("/"))
            .map(|directory| AnyKnob::of(&Directory(directory.to_owned())))
            .collect()
    }

    fn read(&self, host: &Host) -> Result<FileState, HostError> {
        let content = host.file(&self.0)?;
        if host.half_written(&self.0)? {
            return Ok(FileState::HalfWritten(content));
        }
        Ok(content.map_or(FileState::Absent, FileState::Present))
    }

    fn set(&self, host: &mut Host, to: &FileState) -> Result<(), HostError> {
        match to {
            FileState::Present(content) => host.put_file(&self.0, content),
            FileState::Absent => host.remove(&self.0),
            FileState::HalfWritten(_) => {
                Err(
                    HostError::new(Operation::Create, self.to_string(), HostErrorKind::Refused)
                        .detail("a half-written file is not a state that can be set"),
                )
            }
        }
    }

    /// Only bytes and mode are compared: the owner and the label of a new file are the
    /// distribution's to decide.
    fn satisfies(&self, seen: &FileState, wanted: &FileState) -> bool {
        match (seen, wanted) {
            (FileState::Present(seen), FileState::Present(wanted)) => {
                seen.bytes == wanted.bytes && seen.mode == wanted.mode
            }
            _ => seen == wanted,
        }
    }

    fn unsupported(&self, host: &Host, _: &FileState) -> Result<Option<Unsupported>, HostError> {
        Ok(match host.entry(&self.0)?.map(|entry| entry.kind) {
            None | Some(EntryKind::File) => unwritable(host, &self.0)?,
            Some(EntryKind::Link(target)) => Some(
                Unsupported::new(
                    UnsupportedKind::Managed,
                    format!(
                        "it is a symlink to {}: another program manages it",
                        target.display()
                    ),
                )
                .hint("change the target, or the configuration of the program that made the link"),
            ),
            Some(EntryKind::Directory | EntryKind::Other) => {
                Some(Unsupported::new(UnsupportedKind::Other, "it is not a file"))
            }
        })
    }

    /// The next write removes a replacement that was never renamed into place, so the original is
    /// the content of the file itself.
    fn original(&self, seen: &FileState) -> Option<FileState> {
        Some(match seen {
            FileState::HalfWritten(Some(content)) => FileState::Present(content.clone()),
            FileState::HalfWritten(None) => FileState::Absent,
            whole => whole.clone(),
        })
    }

    fn is_partial_write(&self, seen: &FileState, from: &FileState, to: &FileState) -> bool {
        let FileState::HalfWritten(now) = seen else {
            return false;
        };
        let now = now.clone().map_or(FileState::Absent, FileState::Present);
        now == *from || self.satisfies(&now, to)
    }

    /// A file on another file system than that of `/`, such as the boot partition, is not there while
    /// that one is not mounted.
    fn out_of_reach(
        &self,
        host: &Host,
        identity: Option<&str>,
        _: &FileState,
    ) -> Result<Option<String>, HostError> {
        why_away(host, &self.0, identity)
    }

    /// The file system, if it is not that of `/`.
    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        file_system(host, &self.0)
    }

    /// What is on another file system is [out of reach](Knob::out_of_reach), and not another file.
    fn is_same_thing(_: &str, _: &str) -> bool {
        true
    }

    fn show(&self, state: &FileState) -> String {
        match state {
            FileState::Absent => "absent".to_owned(),
            FileState::Present(content) => {
                let lines = content.bytes.split_inclusive(|byte| *byte == b'\n').count();
                let noun = if lines == 1 { "line" } else { "lines" };
                let bytes = content.bytes.len();
                match content.mode {
                    FileContent::USUAL_MODE => format!("{lines} {noun}, {bytes} bytes"),
                    mode => format!("{lines} {noun}, {bytes} bytes, mode {mode:04o}"),
                }
            }
            FileState::HalfWritten(_) => "half written".to_owned(),
        }
    }
}

/// The file system of a path, as an identity in the journal; `None` if it is that of `/`.
fn file_system(host: &Host, path: &Path) -> Result<Option<String>, HostError> {
    let file_system = host.file_system(path)?;
    let mounted = file_system.filter(|known| known.mount_point != "/");
    Ok(mounted.and_then(|known| serde_json::to_string(&known).ok()))
}

/// Why it cannot be told what became of a path: it was on another file system then.
fn why_away(host: &Host, path: &Path, identity: Option<&str>) -> Result<Option<String>, HostError> {
    match identity.and_then(|text| serde_json::from_str::<FileSystem>(text).ok()) {
        Some(was) => was.why_away(host, &path.display().to_string()),
        None => Ok(None),
    }
}

/// A directory that a file of ours needs, by its absolute path.
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

impl<'a> Planner<'a> {
    /// Requests a file with these contents. The missing directories above it are intermediate steps,
    /// with this reason. An existing file keeps its mode, owner and label; only its contents are ours.
    ///
    /// # Errors
    /// Any error from the host.
    pub fn want_file(
        &mut self,
        file: &ConfigFile,
        bytes: Vec<u8>,
        directories_for: &str,
    ) -> Result<Request<'_, 'a>, Error> {
        let mut missing = Vec::new();
        let parents = file.0.ancestors().skip(1);
        for parent in parents.filter(|parent| *parent != Path::new("/")) {
            let directory = Directory::new(parent)?;
            if self.now(&directory)? != DirectoryState::Absent {
                break;
            }
            missing.push(directory);
        }
        for directory in missing.iter().rev() {
            self.intermediate(directory, &DirectoryState::Empty)
                .why(directories_for);
        }
        let content = match self.now(file)? {
            FileState::Present(present) => FileContent { bytes, ..present },
            FileState::Absent | FileState::HalfWritten(_) => FileContent::new(bytes),
        };
        Ok(self.want(file, &FileState::Present(content)))
    }
}

/// The state of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DirectoryState {
    /// There is no directory.
    Absent,
    /// The directory is empty.
    Empty,
    /// The directory is not empty.
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

    /// Removes only an empty directory; files that others have put there are kept.
    fn set(&self, host: &mut Host, to: &DirectoryState) -> Result<(), HostError> {
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
                host.remove(&self.0).map_err(|error| {
                    if error.is_not_empty() {
                        // A listing leaves these out.
                        error
                            .with_kind(HostErrorKind::Busy)
                            .detail("it holds an unfinished file of a program that was killed")
                    } else {
                        error
                    }
                })
            }
            DirectoryState::Empty => host.create_directory(&self.0),
            DirectoryState::Used => Ok(()),
        }
    }

    fn unsupported(
        &self,
        host: &Host,
        to: &DirectoryState,
    ) -> Result<Option<Unsupported>, HostError> {
        match to {
            DirectoryState::Absent => Ok(None),
            _ => unwritable(host, &self.0),
        }
    }

    /// A directory that is not empty counts as well: its content belongs to another knob or another
    /// program.
    fn satisfies(&self, seen: &DirectoryState, wanted: &DirectoryState) -> bool {
        seen == wanted || (*seen, *wanted) == (DirectoryState::Used, DirectoryState::Empty)
    }

    /// As a [file](ConfigFile).
    fn out_of_reach(
        &self,
        host: &Host,
        identity: Option<&str>,
        _: &DirectoryState,
    ) -> Result<Option<String>, HostError> {
        why_away(host, &self.0, identity)
    }

    /// As of a [file](ConfigFile).
    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        file_system(host, &self.0)
    }

    /// What is on another file system is [out of reach](Knob::out_of_reach), and not another directory.
    fn is_same_thing(_: &str, _: &str) -> bool {
        true
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
/// Why a file cannot be replaced, or a directory made: both change the directory above.
fn unwritable(host: &Host, path: &Path) -> Result<Option<Unsupported>, HostError> {
    match (host.read_only_mount(path)?, path.parent()) {
        (None, Some(directory)) => host.owned_elsewhere(directory),
        (found, _) => Ok(found),
    }
}
