//! What an entry of a boot loader is told from others by, whatever its file or its titles are called.

use hosttune_core::host::FileSystem;
use hosttune_core::{Host, HostError, HostErrorKind};
use serde::{Deserialize, Serialize};

use super::entries::{ENTRIES, is_file};
use super::limine;
use super::limine_files;
use super::line_parameter::without_counters;
use super::occurrence::LineIn;
use crate::boot_once::is_ours;
use crate::command_line::KernelCommandLine;

/// The identity of an entry when it was changed, as it is written to the journal: everything in it
/// except its name and the parameters that can be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryIdentity {
    /// The file system of the file, if it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) file_system: Option<FileSystem>,
    /// The lines of the entry without its kernel command line and comments, with single blanks.
    lines: Vec<String>,
    /// The arguments that choose the root file system.
    root: Vec<String>,
}

/// An entry that is found on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundEntry {
    /// Its file, without the counters of boots.
    pub(super) file: String,
    /// Where its line is in the file.
    pub(super) line: LineIn,
    /// The text of the file.
    pub(super) text: String,
    pub(super) identity: EntryIdentity,
}

impl EntryIdentity {
    fn new(lines: Vec<String>, line: &KernelCommandLine) -> Self {
        let of_root = ["root", "rootflags", "ostree"].into_iter();
        let root = of_root.filter_map(|name| line.last(name));
        Self {
            file_system: None,
            lines,
            root: root
                .map(|argument| String::from_utf8_lossy(argument.text()).into_owned())
                .collect(),
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub(super) fn text(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }

    /// Whether two entries are the same but for their names.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.lines == other.lines && self.root == other.root
    }

    /// Whether two entries start the same kernel with the same initial file system, or have the same
    /// title and version: one may be the other after an edit.
    pub(super) fn may_be(&self, other: &Self) -> bool {
        let same = |keys: &[&str]| {
            let of = |identity: &Self| {
                let has_key = |line: &&String| {
                    let key = line.split([' ', ':']).next().unwrap_or_default();
                    keys.iter().any(|wanted| key.eq_ignore_ascii_case(wanted))
                };
                let lines = identity.lines.iter().filter(has_key).cloned();
                lines.collect::<Vec<_>>()
            };
            let (these, others) = (of(self), of(other));
            (these == others).then_some(these.len())
        };
        let kernel = ["linux", "path", "kernel_path", "initrd", "module_path"];
        let is_same_kernel = same(&kernel).is_some_and(|count| count > 0);
        let is_same_title = same(&["title", "version"]).is_some_and(|count| count > 1);
        self.root == other.root && (is_same_kernel || is_same_title)
    }
}

/// The identity of an entry in a text; `None` if it is not there, or more than once.
pub(super) fn identity(line: &LineIn, text: &str) -> Option<EntryIdentity> {
    match line {
        LineIn::WholeFile => None,
        LineIn::Entry => Some(EntryIdentity::new(
            lines(text, |line| line.starts_with("options")),
            &line.line(text),
        )),
        LineIn::Limine { entry } => {
            let mut found = limine::entries(text)
                .into_iter()
                .filter(|one| one.path == *entry);
            match (found.next(), found.next()) {
                (Some(one), None) => Some(EntryIdentity::new(one.others, &line.line(text))),
                _ => None,
            }
        }
    }
}

/// The lines of a text that are no comments and not left out, with single blanks.
fn lines(text: &str, is_left_out: impl Fn(&str) -> bool) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#') && !is_left_out(line))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// The entries of the kind of this line on the host, in all places in which a loader looks. What is not
/// a file that this user can read is left out.
///
/// # Errors
/// Any other error from the host.
pub(super) fn all(host: &Host, line: &LineIn) -> Result<Vec<FoundEntry>, HostError> {
    let mut found = Vec::new();
    match line {
        LineIn::WholeFile => {}
        LineIn::Entry => {
            for directory in ENTRIES {
                for name in readable(host.list(directory))?.unwrap_or_default() {
                    if !name.ends_with(".conf") || is_ours(&name) {
                        continue;
                    }
                    let Some(text) = text(host, &format!("{directory}/{name}"))? else {
                        continue;
                    };
                    let file = format!("{directory}/{}", without_counters(&name));
                    found.extend(found_entry(file, LineIn::Entry, &text));
                }
            }
        }
        LineIn::Limine { .. } => {
            for file in readable(limine_files::configurations(host))?.unwrap_or_default() {
                let Some(text) = text(host, &file)? else {
                    continue;
                };
                for entry in limine::entries(&text) {
                    let line = LineIn::Limine { entry: entry.path };
                    found.extend(found_entry(file.clone(), line, &text));
                }
            }
        }
    }
    Ok(found)
}

fn found_entry(file: String, line: LineIn, text: &str) -> Option<FoundEntry> {
    let identity = identity(&line, text)?;
    let text = text.to_owned();
    Some(FoundEntry {
        file,
        line,
        text,
        identity,
    })
}

pub(super) fn text(host: &Host, path: &str) -> Result<Option<String>, HostError> {
    if readable(is_file(host, path))? != Some(true) {
        return Ok(None);
    }
    let bytes = readable(host.read(path))?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// What was read; `None` if it is not there, or this user may not read it.
pub(crate) fn readable<T>(read: Result<T, HostError>) -> Result<Option<T>, HostError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error)
            if matches!(error.kind(), HostErrorKind::Missing | HostErrorKind::Denied)
                || error.is_not_a_directory() =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
