//! Parameters on a system that ostree deploys: each deployment has its own line, which rpm-ostree and bootc
//! change by making another deployment. Nothing is changed here; the plan says what to type.

use hosttune_core::{Error, Host, HostError, HostErrorKind, Planner, Unsupported, UnsupportedKind};

use super::argument_edit::{ArgumentEdit, added_to, shell_word, words};
use super::boot_setting::BootSetting;
use super::deployment::{NextLine, next_line};
use super::detection::BootLoader;
use super::entries::groups;
use super::leftover::Leftover;
use super::tuning::{BootParameters, expect};
use crate::command_line::{CommandLineSetting, KernelCommandLine, RUNNING_LINE};

const RPM_OSTREE: &str = "/usr/bin/rpm-ostree";
const BOOTC: &str = "/usr/bin/bootc";

/// The program with which the user changes the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    RpmOstree,
    /// It only adds parameters, and keeps them for a name.
    Bootc,
}

impl Tool {
    fn of(host: &Host) -> Result<Option<Self>, HostError> {
        Ok(if host.exists(RPM_OSTREE)? {
            Some(Self::RpmOstree)
        } else if host.exists(BOOTC)? {
            Some(Self::Bootc)
        } else {
            None
        })
    }
}

/// What is typed, and what takes it back.
#[derive(Debug)]
struct Commands {
    change: String,
    undo: String,
}

/// The name for which bootc keeps the parameters.
fn source(name: &str) -> String {
    format!("hosttune-{name}")
}

/// The command of bootc: what it keeps for the name is replaced, and taken out without options.
fn of_bootc(name: &str, options: Option<&str>) -> String {
    let command = format!(
        "bootc loader-entries set-options-for-source --source {}",
        source(name)
    );
    match options {
        Some(options) => format!("{command} --options {}", shell_word(options)),
        None => command,
    }
}

/// What is typed for rpm-ostree; `None` if whole arguments cannot do it.
fn for_rpm_ostree(
    line: &KernelCommandLine,
    settings: &[&CommandLineSetting],
) -> Result<Option<Commands>, Error> {
    let edit = ArgumentEdit::of(line, settings).map_err(|error| {
        Error::tuning(
            format!("the line of the deployment cannot be changed: {error}"),
            "correct the parameter in the profile",
        )
    })?;
    Ok(edit.map(|edit| Commands {
        change: edit.of_rpm_ostree(),
        undo: edit.undone(line).of_rpm_ostree(),
    }))
}

/// What is typed for bootc, for all settings that adding parameters can meet.
fn for_bootc(name: &str, next: &NextLine, settings: &[&CommandLineSetting]) -> Commands {
    let options = next.of_source.clone().unwrap_or_default();
    let own = ArgumentEdit::removing(words(&KernelCommandLine::parse(options)));
    let others = own.applied(&next.line);
    let others = others.unwrap_or_else(|| next.line.clone());
    let mut kept: Vec<String> = Vec::new();
    for setting in settings {
        let mut line = added_to(&others, &kept);
        let edit = ArgumentEdit::of(&line, &[setting]).ok().flatten();
        let added = edit.map(|edit| edit.added().to_vec()).unwrap_or_default();
        line = added_to(&line, &added);
        if setting.is_met(&line) {
            kept.extend(added);
        }
    }
    Commands {
        change: of_bootc(name, Some(&kept.join(" "))),
        undo: of_bootc(name, next.of_source.as_deref()),
    }
}

/// Whether adding parameters at the end can meet a setting.
fn can_be_added(line: &KernelCommandLine, setting: &CommandLineSetting) -> bool {
    let edit = ArgumentEdit::of(line, &[setting]).ok().flatten();
    edit.is_some_and(|edit| setting.is_met(&added_to(line, edit.added())))
}

/// What the line has of the parameters of a setting, for people.
fn occurrences(line: &KernelCommandLine, setting: &CommandLineSetting) -> String {
    let all: Vec<String> = line
        .all(setting.name())
        .map(|argument| String::from_utf8_lossy(argument.text()).into_owned())
        .collect();
    match all.as_slice() {
        [] => format!("no {}", setting.name()),
        all => all.join(" "),
    }
}

/// The line of the running kernel: what there is where the line of the next boot is not known.
fn running(host: &Host) -> Result<KernelCommandLine, HostError> {
    match host.read(RUNNING_LINE) {
        Err(error) if *error.kind() == HostErrorKind::Missing => Ok(KernelCommandLine::default()),
        line => Ok(KernelCommandLine::parse(line?)),
    }
}

/// Says what to type for the parameters that the next boot does not have, and expects those that it has.
pub(super) fn declare(at: &mut Planner<'_>, parameters: &BootParameters) -> Result<(), Error> {
    let name = &parameters.name;
    let tool = Tool::of(at.host())?;
    let next = match next_line(at.host(), &source(name))? {
        Ok(next) => next,
        Err(why) => {
            at.note(format!(
                "the line of the next boot is not known, so the commands are for the line of the running kernel: {why}"
            ));
            NextLine {
                line: running(at.host())?,
                of_source: None,
            }
        }
    };
    let mut missing: Vec<BootSetting> = Vec::new();
    for one in &parameters.settings {
        match one.setting.is_met(&next.line) {
            true => expect(at, one),
            false => missing.push(one.clone()),
        }
    }
    for (_, of_it) in groups(&missing) {
        for one in &of_it {
            let why = format!(
                "the kernel command line belongs to {}, and this program does not change it; the next boot has {}",
                BootLoader::Ostree,
                occurrences(&next.line, &one.setting)
            );
            let settings: Vec<&CommandLineSetting> = of_it.iter().map(|one| &one.setting).collect();
            let hint = match tool {
                Some(Tool::RpmOstree) => match for_rpm_ostree(&next.line, &settings)? {
                    Some(commands) => format!("run {}, then reboot", commands.change),
                    None => {
                        "run rpm-ostree kargs --editor, which shows the whole line, then reboot"
                            .to_owned()
                    }
                },
                Some(Tool::Bootc) => match can_be_added(&next.line, &one.setting) {
                    true => format!(
                        "run the command of bootc that the notes have, or build an image with it in {KARGS}"
                    ),
                    false => format!(
                        "bootc takes no parameter out and keeps the order: build an image whose {KARGS} has the parameters, or install rpm-ostree in it"
                    ),
                },
                None => format!("build an image with the parameter in {KARGS}"),
            };
            let unsupported = Unsupported::new(UnsupportedKind::Managed, why).hint(hint);
            let what = format!("kernel parameter {}", one.setting);
            one.on(at.skip(&what, unsupported));
        }
    }
    note(at, parameters, &next, &missing, tool)
}

/// Where the parameters of an image are: `kargs = ["mitigations=off"]` in a TOML file.
const KARGS: &str = "/usr/lib/bootc/kargs.d";

/// The commands for all parameters at once.
fn note(
    at: &mut Planner<'_>,
    parameters: &BootParameters,
    next: &NextLine,
    missing: &[BootSetting],
    tool: Option<Tool>,
) -> Result<(), Error> {
    if missing.is_empty() {
        return Ok(());
    }
    let commands = match tool {
        Some(Tool::RpmOstree) => {
            let settings: Vec<&CommandLineSetting> =
                missing.iter().map(|one| &one.setting).collect();
            for_rpm_ostree(&next.line, &settings)?
        }
        Some(Tool::Bootc) => {
            // What bootc keeps for the name is replaced, so all of them are in the command.
            let settings = parameters.settings.iter().map(|one| &one.setting);
            let settings: Vec<&CommandLineSetting> = settings.collect();
            let can_be_added = missing
                .iter()
                .any(|one| can_be_added(&next.line, &one.setting));
            can_be_added.then(|| for_bootc(&parameters.name, next, &settings))
        }
        None => None,
    };
    if let Some(commands) = commands {
        at.note(format!(
            "kernel parameters are in effect after you run: {}, and reboot; the running deployment stays in the boot menu",
            commands.change
        ));
        at.note(format!(
            "a revert does not take the kernel parameters back; this does: {}, then reboot",
            commands.undo
        ));
        if tool == Some(Tool::Bootc) {
            at.note("this command of bootc needs bootc 1.15.2 and ostree 2026.1, or later");
        }
    }
    Ok(())
}

/// The parameters that the next boot has of these, and what takes them out: no revert does.
pub(super) fn leftovers(
    host: &Host,
    parameters: &BootParameters,
    settings: &[&CommandLineSetting],
) -> Result<Vec<Leftover>, HostError> {
    let Ok(next) = next_line(host, &source(&parameters.name))? else {
        return Ok(Vec::new());
    };
    let remedy = match (Tool::of(host)?, &next.of_source) {
        (Some(Tool::Bootc), Some(_)) => of_bootc(&parameters.name, None),
        (Some(Tool::RpmOstree), _) => String::new(),
        _ => return Ok(Vec::new()),
    };
    let met = settings.iter().filter(|one| one.is_met(&next.line));
    let met: Vec<&CommandLineSetting> = met.copied().collect();
    if met.is_empty() {
        return Ok(Vec::new());
    }
    let remedy = match remedy.is_empty() {
        false => remedy,
        true => match written(&next.line, &met) {
            Some(arguments) => ArgumentEdit::removing(arguments).of_rpm_ostree(),
            // A part of an argument, or one whose place counts.
            None => "rpm-ostree kargs --editor".to_owned(),
        },
    };
    let parameters = met.iter().map(ToString::to_string).collect();
    Ok(vec![Leftover::managed(
        "the deployment of the next boot",
        parameters,
        format!("run {remedy}, then reboot"),
        host,
    )])
}

/// The arguments that meet the settings, if they are whole ones that can be taken out by themselves.
fn written(line: &KernelCommandLine, met: &[&CommandLineSetting]) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for setting in met {
        let value = match setting {
            CommandLineSetting::Present { .. } => None,
            CommandLineSetting::Equals { value, .. } | CommandLineSetting::Occurs { value, .. } => {
                Some(&**value)
            }
            _ => return None,
        };
        let mut meeting = line
            .all(setting.name())
            .filter(|argument| value.is_none() || argument.value().as_deref() == value);
        found.push(String::from_utf8(meeting.next()?.text().to_vec()).ok()?);
    }
    Some(found)
}
