//! A parameter in a file that contains a kernel command line, as a knob.

use std::fmt;

use hosttune_core::file::{ConfigFile, FileState};
use hosttune_core::host::FileContent;
use hosttune_core::{
    Host, HostError, HostErrorKind, Knob, Lifetime, Operation, Unsupported, UnsupportedKind,
};
use serde::{Deserialize, Serialize};

use super::entry::counters;
use super::occurrence::{self, LineIn, Occurrence};

/// All occurrences of one parameter, or of parameters that belong together, in a file that contains a
/// kernel command line. The rest of the line and of the file is not a part of it, and other programs may
/// change it at any time. The file is never created and never removed.
///
/// An entry whose boots are counted (`NAME+LEFT-DONE.conf`) is renamed by its loader at each boot; it is
/// named here without the counters and found with them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineParameter {
    /// The file, an absolute path.
    pub file: String,
    /// Where the line is in it.
    pub line: LineIn,
    /// The names of the parameters; `-` and `_` are the same in them.
    pub names: Vec<String>,
}

/// The occurrences of a parameter in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Occurrences {
    /// There is no file.
    NoFile,
    /// These, in order; none if the parameter does not occur.
    Of(Vec<Occurrence>),
    /// A write was interrupted: the file is unchanged, with these occurrences, and beside it is a
    /// replacement that was never renamed into place.
    HalfWritten(Vec<Occurrence>),
}

impl Occurrences {
    /// The occurrences; none without a file.
    pub fn all(&self) -> &[Occurrence] {
        match self {
            Self::NoFile => &[],
            Self::Of(all) | Self::HalfWritten(all) => all,
        }
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        self.all().iter().map(|one| &*one.text)
    }
}

impl LineParameter {
    /// The file as it is called now.
    pub(super) fn path(&self, host: &Host) -> Result<String, HostError> {
        let (true, Some((directory, name))) =
            (self.line == LineIn::Entry, self.file.rsplit_once('/'))
        else {
            return Ok(self.file.clone());
        };
        if host.exists(&self.file)? {
            return Ok(self.file.clone());
        }
        let names = host.list_if_there(directory)?;
        let counted = names.iter().find(|found| without_counters(found) == name);
        Ok(counted.map_or_else(|| self.file.clone(), |found| format!("{directory}/{found}")))
    }

    /// The file's content and text.
    fn content(&self, host: &Host) -> Result<Option<(FileContent, String)>, HostError> {
        let path = self.path(host)?;
        let Some(content) = host.file(&path)? else {
            return Ok(None);
        };
        match String::from_utf8(content.bytes.clone()) {
            Ok(text) => Ok(Some((content, text))),
            Err(_) => Err(HostError::malformed(path, "it is not UTF-8 text")),
        }
    }
}

/// The name of an entry file without the counters of its boots: `a+3-0.conf` is `a.conf`.
pub(super) fn without_counters(name: &str) -> String {
    counters(name).map_or_else(|| name.to_owned(), |(name, _)| name)
}

impl fmt::Display for LineParameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.names.join(" and "), self.file)?;
        match &self.line {
            LineIn::Limine { entry } => write!(f, " {entry}"),
            _ => Ok(()),
        }
    }
}

impl Knob for LineParameter {
    const NAME: &'static str = "line-parameter";
    const LIFETIME: Lifetime = Lifetime::Disk;
    type State = Occurrences;

    fn read(&self, host: &Host) -> Result<Occurrences, HostError> {
        let Some((_, text)) = self.content(host)? else {
            return Ok(Occurrences::NoFile);
        };
        let found = occurrence::occurrences(&self.line, &text, &self.names);
        Ok(match host.half_written(self.path(host)?)? {
            true => Occurrences::HalfWritten(found),
            false => Occurrences::Of(found),
        })
    }

    fn set(&self, host: &mut Host, to: &Occurrences) -> Result<(), HostError> {
        let path = self.path(host)?;
        let Some((content, text)) = self.content(host)? else {
            return Err(HostError::new(
                Operation::Write,
                path,
                HostErrorKind::Missing,
            ));
        };
        if let Some(why) = occurrence::objection(&self.line, &text) {
            return Err(HostError::malformed(path, why)
                .with_hint("correct its kernel command line, then run this again"));
        }
        let text = occurrence::replaced(&self.line, &text, &self.names, to.all());
        let content = FileContent {
            bytes: text.into_bytes(),
            ..content
        };
        host.put_file(path, &content)
    }

    /// Where the parameter is in the line does not matter to the kernel, only the order of its
    /// occurrences.
    fn satisfies(&self, seen: &Occurrences, wanted: &Occurrences) -> bool {
        match (seen, wanted) {
            (Occurrences::Of(_), Occurrences::Of(_)) => seen.texts().eq(wanted.texts()),
            _ => seen == wanted,
        }
    }

    fn unsupported(&self, host: &Host, _: &Occurrences) -> Result<Option<Unsupported>, HostError> {
        let path = self.path(host)?;
        if let Some(unsupported) = ConfigFile::new(&path)?.unsupported(host, &FileState::Absent)? {
            return Ok(Some(unsupported));
        }
        let Some((_, text)) = self.content(host)? else {
            return Ok(Some(Unsupported::new(
                UnsupportedKind::Missing,
                format!("{path} is not there"),
            )));
        };
        Ok(occurrence::objection(&self.line, &text).map(|why| {
            Unsupported::new(UnsupportedKind::Other, why)
                .hint(format!("correct the kernel command line in {path}"))
        }))
    }

    fn original(&self, seen: &Occurrences) -> Option<Occurrences> {
        Some(match seen {
            Occurrences::HalfWritten(all) => Occurrences::Of(all.clone()),
            seen => seen.clone(),
        })
    }

    fn is_partial_write(&self, seen: &Occurrences, from: &Occurrences, to: &Occurrences) -> bool {
        let is = |other: &Occurrences| seen.texts().eq(other.texts());
        matches!(seen, Occurrences::HalfWritten(_)) && (is(from) || is(to))
    }

    /// An entry is removed with its kernel.
    fn is_gone(&self, seen: &Occurrences) -> bool {
        *seen == Occurrences::NoFile
    }

    fn show(&self, state: &Occurrences) -> String {
        match state {
            Occurrences::NoFile => "no file".to_owned(),
            Occurrences::HalfWritten(_) => "half written".to_owned(),
            Occurrences::Of(all) if all.is_empty() => "absent".to_owned(),
            Occurrences::Of(_) => state.texts().collect::<Vec<_>>().join(" "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_boots_are_not_part_of_a_name() {
        for (name, without) in [
            ("a.conf", "a.conf"),
            ("a+3.conf", "a.conf"),
            ("a+2-1.conf", "a.conf"),
            ("a+b.conf", "a+b.conf"),
            ("a+2-1-0.conf", "a+2-1-0.conf"),
            ("1+2.0+3.conf", "1+2.0.conf"),
            ("a+.conf", "a+.conf"),
        ] {
            assert_eq!(without_counters(name), without);
        }
    }
}
