//! The daemon of a user, over its socket.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hosttune_core::{HostError, HostErrorKind, Operation};

use super::pipewire::{Daemon, DaemonView, RunningDriver, Value};
use crate::Version;
use crate::daemon::{DaemonState, Remote};
use crate::profiler::DriverCycle;
use crate::protocol::{Client, Global, ObjectKind, ProtocolError};

/// How long the daemon may take to answer. It answers within a millisecond, unless it is stopped or
/// waits for the session manager to admit this program.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The subject of all settings.
const SUBJECT: u32 = 0;
/// How long to wait for more drivers after the first: longer than one cycle at the default limit of
/// the quantum, 8192 frames at 44.1 kHz (186 ms).
const OTHER_DRIVERS: Duration = Duration::from_millis(250);
/// The first version whose profiler sends each cycle at once. Earlier ones send the first cycle, and
/// then those of all drivers together: once a second, or when there are 16 KiB of them.
const AT_ONCE: Version = Version::new(0, 3, 75);

/// A client, and the metadata `settings` as it is bound there.
#[derive(Debug)]
struct Connected {
    socket: PathBuf,
    client: Client,
    settings: Option<u32>,
    is_writable: bool,
}

impl Connected {
    fn open(socket: &Path) -> Result<Self, ProtocolError> {
        let mut client = Client::connect(socket, TIMEOUT)?;
        let found = client
            .globals()
            .find(|global| {
                global.interface == ObjectKind::Metadata.interface()
                    && global.property("metadata.name") == Some("settings")
            })
            .map(|global| (global.id, global.is_writable()));
        let settings = match found {
            Some((global, _)) => Some(client.bind(global, ObjectKind::Metadata)?),
            None => None,
        };
        client.sync()?;
        Ok(Self {
            socket: socket.to_owned(),
            client,
            settings,
            is_writable: found.is_some_and(|(_, is_writable)| is_writable),
        })
    }

    fn view(&self) -> DaemonView {
        let settings = self.settings.map(|object| {
            let properties = self.client.properties(object, SUBJECT);
            let value = |(key, property): (String, crate::protocol::Property)| {
                let text = String::from_utf8(property.value).ok();
                let kind = property.kind;
                (key, Value { text, kind })
            };
            properties.into_iter().map(value).collect()
        });
        DaemonView {
            core: self.client.core().clone(),
            settings,
            is_writable: self.is_writable,
        }
    }
}

/// The daemon of a user, over its socket.
///
/// The connection stays open, so that a value is only ever set on the daemon that was asked before:
/// if that one has ended, so has the connection.
#[derive(Debug)]
pub struct NativeDaemon {
    remote: Remote,
    connected: RefCell<Option<Connected>>,
}

impl NativeDaemon {
    /// The daemon at a socket. Nothing is connected yet.
    #[must_use]
    pub fn new(remote: Remote) -> Self {
        Self {
            remote,
            connected: RefCell::new(None),
        }
    }

    fn name(&self) -> String {
        let socket = self.remote.sockets().first();
        let socket = socket.map(|socket| format!(" at {}", socket.display()));
        format!("PipeWire{}", socket.unwrap_or_default())
    }

    fn error(&self, error: &ProtocolError) -> HostError {
        host_error(&self.name(), error)
    }

    /// Runs `ask` on the connection, after the daemon has answered a sync on it. If the connection
    /// has ended, it is made anew, once, and only if a daemon runs; `None` if none does.
    fn ask<T>(
        &self,
        mut ask: impl FnMut(&mut Connected) -> Result<T, ProtocolError>,
    ) -> Result<Option<T>, HostError> {
        let mut connected = self.connected.borrow_mut();
        if let Some(known) = connected.as_mut() {
            match known.client.sync().and_then(|()| ask(known)) {
                Ok(answer) => return Ok(Some(answer)),
                Err(error) if error.is_end() => *connected = None,
                Err(error) => {
                    // What is still to come on it would be taken for the answer to something else.
                    *connected = None;
                    return Err(self.error(&error));
                }
            }
        }
        let socket = match self.remote.state()? {
            (socket, DaemonState::Running) => socket,
            (_, DaemonState::NoSocket | DaemonState::NotRunning) => return Ok(None),
            (_, DaemonState::Unknown) => {
                return Err(HostError::new(
                    Operation::Backend,
                    self.name(),
                    HostErrorKind::Other,
                )
                .detail(UNDETERMINED)
                .with_hint("run this outside of the sandbox or container, with /proc mounted without hidepid"));
            }
        };
        let mut new = Connected::open(socket).map_err(|error| self.error(&error))?;
        let answer = ask(&mut new).map_err(|error| self.error(&error))?;
        *connected = Some(new);
        Ok(Some(answer))
    }
}

impl Daemon for NativeDaemon {
    fn view(&self) -> Result<Option<DaemonView>, HostError> {
        self.ask(|connected| Ok(connected.view()))
    }

    fn set(&mut self, key: &str, kind: Option<&str>, value: Option<&str>) -> Result<(), HostError> {
        let name = self.name();
        let mut connected = self.connected.borrow_mut();
        let Some(Connected {
            client,
            settings: Some(object),
            ..
        }) = connected.as_mut()
        else {
            return Err(
                HostError::new(Operation::Backend, name, HostErrorKind::Gone)
                    .detail("the daemon that the value is for is not connected"),
            );
        };
        let object = *object;
        let set = client
            .set_property(object, SUBJECT, key, kind, value)
            .and_then(|()| client.sync());
        set.map_err(|error| {
            if !matches!(error, ProtocolError::Refused { .. }) {
                *connected = None;
            }
            let error = host_error(&name, &error);
            match value {
                Some(value) => error.wanted(format!("{key} {value}")),
                None => error.wanted(format!("{key} removed")),
            }
        })
    }

    fn drivers(&self, wait: Duration) -> Result<Option<Vec<RunningDriver>>, HostError> {
        Ok(self
            .ask(|connected| drivers(&mut connected.client, wait))?
            .flatten())
    }

    fn socket(&self) -> Option<PathBuf> {
        if let Some(connected) = self.connected.borrow().as_ref() {
            return std::path::absolute(&connected.socket).ok();
        }
        let found = self.remote.state().ok().map(|(socket, _)| socket);
        let socket = found.or_else(|| self.remote.sockets().first().map(PathBuf::as_path))?;
        std::path::absolute(socket).ok()
    }

    fn at(&self, socket: &Path) -> Option<Box<dyn Daemon>> {
        Some(Box::new(Self::new(Remote::at(socket))))
    }

    fn out_of_reach(&self) -> Result<Option<String>, HostError> {
        if self.connected.borrow().is_some() {
            return Ok(None);
        }
        let (socket, state) = self.remote.state()?;
        let directory = socket.parent().unwrap_or(socket);
        Ok(match state {
            DaemonState::Unknown => Some(UNDETERMINED.to_owned()),
            // The daemon's directory is removed when the user's last session ends, and with it the
            // daemon, but a sandbox may have another directory there, or none.
            DaemonState::NoSocket if rustix::fs::stat(directory).is_err() => Some(format!(
                "{} is not there, so it cannot be determined whether the daemon still runs",
                directory.display()
            )),
            DaemonState::NoSocket | DaemonState::NotRunning | DaemonState::Running => None,
        })
    }
}

/// Why it cannot be told whether a daemon runs.
const UNDETERMINED: &str = "whether a daemon runs there cannot be determined: this is another PID namespace, as in a sandbox or container, or /proc/locks cannot be read";

fn host_error(name: &str, error: &ProtocolError) -> HostError {
    let chain = match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    let of_kind = |kind| HostError::new(Operation::Backend, name, kind).detail(chain.clone());
    match error {
        ProtocolError::Refused { errno, message } => {
            HostError::from_errno(Operation::Backend, name, *errno)
                .detail(format!("the daemon refused it: {message}"))
                .with_hint("programs in a sandbox may only read the settings; run this outside of it")
        }
        ProtocolError::Io(io) if !error.is_end() => match io.raw_os_error() {
            Some(errno) => HostError::from_errno(Operation::Backend, name, errno),
            None => of_kind(HostErrorKind::Other),
        },
        ProtocolError::Deadline(_) => of_kind(HostErrorKind::Busy).with_hint(
            "the daemon is stopped, or it waits for its session manager: systemctl --user status pipewire.service wireplumber.service",
        ),
        _ if error.is_end() => of_kind(HostErrorKind::Gone),
        _ => of_kind(HostErrorKind::Malformed),
    }
}

/// Listens to the profiler, and asks for the properties of the drivers that run and of the nodes
/// that may have fixed their quantum.
fn drivers(
    client: &mut Client,
    wait: Duration,
) -> Result<Option<Vec<RunningDriver>>, ProtocolError> {
    let of_kind = |client: &Client, kind: ObjectKind| -> Vec<u32> {
        let globals = client.globals();
        let of_kind = globals.filter(|global: &&Global| global.interface == kind.interface());
        of_kind.map(|global| global.id).collect()
    };
    let Some(profiler) = of_kind(client, ObjectKind::Profiler).first().copied() else {
        return Ok(None);
    };
    let profiler = client.bind(profiler, ObjectKind::Profiler)?;
    client.sync()?;
    let version = client.core().version.parse::<Version>();
    let sends_at_once = version.is_ok_and(|version| version >= AT_ONCE);
    let messages_needed = if sends_at_once { 1 } else { 2 };
    let mut first: Option<Instant> = None;
    let cycles = client.cycles(wait, |messages| {
        if messages == 0 {
            return false;
        }
        let first = first.get_or_insert_with(Instant::now);
        messages >= messages_needed && first.elapsed() >= OTHER_DRIVERS
    })?;
    client.destroy(profiler)?;
    let nodes = of_kind(client, ObjectKind::Node);
    let mut objects = Vec::new();
    if !cycles.is_empty() {
        for node in &nodes {
            objects.push(client.bind(*node, ObjectKind::Node)?);
        }
    }
    match client.sync() {
        // A node that has disappeared meanwhile.
        Ok(()) | Err(ProtocolError::Refused { .. }) => {}
        Err(error) => return Err(error),
    }
    let drivers = cycles
        .into_iter()
        .map(|cycle| with_properties(client, &nodes, cycle))
        .collect();
    for object in objects {
        client.destroy(object)?;
    }
    Ok(Some(drivers))
}

fn with_properties(client: &Client, nodes: &[u32], cycle: DriverCycle) -> RunningDriver {
    let properties = client.node(cycle.id).map(|node| node.properties.clone());
    let properties: BTreeMap<String, String> = properties.unwrap_or_default().into_iter().collect();
    let mut fixed_by = Vec::new();
    for node in nodes.iter().filter_map(|node| client.node(*node)) {
        // Only a node that runs takes part in a graph.
        let runs = node.state == 3;
        let name = node.property("node.name").unwrap_or("a node without name");
        for fixing in ["node.force-quantum", "node.lock-quantum"] {
            let value = node.property(fixing).unwrap_or("false");
            if runs && !matches!(value, "0" | "false") {
                fixed_by.push(format!("{name} ({fixing} = {value})"));
            }
        }
    }
    RunningDriver {
        cycle,
        properties,
        fixed_by,
    }
}
