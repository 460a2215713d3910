//! Parameters in the entry files of a loader, and in the file from which kernel-install makes new ones.

use std::collections::BTreeMap;

use hosttune_core::{Error, Host, HostError, HostErrorKind, Planner, Unsupported, UnsupportedKind};

use hosttune_core::host::EntryKind;

use super::argument_edit::names;
use super::boot_setting::BootSetting;
use super::entry::LoaderEntry;
use super::entry_directory::is_elsewhere;
use super::limine;
use super::limine_files;
use super::line_parameter::{LineParameter, ONE_OF_TWO, Occurrences, without_counters};
use super::new_lines;
use super::occurrence::{LONGEST_READ, LineIn, requested};
use super::start::Start;
use crate::boot_once::is_ours;
use crate::command_line::{KernelCommandLine, LONGEST_LINE, RUNNING_LINE, same_name};

/// The file from which kernel-install takes the line of new entries. Creating it would lose what
/// kernel-install takes from elsewhere without it, `root=` included, so it is only changed where it is.
pub(super) const KERNEL_INSTALL: &str = "/etc/kernel/cmdline";

/// Where entry files are: on the boot partition, which is mounted in one of these places.
pub(crate) const ENTRIES: [&str; 3] = [
    "/boot/loader/entries",
    "/efi/loader/entries",
    "/boot/efi/loader/entries",
];

/// Programs that write entry files again from a configuration of their own, and what to type instead.
const FRONT_ENDS: [(&str, &str, &str); 2] = [
    (
        "/etc/sdboot-manage.conf",
        "sdboot-manage",
        "add them to LINUX_OPTIONS in /etc/sdboot-manage.conf, then run sdboot-manage gen",
    ),
    (
        "/etc/kernelstub/configuration",
        "kernelstub",
        "run kernelstub --add-options \"PARAMETERS\"",
    ),
];

/// A file with a line that is changed.
#[derive(Debug)]
pub(super) struct LineFile {
    pub(super) path: String,
    pub(super) line: LineIn,
}

impl LineFile {
    fn of_kernel_install() -> Self {
        Self {
            path: KERNEL_INSTALL.to_owned(),
            line: LineIn::WholeFile,
        }
    }

    /// The knob for parameters in the line.
    pub(super) fn parameter(&self, names: Vec<String>) -> LineParameter {
        LineParameter {
            file: self.path.clone(),
            line: self.line.clone(),
            names,
        }
    }
}

/// Which loader's entries are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entries {
    /// Files that GRUB reads (Fedora).
    Grub,
    /// Files that systemd-boot reads.
    KernelInstall,
    /// Limine's configuration.
    Limine,
}

/// What is changed, and what is said of the rest.
#[derive(Debug, Default)]
struct Found {
    files: Vec<LineFile>,
    notes: Vec<String>,
}

impl Found {
    /// Names the entries that are kept as they are.
    fn kept(&mut self, others: &[String]) {
        if !others.is_empty() {
            self.notes.push(format!(
                "entries that are kept as they are, because they are of another system, a snapshot or a rescue entry: {}",
                others.join(", ")
            ));
        }
    }
}

/// Why nothing is changed, or the entries of Limine.
fn of_limine(host: &Host) -> Result<Result<Found, Unsupported>, HostError> {
    let file = match limine_files::configuration(host) {
        Err(error) if *error.kind() == HostErrorKind::Denied => {
            return Ok(Err(only_root("the boot partition")));
        }
        file => match file? {
            Ok(file) => file,
            Err(unsupported) => return Ok(Err(unsupported)),
        },
    };
    let Ok(text) = String::from_utf8(host.read(&*file)?) else {
        let why = format!("{file} is not UTF-8 text");
        return Ok(Err(Unsupported::new(UnsupportedKind::Other, why)
            .hint("save it as UTF-8, or add them to cmdline: in it manually")));
    };
    let running = KernelCommandLine::parse(optional(host, RUNNING_LINE)?.unwrap_or_default());
    let mut found = Found::default();
    let mut others = Vec::new();
    for entry in limine::entries(&text) {
        let line = LineIn::Limine {
            entry: entry.path.clone(),
        };
        let of_it = line.line(&text);
        let is_of_this_system = of_it.has("root") && has_same_root(&of_it, &running);
        match is_of_this_system && !limine::has_macro(&of_it) {
            true => found.files.push(LineFile {
                path: file.clone(),
                line,
            }),
            false => others.push(entry.path),
        }
    }
    if found.files.is_empty() {
        let why = format!("no entry in {file} has the root= of the running kernel");
        return Ok(Err(Unsupported::new(UnsupportedKind::Missing, why)
            .hint("add them to cmdline: in limine.conf manually")));
    }
    found.kept(&others);
    Ok(Ok(found))
}

/// Why nothing is changed, or the files.
fn files(host: &Host, is_grub: bool) -> Result<Result<Found, Unsupported>, HostError> {
    for (file, program, hint) in FRONT_ENDS {
        if host.exists(file)? {
            let why = format!("the boot entries are written by {program} ({file} is there)");
            return Ok(Err(
                Unsupported::new(UnsupportedKind::Managed, why).hint(hint)
            ));
        }
    }
    let mut found = Found::default();
    let has_line = host.exists(KERNEL_INSTALL)?;
    // The line that booted, without what it changes: which root file system it names.
    let running = match optional(host, RUNNING_LINE)? {
        Some(line) => Some(line),
        None => optional(host, KERNEL_INSTALL)?,
    };
    let running = KernelCommandLine::parse(running.unwrap_or_default());
    let machine = optional(host, "/etc/machine-id")?;
    let machine = machine.map(|id| String::from_utf8_lossy(&id).trim().to_owned());
    let mut others = Vec::new();
    let mut twins = Vec::new();
    let start = Start::read(host)?;
    let image = start.unified_image();
    // GRUB reads the first only.
    for directory in ENTRIES.iter().take(if is_grub { 1 } else { ENTRIES.len() }) {
        let names = match host.list_if_there(directory) {
            Err(error) if *error.kind() == HostErrorKind::Denied => {
                return Ok(Err(only_root(directory)));
            }
            names => names?,
        };
        if !names.is_empty() && !is_grub && is_elsewhere(host, &start, directory)? {
            found.notes.push(format!(
                "{directory} is kept as it is, because the loader was started from another partition"
            ));
            continue;
        }
        for name in names.clone() {
            if !name.ends_with(".conf") || is_ours(&name) {
                continue;
            }
            let path = format!("{directory}/{name}");
            if !is_file(host, &path)? {
                // A loader does not read it either.
                continue;
            }
            let Some(bytes) = optional(host, &path)? else {
                continue;
            };
            let text = String::from_utf8_lossy(&bytes);
            let entry = LoaderEntry::parse(&text);
            if entry.last("linux").is_none() || entry.last("options").is_none() {
                continue;
            }
            let line = entry.line();
            let variable = "$kernelopts";
            if line
                .arguments()
                .any(|one| one.text() == variable.as_bytes())
            {
                let why = format!(
                    "{path} takes its line from the variable kernelopts of GRUB's environment block"
                );
                return Ok(Err(Unsupported::new(UnsupportedKind::Managed, why)
                    .hint("run grubby --update-kernel=ALL --args=\"PARAMETERS\"")));
            }
            let is_rescue = entry
                .last("version")
                .unwrap_or_default()
                .starts_with("0-rescue");
            if image.is_some() {
                others.push(name);
                continue;
            }
            let is_ours = is_of_this_system(&entry, &line, machine.as_deref(), &running);
            if is_ours && !is_rescue && std::str::from_utf8(&bytes).is_err() {
                found.notes.push(format!(
                    "{path} is kept as it is, because it is not UTF-8 text: save it as UTF-8, then run this again"
                ));
                continue;
            }
            if is_ours && !is_rescue && has_twin(&names, &name) {
                twins.push(path);
                continue;
            }
            match is_ours && !is_rescue {
                true => found.files.push(LineFile {
                    path: format!("{directory}/{}", without_counters(&name)),
                    line: LineIn::Entry,
                }),
                false => others.push(name),
            }
        }
    }
    if let Some(evidence) = image {
        match new_lines::of_image(host, &evidence, has_line, &others)? {
            Ok(notes) => found.notes.extend(notes),
            Err(unsupported) => return Ok(Err(unsupported)),
        }
        found.files.push(LineFile::of_kernel_install());
        return Ok(Ok(found));
    }
    if !twins.is_empty() {
        let why = format!(
            "these are the same entry with other counters of its boots, and nothing tells which one is started: {}",
            twins.join(", ")
        );
        if found.files.is_empty() {
            return Ok(Err(
                Unsupported::new(UnsupportedKind::Other, why).hint(ONE_OF_TWO)
            ));
        }
        found.notes.push(format!("{why}: {ONE_OF_TWO}"));
    }
    if found.files.is_empty() && !has_line {
        let why = format!(
            "{KERNEL_INSTALL} is not there (without root= in a new one the host would not boot), and no entry in {} is of this system",
            ENTRIES.join(", ")
        );
        return Ok(Err(Unsupported::new(UnsupportedKind::Missing, why).hint(
            format!("mount the boot partition if it is not mounted; or write the line of {RUNNING_LINE} to {KERNEL_INSTALL}, without BOOT_IMAGE= and initrd=; then run this again"),
        )));
    }
    found.kept(&others);
    found
        .notes
        .extend(new_lines::note(host, has_line, !found.files.is_empty())?);
    if has_line {
        // Last, so that a revert ends what new entries get first.
        found.files.push(LineFile::of_kernel_install());
    }
    Ok(Ok(found))
}

/// Whether another file is the same entry to its loader, which takes the counters out of the names.
fn has_twin(names: &[String], name: &str) -> bool {
    let mut others = names.iter().filter(|other| *other != name);
    others.any(|other| without_counters(other) == without_counters(name))
}

/// Whether it is a file, and not a directory, a socket or the like.
pub(crate) fn is_file(host: &Host, path: &str) -> Result<bool, HostError> {
    let kind = host.entry(path)?.map(|entry| entry.kind);
    Ok(matches!(kind, Some(EntryKind::File | EntryKind::Link(_))))
}

/// A line that is much longer than the kernel reads: to find parameters in it would take long.
fn too_long(host: &Host, files: &[LineFile]) -> Result<Option<Unsupported>, HostError> {
    for file in files {
        let path = file.parameter(Vec::new()).path(host)?;
        let Some(text) = optional(host, &path)? else {
            continue;
        };
        let text = String::from_utf8_lossy(&text);
        let length: usize = file
            .line
            .ranges(&text)
            .into_iter()
            .map(|part| part.len())
            .sum();
        if length > LONGEST_READ {
            let why = format!(
                "{path} has a kernel command line of {length} bytes, and the kernel reads {LONGEST_LINE}"
            );
            return Ok(Some(
                Unsupported::new(UnsupportedKind::Other, why)
                    .hint("correct it, then run this again"),
            ));
        }
    }
    Ok(None)
}

/// Why a plan of a user who may not read the boot partition has nothing of it.
pub(crate) fn only_root(directory: &str) -> Unsupported {
    Unsupported::new(
        UnsupportedKind::Other,
        format!("only root can read {directory}"),
    )
    .hint("run this as root")
}

/// Whether an entry starts this system and not another one that shares the boot partition, or a snapshot.
fn is_of_this_system(
    entry: &LoaderEntry,
    line: &KernelCommandLine,
    machine: Option<&str>,
    running: &KernelCommandLine,
) -> bool {
    let (is_this_machine, is_other_machine) = match (entry.last("machine-id"), machine) {
        (Some(of), Some(machine)) if !machine.is_empty() => (of == machine, of != machine),
        _ => (false, false),
    };
    // Without root= on the line, which is found by its partition type then, the id has to tell.
    if is_other_machine || !(is_this_machine || line.has("root")) {
        return false;
    }
    has_same_root(line, running)
}

/// Whether two lines name the same root file system.
fn has_same_root(line: &KernelCommandLine, running: &KernelCommandLine) -> bool {
    let is_same = |name| {
        let value = |line: &KernelCommandLine| {
            line.last(name)
                .and_then(|one| one.value().map(std::borrow::Cow::into_owned))
        };
        value(line) == value(running)
    };
    ["root", "rootflags", "ostree"].into_iter().all(is_same)
}

/// The settings by the parameters that they are about, in order.
pub(super) fn groups(settings: &[BootSetting]) -> Vec<(Vec<String>, Vec<&BootSetting>)> {
    let mut found: Vec<(Vec<String>, Vec<&BootSetting>)> = Vec::new();
    for one in settings {
        let names = names(&one.setting);
        let is_same = |known: &Vec<String>| {
            let is_known = |name: &String| {
                known
                    .iter()
                    .any(|known| same_name(known.as_bytes(), name.as_bytes()))
            };
            names.iter().any(is_known)
        };
        match found.iter_mut().find(|(known, _)| is_same(known)) {
            Some((known, of_it)) => {
                of_it.push(one);
                if names.len() > known.len() {
                    *known = names;
                }
            }
            None => found.push((names, vec![one])),
        }
    }
    found
}

fn find(host: &Host, of: Entries) -> Result<Result<Found, Unsupported>, HostError> {
    match of {
        Entries::Limine => of_limine(host),
        Entries::Grub => files(host, true),
        Entries::KernelInstall => files(host, false),
    }
}

/// The files with lines of this system; `None` if they are not changed here.
pub(super) fn of_this_system(host: &Host, of: Entries) -> Result<Option<Vec<LineFile>>, HostError> {
    Ok(find(host, of)?.ok().map(|found| found.files))
}

/// Declares the settings in every file. False if nothing can be changed; then all of them are skipped
/// with the reason.
pub(super) fn declare(
    at: &mut Planner<'_>,
    settings: &[BootSetting],
    of: Entries,
) -> Result<Result<(), Unsupported>, Error> {
    let found = match find(at.host(), of)? {
        Ok(found) => found,
        Err(unsupported) => return Ok(Err(unsupported)),
    };
    if let Some(unsupported) = too_long(at.host(), &found.files)? {
        return Ok(Err(unsupported));
    }
    for file in &found.files {
        // What the knobs before have added to this line.
        let mut lines: BTreeMap<Vec<String>, Occurrences> = BTreeMap::new();
        for (names, of_it) in groups(settings) {
            let knob = file.parameter(names.clone());
            let refused = |error: &dyn std::fmt::Display| {
                let all: Vec<String> = of_it.iter().map(|one| one.setting.to_string()).collect();
                Error::tuning(
                    format!(
                        "{} cannot be changed for {}: {error}",
                        file.path,
                        all.join(", ")
                    ),
                    "correct the file or the profile",
                )
            };
            let seen = at.now(&knob)?;
            let wanted = requested(seen.all(), of_it.iter().map(|one| &one.setting))
                .map_err(|error| refused(&error))?;
            let wanted = Occurrences::Of(wanted);
            lines.insert(names, wanted.clone());
            check(at.host(), file, &lines).map_err(|error| match error {
                Checked::Line(error) => refused(&error),
                Checked::Host(error) => error.into(),
            })?;
            let request = at.want(&knob, &wanted);
            if let [one, ..] = &of_it[..] {
                one.on(request);
            }
        }
    }
    for note in found.notes {
        at.note(note);
    }
    Ok(Ok(()))
}

enum Checked {
    Line(crate::command_line::LineError),
    Host(HostError),
}

/// Checks the whole line as it will be: that it still names the root file system, and is not too long.
fn check(
    host: &Host,
    file: &LineFile,
    changed: &BTreeMap<Vec<String>, Occurrences>,
) -> Result<(), Checked> {
    let bytes = match host.file(
        file.parameter(Vec::new())
            .path(host)
            .map_err(Checked::Host)?,
    ) {
        Ok(Some(content)) => content.bytes,
        Ok(None) => return Ok(()),
        Err(error) => return Err(Checked::Host(error)),
    };
    let Ok(text) = String::from_utf8(bytes) else {
        // The knob reports it.
        return Ok(());
    };
    if super::occurrence::objection(&file.line, &text).is_some() {
        return Ok(());
    }
    let mut after = text.clone();
    for (names, wanted) in changed {
        if file.parameter(names.clone()).objection(&text).is_some() {
            continue;
        }
        after = super::occurrence::replaced(&file.line, &after, names, wanted.all());
    }
    let (before, after) = (file.line.line(&text), file.line.line(&after));
    before
        .check_root(&after)
        .and_then(|()| after.check_length())
        .map_err(Checked::Line)
}

fn optional(host: &Host, path: &str) -> Result<Option<Vec<u8>>, HostError> {
    match host.read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if *error.kind() == HostErrorKind::Missing => Ok(None),
        Err(error) => Err(error),
    }
}
