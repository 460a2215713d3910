//! The part `pipewire`: a quantum of 64 frames, for all users in a file, or in the running daemon of
//! the user who runs this.

use hosttune::cli::Options;
use hosttune::file::ConfigFile;
use hosttune::host::FileContent;
use hosttune::pipewire::daemon::{DaemonState, Remote};
use hosttune::pipewire::merge::Environment;
use hosttune::pipewire::runtime::{
    GradeReport, PipeWire, RuntimeSettings, grade, probe, scheduling,
};
use hosttune::pipewire::wireplumber::{DeviceSettings, SessionManagerEnvironment};
use hosttune::pipewire::{ClockDropIn, ClockSettings, Frames, SampleRate, pending_restart, users};
use hosttune::{
    Error, Host, HostError, Knob, Planner, Report, Session, State, Tuning, Undone, Unsupported,
    UnsupportedKind, Why,
};

const RATE: SampleRate = SampleRate(48_000);
const QUANTUM: Frames = Frames(64);

/// The file by which an installed PipeWire is recognized.
const SHIPPED: &str = "/usr/share/pipewire/pipewire.conf";

const WHAT: &str = "PipeWire's quantum";

const NEEDS_OPTION: &str = "PipeWire's quantum is set for all users with gaming apply --persist, and in the running daemon of the user who types it with gaming apply --user";

const DEVICES: &str = "a Bluetooth device keeps its own delay of 100 ms and more whatever the quantum is, and in a virtual machine sound may break up with 64 frames";

const WAKE_UPS: &str = "while sound plays, a quantum of 64 frames at 48 kHz wakes the device and each program that plays 750 times a second instead of 47 times with PipeWire's default of 1024";

const ONE_USER: &str = "a user whose own files set something else, or who alone wants it: run gaming apply --user --persist as that user, which writes 92-gaming-latency-user.conf";

fn why() -> Why {
    Why::new("a cycle of 1.33 ms for all programs; the largest quantum is 64 too, because a program that asks for more would get it otherwise")
        .looks_wrong("players and browsers ask for 1024 frames and more to save power, and do not get them")
        .source("https://docs.pipewire.org/page_man_pipewire_conf_5.html")
        .risk("more wake-ups while sound plays, and sound that breaks up where a device or a program cannot keep up")
}

/// For whom the quantum is set.
pub(crate) enum Latency {
    /// For nobody: its options were not given.
    None,
    /// For all users, in a file.
    System,
    /// For the user who runs this: in the running daemon, and in a file too.
    User { persist: bool },
}

impl Latency {
    pub(crate) fn of(options: &Options) -> Result<Self, HostError> {
        Ok(match (options.user, options.persist) {
            (true, persist) => {
                // Why the daemon's socket cannot be known; a session has no place for it.
                PipeWire::live()?;
                Self::User { persist }
            }
            (false, true) => Self::System,
            (false, false) => Self::None,
        })
    }
}

/// Adds the daemon of the user who runs this. Root has none: each user's daemon is that user's.
pub(crate) fn with_daemon(session: Session) -> Session {
    if FileContent::new("").uid == 0 {
        return session;
    }
    match PipeWire::live() {
        Ok(daemon) => session.with_backend(daemon),
        // `Latency::of` reports it if it is needed.
        Err(_) => session,
    }
}

fn runtime() -> RuntimeSettings {
    RuntimeSettings {
        rate: Some(RATE),
        quantum: Some(QUANTUM),
        min_quantum: Some(QUANTUM),
        max_quantum: Some(QUANTUM),
        why: why(),
        ..RuntimeSettings::default()
    }
}

/// The environment in which the user's daemon finds its files, as far as this process has it too.
fn environment() -> Environment {
    let names = [
        "HOME",
        "XDG_CONFIG_HOME",
        "PIPEWIRE_CONFIG_DIR",
        "PIPEWIRE_CONFIG_PREFIX",
        "PIPEWIRE_CONFIG_NAME",
        "PIPEWIRE_NO_CONFIG",
    ];
    let variables: Vec<(&str, String)> = names
        .into_iter()
        .filter_map(|name| Some((name, std::env::var(name).ok()?)))
        .collect();
    let variables = variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()));
    Environment::from_variables(variables)
}

fn of_user() -> ClockDropIn {
    let own = FileContent::new("");
    ClockDropIn::user("gaming", environment(), own.uid, own.gid)
        .clock(ClockSettings::fixed(RATE, QUANTUM))
        .why(why())
}

impl Tuning for Latency {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        if let Self::User { persist } = self {
            match Remote::from_environment()?.state() {
                Ok((_, DaemonState::NoSocket | DaemonState::NotRunning)) => {
                    at.skip(WHAT, not_running()).why(why());
                }
                // An error is reported with each setting.
                _ => runtime().declare(at)?,
            }
            if *persist {
                of_user().declare(at)?;
            }
        } else if !at.host().exists(SHIPPED)? {
            let unsupported = Unsupported::new(
                UnsupportedKind::Missing,
                format!("PipeWire is not installed: there is no {SHIPPED}"),
            );
            at.skip(WHAT, unsupported).optional();
            return Ok(());
        } else if let Self::None = self {
            at.note(NEEDS_OPTION);
            return Ok(());
        } else {
            ClockDropIn::system("gaming")
                .clock(ClockSettings::fixed(RATE, QUANTUM))
                .why(why())
                .declare(at)?;
            note_users(at)?;
            at.note(ONE_USER);
        }
        at.note(WAKE_UPS);
        at.note(DEVICES);
        self.note_devices(at)
    }
}

impl Latency {
    /// Names the files of WirePlumber that give devices a period of their own.
    fn note_devices(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        let is_user = matches!(self, Self::User { .. });
        let environment = match is_user {
            true => session_manager_environment(),
            false => SessionManagerEnvironment::default(),
        };
        let settings = DeviceSettings::collect(at.host(), &environment)?;
        let machine = match is_user {
            true => hosttune::pipewire::runtime::virtual_machine(at.host()),
            false => None,
        };
        for note in settings.notes(machine.as_deref()) {
            at.note(note);
        }
        Ok(())
    }
}

/// The environment in which the user's session manager finds its files, as far as this process has it too.
fn session_manager_environment() -> SessionManagerEnvironment {
    let names = [
        "HOME",
        "XDG_CONFIG_HOME",
        "XDG_CONFIG_DIRS",
        "XDG_DATA_DIRS",
        "WIREPLUMBER_CONFIG_DIR",
    ];
    let variables: Vec<(&str, String)> = names
        .into_iter()
        .filter_map(|name| Some((name, std::env::var(name).ok()?)))
        .collect();
    let variables = variables.iter();
    SessionManagerEnvironment::from_variables(
        variables.map(|(name, value)| (*name, value.as_str())),
    )
}

fn not_running() -> Unsupported {
    Unsupported::new(
        UnsupportedKind::NoBackend,
        "no PipeWire daemon runs for this user, and connecting would start one",
    )
    .hint("start it with: systemctl --user start pipewire.service")
}

/// Names the users whose daemons have read their files before.
fn note_users(at: &mut Planner<'_>) -> Result<(), Error> {
    let users = users::logged_in(at.host())?;
    let names: Vec<String> = users.iter().map(ToString::to_string).collect();
    if !names.is_empty() {
        at.note(format!(
            "logged in with PipeWire: {}; a daemon that runs has what it has read when it started, which gaming verify --persist shows to its user",
            names.join(", ")
        ));
    }
    Ok(())
}

/// What daemons keep of a file that was reverted, until they are restarted.
pub(crate) fn stays_until_restart(
    host: &Host,
    options: &Options,
    reverted: &[Undone],
) -> Vec<String> {
    if options.user {
        let pending = pending_restart(host, &environment());
        let pending = pending.unwrap_or_else(|error| {
            Some(format!(
                "whether the running PipeWire keeps settings of its files until a restart is not known: {error}"
            ))
        });
        return pending.into_iter().collect();
    }
    let of_file = |undone: &&Undone| {
        undone.knob.kind == ConfigFile::NAME && undone.knob.text.ends_with("-latency.conf")
    };
    if !reverted.iter().any(|undone| of_file(&undone)) {
        return Vec::new();
    }
    // Root asks no user's daemon.
    vec!["a PipeWire daemon that runs keeps the quantum that it has loaded: each user restarts it with 'systemctl --user restart pipewire.service', which interrupts sound".to_owned()]
}

/// Adds to a report what the devices of the user's daemon run with.
pub(crate) fn refine(host: &Host, options: &Options, probe: bool, report: &mut Report) {
    if !options.user {
        return;
    }
    match grades(host, probe) {
        Ok((grades, failed)) => {
            grades.refine(report, probe);
            report.notes.extend(failed);
            match scheduling::note(host) {
                Ok(note) => report.notes.extend(note),
                Err(error) => report.notes.push(format!(
                    "the priority of PipeWire's data thread is not known: {error}"
                )),
            }
        }
        Err(error) => {
            for item in &mut report.items {
                if matches!(item.state, State::Matches) {
                    item.state = State::Unverifiable {
                        why: error.to_string(),
                    };
                }
            }
        }
    }
}

fn grades(host: &Host, probe: bool) -> Result<(GradeReport, Option<String>), HostError> {
    if probe {
        let probed = probe::verify(host, &runtime())?;
        Ok((probed.grades, probed.failed))
    } else {
        Ok((grade::verify(host, &runtime())?, None))
    }
}
