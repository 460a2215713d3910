//! Our file in `/etc/default/grub.d`.
//!
//! The files there are shell, read by `grub-mkconfig` after `/etc/default/grub` where the
//! distribution's version reads the directory at all. The text is then written unquoted into
//! `grub.cfg`, which is a shell of its own.

use hosttune_core::{Host, HostError, HostErrorKind};

use super::generators::GENERATORS;
use crate::command_line::{CommandLineSetting, KernelCommandLine, LineError, each_counts};

/// The variable for normal entries. Entries for recovery do not have it, so that they stay a way
/// back.
pub(super) const VARIABLE: &str = "GRUB_CMDLINE_LINUX_DEFAULT";

/// The directory of our file.
pub(super) const DIRECTORY: &str = "/etc/default/grub.d";

/// Characters that one of the two shells would act on. There is no quoting that both keep.
const REFUSED: [char; 15] = [
    ';', '&', '|', '<', '>', '{', '}', '(', ')', '$', '"', '\'', '\\', '`', ' ',
];

/// The path of the file with this name. The files are read by name and ours must be the last.
pub(super) fn file(name: &str) -> String {
    format!("{DIRECTORY}/zz-hosttune-{name}.cfg")
}

/// Whether the host's generator reads the directory: Debian's does, and that of GRUB itself does
/// not. `None` if there is no generator.
pub(super) fn reads_directory(host: &Host) -> Result<Option<bool>, HostError> {
    for generator in GENERATORS {
        match host.read(generator) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                return Ok(Some(text.contains("default/grub.d")));
            }
            Err(error) if *error.kind() == HostErrorKind::Missing => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Why a setting cannot be written to a file that only adds parameters.
pub(super) fn objection(setting: &CommandLineSetting) -> Option<String> {
    match setting {
        CommandLineSetting::Absent { name } => Some(format!(
            "{name} can only be removed where it is written: see {VARIABLE} in /etc/default/grub and {DIRECTORY}"
        )),
        CommandLineSetting::Contains { name, .. } if !crate::command_line::adds_up(name) => {
            Some(format!(
                "of several {name}= only the last counts, so a word has to be added where the list is written: see {VARIABLE} in /etc/default/grub and {DIRECTORY}"
            ))
        }
        _ => None,
    }
}

/// The files that set variables for the generator, in the order in which it reads them.
fn files(host: &Host) -> Result<Vec<String>, HostError> {
    let mut files = vec!["/etc/default/grub".to_owned()];
    match host.list(DIRECTORY) {
        Err(error) if *error.kind() == HostErrorKind::Missing => {}
        names => files.extend(
            names?
                .iter()
                .filter(|name| name.ends_with(".cfg"))
                .map(|name| format!("{DIRECTORY}/{name}")),
        ),
    }
    Ok(files)
}

/// The file and line of another program's that meets a setting already, so that it must not be added
/// once more: a second `console=` would become the one that the system uses.
///
/// Only assignments of plain text are understood, each for itself; what a shell would compute is
/// not. What is missed here is added a second time at most.
///
/// # Errors
/// If a file cannot be read.
pub(super) fn already_set(
    host: &Host,
    own: &str,
    setting: &CommandLineSetting,
) -> Result<Option<String>, HostError> {
    let mut set = None;
    for file in files(host)?.iter().filter(|file| *file != own) {
        let bytes = match host.read(file) {
            Err(error) if *error.kind() == HostErrorKind::Missing => continue,
            bytes => bytes?,
        };
        for (number, text) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            let Some((name, value)) = text.trim().split_once('=') else {
                continue;
            };
            if name != VARIABLE && name != "GRUB_CMDLINE_LINUX" {
                continue;
            }
            let line = KernelCommandLine::parse(value.trim_matches(['"', '\'']));
            let is_new_line = name == VARIABLE && !keeps_earlier(value);
            let is_other_value = line.has(setting.name()) && !each_counts(setting.name());
            if setting.is_met(&line) {
                set = Some(format!("{file}:{}", number + 1));
            } else if is_new_line || is_other_value {
                set = None;
            }
        }
    }
    Ok(set)
}

/// The arguments that an earlier text of the file adds and a later one does not, and that no other file
/// of GRUB's has.
///
/// # Errors
/// If a file cannot be read.
pub(super) fn removed(
    host: &Host,
    own: &str,
    earlier: &[u8],
    later: &[u8],
) -> Result<Vec<String>, HostError> {
    let later = added(later);
    let mut removed = added(earlier);
    removed.retain(|argument| !later.contains(argument));
    if !removed.is_empty() {
        for file in files(host)?.iter().filter(|file| *file != own) {
            let Some(content) = host.file(file)? else {
                continue;
            };
            let text = String::from_utf8_lossy(&content.bytes);
            removed.retain(|argument| !text.contains(argument.as_str()));
        }
    }
    Ok(removed)
}

/// The arguments in a text that was made by [`render`].
fn added(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let own = format!("{VARIABLE}=\"${VARIABLE} ");
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(&own)?.strip_suffix('"'));
    let line = KernelCommandLine::parse(line.unwrap_or_default());
    line.arguments()
        .map(|argument| String::from_utf8_lossy(argument.text()).into_owned())
        .collect()
}

/// The text of the file: the parameters are added to whatever the files before it have set.
///
/// # Errors
/// If a parameter cannot be written, with the reason.
pub(crate) fn render(name: &str, settings: &[&CommandLineSetting]) -> Result<String, String> {
    let mut line = KernelCommandLine::default();
    for setting in settings {
        setting
            .apply(&mut line)
            .map_err(|error: LineError| error.to_string())?;
    }
    for argument in line.arguments() {
        let text = String::from_utf8_lossy(argument.text());
        if let Some(refused) = text.chars().find(|letter| REFUSED.contains(letter)) {
            return Err(format!(
                "GRUB would act on {refused:?} in {text}: parameters of modules can be set in modprobe.d instead"
            ));
        }
    }
    Ok(format!(
        "# Written by hosttune for '{name}'. Use the revert command of the program that wrote it to remove it.\n{VARIABLE}=\"${VARIABLE} {line}\"\n"
    ))
}

/// The file and line behind ours that sets the variable anew, so that ours has no effect.
///
/// # Errors
/// If a file cannot be read.
pub(super) fn overridden_by(host: &Host, path: &str) -> Result<Option<String>, HostError> {
    let names = match host.list(DIRECTORY) {
        Err(error) if *error.kind() == HostErrorKind::Missing => return Ok(None),
        names => names?,
    };
    let mut overridden = None;
    for name in names.iter().filter(|name| name.ends_with(".cfg")) {
        let other = format!("{DIRECTORY}/{name}");
        if other.as_str() <= path {
            continue;
        }
        let bytes = match host.read(&other) {
            Err(error) if *error.kind() == HostErrorKind::Missing => continue,
            bytes => bytes?,
        };
        for (number, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            let Some(value) = line.trim_start().strip_prefix(VARIABLE) else {
                continue;
            };
            if value.starts_with('=') && !keeps_earlier(value) {
                overridden = Some(format!("{other}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    Ok(overridden)
}

/// Whether a value contains what the files before it have set.
fn keeps_earlier(value: &str) -> bool {
    value.contains(&format!("${VARIABLE}")) || value.contains(&format!("${{{VARIABLE}}}"))
}
