//! The command line: commands and options.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use super::boot::{self, BootArguments};
use super::confirm;
use super::facts::FactsArguments;
use super::guest::{GuestArguments, LoanArguments};
use super::manual::ManualArguments;
use super::measure::MeasureArguments;
use super::run_command::{RunArguments, StartArguments};
use super::{HostProfile, Setting};

const EXIT_CODES: &str = "\
Exit codes:
  0  success, or everything is as wanted
  1  drift: verify found a setting that is not as wanted, plan --exit-code found
     something to do, revert kept a value that another process has set since or
     still uses or could not generate the boot menu, measure found a path that is
     not gradable; or verify, plan --exit-code or apply met a value that could not
     be read
  2  usage: the command line is wrong or names something unknown
  3  refused, declined or rolled back: nothing was changed (also without the
     permission, or while another run holds the lock); measure: nothing could be
     measured
  4  rollback or revert incomplete: some settings have neither the wanted nor the
     original value; they stay in the journal, see status
  5  everything was reverted, but the journal could not be cleared
  run exits as its command does; 127: the command was not found, 126: it is not
  executable, 125: it was not started for another reason, such as a wrong command
  line (run --explain: as above)

The default command is plan. It does not need root and changes nothing.";

/// The parsed command line.
#[derive(Debug, Parser)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

// The options of every command. This is not a doc comment, because clap would show it as the
// description of the command.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Global {
    /// Print one JSON document instead of text (schemas: docs/schemas)
    #[arg(long)]
    pub(super) json: bool,
    /// Work on the tree beneath DIR: a captured tree (with proc or sys) or an image
    #[arg(long, value_name = "DIR")]
    pub(super) root: Option<PathBuf>,
    /// Limit the command to these parts of the profile and the parts in them
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(super) only: Vec<String>,
    /// Fail if a setting does not apply here
    #[arg(long)]
    pub(super) strict: bool,
    /// Also enable optional parts
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(super) with: Vec<String>,
    /// Keep settings across reboots
    #[arg(long)]
    pub(super) persist: bool,
    /// With --persist: try the kernel parameters in the next boot only; confirm keeps them
    #[arg(long)]
    pub(super) try_boot: bool,
    /// Also run the programs that generate the boot menu and the initramfs from the changed files
    #[arg(long)]
    pub(super) regenerate: bool,
    /// Only what belongs to the user who runs this; not for root
    #[arg(long)]
    pub(super) user: bool,
    /// Values of the profile's own options, by name.
    #[arg(skip)]
    pub(super) set: BTreeMap<String, String>,
}

/// The command to run.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Command {
    /// Show what would change, the current and the new values, and why; changes nothing
    Plan {
        /// Exit 1 when there is something to do
        #[arg(long)]
        exit_code: bool,
    },
    /// Show the plan, ask for confirmation, and apply it: all of it or nothing
    Apply {
        /// Only show the plan, as the command plan does
        #[arg(long, short = 'n', hide = true)]
        dry_run: bool,
        /// Do not ask for confirmation
        #[arg(long, short)]
        yes: bool,
        /// Wait up to SECONDS for the lock (default: fail at once); needs --yes
        #[arg(long, value_name = "SECONDS", requires = "yes", value_parser = clap::value_parser!(u16))]
        wait: Option<u16>,
    },
    /// Check every setting; exit 1 on drift
    Verify {
        /// With --user: play silence for a moment if no sound device runs, to see what it runs with
        #[arg(long)]
        probe: bool,
    },
    /// Revert everything that this program changed
    #[command(alias = "undo")]
    Revert {
        /// Do not ask for confirmation
        #[arg(long, short)]
        yes: bool,
        /// Also revert values that others have changed since
        #[arg(long)]
        force: bool,
    },
    /// Keep the kernel parameters that this boot tries (apply --persist --try-boot)
    Confirm {
        /// Do not ask for confirmation
        #[arg(long, short)]
        yes: bool,
    },
    /// Start a mode, which is a boot entry of this profile, at the next boot only; or show the modes
    Boot(BootArguments),
    /// Re-apply when devices appear, until interrupted
    Watch {
        /// Do not ask for confirmation
        #[arg(long, short)]
        yes: bool,
    },
    /// Run a command while the host is tuned; revert when it ends, however it ends
    Run(RunArguments),
    /// Become the command of a run; started by run
    #[command(hide = true)]
    RunStart(StartArguments),
    /// Revert when a run is killed; started by run
    #[command(hide = true)]
    RunWatchdog {
        /// The process to watch
        runner: i32,
    },
    /// Hold the host tuned for a user's command; started by hosttuned
    #[command(hide = true)]
    RunHold,
    /// Revert what killed runs have left; started by hosttuned
    #[command(hide = true)]
    RunRecover,
    /// Show active changes, unfinished runs and commands that run tuned
    Status,
    /// Show everything known about one setting of this profile
    Explain {
        /// The setting, named as in the plan
        knob: String,
    },
    /// Show every file and line that sets a sysctl at boot, and which one wins
    WhoSets {
        /// The sysctl: vm.swappiness or vm/swappiness
        key: String,
    },
    /// Show the hardware, kernel and distribution of the host; changes nothing
    Facts(FactsArguments),
    /// Measure latency under load against a responder, or run one; changes nothing
    Measure(MeasureArguments),
    /// Lend a guest its devices without asking: apply --yes for its part, for scripts
    Lend(LoanArguments),
    /// Take a guest's devices back without asking: revert --yes for its part, for scripts
    Return(LoanArguments),
    /// Show the guest's side: libvirt XML, QEMU arguments, hook; changes nothing
    Guest(GuestArguments),
    /// Print a script that completes this command line in a shell; changes nothing
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page of a command, for man; changes nothing
    Manual(ManualArguments),
}

/// The command line of a profile, with its name, its options and the commands that it has.
pub(super) fn command(profile: &dyn HostProfile) -> clap::Command {
    let command = Arguments::command()
        .name(profile.name())
        .bin_name(profile.name())
        .about(profile.about())
        .version(profile.version());
    let settings = profile.settings();
    let candidates = |with: Arg| {
        if profile.candidates().is_empty() {
            with.hide(true)
        } else {
            with.help(format!(
                "Also enable optional parts: {}",
                profile.candidates().join(", ")
            ))
        }
    };
    let has_trials = confirm::has_trials(profile);
    // These options are accepted before and after the command. clap's `global` is not used: it drops
    // the values given before the command if there are any after it.
    let command = command
        .mut_subcommands(|command| {
            let name = command.get_name().to_owned();
            let command = Global::augment_args(command).mut_arg("with", candidates);
            let none = |argument: Arg| argument.hide(true);
            let command = if profile.has_user_settings() {
                command
            } else if name == "verify" {
                command.mut_arg("user", none).mut_arg("probe", none)
            } else {
                command.mut_arg("user", none)
            };
            let command = if has_trials {
                command
            } else {
                command
                    .mut_arg("try_boot", none)
                    .mut_arg("regenerate", none)
            };
            let command = unused(&name)
                .iter()
                .fold(command, |command, option| command.mut_arg(option, none));
            if has_settings(&name) {
                command.args(settings.iter().map(argument))
            } else {
                command
            }
        })
        .mut_arg("with", candidates)
        .mut_arg("try_boot", |argument| argument.hide(!has_trials))
        .mut_arg("regenerate", |argument| argument.hide(!has_trials))
        .mut_arg("user", |user| user.hide(!profile.has_user_settings()))
        .args(settings.iter().map(argument));
    let command = match has_trials {
        true => command,
        false => command.mut_subcommand("confirm", |command| command.hide(true)),
    };
    let command = match boot::has_modes(profile) {
        true => command,
        false => command.mut_subcommand("boot", |command| command.hide(true)),
    };
    match profile.guests().is_empty() {
        true => COMMANDS_FOR_GUESTS.iter().fold(command, |command, name| {
            command.mut_subcommand(name, |command| command.hide(true))
        }),
        false => command,
    }
}

/// Parses a command line.
pub(super) fn parse(
    profile: &dyn HostProfile,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Arguments, clap::Error> {
    let settings = profile.settings();
    let matches = command(profile).try_get_matches_from(arguments)?;
    let mut parsed = Arguments::from_arg_matches(&matches)?;
    parsed.global.set = set(settings, &matches);
    if let Some((name, after)) = matches.subcommand() {
        let mut global = Global::from_arg_matches(after)?;
        if has_settings(name) {
            global.set = set(settings, after);
        }
        parsed.global.merge(global)?;
        parsed.global.need_all_used(name)?;
    }
    Ok(parsed)
}

/// Whether a command line that is wrong was to run a command, whose exit code this program's would be taken for.
pub(super) fn is_of_run(profile: &dyn HostProfile, arguments: &[OsString]) -> bool {
    let parsed = command(profile)
        .ignore_errors(true)
        .try_get_matches_from(arguments);
    let is_set = |matches: &ArgMatches| matches!(matches.try_get_one("explain"), Ok(Some(true)));
    if let Ok(Some((name, matches))) = parsed.as_ref().map(ArgMatches::subcommand) {
        return name == "run" && !is_set(matches);
    }
    // Behind an unknown option clap finds no command.
    let known = command(profile);
    let is_command = |word: &&OsString| {
        known
            .get_subcommands()
            .any(|one| *one.get_name() == ***word)
    };
    let mut own = arguments.iter().skip(1).take_while(|word| *word != "--");
    own.find(is_command).is_some_and(|word| word == "run") && !own.any(|word| word == "--explain")
}

/// The commands of profiles that lend devices to a guest.
const COMMANDS_FOR_GUESTS: [&str; 3] = ["lend", "return", "guest"];

/// The options of every command that have no effect on this one.
fn unused(command: &str) -> &'static [&'static str] {
    match command {
        "verify" => &["try_boot"],
        "explain" => &["strict", "try_boot"],
        "boot" => &[
            "only",
            "strict",
            "persist",
            "try_boot",
            "regenerate",
            "user",
        ],
        "confirm" => &["only", "persist", "try_boot", "user"],
        "revert" => &["strict", "with", "persist", "try_boot"],
        "status" => &["strict", "with", "persist", "try_boot", "regenerate"],
        "watch" => &["try_boot", "regenerate", "user"],
        "run" => &["persist", "try_boot", "regenerate", "user"],
        "lend" => &["only", "persist", "try_boot", "regenerate", "user"],
        "guest" => &[
            "only",
            "strict",
            "persist",
            "try_boot",
            "regenerate",
            "user",
        ],
        "run-start" | "run-watchdog" | "run-hold" | "run-recover" | "facts" | "who-sets"
        | "return" => &[
            "only",
            "strict",
            "with",
            "persist",
            "try_boot",
            "regenerate",
            "user",
        ],
        "measure" => &[
            "root",
            "only",
            "strict",
            "with",
            "persist",
            "try_boot",
            "regenerate",
            "user",
        ],
        "completions" | "manual" => &[
            "json",
            "root",
            "only",
            "strict",
            "with",
            "persist",
            "try_boot",
            "regenerate",
            "user",
        ],
        _ => &[],
    }
}

/// Whether the profile's own options apply to a command. `measure` has options of the same names.
fn has_settings(command: &str) -> bool {
    !matches!(
        command,
        "revert"
            | "status"
            | "facts"
            | "who-sets"
            | "measure"
            | "return"
            | "run-start"
            | "run-watchdog"
            | "run-hold"
            | "run-recover"
            | "completions"
            | "manual"
    )
}

/// Converts a profile's option into one of clap's.
fn argument(setting: &Setting) -> Arg {
    let check = setting.check;
    Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.value)
        .help(setting.help)
        .value_parser(move |value: &str| check(value).map(|()| value.to_owned()))
}

/// The values of the profile's options at one place of the command line.
fn set(settings: &[Setting], matches: &ArgMatches) -> BTreeMap<String, String> {
    let value = |setting: &Setting| {
        let value = matches.get_one::<String>(setting.name)?;
        Some((setting.name.to_owned(), value.clone()))
    };
    settings.iter().filter_map(value).collect()
}

impl Global {
    /// Adds the options given after the command to those given before it.
    fn merge(&mut self, after: Self) -> Result<(), clap::Error> {
        if self.root.is_some() && after.root.is_some() {
            return Err(clap::Error::raw(
                clap::error::ErrorKind::ArgumentConflict,
                "--root is given twice: give it once\n",
            ));
        }
        if let Some(name) = after.set.keys().find(|name| self.set.contains_key(*name)) {
            return Err(clap::Error::raw(
                clap::error::ErrorKind::ArgumentConflict,
                format!("--{name} is given twice: give it once\n"),
            ));
        }
        self.root = self.root.take().or(after.root);
        self.json |= after.json;
        self.strict |= after.strict;
        self.persist |= after.persist;
        self.try_boot |= after.try_boot;
        self.regenerate |= after.regenerate;
        self.user |= after.user;
        self.only.extend(after.only);
        self.with.extend(after.with);
        self.set.extend(after.set);
        Ok(())
    }

    /// Refuses an option that has no effect on this command.
    fn need_all_used(&self, command: &str) -> Result<(), clap::Error> {
        if command == "measure" {
            // It has its own check, with hints for the options that it shares names with.
            return Ok(());
        }
        let given = [
            ("json", self.json),
            ("root", self.root.is_some()),
            ("only", !self.only.is_empty()),
            ("strict", self.strict),
            ("with", !self.with.is_empty()),
            ("persist", self.persist),
            ("try_boot", self.try_boot),
            ("regenerate", self.regenerate),
            ("user", self.user),
        ];
        let given = given
            .iter()
            .filter(|(_, given)| *given)
            .map(|(name, _)| *name);
        let mut ignored = given.filter(|name| unused(command).contains(name));
        let setting = self.set.keys().map(String::as_str).next();
        let setting = setting.filter(|_| !has_settings(command));
        match ignored.next().or(setting) {
            Some(option) => Err(clap::Error::raw(
                clap::error::ErrorKind::ArgumentConflict,
                format!(
                    "--{} has no effect on {command}: omit it\n",
                    option.replace('_', "-")
                ),
            )),
            None if self.try_boot && !self.persist => Err(clap::Error::raw(
                clap::error::ErrorKind::MissingRequiredArgument,
                "--try-boot tries what --persist keeps: add --persist\n",
            )),
            None => Ok(()),
        }
    }

    /// The command line of another command for the same host and options, for the user to copy.
    pub(super) fn invocation(&self, name: &str, command: &str) -> String {
        let uses = |option: &str| !unused(command).contains(&option);
        let mut words = vec![name.to_owned()];
        if let Some(root) = &self.root {
            words.push("--root".to_owned());
            words.push(quoted(&root.display().to_string()));
        }
        for (option, names) in [("only", &self.only), ("with", &self.with)] {
            if !names.is_empty() && uses(option) {
                words.push(format!("--{option}"));
                words.push(quoted(&names.join(",")));
            }
        }
        for (name, value) in self.set.iter().filter(|_| has_settings(command)) {
            words.push(format!("--{name}"));
            words.push(quoted(value));
        }
        let options = [
            ("strict", self.strict),
            ("persist", self.persist),
            ("try_boot", self.try_boot),
            ("regenerate", self.regenerate),
            ("user", self.user),
        ];
        for (option, set) in options {
            if set && uses(option) {
                words.push(format!("--{}", option.replace('_', "-")));
            }
        }
        words.push(command.to_owned());
        words.join(" ")
    }
}

/// A word quoted for a shell.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+=:@,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_is_offered_to_copy_can_be_pasted() {
        let global = Global {
            root: Some("/mnt/my tree".into()),
            with: vec!["candidates".into()],
            strict: true,
            set: BTreeMap::from([("device".to_owned(), "wan 0".to_owned())]),
            ..Global::default()
        };
        assert_eq!(
            global.invocation("gaming", "apply"),
            "gaming --root '/mnt/my tree' --with candidates --device 'wan 0' --strict apply"
        );
        assert_eq!(
            global.invocation("gaming", "revert"),
            "gaming --root '/mnt/my tree' revert"
        );
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
