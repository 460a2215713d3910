//! The backend of a host for the user's PipeWire daemon.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hosttune_core::host::{ReadEpoch, RootKind};
use hosttune_core::{Host, HostError, Unsupported, UnsupportedKind};

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
}

/// What a daemon answers; `None` if none runs.
type Answer = Result<Option<DaemonView>, HostError>;

/// The backend of a host for the user's PipeWire daemon.
///
/// Without it this crate asks no daemon and changes none.
#[derive(Debug)]
pub struct PipeWire {
    daemon: Box<dyn Daemon>,
    /// The last view, and the read epoch that it is of. An error too: a daemon that is stopped would
    /// let every setting wait for its answer.
    last: RefCell<Option<(ReadEpoch, Answer)>>,
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
            daemon: Box::new(daemon),
            last: RefCell::new(None),
        }
    }

    /// What the daemon shows; within a read epoch the same answer is given again.
    pub(crate) fn view(&self, epoch: Option<ReadEpoch>) -> Answer {
        if let Some((known, view)) = self.last.borrow().as_ref()
            && Some(*known) == epoch
        {
            return view.clone();
        }
        let view = self.daemon.view();
        *self.last.borrow_mut() = epoch.map(|epoch| (epoch, view.clone()));
        view
    }

    pub(crate) fn set(
        &mut self,
        key: &str,
        kind: Option<&str>,
        value: Option<&str>,
    ) -> Result<(), HostError> {
        self.last.replace(None);
        self.daemon.set(key, kind, value)
    }

    pub(crate) fn drivers(&self, wait: Duration) -> Result<Option<Vec<RunningDriver>>, HostError> {
        self.daemon.drivers(wait)
    }
}

/// What the host's daemon shows; `None` if none runs.
pub(super) fn view(host: &Host) -> Result<Option<DaemonView>, HostError> {
    host.backend::<PipeWire>()?.view(host.look())
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
