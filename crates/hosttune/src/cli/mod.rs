//! The command line that every host binary shares.
//!
//! A host binary is data and one call of [`main`]: it says what it is called, which kinds of knob
//! it needs and what it wants ([`HostProfile`]); the commands, the text, the JSON and the exit
//! codes are here, and the same for all hosts.
//!
//! # Commands
//! `plan` (the default), `apply`, `verify`, `revert`, `status`, `explain KNOB`, `who-sets KEY`,
//! `watch`, `facts`, `measure`. `plan`, `verify`, `status`, `explain`, `who-sets` and `facts` change
//! nothing and write nothing; `measure`, for latency under load, changes nothing and writes only the
//! reports it is asked for. `facts` is a command of the program `hosttune` too, which has no profile.
//!
//! # Exit codes
//! An interface, the same for every command; [`Exit`] names them.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done, or as wanted |
//! | 1 | drift: `verify` found something that is not as wanted, `plan --exit-code` something to do, `revert` something that it left because somebody else has set it since, `measure` a path that deserves no grade; or `verify`, `plan --exit-code` or `apply` found a value that could not be read |
//! | 2 | usage: the command line is wrong, or names something unknown |
//! | 3 | refused or rolled back: nothing was changed; `measure`: there was nothing to be measured |
//! | 4 | rollback or revert incomplete, or ended by a second signal: something is neither as wanted nor as it was; it stays in the journal |
//! | 5 | everything was put back, but the journal could not be cleared of it |
//!
//! A signal that asks the program to end (SIGINT, SIGTERM, SIGHUP) stops `apply` and `revert` at the end of
//! a step. `apply` then takes back what it did and exits 3; `revert` leaves what it has not come to and
//! exits 4. A second one ends the program at once, with 4.
//!
//! # JSON
//! With `--json` there is one document on standard output and nothing else; its schemas are in
//! `docs/schemas`. An error is a document too, so that no program has to read prose. `watch`, which
//! does not end by itself, prints a document a line.

mod arguments;
mod ask;
mod cake;
mod colour;
mod ending;
mod exit;
mod explain;
mod facts;
mod failure;
mod interruption;
mod json;
mod measure;
mod other_writers;
mod rate;
mod report_file;
mod run;
mod streams;
mod text;
mod tool;
mod watch;
mod who_sets;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::process::ExitCode;

use hosttune_core::{Error, Host, Registry, Session, Tuning};

pub use cake::{cake, typed_rate};
pub use exit::Exit;
pub use rate::rate;
pub use tool::tool;
pub use watch::Watched;

/// What a host binary is: a name, the kinds of knob it turns, and what it wants.
pub trait HostProfile {
    /// The program's name, and the owner of its journal: 1 to 64 of `a-z`, `0-9`, `-`, `_`, `.`.
    fn name(&self) -> &'static str;

    /// What the profile is for, in one line.
    fn about(&self) -> &'static str;

    /// The program's version, for `--version` and for whoever finds a journal it wrote.
    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// The names that `--with` takes: parts of the profile that are off unless asked for.
    fn candidates(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether only root can make the changes. One that changes files of the user who runs it says no,
    /// and leaves it to the host to refuse.
    fn needs_root(&self) -> bool {
        true
    }

    /// What else the command line may say of this host, as `--NAME VALUE`.
    fn settings(&self) -> &'static [Setting] {
        &[]
    }

    /// Makes the kinds of knob known that the tuning uses: `sysctl::knobs(registry)`.
    fn register(&self, registry: &mut Registry);

    /// Plugs in the transports that the tuning uses, for the running system: a captured tree and an
    /// image have none.
    ///
    /// One that cannot be had is no reason to fail: what needs it will say that it does not apply.
    fn plug(&self, session: Session) -> Session {
        session
    }

    /// What is wanted.
    ///
    /// # Errors
    /// Where the profile cannot be made from these options.
    fn tuning(&self, options: &Options) -> Result<Box<dyn Tuning>, Error>;

    /// The parts of it that `watch` puts in place again when what they are about has come, or come
    /// back; a host has none unless it says so.
    ///
    /// # Errors
    /// Where there are some and this host or these options do not say what they are about.
    fn watched(&self, host: &Host, options: &Options) -> Result<Vec<Watched>, Error> {
        let _ = (host, options);
        Ok(Vec::new())
    }
}

/// Something of a host that the command line may set: `--NAME VALUE`.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The option's name, without the dashes; none that every host has already.
    pub name: &'static str,
    /// What stands for the value in `--help`.
    pub value: &'static str,
    /// What it is for and what it is where nothing is said, in one line.
    pub help: &'static str,
    /// What is wrong with a value, for whoever typed it.
    pub check: fn(&str) -> Result<(), String>,
}

/// What the command line says about what is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Also write what makes the wishes survive a reboot. Always so for an image, where nothing
    /// else is of use.
    pub persist: bool,
    /// Which candidates were asked for; all of them are names that the profile knows.
    pub with: Vec<String>,
    /// What was set, by the name of the setting; all of it has passed the profile's own check.
    pub set: BTreeMap<String, String>,
}

impl Options {
    /// What a setting was set to.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.set.get(name).map(String::as_str)
    }

    /// Whether a candidate was asked for.
    pub fn has(&self, candidate: &str) -> bool {
        self.with.iter().any(|name| name == candidate)
    }
}

/// Runs a host binary: reads the process's arguments, does what they say, and answers the exit
/// code.
///
/// ```no_run
/// use hosttune::cli::{HostProfile, Options};
/// use hosttune::{Error, Registry, Tuning};
///
/// struct Quiet;
///
/// impl HostProfile for Quiet {
///     fn name(&self) -> &'static str {
///         "quiet"
///     }
///     fn about(&self) -> &'static str {
///         "A host that wants nothing"
///     }
///     fn register(&self, _: &mut Registry) {}
///     fn tuning(&self, _: &Options) -> Result<Box<dyn Tuning>, Error> {
///         Ok(Box::new(()))
///     }
/// }
///
/// fn main() -> std::process::ExitCode {
///     hosttune::cli::main(&Quiet)
/// }
/// ```
pub fn main(profile: &dyn HostProfile) -> ExitCode {
    let mut streams = streams::Streams::of_process();
    run::run(profile, std::env::args_os(), &mut streams).into()
}
