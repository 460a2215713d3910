//! The backend of a host for the user's PipeWire daemon.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hosttune_core::host::{ReadEpoch, RootKind};
use hosttune_core::{Host, HostError, HostErrorKind, Operation, Unsupported, UnsupportedKind};

use super::live::NativeDaemon;
use crate::Version;
use crate::daemon::Remote;
use crate::profiler::DriverCycle;
use crate::protocol::CoreInfo;

/// A value of the metadata `settings`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The value; `None` if it is not UTF-8.
    pub text: Option<String>,
    /// Its type, which the daemon's own values have empty.
    pub kind: Option<String>,
}

/// What a running daemon shows at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonView {
    /// What the daemon says about itself.
    pub core: CoreInfo,
    /// The values of the metadata `settings` for subject 0; `None` if this program is not shown the
    /// metadata.
    pub settings: Option<BTreeMap<String, Value>>,
    /// Whether this program may change them.
    pub is_writable: bool,
}

impl DaemonView {
    /// The version of the daemon; `None` if it has a form that is not known here.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.core.version.parse().ok()
    }

    /// Whether the daemon is at least this version. One of an unknown form is taken for newer.
    pub(super) fn is_at_least(&self, version: Version) -> bool {
        self.version().is_none_or(|known| known >= version)
    }

    /// A value of the metadata as text.
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.settings.as_ref()?.get(key)?.text.as_deref()
    }
}

/// A driver that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunningDriver {
    /// Its last cycle.
    pub cycle: DriverCycle,
    /// The properties of its node; empty if the node is not shown to this program.
    pub properties: BTreeMap<String, String>,
    /// Programs and devices in its graph that fix the quantum: `node.name` and the property that
    /// does it.
    pub fixed_by: Vec<String>,
}

/// A PipeWire daemon: the running one of a user, or a fake.
pub trait Daemon: fmt::Debug + Send {
    /// What the daemon shows; `None` if none runs. Starts no daemon.
    ///
    /// # Errors
    /// If a daemon runs and cannot be asked, or it cannot be determined whether one runs.
    fn view(&self) -> Result<Option<DaemonView>, HostError>;

    /// Sets a value of the metadata `settings`, or removes the key if the value is `None`, and waits
    /// until the daemon has handled it.
    ///
    /// Without a type the daemon keeps the type that the key has.
    ///
    /// # Errors
    /// If the daemon refuses, or if it is not the daemon that was [viewed](Self::view) last: that
    /// one has ended, and the value was meant for it.
    fn set(&mut self, key: &str, kind: Option<&str>, value: Option<&str>) -> Result<(), HostError>;

    /// The drivers that run, after at most `wait`; `None` if no daemon runs or it has no profiler.
    ///
    /// # Errors
    /// As [`view`](Self::view).
    fn drivers(&self, wait: Duration) -> Result<Option<Vec<RunningDriver>>, HostError>;

    /// The absolute path of the socket that it is asked at. Journals name it, so that a change is
    /// reverted on this daemon, whatever the environment of the revert names. `None` if this is the
    /// only daemon, as a fake may be.
    fn socket(&self) -> Option<PathBuf> {
        None
    }

    /// The daemon at another socket; `None` if this is the only one.
    fn at(&self, socket: &Path) -> Option<Box<dyn Daemon>> {
        let _ = socket;
        None
    }

    /// Why it cannot be told whether the daemon still runs; `None` if it can.
    ///
    /// # Errors
    /// If the socket cannot be used by this user.
    fn out_of_reach(&self) -> Result<Option<String>, HostError> {
        Ok(None)
    }
}

/// What a daemon answers; `None` if none runs.
type Answer = Result<Option<DaemonView>, HostError>;

/// How long a daemon that did not answer in time is not asked again: each answer is waited for two
/// seconds, and a revert asks for each setting, several times.
const NOT_ASKED_AGAIN: Duration = Duration::from_secs(30);

/// A daemon, with its last answer.
#[derive(Debug)]
struct Asked {
    daemon: Box<dyn Daemon>,
    /// The last view, and the read epoch that it is of.
    last: RefCell<Option<(ReadEpoch, Answer)>>,
    /// When it last did not answer in time, with the error.
    silent: RefCell<Option<(Instant, HostError)>>,
}

impl Asked {
    fn new(daemon: Box<dyn Daemon>) -> Self {
        Self {
            daemon,
            last: RefCell::new(None),
            silent: RefCell::new(None),
        }
    }

    fn view(&self, epoch: Option<ReadEpoch>) -> Answer {
        if let Some((known, view)) = self.last.borrow().as_ref()
            && Some(*known) == epoch
        {
            return view.clone();
        }
        if let Some((since, error)) = self.silent.borrow().as_ref()
            && since.elapsed() < NOT_ASKED_AGAIN
        {
            return Err(error.clone());
        }
        let view = self.daemon.view();
        let is_silent = |error: &&HostError| *error.kind() == HostErrorKind::Busy;
        let silent = view.as_ref().err().filter(is_silent);
        *self.silent.borrow_mut() = silent.map(|error| (Instant::now(), error.clone()));
        *self.last.borrow_mut() = epoch.map(|epoch| (epoch, view.clone()));
        view
    }
}

/// The backend of a host for the user's PipeWire daemon.
///
/// Without it this crate asks no daemon and changes none.
#[derive(Debug)]
pub struct PipeWire {
    own: Asked,
    /// Daemons at other sockets, which journals name.
    others: RefCell<BTreeMap<PathBuf, Asked>>,
}

impl PipeWire {
    /// The daemon whose socket the environment of this process names.
    ///
    /// Nothing is connected yet, and later only if a daemon runs.
    ///
    /// # Errors
    /// As [`Remote::from_environment`].
    pub fn live() -> Result<Self, HostError> {
        Ok(Self::over(NativeDaemon::new(Remote::from_environment()?)))
    }

    /// Any other daemon.
    #[must_use]
    pub fn over(daemon: impl Daemon + 'static) -> Self {
        Self {
            own: Asked::new(Box::new(daemon)),
            others: RefCell::new(BTreeMap::new()),
        }
    }

    /// Calls `ask` with the daemon at a socket, or with the one of the environment.
    fn with<T>(
        &self,
        socket: Option<&Path>,
        ask: impl FnOnce(&Asked) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        let Some(socket) =
            socket.filter(|socket| self.own.daemon.socket().as_deref() != Some(socket))
        else {
            return ask(&self.own);
        };
        let mut others = self.others.borrow_mut();
        if !others.contains_key(socket) {
            let Some(daemon) = self.own.daemon.at(socket) else {
                return Err(not_reached(socket));
            };
            others.insert(socket.to_owned(), Asked::new(daemon));
        }
        match others.get(socket) {
            Some(other) => ask(other),
            None => Err(not_reached(socket)),
        }
    }

    /// What the daemon of the environment shows; within a read epoch the same answer is given again.
    pub(crate) fn view(&self, epoch: Option<ReadEpoch>) -> Answer {
        self.own.view(epoch)
    }

    fn set(
        &mut self,
        socket: Option<&Path>,
        key: &str,
        kind: Option<&str>,
        value: Option<&str>,
    ) -> Result<(), HostError> {
        let own = self.own.daemon.socket();
        let asked = match socket.filter(|socket| own.as_deref() != Some(socket)) {
            None => &mut self.own,
            Some(socket) => {
                let other = self.others.get_mut().get_mut(socket);
                other.ok_or_else(|| not_reached(socket))?
            }
        };
        asked.last.replace(None);
        asked.daemon.set(key, kind, value)
    }

    pub(crate) fn drivers(&self, wait: Duration) -> Result<Option<Vec<RunningDriver>>, HostError> {
        self.own.daemon.drivers(wait)
    }
}

fn not_reached(socket: &Path) -> HostError {
    HostError::new(
        Operation::Backend,
        format!("PipeWire at {}", socket.display()),
        HostErrorKind::Other,
    )
    .detail("this program is not connected to the daemon at this socket")
}

/// The socket of the daemon that the environment names, for a knob of it.
pub(super) fn socket(host: &Host) -> Option<PathBuf> {
    host.backend::<PipeWire>().ok()?.own.daemon.socket()
}

/// What the host's daemon shows; `None` if none runs.
pub(super) fn view(host: &Host) -> Answer {
    view_at(host, None)
}

/// What the daemon at a socket shows, or that of the environment; `None` if none runs.
pub(super) fn view_at(host: &Host, socket: Option<&Path>) -> Answer {
    let daemons = host.backend::<PipeWire>()?;
    daemons.with(socket, |asked| asked.view(host.look()))
}

/// Why it cannot be told what became of a change on the daemon at a socket; `None` if it can.
pub(super) fn out_of_reach(
    host: &Host,
    socket: Option<&Path>,
) -> Result<Option<String>, HostError> {
    if no_backend(host).is_some() {
        return Ok(None);
    }
    let daemons = host.backend::<PipeWire>()?;
    daemons.with(socket, |asked| asked.daemon.out_of_reach())
}

/// Sets a value on the daemon at a socket, or on that of the environment.
pub(super) fn set_at(
    host: &mut Host,
    socket: Option<&Path>,
    key: &str,
    kind: Option<&str>,
    value: Option<&str>,
) -> Result<(), HostError> {
    host.change::<PipeWire, ()>(|daemons| daemons.set(socket, key, kind, value))
}

/// Formats the daemon that a knob is of. The place where each user's daemon is by default is not
/// named.
pub(super) fn format_daemon(socket: Option<&Path>) -> String {
    let is_usual = |socket: &&Path| {
        let directory = socket.parent().and_then(Path::parent);
        directory == Some(Path::new("/run/user")) && socket.ends_with("pipewire-0")
    };
    match socket.filter(|socket| !is_usual(socket)) {
        Some(socket) => format!("the running PipeWire ({})", socket.display()),
        None => "the running PipeWire".to_owned(),
    }
}

/// The name of the virtual machine as the running daemon knows it (`cpu.vm.name`, from 1.1.81); `None`
/// also if no daemon can be asked.
pub fn virtual_machine(host: &Host) -> Option<String> {
    let daemon = host.backend::<PipeWire>().ok()?;
    let view = daemon.view(host.look()).ok()??;
    view.core.property("cpu.vm.name").map(str::to_owned)
}

/// Why the settings of a running daemon cannot be had on this host; `None` if they can.
pub(super) fn no_backend(host: &Host) -> Option<Unsupported> {
    if host.backend::<PipeWire>().is_ok() {
        return None;
    }
    Some(match host.root_kind() {
        RootKind::Live => Unsupported::new(
            UnsupportedKind::NoBackend,
            "this program has no backend for PipeWire",
        )
        .hint("add the backend PipeWire::live()"),
        RootKind::Captured | RootKind::Image => {
            Unsupported::new(UnsupportedKind::NotRunning, "no PipeWire daemon runs here")
                .hint("run this on the live system instead, as the user whose sound it is")
        }
    })
}

/// Why nothing can be set while no daemon runs.
pub(super) fn not_running() -> Unsupported {
    Unsupported::new(
        UnsupportedKind::NoBackend,
        "no PipeWire daemon runs for this user, and connecting would start one",
    )
    .hint("start it with: systemctl --user start pipewire.service")
}
