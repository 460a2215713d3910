//! `boot`: starts a mode of the profile at the next boot only, or shows the modes.

use clap::Args;
use hosttune_boot::boot_once::{BOOT_ONCE, BootMode, EntryState, ModeOnce, ModeState};

use super::arguments::Global;
use super::exit::Exit;
use super::failure::Failure;
use super::run::Run;
use super::{HostProfile, Options, json};

/// The arguments of `boot`.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct BootArguments {
    /// The mode: a boot entry of this profile
    mode: Option<String>,
    /// Start the mode at the next boot, and only then
    #[arg(long, requires = "mode")]
    once: bool,
    /// Show the modes, which is also what this command does without arguments; changes nothing
    #[arg(long, conflicts_with_all = ["mode", "cancel"])]
    list: bool,
    /// Take back the choice of --once before that boot, or what is left of it afterwards
    #[arg(long, conflicts_with = "mode")]
    cancel: bool,
    /// Do not ask for confirmation
    #[arg(long, short)]
    yes: bool,
}

impl BootArguments {
    /// Whether the command changes the host.
    pub(super) fn changes(&self) -> bool {
        self.once || self.cancel
    }
}

/// A mode, and what the host has of it.
#[derive(Debug)]
pub(super) struct ModeRow {
    pub(super) mode: BootMode,
    pub(super) state: ModeState,
    /// The command that adds its entry.
    pub(super) added_by: String,
}

/// Whether the profile has modes.
pub(super) fn has_modes(profile: &dyn HostProfile) -> bool {
    !profile.boot_modes(&Options::default()).is_empty()
}

impl Run<'_> {
    pub(super) fn boot(&mut self, arguments: &BootArguments) -> Result<Exit, Failure> {
        if !has_modes(self.profile) {
            return Err(Failure::usage(
                format!("{} has no boot modes", self.profile.name()),
                "run with --help to see the commands",
            ));
        }
        match &arguments.mode {
            Some(mode) if arguments.once => self.boot_once(mode, arguments.yes),
            Some(mode) => Err(Failure::usage(
                format!(
                    "a mode is started once and never becomes the default: {mode} needs --once"
                ),
                format!("{} {mode} --once", self.invocation()),
            )),
            None if arguments.cancel => {
                self.global.only = vec![BOOT_ONCE.to_owned()];
                self.revert(arguments.yes, false, 0)
            }
            None if arguments.yes => Err(Failure::usage(
                "--yes has no effect without --once or --cancel",
                "omit it",
            )),
            None => self.boot_list(),
        }
    }

    fn boot_once(&mut self, name: &str, yes: bool) -> Result<Exit, Failure> {
        self.need_an_answer(yes, &format!("boot {name} --once"))?;
        self.need_root("boot")?;
        let ending = self.ending("boot")?;
        let mut session = self.session()?;
        session.stopped_by(ending.stop());
        let modes = self.profile.boot_modes(&self.options(&session));
        let known: Vec<String> = modes.iter().map(|(_, mode)| mode.mode.clone()).collect();
        let chosen = modes.into_iter().find(|(_, mode)| mode.mode == name);
        let Some((part, mode)) = chosen else {
            return Err(Failure::unknown("mode", name, &known));
        };
        let added_by = self.adds(part);
        let tuning = (BOOT_ONCE, ModeOnce::new(mode, added_by));
        self.apply_to(session, &tuning, yes, &ending)
    }

    fn boot_list(&mut self) -> Result<Exit, Failure> {
        let session = self.session()?;
        let mut rows = Vec::new();
        for (part, mode) in self.profile.boot_modes(&self.options(&session)) {
            rows.push(ModeRow {
                state: mode.state(session.host())?,
                added_by: self.adds(part),
                mode,
            });
        }
        if self.global.json {
            self.streams.document(&json::boot_modes(&rows))?;
        } else {
            let command = self.invocation();
            let text: String = rows.iter().map(|row| shown(row, &command)).collect();
            self.streams.print(&text);
        }
        Ok(Exit::Done)
    }

    fn invocation(&self) -> String {
        self.global.invocation(self.profile.name(), "boot")
    }

    /// The command that adds the entries of a part.
    fn adds(&self, part: &str) -> String {
        let mut global = Global {
            only: vec![part.to_owned()],
            persist: true,
            ..self.global.clone()
        };
        let is_optional = self.profile.candidates().contains(&part);
        if is_optional && !global.with.iter().any(|name| name == part) {
            global.with.push(part.to_owned());
        }
        global.invocation(self.profile.name(), "apply")
    }
}

/// A mode for people; `command` is the command line of `boot`.
fn shown(row: &ModeRow, command: &str) -> String {
    let ModeRow {
        mode,
        state,
        added_by,
    } = row;
    let name = &mode.mode;
    let entry = match state.entry {
        EntryState::Absent => format!("not in the boot menu; to add it: {added_by}"),
        EntryState::Current => "in the boot menu".to_owned(),
        EntryState::Outdated => format!(
            "in the boot menu, and not a copy of the normal entry any more; to renew it: {added_by}"
        ),
        _ => {
            "unknown: run this as root, on a host with a boot loader that is known here".to_owned()
        }
    };
    let next = match (state.is_next, state.entry) {
        (Some(true), _) => format!("starts this mode, once; to cancel: {command} --cancel"),
        (_, EntryState::Absent) => "starts another entry".to_owned(),
        (Some(false), _) => {
            format!("starts another entry; to start this mode once: {command} {name} --once")
        }
        (None, _) => "unknown".to_owned(),
    };
    let running = match state.is_met {
        Some(true) => "has these parameters",
        Some(false) => "does not have these parameters",
        None => "unknown",
    };
    format!(
        "{name}: {}\n  entry           {entry}\n  next boot       {next}\n  running kernel  {running}\n",
        mode.parameters()
    )
}
