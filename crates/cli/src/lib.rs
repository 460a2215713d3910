//! The command line that every host binary shares.
//!
//! A host binary is data and one call of [`main`]. Its [`HostProfile`] supplies the name, the kinds of
//! knob and the requested settings. The commands, the text, the JSON and the exit codes are the same
//! for all hosts and are implemented here.
//!
//! # Commands
//! `plan` (the default), `apply`, `verify`, `revert`, `status`, `explain KNOB`, `who-sets KEY`,
//! `watch`, `run`, `facts`, `measure`. A profile with kernel parameters also has `confirm`; one
//! with boot modes has `boot MODE --once` and `boot --list`. `plan`, `verify`, `status`, `explain`, `who-sets` and `facts` change
//! nothing and write nothing. `measure` measures latency under load; it changes nothing and writes only
//! the report files named on its command line. `facts` is also a command of the program `hosttune`,
//! which has no profile; `pci` is one of that program alone.
//!
//! A profile that lends devices to a virtual machine also has `lend` (`apply --yes` for the guest's
//! part), `return` (`revert --yes` for it) and `guest`, which prints the guest's side.
//!
//! # Exit codes
//! The exit codes are a stable interface and the same for every command; [`Exit`] names them.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | success, or everything is as wanted |
//! | 1 | drift: `verify` found a setting that is not as wanted, `plan --exit-code` found something to do, `revert` kept a value that another process has set since, `measure` found a path that is not gradable; or `verify`, `plan --exit-code` or `apply` found a value that could not be read |
//! | 2 | usage: the command line is wrong or names something unknown |
//! | 3 | refused or rolled back: nothing was changed; `measure`: nothing could be measured |
//! | 4 | rollback or revert incomplete, or ended by a second signal: some settings have neither the wanted nor the original value; they stay in the journal |
//! | 5 | everything was reverted, but the journal could not be cleared |
//!
//! `run` exits as its command does; its own failures are 125, 126 and 127, as with `env(1)`: 125 also for a
//! wrong command line. `run --explain` exits as the other commands.
//!
//! A termination signal (SIGINT, SIGTERM, SIGHUP) stops `apply` and `revert` at the end of a step.
//! `apply` then rolls back its changes and exits 3; `revert` leaves the remaining changes in place and
//! exits 4. A second signal ends the program at once, with exit code 4.
//!
//! # JSON
//! With `--json`, standard output carries exactly one document; the schemas are in `docs/schemas`. An
//! error is a document too, so that no program has to parse prose. `watch` runs until it is
//! interrupted and prints one document per line.

mod arguments;
mod ask;
mod boot;
mod boot_units;
mod cake;
mod colour;
mod confirm;
mod ending;
mod exit;
mod explain;
mod facts;
mod failure;
mod guest;
mod helper_hint;
mod helper_program;
mod import;
mod interruption;
mod json;
mod left_in_loader;
mod manual;
mod measure;
mod open_to_users;
mod other_writers;
mod pci;
mod permission;
mod rate;
mod regenerate;
mod report_file;
mod revert;
mod run;
mod run_command;
mod run_explained;
mod run_helped;
mod run_hold;
mod run_power_profile;
mod run_shared;
mod session;
mod stays_until_restart;
mod streams;
mod text;
mod tool;
mod user;
mod watch;
mod who_sets;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::process::ExitCode;

use hosttune_boot::boot_loader::BootParameters;
use hosttune_boot::boot_once::BootMode;
use hosttune_core::{Error, Host, Registry, Report, Session, Tuning, Undone};
use hosttune_guest::Guest;

pub use cake::{cake, typed_rate};
pub use exit::Exit;
pub use helper_program::helper;
pub use open_to_users::OpenToUsers;
pub use rate::rate;
pub use run_command::RunSettings;
pub use tool::{tool, tool_with};
pub use watch::Watched;

/// The definition of a host binary: a name, the kinds of knob it sets, and the requested settings.
pub trait HostProfile {
    /// The program's name, and the owner of its journal: 1 to 64 of `a-z`, `0-9`, `-`, `_`, `.`.
    fn name(&self) -> &'static str;

    /// The purpose of the profile, in one line.
    fn about(&self) -> &'static str;

    /// The program's version, for `--version` and recorded in the journals it writes.
    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// The names that `--with` accepts: parts of the profile that are off by default.
    fn candidates(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether the changes require root. A profile that changes files of the invoking user returns
    /// `false`; the host then refuses what that user may not change.
    fn needs_root(&self) -> bool {
        true
    }

    /// Whether the profile has settings that belong to the user who runs it, which `--user` selects.
    /// Without any, `--user` is refused.
    fn has_user_settings(&self) -> bool {
        false
    }

    /// The profile's own command-line options, as `--NAME VALUE`.
    fn settings(&self) -> &'static [Setting] {
        &[]
    }

    /// Registers the kinds of knob that the tuning uses: `sysctl::knobs(registry)`.
    fn register(&self, registry: &mut Registry);

    /// Adds the backends that the tuning uses. It is called only for the running system: a captured
    /// tree and an image have none.
    ///
    /// A missing backend is not an error: the settings that need it are reported as not applicable.
    fn with_backend(&self, session: Session) -> Session {
        session
    }

    /// What `run` sets on the command that it runs, unless its options say otherwise; nothing by default.
    fn run_settings(&self) -> RunSettings {
        RunSettings::default()
    }

    /// What users without root may have the helper `hosttuned` apply while their command runs; nothing by default.
    fn open_to_users(&self) -> OpenToUsers {
        OpenToUsers::nothing()
    }

    /// The requested settings.
    ///
    /// # Errors
    /// If these options do not yield a tuning.
    fn tuning(&self, options: &Options) -> Result<Box<dyn Tuning>, Error>;

    /// Refines the report of `verify` by what takes too long for a plan, such as what running devices
    /// show. With `probe` (`verify --probe`) a device may be made to run for a moment. By default
    /// nothing is refined.
    ///
    /// What cannot be determined is a state of the report, and not an error.
    fn refine(&self, host: &Host, options: &Options, probe: bool, report: &mut Report) {
        let _ = (host, options, probe, report);
    }

    /// What a loaded driver or a running daemon still has of the profile although no file sets it any
    /// more, because it was read at the start: notes of `status` and `revert`; none by default.
    /// `reverted` is what was reverted just now. `options` has all optional parts, because any may have
    /// been requested.
    ///
    /// What cannot be determined is a note, and not an error.
    fn stays_until_restart(
        &self,
        host: &Host,
        options: &Options,
        reverted: &[Undone],
    ) -> Vec<String> {
        let _ = (host, options, reverted);
        Vec::new()
    }

    /// The parts of the tuning that `watch` applies again when their device appears or reappears; none
    /// by default.
    ///
    /// # Errors
    /// If this host or these options do not determine the devices of such a part.
    fn watched(&self, host: &Host, options: &Options) -> Result<Vec<Watched>, Error> {
        let _ = (host, options);
        Ok(Vec::new())
    }

    /// The kernel parameters of the profile, with the name of their part; none by default. With some,
    /// `--try-boot` tries them in one boot, and `confirm` keeps what was tried.
    fn boot_parameters(&self, options: &Options) -> Option<(&'static str, BootParameters)> {
        let _ = options;
        None
    }

    /// The name of the part that makes initramfs images anew with `--regenerate`; none by default.
    fn rebuilds_initramfs(&self) -> Option<&'static str> {
        None
    }

    /// The boot entries of the profile beside the normal one, each with the name of the part of the tuning
    /// that adds it; none by default. `boot MODE --once` starts one of them at the next boot only.
    fn boot_modes(&self, options: &Options) -> Vec<(&'static str, BootMode)> {
        let _ = options;
        Vec::new()
    }

    /// The virtual machines that the profile lends devices to; none by default. Each is the name of the
    /// part of the tuning that lends its devices, so that `lend` and `return` can be limited to it.
    fn guests(&self) -> &'static [&'static str] {
        &[]
    }

    /// What one of the guests is given, for the command `guest`.
    ///
    /// # Errors
    /// If this host or these options do not determine its devices.
    fn guest(&self, name: &str, host: &Host, options: &Options) -> Result<Guest, Error> {
        let _ = (host, options);
        Err(Error::tuning(
            format!("nothing is known of the guest {name}"),
            "omit it",
        ))
    }
}

/// A profile's own command-line option: `--NAME VALUE`.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The option's name, without the dashes. It must differ from the options that every host has.
    pub name: &'static str,
    /// The placeholder for the value in `--help`.
    pub value: &'static str,
    /// Its purpose and its default, in one line.
    pub help: &'static str,
    /// Checks a value; the error is shown to the user.
    pub check: fn(&str) -> Result<(), String>,
}

/// The options of the command line that affect the requested settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Whether settings are also kept across reboots. Always true for an image, where only persistent
    /// settings have an effect.
    pub persist: bool,
    /// Whether kernel parameters are only tried in the next boot. Never true without
    /// [`persist`](Self::persist).
    pub try_boot: bool,
    /// Whether the boot menu and initramfs images are generated from the files that are kept. Never true without
    /// [`persist`](Self::persist).
    pub regenerate: bool,
    /// Whether the settings are for the time in which a command of `run` runs, and are reverted when it ends.
    pub while_running: bool,
    /// Whether the daemon that owns power profiles holds the one of
    /// [`RunSettings::power_profile`] for the command. The governor, the energy preference, boost and the platform
    /// profile are then left to it.
    pub power_profile_is_held: bool,
    /// Whether only the settings of the user who runs the program are requested. Never true for root,
    /// for a tree, or for a profile without [such settings](HostProfile::has_user_settings).
    pub user: bool,
    /// The optional parts that were enabled; all of them are among the profile's candidates.
    pub with: Vec<String>,
    /// The values of the profile's own options, by name; each has passed the option's check.
    pub set: BTreeMap<String, String>,
}

impl Options {
    /// The value given for one of the profile's own options.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.set.get(name).map(String::as_str)
    }

    /// Whether an optional part was enabled.
    pub fn has(&self, candidate: &str) -> bool {
        self.with.iter().any(|name| name == candidate)
    }
}

/// Runs a host binary: parses the process's arguments, executes the command, and returns the exit
/// code.
///
/// ```no_run
/// use hosttune_cli::{HostProfile, Options};
/// use hosttune_core::{Error, Registry, Tuning};
///
/// struct Quiet;
///
/// impl HostProfile for Quiet {
///     fn name(&self) -> &'static str {
///         "quiet"
///     }
///     fn about(&self) -> &'static str {
///         "A host that changes nothing"
///     }
///     fn register(&self, _: &mut Registry) {}
///     fn tuning(&self, _: &Options) -> Result<Box<dyn Tuning>, Error> {
///         Ok(Box::new(()))
///     }
/// }
///
/// fn main() -> std::process::ExitCode {
///     hosttune_cli::main(&Quiet)
/// }
/// ```
pub fn main(profile: &dyn HostProfile) -> ExitCode {
    let mut streams = streams::Streams::of_process();
    run::run(profile, std::env::args_os(), &mut streams).into()
}
