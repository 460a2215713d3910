//! Parameters of ours that are still where a loader reads them, and in no journal.
//!
//! A program that adds a kernel makes its entry from `/etc/kernel/cmdline` or from the line of the running
//! kernel, and with it the parameters that are set at that time. A revert does not know that entry. GRUB's
//! `grub.cfg` has the parameters until it is generated again.

use std::collections::HashSet;
use std::fmt;

use hosttune_core::host::RootKind;
use hosttune_core::{AnyKnob, Error, Host, HostError, HostErrorKind, Planner, Tuning};

use super::detection::{BootLoader, Candidate, Detection, detect};
use super::entries::{self, Entries, LineFile};
use super::grub;
use super::line_parameter::LineParameter;
use super::menu::GrubMenu;
use super::nixos;
use super::ostree;
use super::tuning::{BootParameters, want_menu};
use crate::boot_once::reads_entries;
use crate::command_line::{CommandLineSetting, KernelCommandLine, same_name};

/// A file with parameters that this program sets and that are in no journal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leftover {
    /// The file, with the entry in it for Limine.
    pub file: String,
    /// The parameters: in an entry as they are requested, in a generated menu as they are written.
    pub parameters: Vec<String>,
    /// Whether the file is generated, so that generating it again takes them away.
    pub is_generated: bool,
    /// Whether the host is a tree and not the running system.
    pub is_in_tree: bool,
    /// What takes the parameters away, where another program keeps them and this one has not set them.
    pub remedy: Option<String>,
}

impl Leftover {
    /// Parameters that another program keeps.
    pub(super) fn managed(
        place: &str,
        parameters: Vec<String>,
        remedy: String,
        host: &Host,
    ) -> Self {
        Self {
            file: place.to_owned(),
            parameters,
            is_generated: false,
            is_in_tree: host.root_kind() != RootKind::Live,
            remedy: Some(remedy),
        }
    }
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, parameters) = (&self.file, self.parameters.join(" "));
        if let Some(remedy) = &self.remedy {
            return write!(
                f,
                "{file} has {parameters}, which this program does not set and no revert takes away; to take it away: {remedy}"
            );
        }
        write!(f, "{file} still has {parameters}")?;
        match (self.is_generated, self.is_in_tree) {
            (true, false) => write!(
                f,
                ": run update-grub (grub-mkconfig -o {file}), then reboot"
            ),
            (true, true) => f.write_str(": run update-grub in the tree, with chroot"),
            (false, _) => f.write_str(
                ", which a revert does not take back (a kernel that was installed meanwhile gets the parameters of that time): remove it there if it is not yours, then reboot",
            ),
        }
    }
}

/// Looks for parameters that were set and are in no journal: in the entries of this system, if others of
/// them do not have the parameter or have it from us, and in GRUB's generated menu, if nothing that it is
/// generated from has it. `pending` are the knobs in the journal. Nothing is found if this user cannot read
/// the files, and where another program writes the entries. [`BootParameters::with_earlier`] looks for what
/// an earlier set of parameters had added as well.
///
/// # Errors
/// Any other error from the host.
pub fn leftovers<'k>(
    host: &Host,
    parameters: &BootParameters,
    pending: impl IntoIterator<Item = &'k AnyKnob>,
) -> Result<Vec<Leftover>, HostError> {
    let pending: Vec<LineParameter> = pending.into_iter().filter_map(LineParameter::of).collect();
    let settings = parameters.settings.iter().map(|one| &one.setting);
    let settings: Vec<&CommandLineSetting> = settings
        .filter(|setting| !matches!(setting, CommandLineSetting::Absent { .. }))
        .collect();
    match found(host, parameters, &settings, &pending) {
        Err(error) if *error.kind() == HostErrorKind::Denied => Ok(Vec::new()),
        found => found,
    }
}

fn found(
    host: &Host,
    parameters: &BootParameters,
    settings: &[&CommandLineSetting],
    pending: &[LineParameter],
) -> Result<Vec<Leftover>, HostError> {
    let Detection::Found(Candidate { loader, .. }) = detect(host)? else {
        return Ok(Vec::new());
    };
    let of = match loader {
        BootLoader::Grub => match reads_entries(host)? {
            Some(true) => Entries::Grub,
            Some(false) => return in_menus(host, parameters, settings),
            // Only root can read the menu; the other notes say so.
            None => return Ok(Vec::new()),
        },
        BootLoader::KernelInstall => Entries::KernelInstall,
        BootLoader::Limine => Entries::Limine,
        BootLoader::Ostree => return ostree::leftovers(host, parameters, settings),
        BootLoader::NixOs => return nixos::leftovers(host, settings),
        BootLoader::Other => return Ok(Vec::new()),
    };
    let mut lines = Vec::new();
    for file in entries::of_this_system(host, of)?.unwrap_or_default() {
        if let Some(line) = line(host, &file)? {
            lines.push((file, line));
        }
    }
    let mut leftovers: Vec<Leftover> = Vec::new();
    for setting in settings {
        let is_ours = |file: &LineFile| {
            pending.iter().any(|knob| {
                let name = setting.name().as_bytes();
                knob.file == file.path
                    && knob.line == file.line
                    && knob
                        .names
                        .iter()
                        .any(|known| same_name(known.as_bytes(), name))
            })
        };
        let (theirs, others): (Vec<_>, Vec<_>) = lines
            .iter()
            .partition(|(file, line)| setting.is_met(line) && !is_ours(file));
        if others.is_empty() {
            // All have it, from whoever wrote them.
            continue;
        }
        for (file, _) in theirs {
            let place = file.parameter(Vec::new()).place();
            match leftovers.iter_mut().find(|known| known.file == place) {
                Some(known) => known.parameters.push(setting.to_string()),
                None => leftovers.push(Leftover {
                    file: place,
                    parameters: vec![setting.to_string()],
                    is_generated: false,
                    is_in_tree: host.root_kind() != RootKind::Live,
                    remedy: None,
                }),
            }
        }
    }
    Ok(leftovers)
}

/// The kernel command line of an entry as it is now.
fn line(host: &Host, file: &LineFile) -> Result<Option<KernelCommandLine>, HostError> {
    let knob = file.parameter(Vec::new());
    let text = match host.read(knob.path(host)?) {
        Err(error) if *error.kind() == HostErrorKind::Missing => return Ok(None),
        text => text?,
    };
    Ok(Some(file.line.line(&String::from_utf8_lossy(&text))))
}

/// The arguments in GRUB's menu that nothing adds any more.
fn in_menus(
    host: &Host,
    parameters: &BootParameters,
    settings: &[&CommandLineSetting],
) -> Result<Vec<Leftover>, HostError> {
    let own = grub::file(&parameters.name);
    let now = grub::kept(host, &own)?;
    let mut arguments = grub::arguments(settings);
    arguments.extend(parameters.earlier.iter().cloned());
    let mut seen = HashSet::new();
    arguments.retain(|argument| !now.contains(argument) && seen.insert(argument.clone()));
    let arguments = grub::set_by_no_other(host, &own, arguments)?;
    let mut leftovers = Vec::new();
    for menu in GrubMenu::all(host)? {
        let still = menu.having(host, &arguments)?;
        if !still.is_empty() {
            leftovers.push(Leftover {
                file: menu.to_string(),
                parameters: still,
                is_generated: true,
                is_in_tree: host.root_kind() != RootKind::Live,
                remedy: None,
            });
        }
    }
    Ok(leftovers)
}

/// Has the menu generated without the parameters, if it is one that is generated. A revert of this change
/// leaves the menu as it is.
impl Tuning for Leftover {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        match self.is_generated {
            true => want_menu(at, &[], self.parameters.clone(), true),
            false => Ok(()),
        }
    }
}
