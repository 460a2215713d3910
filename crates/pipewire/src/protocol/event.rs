//! The messages that a daemon sends, as values.

use super::ProtocolError;
use super::pod::{Members, PodError};
use crate::profiler::{self, DriverCycle};

/// The most properties of one object: `MAX_DICT` in PipeWire's sources is 1024.
const MOST_PROPERTIES: usize = 1024;

/// What an object is, which decides how its messages are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    /// The connection itself, always id 0.
    Core,
    /// The client as the daemon sees it, always id 1.
    Client,
    /// The list of all objects.
    Registry,
    /// Values that programs share under a name, such as `settings`.
    Metadata,
    /// Measurements of each cycle of each driver.
    Profiler,
    /// A device or a stream.
    Node,
}

impl ObjectKind {
    /// The name of the interface, for [`Global::interface`].
    #[must_use]
    pub fn interface(self) -> &'static str {
        match self {
            Self::Core => "PipeWire:Interface:Core",
            Self::Client => "PipeWire:Interface:Client",
            Self::Registry => "PipeWire:Interface:Registry",
            Self::Metadata => "PipeWire:Interface:Metadata",
            Self::Profiler => "PipeWire:Interface:Profiler",
            Self::Node => "PipeWire:Interface:Node",
        }
    }
}

/// What a daemon says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CoreInfo {
    /// A random number of this instance of the daemon: another number is another instance.
    pub cookie: u32,
    /// The user who runs it.
    pub user: String,
    /// Its version, such as `1.4.2`.
    pub version: String,
    /// Its name, such as `pipewire-0`.
    pub name: String,
    /// Its properties: the merged `context.properties` as it has loaded them, after its rules and
    /// before clamping, with defaults filled in.
    pub properties: Vec<(String, String)>,
}

impl CoreInfo {
    /// A property, such as `default.clock.quantum` or `cpu.vm.name`.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&str> {
        find(&self.properties, name)
    }
}

/// An object that the daemon offers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Global {
    /// Its id.
    pub id: u32,
    /// What this client may do with it: `0o400` see it, `0o200` change it, `0o100` call it, `0o010`
    /// attach metadata to it.
    pub permissions: u32,
    /// The name of its interface, see [`ObjectKind::interface`].
    pub interface: String,
    /// Its properties.
    pub properties: Vec<(String, String)>,
}

impl Global {
    /// A property, such as `node.name` or `metadata.name`.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&str> {
        find(&self.properties, name)
    }

    /// Whether this client may call methods that change it.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.permissions & 0o300 == 0o300
    }
}

/// What a node says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct NodeInfo {
    /// Its id.
    pub id: u32,
    /// Its state: -1 error, 0 creating, 1 suspended, 2 idle, 3 running.
    pub state: i32,
    /// Its properties.
    pub properties: Vec<(String, String)>,
}

impl NodeInfo {
    /// A property, such as `node.lock-quantum`.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&str> {
        find(&self.properties, name)
    }
}

fn find<'p>(properties: &'p [(String, String)], name: &str) -> Option<&'p str> {
    let found = properties.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str())
}

/// A message of the daemon.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// About the daemon itself.
    Core(CoreInfo),
    /// The answer to a sync.
    Done {
        /// The id that the sync had.
        id: u32,
        /// The number that the sync had.
        sequence: i32,
    },
    /// A question whether this client still answers.
    Ping {
        /// The id to answer with.
        id: u32,
        /// The number to answer with.
        sequence: i32,
    },
    /// A request failed.
    Error {
        /// The object.
        id: u32,
        /// The errno, a positive number.
        errno: i32,
        /// What the daemon says.
        message: String,
    },
    /// The daemon has freed an id of this client.
    Freed(u32),
    /// An object exists.
    Global(Global),
    /// An object is gone.
    GlobalRemoved(u32),
    /// A value of a metadata object.
    Property {
        /// The object that the value is about; 0 for the settings.
        subject: u32,
        /// The key; `None` if all keys of the subject were removed.
        key: Option<String>,
        /// The type, as the program that set it has given it.
        kind: Option<String>,
        /// The value; `None` if the key was removed. In bytes, because it need not be UTF-8.
        value: Option<Vec<u8>>,
    },
    /// Cycles of drivers.
    Profile(Vec<DriverCycle>),
    /// About a node.
    Node(NodeInfo),
    /// A message that nothing here needs.
    Ignored,
}

impl Event {
    /// Reads a message for an object.
    ///
    /// # Errors
    /// [`ProtocolError::Malformed`] if the arguments are not those of the message.
    pub fn decode(
        kind: ObjectKind,
        object: u32,
        opcode: u8,
        body: &[u8],
    ) -> Result<Self, ProtocolError> {
        let event = match (kind, opcode) {
            (ObjectKind::Core, 0) => core(body),
            (ObjectKind::Core, 1) => {
                numbers(body).map(|(id, sequence)| Self::Done { id, sequence })
            }
            (ObjectKind::Core, 2) => {
                numbers(body).map(|(id, sequence)| Self::Ping { id, sequence })
            }
            (ObjectKind::Core, 3) => error(body),
            (ObjectKind::Core, 4) => Members::of(body).and_then(|mut m| m.id()).map(Self::Freed),
            (ObjectKind::Registry, 0) => global(body),
            (ObjectKind::Registry, 1) => Members::of(body)
                .and_then(|mut m| m.id())
                .map(Self::GlobalRemoved),
            (ObjectKind::Metadata, 0) => property(body),
            (ObjectKind::Profiler, 0) => profiler::cycles(body).map(Self::Profile),
            (ObjectKind::Node, 0) => node(body),
            _ => Ok(Self::Ignored),
        };
        event.map_err(|source| ProtocolError::Malformed {
            object,
            opcode,
            source,
        })
    }
}

fn numbers(body: &[u8]) -> Result<(u32, i32), PodError> {
    let mut members = Members::of(body)?;
    Ok((members.id()?, members.int()?))
}

fn owned(text: Option<std::borrow::Cow<'_, str>>) -> String {
    text.map(std::borrow::Cow::into_owned).unwrap_or_default()
}

fn core(body: &[u8]) -> Result<Event, PodError> {
    let mut members = Members::of(body)?;
    members.id()?;
    let cookie = members.id()?;
    let user = owned(members.text()?);
    members.text()?; // The name of the machine.
    let version = owned(members.text()?);
    let name = owned(members.text()?);
    members.long()?; // Which of the following members have changed.
    Ok(Event::Core(CoreInfo {
        cookie,
        user,
        version,
        name,
        properties: members.properties(MOST_PROPERTIES)?,
    }))
}

fn error(body: &[u8]) -> Result<Event, PodError> {
    let mut members = Members::of(body)?;
    let id = members.id()?;
    members.int()?; // The number of the message that failed.
    let result = members.int()?;
    Ok(Event::Error {
        id,
        errno: result.saturating_neg(),
        message: owned(members.text()?),
    })
}

fn global(body: &[u8]) -> Result<Event, PodError> {
    let mut members = Members::of(body)?;
    let id = members.id()?;
    let permissions = members.id()?;
    let interface = owned(members.text()?);
    members.int()?; // The version of the interface.
    Ok(Event::Global(Global {
        id,
        permissions,
        interface,
        properties: members.properties(MOST_PROPERTIES)?,
    }))
}

fn property(body: &[u8]) -> Result<Event, PodError> {
    let mut members = Members::of(body)?;
    let subject = members.id()?;
    let key = members.text()?.map(std::borrow::Cow::into_owned);
    let kind = members.text()?.map(std::borrow::Cow::into_owned);
    let value = members.bytes()?.map(<[u8]>::to_vec);
    Ok(Event::Property {
        subject,
        key,
        kind,
        value,
    })
}

fn node(body: &[u8]) -> Result<Event, PodError> {
    let mut members = Members::of(body)?;
    let id = members.id()?;
    members.int()?; // The largest number of input ports.
    members.int()?; // The largest number of output ports.
    members.long()?; // Which of the following members have changed.
    members.int()?; // The number of input ports.
    members.int()?; // The number of output ports.
    let state = members.enumerated()?.cast_signed();
    members.text()?; // The error, if the state is one.
    Ok(Event::Node(NodeInfo {
        id,
        state,
        properties: members.properties(MOST_PROPERTIES)?,
    }))
}
