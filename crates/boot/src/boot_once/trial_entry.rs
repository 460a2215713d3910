//! The text of the entry that is started once.

use super::grub_menu::MenuEntry;
use super::grub_word::quoted;
use crate::command_line::{CommandLineSetting, KernelCommandLine, LineError};
use hosttune_modules::initramfs::InitramfsGenerator;

/// The parameter that marks a line as a trial: with a dot in the name, because the kernel hands a
/// name without one to init.
pub(super) const MARK: &str = "hosttune.trial";

/// What the text of an entry says of itself, in comments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TrialFacts {
    /// The value of the mark.
    pub(super) id: String,
    /// The boot in which the entry was made.
    pub(super) boot: String,
    /// The parameters that are tried, for people and for comparing.
    pub(super) parameters: String,
}

impl TrialFacts {
    /// The facts of a trial that is made in this boot.
    pub(super) fn new<'a>(
        boot: &str,
        settings: impl IntoIterator<Item = &'a CommandLineSetting>,
    ) -> Self {
        let id = boot.chars().filter(char::is_ascii_alphanumeric).take(12);
        Self {
            id: id.collect(),
            boot: boot.to_owned(),
            parameters: described(settings),
        }
    }

    pub(super) fn comments(&self, name: &str) -> String {
        format!(
            "# An entry that is started once. '{name} confirm' and '{name} revert' remove it.\n# trial: {}\n# made in boot: {}\n# parameters: {}\n",
            self.id, self.boot, self.parameters
        )
    }

    /// Reads the comments of an entry.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let comment = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().to_owned())
        };
        Some(Self {
            id: comment("# trial:")?,
            boot: comment("# made in boot:")?,
            parameters: comment("# parameters:")?,
        })
    }
}

/// Settings in one line, for people and for comparing.
pub(crate) fn described<'a>(settings: impl IntoIterator<Item = &'a CommandLineSetting>) -> String {
    let settings = settings.into_iter().map(ToString::to_string);
    settings.collect::<Vec<_>>().join(", ")
}

/// What makes a trial return by itself: a kernel that panics restarts, and so does an initramfs that
/// would wait for a person.
pub(super) fn return_settings(
    generator: Option<InitramfsGenerator>,
    id: &str,
) -> Vec<CommandLineSetting> {
    let mut settings = Vec::new();
    if generator == Some(InitramfsGenerator::Dracut) {
        settings.push(CommandLineSetting::equals("rd.shell", "0"));
        settings.push(CommandLineSetting::equals("rd.emergency", "reboot"));
    }
    // initramfs-tools reads panic= too, and restarts instead of starting a shell.
    settings.push(CommandLineSetting::equals("panic", "10"));
    settings.push(CommandLineSetting::equals(MARK, id));
    settings
}

/// A line with the settings applied and checked.
///
/// # Errors
/// If a setting cannot be written, the line becomes too long, or would lose its root file system.
pub(super) fn changed_line<'a>(
    before: &KernelCommandLine,
    settings: impl IntoIterator<Item = &'a CommandLineSetting>,
) -> Result<KernelCommandLine, LineError> {
    let mut after = before.clone();
    for setting in settings {
        setting.apply(&mut after)?;
    }
    before.check_root(&after)?;
    after.check_length()?;
    Ok(after)
}

/// The command that loads Linux in an entry: the command with the kernel's path, and the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LinuxCommand {
    /// Which line of the body it is.
    pub(super) place: usize,
    /// Up to the blank behind the kernel's path.
    pub(super) command: String,
    /// The kernel's path.
    pub(super) kernel: String,
    /// The kernel command line, in GRUB's shell.
    pub(super) line: KernelCommandLine,
}

impl LinuxCommand {
    /// Finds it. `None` if the entry does not load Linux, or not by one command on one line.
    pub(super) fn of(entry: &MenuEntry) -> Option<Self> {
        let mut found = None;
        for (place, text) in entry.body.iter().enumerate() {
            let trimmed = text.trim_start();
            let command = trimmed.split_whitespace().next().unwrap_or_default();
            if !matches!(command, "linux" | "linux16" | "linuxefi") {
                continue;
            }
            let kernel = trimmed.split_whitespace().nth(1)?;
            let end = text.find(kernel)? + kernel.len();
            let rest = text[end..].trim_start();
            if found.is_some() || text.ends_with('\\') || kernel.starts_with(['\'', '"']) {
                return None;
            }
            found = Some(Self {
                place,
                command: text[..end].to_owned(),
                kernel: kernel.to_owned(),
                line: KernelCommandLine::parse(rest),
            });
        }
        found
    }
}

/// A copy of an entry with another title, id and kernel command line. It does not become the default
/// by being started.
pub(super) fn copied(
    entry: &MenuEntry,
    linux: &LinuxCommand,
    title: &str,
    id: &str,
    line: &KernelCommandLine,
) -> String {
    let mut header = format!("menuentry {}", quoted(title));
    for option in &entry.options {
        header.push_str(&format!(" {option}"));
    }
    let mut text = format!("{header} --id {} {{\n", quoted(id));
    for (place, command) in entry.body.iter().enumerate() {
        if command.trim() == "savedefault" {
            continue;
        }
        match place == linux.place {
            true => text.push_str(&format!("{} {line}\n", linux.command)),
            false => text.push_str(&format!("{command}\n")),
        }
    }
    text.push_str("}\n");
    text
}

/// The lines of a trial.
pub(super) fn text(
    name: &str,
    facts: &TrialFacts,
    entry: &MenuEntry,
    linux: &LinuxCommand,
    line: &KernelCommandLine,
) -> String {
    let title = format!("{}, trial by {name}", entry.title);
    facts.comments(name) + &copied(entry, linux, &title, &entry_id(name), line)
}

/// The id of the entry in GRUB's menu.
pub(super) fn entry_id(name: &str) -> String {
    format!("hosttune-trial-{name}")
}
