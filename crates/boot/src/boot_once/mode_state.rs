//! What the loader has of a mode.

use hosttune_core::file::{ConfigFile, FileState};
use hosttune_core::{Error, Host, HostErrorKind, Knob};

use super::mode::{BootMode, ModePlace};
use super::mode_of_nixos::is_nixos;
use super::next_boot::NextBoot;
use crate::command_line::{KernelCommandLine, RUNNING_LINE};

/// Whether the boot menu has the entry of a mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryState {
    /// It has none.
    Absent,
    /// The entry is a copy of the normal one as it is now.
    Current,
    /// The entry is a copy of what the normal one was before, for example for an older kernel.
    Outdated,
    /// This user cannot read it, or there is no loader that is known here.
    Unknown,
}

impl EntryState {
    /// The name, for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Current => "current",
            Self::Outdated => "outdated",
            Self::Unknown => "unknown",
        }
    }
}

/// What the loader and the running kernel have of a mode.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModeState {
    /// The entry.
    pub entry: EntryState,
    /// Whether the next boot starts it, and only that one; `None` if that is not known.
    pub is_next: Option<bool>,
    /// Whether the running kernel was booted with all of its parameters; `None` if that is not known.
    /// The normal entry may have them too.
    pub is_met: Option<bool>,
}

impl BootMode {
    /// Reads what the loader and the running kernel have of the mode. Nothing is changed.
    ///
    /// # Errors
    /// Any error from the host, except that this user cannot read a file.
    pub fn state(&self, host: &Host) -> Result<ModeState, Error> {
        self.check()?;
        let is_met = match host.read(RUNNING_LINE) {
            Ok(line) => {
                let line = KernelCommandLine::parse(line);
                Some(self.settings.iter().all(|one| one.setting.is_met(&line)))
            }
            Err(_) => None,
        };
        let unknown = ModeState {
            entry: EntryState::Unknown,
            is_next: None,
            is_met,
        };
        match self.loader_state(host) {
            Ok(Some((entry, is_next))) => Ok(ModeState {
                entry,
                is_next,
                is_met,
            }),
            Ok(None) => Ok(unknown),
            Err(Error::Host(error)) if *error.kind() == HostErrorKind::Denied => Ok(unknown),
            Err(error) => Err(error),
        }
    }

    fn loader_state(&self, host: &Host) -> Result<Option<(EntryState, Option<bool>)>, Error> {
        let Some(place) = Self::place(host)? else {
            if is_nixos(host)? {
                // What the loader starts next is not known here.
                return Ok(Some((self.specialisation(host)?, None)));
            }
            return Ok(None);
        };
        let next = NextBoot::of(place);
        let (entry, id) = match place {
            ModePlace::Grub(directory) => {
                let present = self.block(directory).read(host)?;
                let wanted = self.grub_text(host, directory)?.ok();
                (compared(present.text(), wanted.as_deref()), self.id())
            }
            ModePlace::GrubEntries { entries, .. } | ModePlace::Entries(entries) => (
                self.file_state(host, place, entries)?,
                next.id_of_file(&self.file_name(place)),
            ),
        };
        // What cannot be parsed is reported when a choice is made.
        let is_next = match next.read(host) {
            Err(error) if *error.kind() == HostErrorKind::Malformed => None,
            chosen => Some(chosen?.text() == Some(&*id)),
        };
        Ok(Some((entry, is_next)))
    }

    fn file_state(
        &self,
        host: &Host,
        place: ModePlace,
        directory: &str,
    ) -> Result<EntryState, Error> {
        let file = ConfigFile::new(format!("{directory}/{}", self.file_name(place)))?;
        let present = match file.read(host)? {
            FileState::Present(present) | FileState::HalfWritten(Some(present)) => Some(present),
            FileState::Absent | FileState::HalfWritten(None) => None,
        };
        let present = present.map(|present| String::from_utf8_lossy(&present.bytes).into_owned());
        let wanted = self.entry_text(host, directory)?.ok();
        let wanted = wanted.as_ref().map(|(text, _)| &**text);
        Ok(compared(present.as_deref(), wanted))
    }
}

fn compared(present: Option<&str>, wanted: Option<&str>) -> EntryState {
    match present {
        None => EntryState::Absent,
        Some(_) if present == wanted => EntryState::Current,
        Some(_) => EntryState::Outdated,
    }
}
