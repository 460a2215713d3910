//! A trial where entries are files: a file beside the others, and the loader's choice of it for one boot.

use hosttune_core::file::{ConfigFile, FileState};
use hosttune_core::host::{FileContent, RootKind};
use hosttune_core::{Error, Host, Planner, Tuning};

use super::mode::{BootMode, ModePlace, Refusal, refusal};
use super::next_boot::NextBoot;
use super::trial::WITHOUT_TRIAL;
use super::trial_entry::{TrialFacts, changed_line, entry_id, return_settings};
use super::trial_state::{Trial, TrialState};
use super::{coverage, default_entry};
use crate::command_line::CommandLineSetting;
use hosttune_modules::initramfs::installed_generator;

/// The name of the file of a program's trial, which the loader of this place sorts last.
pub(super) fn file_name(place: ModePlace, name: &str) -> String {
    default_entry::file_name(place, &entry_id(name))
}

/// Settings that the next boot has and no other, where entries are files.
///
/// The entry of the running kernel is copied to a file of another name, with a changed line; the other
/// entries stay as they are.
#[derive(Debug)]
pub(crate) struct TrialInEntries<'a> {
    /// The program.
    pub(crate) name: &'a str,
    /// What is tried.
    pub(crate) settings: &'a [&'a CommandLineSetting],
}

struct Prepared {
    next: NextBoot,
    directory: &'static str,
    /// The name of the new file.
    file: String,
    text: String,
    /// The entry that is copied.
    copied: String,
    notes: Vec<String>,
}

impl TrialInEntries<'_> {
    fn prepare(&self, host: &Host) -> Result<Result<Prepared, Refusal>, Error> {
        if host.root_kind() == RootKind::Image {
            return Ok(Err(refusal(
                "an image is not running, so nothing can be confirmed in it",
                "omit --try-boot",
            )));
        }
        let place = BootMode::place(host)?;
        let Some(
            place @ (ModePlace::GrubEntries {
                entries: directory, ..
            }
            | ModePlace::Entries(directory)),
        ) = place
        else {
            return Ok(Err(refusal(
                "there are no boot entries in loader/entries, or it is not known which of several such directories the loader reads",
                "mount the boot partition, if it is not mounted; remove a copy that is out of date",
            )));
        };
        if let Some(trial) = Trial::of(host, self.name)?
            && trial.state == TrialState::Running
        {
            return Ok(Err(refusal(
                format!("trial {} is running", trial.id),
                format!(
                    "keep it: {name} confirm; or cancel it: {name} revert --only trial",
                    name = self.name
                ),
            )));
        }
        let next = NextBoot::of(place);
        let id = next.id_of_file(&file_name(place, self.name));
        if let Some(refusal) = next.objection(host, place, &id, self.name)? {
            return Ok(Err(refusal));
        }
        if let Some(refusal) = default_entry::objection(host, place, &entry_id(self.name))? {
            return Ok(Err(refusal));
        }
        let (name, mut entry) = match BootMode::entry_of_running_kernel(host, directory)? {
            Ok(found) => found,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let before = entry.line();
        if self.settings.iter().all(|setting| setting.is_met(&before)) {
            return Ok(Err(refusal(
                format!("there is nothing to try: the entry {name} has all of the parameters"),
                "omit --try-boot",
            )));
        }
        let boot = host.boot_id()?;
        if boot.is_empty() {
            return Ok(Err(refusal(
                "the running boot has no id, so that nothing would tell whether the trial was booted",
                "mount /proc",
            )));
        }
        let generator = installed_generator(host)?;
        let facts = TrialFacts::new(&boot, self.settings.iter().copied());
        let returns = return_settings(generator, &facts.id);
        let all = self.settings.iter().copied().chain(&returns);
        let line = match changed_line(&before, all) {
            Ok(line) => line,
            Err(error) => {
                return Ok(Err(refusal(
                    format!("the line of {name} cannot be changed: {error}"),
                    WITHOUT_TRIAL,
                )));
            }
        };
        let title = format!(
            "{}, trial by {}",
            entry.last("title").unwrap_or("Linux"),
            self.name
        );
        entry.set("title", &title);
        // systemd-boot sorts entries without this key behind those with it.
        entry.remove("sort-key");
        entry.set("options", &line.to_string());
        let mut notes = coverage::notes(host, generator)?;
        notes.push(format!(
            "trial {} is started once by the next boot ({}), with the kernel that runs now; the boot after that has the old line unless you run {} confirm",
            facts.id,
            next.how(),
            self.name
        ));
        Ok(Ok(Prepared {
            next,
            directory,
            file: file_name(place, self.name),
            text: facts.comments(self.name) + &entry.text(),
            copied: format!("{directory}/{name}"),
            notes,
        }))
    }
}

impl Tuning for TrialInEntries<'_> {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        let prepared = match self.prepare(at.host())? {
            Ok(prepared) => prepared,
            Err(unsupported) => {
                // Without the trial, the parameters would be kept untried.
                at.skip("trial of the kernel parameters", unsupported)
                    .required();
                return Ok(());
            }
        };
        let name = prepared.file;
        let file = ConfigFile::new(format!("{}/{name}", prepared.directory))?;
        let beside = match at.now(&file)? {
            FileState::Present(present) => Some(present),
            FileState::Absent | FileState::HalfWritten(_) => at.host().file(&prepared.copied)?,
        };
        let content = FileContent {
            bytes: prepared.text.into_bytes(),
            ..beside.unwrap_or_else(|| FileContent::new(Vec::new()))
        };
        // The entry is there before it is chosen, and a revert ends the choice first.
        at.want(&file, &FileState::Present(content))
            .required()
            .why("a copy of the running kernel's entry with the parameters");
        prepared.next.want(at, &prepared.next.id_of_file(&name));
        for note in prepared.notes {
            at.note(note);
        }
        Ok(())
    }
}
