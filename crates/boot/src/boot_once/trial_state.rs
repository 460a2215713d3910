//! What became of a trial.

use std::fmt;

use hosttune_core::{AnyKnob, Host, HostError, HostErrorKind, Knob};

use super::efi_variable::EfiVariable;
use super::file_part::FilePart;
use super::grub_variable::GrubVariable;
use super::mode::{BootMode, ModePlace};
use super::next_boot::NextBoot;
use super::trial::{block, grub_directory};
use super::trial_entry::{MARK, TrialFacts, entry_id};
use super::trial_in_entries::file_name;
use crate::command_line::{KernelCommandLine, RUNNING_LINE};

/// What is known of a trial, from the line of the running kernel and the files of the loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrialState {
    /// It is started by the next boot.
    Waiting,
    /// The running kernel has the line that is tried.
    Running,
    /// The loader has started it, or was to, and the machine runs another line: the trial crashed,
    /// or a person chose another entry in the menu.
    Failed,
    /// The machine was started again, and the loader did not take the entry.
    Ignored,
    /// Another program has chosen another entry for the next boot, or none.
    Replaced,
    /// This program has not chosen it any more: a revert took the choice back and could not remove the
    /// entry, or an apply ended between the two. See [`Trial::among`].
    NotChosen,
}

impl TrialState {
    /// The name, for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Failed => "failed",
            Self::Ignored => "ignored",
            Self::Replaced => "replaced",
            Self::NotChosen => "not-chosen",
        }
    }
}

/// A trial of kernel parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trial {
    /// The program that tries them.
    pub name: String,
    /// The value of the mark `hosttune.trial=` on the line that is tried.
    pub id: String,
    /// The parameters that are tried.
    pub parameters: String,
    /// What became of it.
    pub state: TrialState,
    /// Whether the loader will start it at the next boot. If it runs and this is true, the loader could
    /// not clear its choice, and would start it again and again.
    pub is_chosen: bool,
    /// Where the last messages of kernels that crashed are.
    pub crashes: Vec<String>,
}

impl Trial {
    /// Reads what became of the trial of a program; `None` if there is none, or if this user cannot
    /// read it.
    ///
    /// # Errors
    /// Any error from the host.
    pub fn of(host: &Host, name: &str) -> Result<Option<Self>, HostError> {
        let found = match found(host, name) {
            Err(error) if *error.kind() == HostErrorKind::Denied => return Ok(None),
            found => found?,
        };
        let Some((facts, next)) = found else {
            return Ok(None);
        };
        let state = decide(
            &facts,
            mark(host)?.as_deref(),
            &host.boot_id()?,
            &next,
            name,
        );
        let crashes = match state {
            TrialState::Failed => crashes(host)?,
            _ => Vec::new(),
        };
        Ok(Some(Self {
            name: name.to_owned(),
            id: facts.id,
            parameters: facts.parameters,
            state,
            is_chosen: next.text() == Some(&*entry_id(name)),
            crashes,
        }))
    }
}

impl Trial {
    /// The same trial, with what only the journal tells: whether its choice for the next boot is one of the
    /// changes that are pending, of which these are the knobs.
    #[must_use]
    pub fn among<'k>(mut self, pending: impl IntoIterator<Item = &'k AnyKnob>) -> Self {
        let mut kinds = pending.into_iter().map(|knob| &*knob.kind);
        let is_ours = kinds.any(|kind| [GrubVariable::NAME, EfiVariable::NAME].contains(&kind));
        let is_over = !self.is_chosen && self.state != TrialState::Running;
        if is_over && !is_ours {
            self.state = TrialState::NotChosen;
            self.crashes.clear();
        }
        self
    }
}

/// The entry of a trial, and what the loader starts at the next boot; where entries are files, that of the
/// trial has its id from GRUB's menu here.
fn found(host: &Host, name: &str) -> Result<Option<(TrialFacts, FilePart)>, HostError> {
    if let Some(directory) = grub_directory(host)? {
        let entry = block(directory, name).read(host)?;
        if let Some(facts) = entry.text().and_then(TrialFacts::parse) {
            let next = NextBoot::of(ModePlace::Grub(directory)).read(host)?;
            return Ok(Some((facts, next)));
        }
    }
    let place = BootMode::place(host)?;
    let Some(
        place @ (ModePlace::GrubEntries {
            entries: directory, ..
        }
        | ModePlace::Entries(directory)),
    ) = place
    else {
        return Ok(None);
    };
    let file = file_name(place, name);
    let text = match host.read(format!("{directory}/{file}")) {
        Err(error) if *error.kind() == HostErrorKind::Missing => return Ok(None),
        text => text?,
    };
    let Some(facts) = TrialFacts::parse(&String::from_utf8_lossy(&text)) else {
        return Ok(None);
    };
    let next = NextBoot::of(place);
    let chosen = match next.read(host)? {
        FilePart::Present(id) if id == next.id_of_file(&file) => FilePart::Present(entry_id(name)),
        chosen => chosen,
    };
    Ok(Some((facts, chosen)))
}

/// The mark on the line of the running kernel.
///
/// # Errors
/// Any error from the host.
pub fn running_mark(host: &Host) -> Result<Option<String>, HostError> {
    mark(host)
}

fn mark(host: &Host) -> Result<Option<String>, HostError> {
    let line = match host.read(RUNNING_LINE) {
        Err(error) if *error.kind() == HostErrorKind::Missing => return Ok(None),
        line => KernelCommandLine::parse(line?),
    };
    let value = line.last(MARK).and_then(|argument| {
        let value = argument.value()?;
        Some(value.into_owned())
    });
    Ok(value)
}

fn decide(
    facts: &TrialFacts,
    mark: Option<&str>,
    boot: &str,
    next: &FilePart,
    name: &str,
) -> TrialState {
    let is_chosen = next.text() == Some(&*entry_id(name));
    if mark == Some(&*facts.id) {
        return TrialState::Running;
    }
    match (boot == facts.boot, is_chosen, next.text()) {
        (true, true, _) => TrialState::Waiting,
        (false, true, _) => TrialState::Ignored,
        // GRUB empties the variable before it starts the entry.
        (false, false, None | Some("")) => TrialState::Failed,
        (true, false, _) | (false, false, Some(_)) => TrialState::Replaced,
    }
}

/// Where firmware and systemd keep the last messages of a kernel that crashed.
fn crashes(host: &Host) -> Result<Vec<String>, HostError> {
    let mut found = Vec::new();
    for directory in ["/sys/fs/pstore", "/var/lib/systemd/pstore"] {
        let names = match host.list(directory) {
            Err(error)
                if matches!(error.kind(), HostErrorKind::Missing | HostErrorKind::Denied) =>
            {
                continue;
            }
            names => names?,
        };
        if !names.is_empty() {
            found.push(directory.to_owned());
        }
    }
    Ok(found)
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, id, .. } = self;
        write!(f, "trial {id} of {}: ", self.parameters)?;
        match self.state {
            TrialState::Waiting => write!(
                f,
                "not booted yet; the next boot starts it once (to cancel it: {name} revert --only trial)"
            ),
            TrialState::Running => {
                write!(
                    f,
                    "it runs; the next boot has the old line again, unless you keep it: {name} confirm"
                )?;
                if self.is_chosen {
                    write!(
                        f,
                        "; the loader could not clear its choice and would start it again: confirm or revert it before the next boot"
                    )?;
                }
                Ok(())
            }
            TrialState::Failed => {
                write!(
                    f,
                    "it failed: the loader took the entry, and the machine runs the old line again (or another entry was chosen in the menu, or the firmware lost systemd-boot's choice)"
                )?;
                match self.crashes.as_slice() {
                    [] => write!(f, "; there are no messages of a crash in /sys/fs/pstore")?,
                    places => write!(f, "; messages of a crash: {}", places.join(", "))?,
                }
                write!(f, "; to remove it: {name} revert --only trial")
            }
            TrialState::Ignored => write!(
                f,
                "the loader ignored it: this host was started again and the entry is still chosen; another loader or another GRUB starts this host; to remove it: {name} revert --only trial"
            ),
            TrialState::NotChosen => write!(
                f,
                "it is not started by the next boot: only its entry is left, of a revert or an apply that ended before it was complete; to remove it: {name} revert --only trial"
            ),
            TrialState::Replaced => write!(
                f,
                "it is not started by the next boot: another entry or none is chosen, by another program or by a revert that was not complete; to choose it again: {name} apply --persist --try-boot"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_the_boot_and_the_variable_tell_what_became_of_it() {
        let facts = TrialFacts {
            id: "1".to_owned(),
            boot: "first".to_owned(),
            parameters: String::new(),
        };
        let ours = || FilePart::Present(entry_id("gaming"));
        let other = || FilePart::Present("gnulinux".to_owned());
        let empty = || FilePart::Present(String::new());
        for (mark, boot, next, state) in [
            (None, "first", ours(), TrialState::Waiting),
            (None, "first", empty(), TrialState::Replaced),
            (None, "first", FilePart::NoFile, TrialState::Replaced),
            (None, "second", ours(), TrialState::Ignored),
            (None, "second", empty(), TrialState::Failed),
            (None, "second", FilePart::Absent, TrialState::Failed),
            (None, "second", other(), TrialState::Replaced),
            (Some("1"), "second", empty(), TrialState::Running),
            (Some("1"), "second", ours(), TrialState::Running),
            // The mark of an earlier trial.
            (Some("0"), "second", empty(), TrialState::Failed),
        ] {
            assert_eq!(
                decide(&facts, mark, boot, &next, "gaming"),
                state,
                "{mark:?} {boot} {next:?}"
            );
        }
    }
}
