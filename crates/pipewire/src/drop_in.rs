//! Settings that are kept in a configuration file of their own.

use std::path::{Path, PathBuf};

use hosttune_core::file::{ConfigFile, Directory, DirectoryState, FileState};
use hosttune_core::host::{EntryKind, FileContent};
use hosttune_core::{Error, Host, Planner, Tuning, Unsupported, UnsupportedKind, When, Why};
use hosttune_spa_json::{Entry, Value};

use crate::effective::Clock;
use crate::judged::{Daemon, Judged};
use crate::loaded::LoadedProperty;
use crate::merge::{ConfigFiles, Environment, Layer, Merged, Properties};
use crate::runtime::{PipeWire, virtual_machine};
use crate::settings::{ClockSettings, PulseSettings};
use crate::version::Version;

/// The main file whose first line names the installed version.
const SHIPPED: &str = "/usr/share/pipewire/pipewire.conf";

/// Where the file is, and so for whom it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `/etc/pipewire`: for all users.
    System,
    /// The configuration directory of one user, who must be the one who runs this.
    User {
        /// The user ID.
        uid: u32,
        /// The group ID.
        gid: u32,
    },
}

/// Clock settings that are kept in drop-ins of PipeWire's configuration, until they are reverted.
///
/// The daemon reads them when it starts, so they are pending until each user's daemon is restarted.
/// No file of anybody else is changed, and no daemon is restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockDropIn {
    host: String,
    place: Place,
    environment: Environment,
    clock: ClockSettings,
    pulse: PulseSettings,
    version: Option<Version>,
    vm: Option<String>,
    why: Why,
}

impl ClockDropIn {
    /// Settings for all users, in `/etc/pipewire/pipewire.conf.d/92-HOST-latency.conf`.
    pub fn system(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            place: Place::System,
            environment: Environment::default(),
            clock: ClockSettings::default(),
            pulse: PulseSettings::default(),
            version: None,
            vm: None,
            why: Why::default(),
        }
    }

    /// Settings for the user who runs this, in `92-HOST-latency-user.conf` of the directory that the
    /// daemon reads in this environment.
    ///
    /// The name is another than that of the file for all users, because many versions of PipeWire
    /// read only one of two files with the same name.
    pub fn user(host: impl Into<String>, environment: Environment, uid: u32, gid: u32) -> Self {
        Self {
            place: Place::User { uid, gid },
            environment,
            ..Self::system(host)
        }
    }

    /// Requests settings of the daemon's clock.
    #[must_use]
    pub fn clock(mut self, clock: ClockSettings) -> Self {
        self.clock = clock;
        self
    }

    /// Requests settings for PulseAudio programs.
    #[must_use]
    pub fn pulse(mut self, pulse: PulseSettings) -> Self {
        self.pulse = pulse;
        self
    }

    /// Sets the version of PipeWire. Otherwise it is read in the configuration that it ships.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }

    /// Sets the name of the virtual machine as the daemon knows it (`cpu.vm.name`), for rules that
    /// apply only there. Otherwise it is asked of the daemon, if one runs.
    #[must_use]
    pub fn vm(mut self, name: impl Into<String>) -> Self {
        self.vm = Some(name.into());
        self
    }

    /// Sets the reason.
    #[must_use]
    pub fn why(mut self, why: impl Into<Why>) -> Self {
        self.why = why.into();
        self
    }

    /// The name of the file.
    pub fn file_name(&self) -> String {
        match self.place {
            Place::System => format!("92-{}-latency.conf", self.host),
            Place::User { .. } => format!("92-{}-latency-user.conf", self.host),
        }
    }

    fn check(&self, version: Option<Version>) -> Result<(), Error> {
        let is_name = |name: &str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        if !is_name(&self.host) {
            return Err(Error::tuning(
                format!("'{}' cannot be part of a file name", self.host),
                "use a-z, 0-9 and '-'",
            ));
        }
        self.clock
            .check(version)
            .and_then(|()| self.pulse.check())
            .map_err(|error| Error::tuning(error.to_string(), "use a value that PipeWire keeps"))
    }

    /// The layer that the file is in.
    fn layer(&self) -> Layer {
        match self.place {
            _ if self.environment.config_dir.is_some() => Layer::Only,
            Place::System => Layer::System,
            Place::User { .. } => Layer::User,
        }
    }

    /// The topmost directory that is made if it does not exist: a home is not.
    fn base(&self, directory: &Path) -> PathBuf {
        let environment = &self.environment;
        let home = environment.home.as_ref().map(|home| home.join(".config"));
        let own = [&environment.config_dir, &environment.xdg_config_home, &home];
        let mut bases = own.into_iter().flatten();
        let base = bases.find(|base| directory.starts_with(base));
        base.cloned()
            .unwrap_or_else(|| PathBuf::from("/etc/pipewire"))
    }

    /// Why no file can be written for this user by this process.
    fn unsupported(&self) -> Option<Unsupported> {
        let Place::User { uid, .. } = self.place else {
            return None;
        };
        let process = FileContent::new("").uid;
        (uid != process).then(|| {
            Unsupported::new(
                UnsupportedKind::Other,
                format!(
                    "it belongs to the user {uid}, and this process runs as the user {process}"
                ),
            )
            .hint(format!("run the same command as the user {uid}"))
        })
    }

    /// Declares the file for one daemon.
    fn declare_file(&self, at: &mut Planner<'_>, daemon: &Daemon<'_>) -> Result<(), Error> {
        let files = ConfigFiles::collect(at.host(), &self.environment, daemon.main)?;
        let Some(directory) = files.directory(self.layer()).map(Path::to_owned) else {
            return Ok(());
        };
        let path = directory.join(self.file_name());
        let file = ConfigFile::new(&path)?;
        let now = at.now(&file)?;
        if daemon.entries.is_empty() {
            // An earlier version of this tuning may have written it.
            if now != FileState::Absent {
                at.want(&file, &FileState::Absent)
                    .why("nothing is requested here any more");
            }
            return Ok(());
        }
        if let Some(unsupported) = self.unsupported() {
            at.skip(&path.display().to_string(), unsupported)
                .why(self.why.clone());
            return Ok(());
        }
        if let Some(unsupported) = declare_directories(at, &self.base(&directory), &directory)? {
            at.skip(&path.display().to_string(), unsupported)
                .why(self.why.clone());
            return Ok(());
        }
        let bytes = render(&self.host, daemon.section, &daemon.entries).into_bytes();
        let merged = daemon.version.map(|version| {
            let files = files.with_file(&path, &bytes);
            Merged::of(version, &files)
        });
        let vm = self.vm.clone().or_else(|| virtual_machine(at.host()));
        let judged = merged.map(|merged| {
            let properties = merged.properties(daemon.section, vm.as_deref());
            Judged::of(&path, daemon, &merged, properties)
        });
        for note in judged.iter().flat_map(|judged| &judged.notes) {
            at.note(note.clone());
        }
        let overridden = judged.as_ref().and_then(|judged| judged.overridden.clone());
        if let Some(by) = &overridden {
            at.note(format!("after a restart of PipeWire, overridden by {by}"));
        }
        let content = match now {
            // An existing file keeps its mode, owner and label; only its content is ours.
            FileState::Present(present) => FileContent { bytes, ..present },
            FileState::Absent | FileState::HalfWritten(_) => match self.place {
                Place::System => FileContent::new(bytes),
                Place::User { uid, gid } => FileContent {
                    uid,
                    gid,
                    ..FileContent::new(bytes)
                },
            },
        };
        at.want(&file, &FileState::Present(content))
            .why(self.why.clone())
            .overridden_by(overridden);
        if let Some(judged) = &judged {
            expect_loaded(at, daemon, &judged.properties);
        }
        Ok(())
    }
}

impl Tuning for ClockDropIn {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        self.check(self.version)?;
        let shipped = at.host().file(SHIPPED)?;
        let Some(shipped) = shipped else {
            let unsupported = Unsupported::new(
                UnsupportedKind::Missing,
                format!("PipeWire is not installed: there is no {SHIPPED}"),
            )
            .hint("install PipeWire");
            for main in ["pipewire.conf", "pipewire-pulse.conf"] {
                let files = ConfigFiles::collect(at.host(), &self.environment, main)?;
                if let Some(directory) = files.directory(self.layer()) {
                    at.may_change(&ConfigFile::new(directory.join(self.file_name()))?);
                }
            }
            at.skip("PipeWire's clock settings", unsupported)
                .why(self.why.clone());
            return Ok(());
        };
        let version = self
            .version
            .or_else(|| Version::of_config_file(&shipped.bytes));
        self.check(version)?;
        if version.is_none() {
            at.note(format!(
                "{SHIPPED} names no version of PipeWire: whether another file overrides these settings was not checked"
            ));
        }
        let daemons = [
            Daemon {
                main: "pipewire.conf",
                section: "context.properties",
                entries: self.clock.entries(),
                version,
            },
            Daemon {
                main: "pipewire-pulse.conf",
                section: "pulse.properties",
                entries: self.pulse.entries(),
                version,
            },
        ];
        for daemon in &daemons {
            self.declare_file(at, daemon)?;
        }
        if daemons.iter().any(|daemon| !daemon.entries.is_empty()) {
            at.note(
                "PipeWire reads these files when it starts: each user restarts it with 'systemctl --user restart pipewire.service', which interrupts sound",
            );
        }
        Ok(())
    }
}

/// Declares the directories that do not exist yet, below `base` only; returns why they cannot be
/// used, if they cannot.
fn declare_directories(
    at: &mut Planner<'_>,
    base: &Path,
    directory: &Path,
) -> Result<Option<Unsupported>, Error> {
    let parents: Vec<&Path> = directory.ancestors().collect();
    for parent in parents.into_iter().rev().skip(1) {
        let shown = parent.display();
        let is_ours = parent.starts_with(base);
        match at.host().entry(parent)?.map(|entry| entry.kind) {
            // One that exists is declared too: another program with a journal may have made it, and
            // must not remove it while our file is in it.
            Some(EntryKind::Directory) | None if is_ours => {
                at.intermediate(&Directory::new(parent)?, &DirectoryState::Empty)
                    .why("required by the configuration file");
            }
            Some(EntryKind::Directory) => {}
            Some(EntryKind::Link(target)) if is_ours => {
                let target = target.display();
                return Ok(Some(
                    Unsupported::new(
                        UnsupportedKind::Managed,
                        format!("{shown} is a symlink to {target}: another program manages it"),
                    )
                    .hint("set it in the configuration of the program that made the link"),
                ));
            }
            // A home may be anywhere.
            Some(EntryKind::Link(_)) => {}
            Some(_) => {
                return Ok(Some(Unsupported::new(
                    UnsupportedKind::Other,
                    format!("{shown} is not a directory"),
                )));
            }
            None => {
                return Ok(Some(Unsupported::new(
                    UnsupportedKind::Missing,
                    format!("there is no directory {shown}"),
                )));
            }
        }
    }
    Ok(None)
}

/// The text of a file: strict JSON, which every version reads, below a comment.
fn render(host: &str, section: &str, entries: &[Entry]) -> String {
    let properties: Value = entries.iter().cloned().collect();
    let document: Value = [Entry::new(section, properties)].into_iter().collect();
    format!(
        "# Written by hosttune for '{host}'. Use the revert command of the program that wrote it to remove it.\n{}\n",
        document.to_pretty_json()
    )
}

/// Expects the running daemon to load what the files have, at its next restart.
fn expect_loaded(at: &mut Planner<'_>, daemon: &Daemon<'_>, properties: &Properties) {
    let is_running = |host: &Host| {
        let pipewire = host.backend::<PipeWire>().ok()?;
        pipewire.view(host.look()).ok()?
    };
    // Only the daemon itself can be asked, not the server for PulseAudio programs.
    if daemon.section != "context.properties" || is_running(at.host()).is_none() {
        return;
    }
    let known = |entry: &&Entry| !properties.may_be_set(&entry.key);
    for entry in daemon.entries.iter().filter(known) {
        let filled_in = daemon
            .version
            .and_then(|version| Clock::filled_in(version, &entry.key));
        let wanted = properties.get(&entry.key).or(filled_in).map(str::to_owned);
        at.expect(&LoadedProperty::new(&entry.key), &wanted, When::Reload)
            .why("what the files say when all are merged; the running daemon has read them when it started");
    }
}
