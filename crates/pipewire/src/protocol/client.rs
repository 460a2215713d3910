//! A client: what the daemon offers, the values of its metadata, and requests with answers.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::ProtocolError;
use super::connection::{Connection, Frame};
use super::event::{CoreInfo, Event, Global, NodeInfo, ObjectKind};
use super::pod::PodWriter;
use crate::profiler::DriverCycle;

/// The version of the protocol, and of every interface that is used here.
const VERSION: i32 = 3;
const CORE: u32 = 0;
const CLIENT: u32 = 1;
const REGISTRY: u32 = 2;

/// The most objects of a daemon, and the most values of its metadata, that are kept.
const MOST_OBJECTS: usize = 64 * 1024;

/// A value of a metadata object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// The value; not necessarily UTF-8.
    pub value: Vec<u8>,
    /// The type that the program which set it has given it. An empty type is not the same as none.
    pub kind: Option<String>,
}

/// A client of a daemon.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    timeout: Duration,
    core: CoreInfo,
    globals: BTreeMap<u32, Global>,
    /// The objects of this client, by their ids here.
    objects: BTreeMap<u32, ObjectKind>,
    next_object: u32,
    /// By object, subject and key.
    properties: BTreeMap<(u32, u32, String), Property>,
    cycles: Vec<DriverCycle>,
    /// The messages of the profiler that these are from.
    profiles: usize,
    nodes: BTreeMap<u32, NodeInfo>,
    errors: Vec<(u32, i32, String)>,
    syncs: i32,
    /// The last sync that the daemon has answered.
    answered: Option<i32>,
}

impl Client {
    /// Connects to the socket of a daemon, and learns what the daemon is and offers.
    ///
    /// If systemd holds the socket, connecting starts the daemon: ask
    /// [`Remote::state`](crate::daemon::Remote::state) first.
    ///
    /// # Errors
    /// If there is no daemon, or it does not answer within `timeout`.
    pub fn connect(socket: &Path, timeout: Duration) -> Result<Self, ProtocolError> {
        Self::begin(Connection::open(socket, timeout)?, timeout)
    }

    /// The same over a connected stream socket.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn over(socket: OwnedFd, timeout: Duration) -> Result<Self, ProtocolError> {
        Self::begin(Connection::over(socket), timeout)
    }

    fn begin(connection: Connection, timeout: Duration) -> Result<Self, ProtocolError> {
        let mut client = Self {
            connection,
            timeout,
            core: CoreInfo::default(),
            globals: BTreeMap::new(),
            objects: BTreeMap::from([
                (CORE, ObjectKind::Core),
                (CLIENT, ObjectKind::Client),
                (REGISTRY, ObjectKind::Registry),
            ]),
            next_object: REGISTRY + 1,
            properties: BTreeMap::new(),
            cycles: Vec::new(),
            profiles: 0,
            nodes: BTreeMap::new(),
            errors: Vec::new(),
            syncs: 0,
            answered: None,
        };
        // Core::Hello, Client::UpdateProperties, Core::GetRegistry.
        client.call(CORE, 1, |arguments| {
            arguments.int(VERSION);
        })?;
        client.call(CLIENT, 2, |arguments| {
            arguments.properties(&[("application.name", "hosttune")]);
        })?;
        client.call(CORE, 5, |arguments| {
            arguments.int(VERSION).id(REGISTRY);
        })?;
        client.sync()?;
        Ok(client)
    }

    /// What the daemon says about itself.
    #[must_use]
    pub fn core(&self) -> &CoreInfo {
        &self.core
    }

    /// What the daemon offers to this client, in the order of the ids.
    pub fn globals(&self) -> impl Iterator<Item = &Global> {
        self.globals.values()
    }

    /// Binds an object, and returns its id in this client. The daemon sends its state before it
    /// answers the next [`sync`](Self::sync).
    ///
    /// # Errors
    /// If the request cannot be sent. A refusal is returned by the next sync.
    pub fn bind(&mut self, global: u32, kind: ObjectKind) -> Result<u32, ProtocolError> {
        let object = self.next_object;
        self.next_object += 1;
        self.objects.insert(object, kind);
        // Registry::Bind.
        self.call(REGISTRY, 1, |arguments| {
            arguments
                .id(global)
                .text(Some(kind.interface()))
                .int(VERSION)
                .id(object);
        })?;
        Ok(object)
    }

    /// Releases an object that was bound.
    ///
    /// # Errors
    /// If the request cannot be sent.
    pub fn destroy(&mut self, object: u32) -> Result<(), ProtocolError> {
        // Core::Destroy. The daemon may still send messages for it, which are ignored.
        self.call(CORE, 7, |arguments| {
            arguments.id(object);
        })?;
        self.objects.remove(&object);
        self.properties.retain(|(of, _, _), _| *of != object);
        Ok(())
    }

    /// Waits until the daemon has handled all requests, and has sent what follows from them.
    ///
    /// # Errors
    /// The first refusal of a request since the last sync, [`ProtocolError::Deadline`], and any
    /// error of the connection.
    pub fn sync(&mut self) -> Result<(), ProtocolError> {
        self.syncs = self.syncs.wrapping_add(1);
        let sequence = self.syncs;
        // Core::Sync.
        self.call(CORE, 2, |arguments| {
            arguments.id(CORE).int(sequence);
        })?;
        let until = Instant::now() + self.timeout;
        while self.answered != Some(sequence) {
            match self.connection.receive(until)? {
                Some(frame) => self.handle(&frame)?,
                None => return Err(ProtocolError::Deadline(self.timeout)),
            }
            // A daemon that never pauses keeps `receive` from noticing that the time is over.
            if Instant::now() >= until && self.answered != Some(sequence) {
                return Err(ProtocolError::Deadline(self.timeout));
            }
        }
        match std::mem::take(&mut self.errors).into_iter().next() {
            None => Ok(()),
            Some((_, errno, message)) => Err(ProtocolError::Refused { errno, message }),
        }
    }

    /// The values of one subject of a metadata object that was bound, by key, as of the last sync.
    #[must_use]
    pub fn properties(&self, object: u32, subject: u32) -> BTreeMap<String, Property> {
        let of_subject = self
            .properties
            .range((object, subject, String::new())..)
            .take_while(|((of, about, _), _)| *of == object && *about == subject);
        of_subject
            .map(|((_, _, key), property)| (key.clone(), property.clone()))
            .collect()
    }

    /// Sets a value of a metadata object, or removes the key if the value is `None`.
    ///
    /// Without a type the daemon keeps the type that the key has. Whether the value is accepted is
    /// known after the next [`sync`](Self::sync); the daemon sends no event for an equal value.
    ///
    /// # Errors
    /// If the request cannot be sent.
    pub fn set_property(
        &mut self,
        object: u32,
        subject: u32,
        key: &str,
        kind: Option<&str>,
        value: Option<&str>,
    ) -> Result<(), ProtocolError> {
        // Metadata::SetProperty.
        self.call(object, 1, |arguments| {
            arguments.id(subject).text(Some(key)).text(kind).text(value);
        })
    }

    /// What a node that was bound says about itself, as of the last sync.
    #[must_use]
    pub fn node(&self, global: u32) -> Option<&NodeInfo> {
        self.nodes.get(&global)
    }

    /// The last cycle of each driver, until `enough` returns true for the number of messages from
    /// the profiler so far, at most for `time`.
    ///
    /// The profiler has to be bound. While it is, every driver measures each of its cycles, so it
    /// should be [released](Self::destroy) soon.
    ///
    /// # Errors
    /// Any error of the connection.
    pub fn cycles(
        &mut self,
        time: Duration,
        mut enough: impl FnMut(usize) -> bool,
    ) -> Result<Vec<DriverCycle>, ProtocolError> {
        let until = Instant::now() + time;
        self.cycles.clear();
        self.profiles = 0;
        while Instant::now() < until && !enough(self.profiles) {
            // To ask again whether it is enough, although nothing arrives.
            let soon = (Instant::now() + Duration::from_millis(20)).min(until);
            if let Some(frame) = self.connection.receive(soon)? {
                self.handle(&frame)?;
            }
        }
        Ok(std::mem::take(&mut self.cycles))
    }

    fn call(
        &mut self,
        object: u32,
        opcode: u8,
        arguments: impl FnOnce(&mut PodWriter),
    ) -> Result<(), ProtocolError> {
        let mut body = PodWriter::new();
        body.structure(arguments);
        let body = body.into_bytes();
        self.connection.send(object, opcode, &body, self.timeout)
    }

    fn handle(&mut self, frame: &Frame) -> Result<(), ProtocolError> {
        // Unknown objects are those that were released.
        let Some(kind) = self.objects.get(&frame.object).copied() else {
            return Ok(());
        };
        match Event::decode(kind, frame.object, frame.opcode, &frame.body)? {
            Event::Core(core) => self.core = core,
            // The id tells the answer to a sync from a Done that was not asked for.
            Event::Done { id: CORE, sequence } => self.answered = Some(sequence),
            Event::Ping { id, sequence } => {
                // Core::Pong.
                self.call(CORE, 3, |arguments| {
                    arguments.id(id).int(sequence);
                })?;
            }
            Event::Error { id, errno, message } => {
                if self.errors.len() < MOST_OBJECTS {
                    self.errors.push((id, errno, message));
                }
            }
            Event::Global(global) => {
                self.globals.insert(global.id, global);
                at_most(self.globals.len(), "65536 objects")?;
            }
            Event::GlobalRemoved(id) => {
                self.globals.remove(&id);
            }
            Event::Property {
                subject,
                key,
                kind,
                value,
            } => {
                self.learn(frame.object, subject, key, kind, value);
                at_most(self.properties.len(), "65536 values of metadata")?;
            }
            Event::Profile(cycles) => {
                self.profiles = self.profiles.saturating_add(1);
                // Only the last cycle of each driver is of interest.
                for cycle in cycles {
                    match self.cycles.iter_mut().find(|known| known.id == cycle.id) {
                        Some(known) => *known = cycle,
                        None => self.cycles.push(cycle),
                    }
                }
                at_most(self.cycles.len(), "65536 drivers")?;
            }
            Event::Node(node) => {
                self.nodes.insert(node.id, node);
                at_most(self.nodes.len(), "65536 nodes")?;
            }
            Event::Done { .. } | Event::Freed(_) | Event::Ignored => {}
        }
        Ok(())
    }

    fn learn(
        &mut self,
        object: u32,
        subject: u32,
        key: Option<String>,
        kind: Option<String>,
        value: Option<Vec<u8>>,
    ) {
        match (key, value) {
            (None, _) => self
                .properties
                .retain(|(of, about, _), _| *of != object || *about != subject),
            (Some(key), None) => {
                self.properties.remove(&(object, subject, key));
            }
            (Some(key), Some(value)) => {
                let property = Property { value, kind };
                self.properties.insert((object, subject, key), property);
            }
        }
    }
}

fn at_most(count: usize, what: &'static str) -> Result<(), ProtocolError> {
    if count <= MOST_OBJECTS {
        Ok(())
    } else {
        Err(ProtocolError::TooMuch(what))
    }
}
