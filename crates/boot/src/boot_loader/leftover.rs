//! Parameters of ours that are still where a loader reads them, and in no journal.
//!
//! A program that adds a kernel makes its entry from `/etc/kernel/cmdline` or from the line of the running
//! kernel, and with it the parameters that are set at that time. A revert does not know that entry. GRUB's
//! `grub.cfg` has the parameters until it is generated again.

use std::fmt;

use hosttune_core::{AnyKnob, Host, HostError, HostErrorKind};

use super::detection::{BootLoader, Candidate, Detection, detect};
use super::entries::{self, Entries, LineFile};
use super::grub;
use super::line_parameter::LineParameter;
use super::tuning::BootParameters;
use crate::boot_once::reads_entries;
use crate::command_line::{CommandLineSetting, KernelCommandLine};
use crate::module::canonical;

/// A file with parameters that this program sets and that are in no journal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leftover {
    /// The file, with the entry in it for Limine.
    pub file: String,
    /// The parameters, as they are requested.
    pub parameters: Vec<String>,
    /// Whether the file is generated, so that generating it again takes them away.
    pub is_generated: bool,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameters = self.parameters.join(" ");
        write!(f, "{} still has {parameters}", self.file)?;
        f.write_str(match self.is_generated {
            true => ": run update-grub (grub-mkconfig -o /boot/grub/grub.cfg), then reboot",
            false => {
                ", which a revert does not take back (a kernel that was installed meanwhile gets the parameters of that time): remove it there if it is not yours, then reboot"
            }
        })
    }
}

/// Looks for parameters that were set and are in no journal: in the entries of this system, if others of
/// them do not have the parameter or have it from us, and in GRUB's generated menu, if nothing that it is
/// generated from has it. `pending` are the knobs in the journal. Nothing is found if this user cannot read
/// the files, and where another program writes the entries.
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
    match found(host, &parameters.name, &settings, &pending) {
        Err(error) if *error.kind() == HostErrorKind::Denied => Ok(Vec::new()),
        found => found,
    }
}

fn found(
    host: &Host,
    name: &str,
    settings: &[&CommandLineSetting],
    pending: &[LineParameter],
) -> Result<Vec<Leftover>, HostError> {
    let Detection::Found(Candidate { loader, .. }) = detect(host)? else {
        return Ok(Vec::new());
    };
    let of = match loader {
        BootLoader::Grub => match reads_entries(host)? {
            Some(true) => Entries::Grub,
            Some(false) => return in_menu(host, name, settings),
            // Only root can read the menu; the other notes say so.
            None => return Ok(Vec::new()),
        },
        BootLoader::KernelInstall => Entries::KernelInstall,
        BootLoader::Limine => Entries::Limine,
        BootLoader::Ostree | BootLoader::NixOs | BootLoader::Other => return Ok(Vec::new()),
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
                let mut names = knob.names.iter().map(|name| canonical(name));
                knob.file == file.path
                    && knob.line == file.line
                    && names.any(|name| name == canonical(setting.name()))
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

/// Where GRUB's menu is.
const MENUS: [&str; 2] = ["/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"];

/// The section of the menu with the entries of the kernels; others are copied from what users write.
const SECTION: &str = "### BEGIN /etc/grub.d/10_linux ###";
const END_OF_SECTION: &str = "### END /etc/grub.d/10_linux ###";

fn in_menu(
    host: &Host,
    name: &str,
    settings: &[&CommandLineSetting],
) -> Result<Vec<Leftover>, HostError> {
    let own = grub::file(name);
    if host.exists(&own)? {
        return Ok(Vec::new());
    }
    let mut leftovers = Vec::new();
    for menu in MENUS {
        let text = match host.read(menu) {
            Err(error) if *error.kind() == HostErrorKind::Missing => continue,
            text => text?,
        };
        let lines = kernel_lines(&String::from_utf8_lossy(&text));
        let mut parameters = Vec::new();
        for setting in settings {
            let is_there = lines.iter().any(|line| setting.is_met(line));
            if is_there && grub::already_set(host, &own, setting)?.is_none() {
                parameters.push(setting.to_string());
            }
        }
        if !parameters.is_empty() {
            leftovers.push(Leftover {
                file: menu.to_owned(),
                parameters,
                is_generated: true,
            });
        }
    }
    Ok(leftovers)
}

/// The command lines of the kernels in a menu that grub-mkconfig has written.
fn kernel_lines(menu: &str) -> Vec<KernelCommandLine> {
    let section = match menu.split_once(SECTION) {
        Some((_, rest)) => rest.split(END_OF_SECTION).next().unwrap_or_default(),
        None => menu,
    };
    let lines = section.lines().filter_map(|line| {
        let (command, rest) = line.trim_start().split_once([' ', '\t'])?;
        command.starts_with("linux").then_some(rest)
    });
    lines.map(KernelCommandLine::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_of_the_generated_section_count() {
        let menu = "linux /a 1\n### BEGIN /etc/grub.d/10_linux ###\n\tlinux\t/vmlinuz ro a=1\n\tlinuxefi /b b\n  initrd /c\n### END /etc/grub.d/10_linux ###\nlinux /d d\n";
        let lines: Vec<String> = kernel_lines(menu).iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["/vmlinuz ro a=1", "/b b"]);
        assert_eq!(kernel_lines("linux /a 1\n").len(), 1);
    }
}
