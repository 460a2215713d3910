//! A trial as a tuning: an entry beside the default one, and GRUB's choice of it for one boot.

use hosttune_core::host::RootKind;
use hosttune_core::{Error, Host, HostError, HostErrorKind, Planner, Tuning};

use super::environment_block::EnvironmentBlock;
use super::file_part::FilePart;
use super::grub_menu::{Menu, MenuEntry};
use super::grub_variable::GrubVariable;
use super::marked_block::MarkedBlock;
use super::mode::{ModePlace, Refusal, refusal};
use super::trial_entry::{LinuxCommand, TrialFacts, changed_line, entry_id, return_settings, text};
use super::trial_state::{Trial, TrialState};
use super::{coverage, default_entry, grub_storage};
use crate::command_line::{CommandLineSetting, KernelCommandLine, RUNNING_LINE};
use hosttune_modules::initramfs::{InitramfsGenerator, installed_generator};

/// The name of the part in plans, in `--only` and in the journal.
pub const TRIAL: &str = "trial";

/// Where GRUB's files are: Debian and Arch have the first, Fedora and openSUSE the second.
const DIRECTORIES: [&str; 2] = ["/boot/grub", "/boot/grub2"];

/// The directory with `grub.cfg`; `None` if there is none.
pub(super) fn grub_directory(host: &Host) -> Result<Option<&'static str>, HostError> {
    for directory in DIRECTORIES {
        if host.exists(format!("{directory}/grub.cfg"))? {
            return Ok(Some(directory));
        }
    }
    Ok(None)
}

/// Whether GRUB takes its entries from `loader/entries` at boot; `None` if this user cannot read the menu.
///
/// # Errors
/// Any other error from the host.
pub(crate) fn reads_entries(host: &Host) -> Result<Option<bool>, HostError> {
    let menu = || -> Result<Option<Menu>, HostError> {
        let Some(directory) = grub_directory(host)? else {
            return Ok(None);
        };
        let bytes = host.read(format!("{directory}/grub.cfg"))?;
        Ok(Some(Menu::parse(&String::from_utf8_lossy(&bytes))))
    };
    match menu() {
        Err(error) if *error.kind() == HostErrorKind::Denied => Ok(None),
        menu => Ok(Some(menu?.is_some_and(|menu| menu.reads_entries.is_some()))),
    }
}

/// The entry of a program's trial in the file that GRUB reads beside the generated menu.
pub(super) fn block(directory: &str, name: &str) -> MarkedBlock {
    MarkedBlock {
        file: format!("{directory}/custom.cfg"),
        name: format!("{name} {TRIAL}"),
    }
}

pub(super) fn environment_block(directory: &str) -> String {
    format!("{directory}/grubenv")
}

/// Settings of the kernel command line that the next boot of GRUB has and no other.
///
/// The default entry is copied with a changed line into `custom.cfg`, which the generated menu reads,
/// and the variable `next_entry` of the environment block names the copy. Nothing has to be generated,
/// and the default entry stays as it is.
#[derive(Debug)]
pub(crate) struct TrialOf<'a> {
    /// The program.
    pub(crate) name: &'a str,
    /// What is tried.
    pub(crate) settings: &'a [&'a CommandLineSetting],
    /// The file that makes the settings permanent.
    pub(crate) kept_in: &'a str,
}

/// What is written for a trial.
struct Prepared {
    directory: &'static str,
    text: String,
    notes: Vec<String>,
}

pub(super) const WITHOUT_TRIAL: &str =
    "apply without --try-boot, and keep a way to choose the old line in the boot menu";

impl TrialOf<'_> {
    fn prepare(&self, host: &Host) -> Result<Result<Prepared, Refusal>, Error> {
        if host.root_kind() == RootKind::Image {
            return Ok(Err(refusal(
                "an image is not running, so nothing can be confirmed in it",
                "omit --try-boot",
            )));
        }
        let Some(directory) = grub_directory(host)? else {
            return Ok(Err(refusal(
                "there is no grub.cfg in /boot/grub or /boot/grub2",
                "mount /boot, or run update-grub",
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
        if host.exists(self.kept_in)? {
            return Ok(Err(refusal(
                format!(
                    "{} is there: the next update-grub makes its parameters the default, tried or not",
                    self.kept_in
                ),
                format!("run {} revert --only boot first", self.name),
            )));
        }
        let path = format!("{directory}/grub.cfg");
        let bytes = match host.read(&path) {
            Err(error) if *error.kind() == HostErrorKind::Denied => {
                return Ok(Err(refusal(
                    format!("only root can read {path}"),
                    "run this as root",
                )));
            }
            bytes => bytes?,
        };
        let text = String::from_utf8_lossy(&bytes);
        let block_path = environment_block(directory);
        let saved = match host.read(&block_path) {
            Err(error) if *error.kind() == HostErrorKind::Missing => None,
            bytes => match EnvironmentBlock::parse(&bytes?) {
                Ok(block) => block.get("saved_entry"),
                Err(error) => {
                    return Ok(Err(refusal(
                        format!("{block_path} cannot be used: {error}"),
                        format!("make a new one: grub-editenv {block_path} create"),
                    )));
                }
            },
        };
        let saved = saved.map(|saved| String::from_utf8_lossy(&saved).into_owned());
        let menu = Menu::parse(&text);
        if let Some(refusal) = objection(&menu, &text, &path) {
            return Ok(Err(refusal));
        }
        let place = ModePlace::Grub(directory);
        if let Some(refusal) = default_entry::objection(host, place, &entry_id(self.name))? {
            return Ok(Err(refusal));
        }
        if let Some(why) = grub_storage::objection(host, directory)? {
            let why = format!(
                "GRUB could not end the trial, which would stay the default for ever: {why}"
            );
            return Ok(Err(refusal(why, WITHOUT_TRIAL)));
        }
        let entry = match menu.default_entry(saved.as_deref()) {
            Ok(entry) => entry,
            Err(why) => {
                return Ok(Err(refusal(
                    why.0,
                    "choose an entry of the menu: grub-set-default, or GRUB_DEFAULT in /etc/default/grub and update-grub",
                )));
            }
        };
        let boot = host.boot_id()?;
        if boot.is_empty() {
            return Ok(Err(refusal(
                "the running boot has no id, so that nothing would tell whether the trial was booted",
                "mount /proc",
            )));
        }
        let generator = installed_generator(host)?;
        let facts = TrialFacts::new(&boot, self.settings.iter().copied());
        Ok(self.written(host, entry, &facts, generator)?.map(|(text, mut notes)| {
            notes.push(format!("trial {} is started once by the next boot (restart with reboot, not with the switch: GRUB reads the disk without the journal of its file system); the boot after that has the old line unless you run {} confirm", facts.id, self.name));
            Prepared { directory, text, notes }
        }))
    }

    /// The text of the entry.
    fn written(
        &self,
        host: &Host,
        entry: &MenuEntry,
        facts: &TrialFacts,
        generator: Option<InitramfsGenerator>,
    ) -> Result<Result<(String, Vec<String>), Refusal>, Error> {
        let Some(linux) = LinuxCommand::of(entry) else {
            return Ok(Err(refusal(
                format!(
                    "the default entry '{}' does not start Linux by one command",
                    entry.title
                ),
                WITHOUT_TRIAL,
            )));
        };
        if self
            .settings
            .iter()
            .all(|setting| setting.is_met(&linux.line))
        {
            return Ok(Err(refusal(
                format!(
                    "there is nothing to try: the default entry '{}' has all of the parameters",
                    entry.title
                ),
                "omit --try-boot",
            )));
        }
        let returns = return_settings(generator, &facts.id);
        let all = self.settings.iter().copied().chain(&returns);
        let line = match changed_line(&linux.line, all) {
            Ok(line) => line,
            Err(error) => {
                return Ok(Err(refusal(
                    format!("the line of '{}' cannot be changed: {error}", entry.title),
                    "correct the profile, or the configuration of GRUB",
                )));
            }
        };
        let mut notes = coverage::notes(host, generator)?;
        notes.extend(other_kernel(host, &linux)?);
        Ok(Ok((text(self.name, facts, entry, &linux, &line), notes)))
    }
}

/// A note if the trial also starts another kernel than the one that runs.
fn other_kernel(host: &Host, linux: &LinuxCommand) -> Result<Option<String>, HostError> {
    let line = match host.read(RUNNING_LINE) {
        Err(error) if *error.kind() == HostErrorKind::Missing => return Ok(None),
        line => KernelCommandLine::parse(line?),
    };
    let running = line.last("BOOT_IMAGE").and_then(|image| {
        let value = image.value()?;
        Some(value.into_owned())
    });
    // GRUB writes the device before the path if it is not the root device.
    let is_same = |running: &String| running.ends_with(&linux.kernel);
    Ok(running.filter(|running| !is_same(running)).map(|running| {
        format!(
            "the trial also starts another kernel: {} instead of {running}",
            linux.kernel
        )
    }))
}

/// What the menu lacks for a trial.
fn objection(menu: &Menu, text: &str, path: &str) -> Option<Refusal> {
    if !menu.starts_once {
        return Some(refusal(
            format!("{path} does not start next_entry for one boot"),
            "generate it with grub-mkconfig: update-grub",
        ));
    }
    if menu.reads_custom.is_none() {
        return Some(refusal(
            format!("{path} does not read custom.cfg"),
            "make /etc/grub.d/41_custom executable, then run update-grub",
        ));
    }
    if text.contains("GRUB lacks write support") {
        return Some(refusal(
            format!(
                "GRUB could not end the trial, which would stay the default for ever: {path} says that GRUB lacks write support"
            ),
            WITHOUT_TRIAL,
        ));
    }
    None
}

impl Tuning for TrialOf<'_> {
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
        // The entry is there before it is chosen, and a revert ends the choice first.
        at.want(
            &block(prepared.directory, self.name),
            &FilePart::Present(prepared.text),
        )
        .required()
        .why("a copy of the default entry with the parameters");
        let next = GrubVariable {
            block: environment_block(prepared.directory),
            name: "next_entry".to_owned(),
        };
        at.want(&next, &FilePart::Present(entry_id(self.name)))
            .required()
            .why("GRUB starts this entry at the next boot, and only then");
        for note in prepared.notes {
            at.note(note);
        }
        Ok(())
    }
}
