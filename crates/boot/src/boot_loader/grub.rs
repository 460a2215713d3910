//! Our file in `/etc/default/grub.d`.
//!
//! The files there are shell, read by `grub-mkconfig` after `/etc/default/grub` where the
//! distribution's version reads the directory at all. The text is then written unquoted into
//! `grub.cfg`, which is a shell of its own.

use hosttune_core::{Host, HostError, HostErrorKind};

use super::generators::GENERATORS;
use super::grub_defaults::{Defaults, NORMAL_ENTRIES};
use crate::command_line::{CommandLineSetting, KernelCommandLine, LineError};

/// The variable for normal entries. Entries for recovery do not have it, so that they stay a way
/// back.
const VARIABLE: &str = NORMAL_ENTRIES;

/// The file that the generator reads first.
const DEFAULTS: &str = "/etc/default/grub";

/// The directory of our file, which is read after it.
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
    let names = host.list_if_there(DIRECTORY)?.into_iter();
    let names = names
        .filter(|name| name.ends_with(".cfg"))
        .map(|name| format!("{DIRECTORY}/{name}"));
    Ok(std::iter::once(DEFAULTS.to_owned()).chain(names).collect())
}

/// The file and line of another program's that meets a setting already, so that it must not be added
/// once more: a second `console=` would become the one that the system uses.
///
/// Only what is certain without a shell counts. What is missed here is added a second time at most.
///
/// # Errors
/// If a file cannot be read.
pub(super) fn already_set(
    host: &Host,
    own: &str,
    setting: &CommandLineSetting,
) -> Result<Option<String>, HostError> {
    let mut defaults = Defaults::default();
    let mut set = None;
    for file in files(host)? {
        let Some(text) = text(host, &file)?.filter(|_| file != own) else {
            continue;
        };
        defaults.read(&text, |number, now| {
            let is_met = |line: String| setting.is_met(&KernelCommandLine::parse(line));
            match now.line().is_some_and(is_met) {
                true => {
                    set.get_or_insert_with(|| format!("{file}:{number}"));
                }
                false => set = None,
            }
        });
    }
    Ok(set)
}

fn text(host: &Host, file: &str) -> Result<Option<String>, HostError> {
    match host.read(file) {
        Err(error) if *error.kind() == HostErrorKind::Missing => Ok(None),
        bytes => Ok(Some(String::from_utf8_lossy(&bytes?).into_owned())),
    }
}

/// The arguments that an earlier text of the file adds and a later one does not, and that no other file
/// of GRUB's sets.
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
    set_by_no_other(host, own, removed)
}

/// Those of the arguments that no file of GRUB's but `own` sets. Where a shell would have to compute what
/// the files set, an argument of which one of them mentions the parameter is not among them.
///
/// # Errors
/// If a file cannot be read.
pub(super) fn set_by_no_other(
    host: &Host,
    own: &str,
    mut arguments: Vec<String>,
) -> Result<Vec<String>, HostError> {
    let mut defaults = Defaults::default();
    let mut lines = String::new();
    for file in files(host)?.iter().filter(|file| *file != own) {
        let Some(text) = text(host, file)? else {
            continue;
        };
        defaults.read(&text, |_, _| {});
        let is_read = |line: &&str| !line.trim_start().starts_with('#');
        for line in text.lines().filter(is_read) {
            lines.push_str(line);
            lines.push('\n');
        }
    }
    match defaults.line() {
        Some(line) => {
            let line = KernelCommandLine::parse(line);
            let set: Vec<_> = line.arguments().map(|argument| argument.text()).collect();
            arguments.retain(|argument| !set.contains(&argument.as_bytes()));
        }
        None => arguments.retain(|argument| {
            let name = argument.split('=').next().unwrap_or(argument);
            !lines.contains(name)
        }),
    }
    Ok(arguments)
}

/// The arguments that our file adds now.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn kept(host: &Host, own: &str) -> Result<Vec<String>, HostError> {
    Ok(text(host, own)?.map_or_else(Vec::new, |text| added(text.as_bytes())))
}

/// The arguments that settings add to an empty line, as [`render`] writes them. A setting that cannot be
/// written adds none.
pub(super) fn arguments(settings: &[&CommandLineSetting]) -> Vec<String> {
    let mut line = KernelCommandLine::default();
    for setting in settings {
        let _ = setting.apply(&mut line);
    }
    texts(&line)
}

/// The arguments in a text that was made by [`render`].
fn added(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let own = format!("{VARIABLE}=\"${VARIABLE} ");
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(&own)?.strip_suffix('"'));
    texts(&KernelCommandLine::parse(line.unwrap_or_default()))
}

fn texts(line: &KernelCommandLine) -> Vec<String> {
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

/// The file and line behind ours that sets the variable anew, so that ours has no effect. A line of which
/// that is not certain is not named.
///
/// # Errors
/// If a file cannot be read.
pub(super) fn overridden_by(host: &Host, path: &str) -> Result<Option<String>, HostError> {
    // No file contains it.
    const OURS: &str = "\0";
    let mut defaults = Defaults::with_normal(OURS);
    let mut overridden = None;
    let mut was_kept = true;
    for file in files(host)?.iter().filter(|file| file.as_str() > path) {
        let Some(text) = text(host, file)? else {
            continue;
        };
        let lines: Vec<&str> = text.split('\n').collect();
        defaults.read(&text, |number, now| {
            let is_kept = now.normal().is_none_or(|value| value.contains(OURS));
            if was_kept && !is_kept {
                let line = lines.get(number - 1).map_or("", |line| line.trim());
                overridden = Some(format!("{file}:{number}: {line}"));
            } else if is_kept {
                overridden = None;
            }
            was_kept = is_kept;
        });
    }
    Ok(overridden)
}
