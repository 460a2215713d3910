//! A parameter in a file that contains a kernel command line, as a knob.

use std::fmt;

use hosttune_core::file::{ConfigFile, FileState};
use hosttune_core::host::FileContent;
use hosttune_core::{
    AnyKnob, Host, HostError, HostErrorKind, Knob, Lifetime, Operation, Unsupported,
    UnsupportedKind,
};
use serde::{Deserialize, Serialize};

use super::comment_line;
use super::entry::counters;
use super::entry_identity::{self, EntryIdentity};
use super::limine;
use super::occurrence::{self, LineIn, Occurrence};

/// What is done about two files of one entry. kernel-install leaves the old one when `/etc/kernel/tries` was
/// made or removed since.
pub(super) const ONE_OF_TWO: &str = "remove the one that is out of date, then run this again";

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
    /// There is no file, or no such entry in it.
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
    /// The knob in a journal, if it is one of this type.
    pub(super) fn of(knob: &AnyKnob) -> Option<Self> {
        let id = (knob.kind == Self::NAME).then(|| knob.id.clone())?;
        serde_json::from_value(id).ok()
    }

    /// The file as it is called now.
    pub(super) fn path(&self, host: &Host) -> Result<String, HostError> {
        let (true, Some((directory, name))) =
            (self.line == LineIn::Entry, self.file.rsplit_once('/'))
        else {
            return Ok(self.file.clone());
        };
        let mut found = host.list_if_there(directory)?;
        found.retain(|found| without_counters(found) == name);
        match &found[..] {
            [] => Ok(self.file.clone()),
            [one] => Ok(format!("{directory}/{one}")),
            several => {
                let why = format!(
                    "{} in {directory} are the same entry with other counters of its boots, and nothing tells which one is started",
                    several.join(" and ")
                );
                Err(HostError::malformed(self.file.clone(), why).with_hint(ONE_OF_TWO))
            }
        }
    }

    /// Why the parameters cannot be set in a text.
    pub(super) fn objection(&self, text: &str) -> Option<String> {
        let of_text = occurrence::objection(&self.line, text).map(str::to_owned);
        of_text.or_else(|| match self.line {
            LineIn::WholeFile => comment_line::objection(text, &self.names),
            LineIn::Entry | LineIn::Limine { .. } => None,
        })
    }

    fn ambiguous(&self, entry: &str) -> HostError {
        let why = format!("several entries have the titles {entry}");
        HostError::malformed(self.file.clone(), why)
            .with_hint("give them different titles, then run this again")
    }

    /// Why it cannot be told what became of an entry that is not there; `None` if it is certain that it
    /// was removed.
    fn absence(
        &self,
        host: &Host,
        identity: Option<&EntryIdentity>,
        to: &Occurrences,
    ) -> Result<Option<String>, HostError> {
        let place = match (&self.line, self.file.rsplit_once('/')) {
            (LineIn::Entry, Some((directory, _))) => directory,
            _ => &*self.file,
        };
        let all = entry_identity::all(host, &self.line)?;
        let is_here = |file: &str| {
            file.strip_prefix(place)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if !all.iter().any(|entry| is_here(&entry.file)) {
            return Ok(Some(format!(
                "{self} is not there, and neither is any other entry in {place}: if the boot partition is not mounted, mount it; then revert again"
            )));
        }
        let may_be_it = all.iter().find(|entry| {
            let has_change = || {
                let seen = occurrence::occurrences(&entry.line, &entry.text, &self.names);
                seen.iter().map(|one| &*one.text).eq(to.texts())
            };
            identity.is_some_and(|identity| identity.may_be(&entry.identity)) && has_change()
        });
        Ok(may_be_it.map(|entry| {
            let other = Self {
                file: entry.file.clone(),
                line: entry.line.clone(),
                names: Vec::new(),
            };
            let change = match to.all() {
                [] => format!("is without {} too", self.names.join(" and ")),
                _ => format!("has {} too", self.show(to)),
            };
            format!(
                "{self} is not there, and {} {change} and may be the same entry with another name: correct it manually, or give it the old name; then revert again",
                other.place(),
            )
        }))
    }

    /// The file and the entry in it.
    pub(super) fn place(&self) -> String {
        match &self.line {
            LineIn::Limine { entry } => format!("{} {entry}", self.file),
            _ => self.file.clone(),
        }
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
        write!(f, "{} in {}", self.names.join(" and "), self.place())
    }
}

impl Knob for LineParameter {
    const NAME: &'static str = "line-parameter";
    const LIFETIME: Lifetime = Lifetime::Disk;
    const CAN_BE_RENAMED: bool = true;
    type State = Occurrences;

    fn read(&self, host: &Host) -> Result<Occurrences, HostError> {
        let Some((_, text)) = self.content(host)? else {
            return Ok(Occurrences::NoFile);
        };
        if let LineIn::Limine { entry } = &self.line {
            match limine::count(&text, entry) {
                0 => return Ok(Occurrences::NoFile),
                1 => {}
                _ => return Err(self.ambiguous(entry)),
            }
        }
        let parts = self.line.ranges(&text).into_iter();
        let length: usize = parts.map(|part| part.len()).sum();
        if length > occurrence::LONGEST_READ {
            let why = format!("its kernel command line has {length} bytes");
            return Err(HostError::malformed(self.path(host)?, why)
                .with_hint("correct it, then run this again"));
        }
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
        Ok(self.objection(&text).map(|why| {
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

    /// Without an entry there is nothing that is read. An entry that is there, but on another file system
    /// than when it was changed, is not the one that was changed.
    fn out_of_reach(
        &self,
        host: &Host,
        identity: Option<&str>,
        to: &Occurrences,
    ) -> Result<Option<String>, HostError> {
        if self.line == LineIn::WholeFile {
            return Ok(None);
        }
        let identity = identity.and_then(EntryIdentity::parse);
        let was_on = identity.as_ref().and_then(|was| was.file_system.as_ref());
        if let Some(was) = was_on
            && let Some(why) = was.why_away(host, &self.file)?
        {
            return Ok(Some(why));
        }
        match self.read(host) {
            Ok(Occurrences::NoFile) => self.absence(host, identity.as_ref(), to),
            // What cannot be read is reported where it is read.
            _ => Ok(None),
        }
    }

    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        if self.line == LineIn::WholeFile {
            return Ok(None);
        }
        let Some((_, text)) = self.content(host)? else {
            return Ok(None);
        };
        let Some(mut identity) = entry_identity::identity(&self.line, &text) else {
            return Ok(None);
        };
        identity.file_system = host.file_system(&self.file)?;
        Ok(identity.text())
    }

    /// An entry that has the name is the one that has it, whatever was edited in it.
    fn is_same_thing(_: &str, _: &str) -> bool {
        true
    }

    /// The one entry that is the same but for its name.
    fn renamed(&self, host: &Host, identity: &str) -> Result<Option<Self>, HostError> {
        let Some(identity) = EntryIdentity::parse(identity) else {
            return Ok(None);
        };
        let was_on = identity.file_system.as_ref();
        let mut found = Vec::new();
        for entry in entry_identity::all(host, &self.line)? {
            let is_away = match was_on {
                Some(was) => was.why_away(host, &entry.file)?.is_some(),
                None => false,
            };
            if entry.identity.is_same(&identity) && !is_away {
                found.push(entry);
            }
        }
        Ok(match found.pop() {
            Some(one) if found.is_empty() => Some(Self {
                file: one.file,
                line: one.line,
                names: self.names.clone(),
            }),
            _ => None,
        })
    }

    fn revert_note(&self, host: &Host, _: &Occurrences) -> Option<String> {
        let is_absent = self
            .read(host)
            .is_ok_and(|seen| seen == Occurrences::NoFile);
        is_absent.then(|| match &self.line {
            LineIn::WholeFile => format!("{} was removed since", self.file),
            _ => format!(
                "the entry {} was removed since, and no other entry is the same",
                self.place()
            ),
        })
    }

    fn show(&self, state: &Occurrences) -> String {
        match state {
            Occurrences::NoFile => "no such entry".to_owned(),
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
