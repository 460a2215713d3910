//! Reads links, qdiscs, classes and filters over rtnetlink.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use super::{Seen, attributes};

const RTM_GETLINK: u16 = 18;
const RTM_GETQDISC: u16 = 38;
const RTM_GETTCLASS: u16 = 42;
const RTM_GETTFILTER: u16 = 46;

const IFLA_IFNAME: u16 = 3;
const IFLA_EXT_MASK: u16 = 29;
/// Requests the settings of SR-IOV virtual functions without their statistics.
const VIRTUAL_FUNCTIONS_WITHOUT_STATISTICS: u32 = 1 | 1 << 3;

const TCA_KIND: u16 = 1;
const TCA_DUMP_INVISIBLE: u16 = 10;

/// Lengths of `struct ifinfomsg` and `struct tcmsg`, which precede the attributes.
const LINK_HEADER: usize = 16;
const TRAFFIC_HEADER: usize = 20;

/// Special parents: the root of the device, ingress, and the two hooks of clsact.
const ROOT: u32 = u32::MAX;
const INGRESS: u32 = 0xffff_fff1;
const HOOKS: [u32; 2] = [0xffff_fff2, 0xffff_fff3];

/// Qdiscs whose classes are the current flows.
const CLASSES_ARE_FLOWS: [&str; 5] = ["cake", "cake_mq", "fq_codel", "fq_pie", "sfq"];

/// Number of attempts for a dump with `NLM_F_DUMP_INTR`.
const TRIES: usize = 100;

/// An unparsed message.
#[derive(Debug)]
struct Raw {
    number: u16,
    bytes: Vec<u8>,
}

impl NetlinkSerializable for Raw {
    fn message_type(&self) -> u16 {
        self.number
    }

    fn buffer_len(&self) -> usize {
        self.bytes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.bytes);
    }
}

impl NetlinkDeserializable for Raw {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        Ok(Self {
            number: header.message_type,
            bytes: payload.to_vec(),
        })
    }
}

struct Kernel {
    socket: Socket,
}

impl Kernel {
    /// Connects to rtnetlink in the calling thread's network namespace.
    fn reached() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket })
    }

    /// Returns all answers to a dump request, from one consistent dump.
    fn asked(&self, number: u16, question: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        for _ in 0..TRIES {
            if let Some(answers) = self.asked_once(number, question)? {
                return Ok(answers);
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// Returns `None` if something changed during the dump.
    fn asked_once(&self, number: u16, question: &[u8]) -> io::Result<Option<Vec<Vec<u8>>>> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let bytes = question.to_vec();
        let mut message =
            NetlinkMessage::new(header, NetlinkPayload::InnerMessage(Raw { number, bytes }));
        message.finalize();
        let mut request = vec![0; message.buffer_len()];
        message.serialize(&mut request);
        self.socket.send(&request, 0)?;

        let mut answers = Vec::new();
        let mut whole = true;
        loop {
            let (packet, _) = self.socket.recv_from_full()?;
            let mut rest = packet.as_slice();
            while !rest.is_empty() {
                let message = NetlinkMessage::<Raw>::deserialize(rest)
                    .map_err(|error| io::Error::other(error.to_string()))?;
                let length = usize::try_from(message.header.length).map_err(io::Error::other)?;
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
                whole &= message.header.flags & NLM_F_DUMP_INTR == 0;
                match message.payload {
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(io::Error::from_raw_os_error(-done.code));
                    }
                    NetlinkPayload::Done(_) => return Ok(whole.then_some(answers)),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::InnerMessage(raw) => answers.push(raw.bytes),
                    _ => {}
                }
            }
        }
    }

    fn links(&self) -> io::Result<Vec<Link>> {
        let mut question = vec![0; LINK_HEADER];
        attribute(
            &mut question,
            IFLA_EXT_MASK,
            &VIRTUAL_FUNCTIONS_WITHOUT_STATISTICS.to_ne_bytes(),
        );
        let answers = self.asked(RTM_GETLINK, &question)?;
        Ok(answers.into_iter().filter_map(Link::read).collect())
    }

    fn traffic(&self, number: u16, index: u32, parent: u32) -> io::Result<Vec<Traffic>> {
        let mut question = vec![0; TRAFFIC_HEADER];
        question[4..8].copy_from_slice(&index.to_ne_bytes());
        question[12..16].copy_from_slice(&parent.to_ne_bytes());
        if number == RTM_GETQDISC {
            attribute(&mut question, TCA_DUMP_INVISIBLE, &[]);
        }
        let answers = self.asked(number, &question)?;
        let all = answers.into_iter().filter_map(Traffic::read);
        // Older kernels ignore the index and answer for every device.
        Ok(all.filter(|one| index == 0 || one.index == index).collect())
    }
}

fn attribute(message: &mut Vec<u8>, number: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    message.extend(length.to_ne_bytes());
    message.extend(number.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(word.try_into().ok()?))
}

struct Link {
    name: String,
    index: u32,
    flags: u32,
    sort: u32,
    attributes: Vec<u8>,
}

impl Link {
    fn read(mut bytes: Vec<u8>) -> Option<Self> {
        let attributes = bytes.split_off(LINK_HEADER.min(bytes.len()));
        Some(Self {
            name: attributes::text(&attributes, IFLA_IFNAME)?,
            sort: word(&bytes, 0)? >> 16,
            index: word(&bytes, 4)?,
            flags: word(&bytes, 8)?,
            attributes,
        })
    }
}

struct Traffic {
    index: u32,
    handle: u32,
    parent: u32,
    info: u32,
    kind: String,
    attributes: Vec<u8>,
}

impl Traffic {
    fn read(mut bytes: Vec<u8>) -> Option<Self> {
        let attributes = bytes.split_off(TRAFFIC_HEADER.min(bytes.len()));
        Some(Self {
            index: word(&bytes, 4)?,
            handle: word(&bytes, 8)?,
            parent: word(&bytes, 12)?,
            info: word(&bytes, 16)?,
            kind: attributes::text(&attributes, TCA_KIND).unwrap_or_default(),
            attributes,
        })
    }

    fn put(&self, seen: &mut BTreeMap<String, Seen>, what: String, sort: &str) {
        let what = attributes::unused(seen, what);
        seen.insert(what.clone(), Seen::Is("there".into()));
        attributes::put(seen, &what, sort, &self.attributes);
    }
}

/// Formats a handle, a class or a special parent as `tc` does.
fn shown(number: u32) -> String {
    match number {
        ROOT => "root".to_owned(),
        INGRESS => "ingress".to_owned(),
        number if number & 0xffff == 0 => format!("{:x}:", number >> 16),
        number => format!("{:x}:{:x}", number >> 16, number & 0xffff),
    }
}

fn refused(seen: &mut BTreeMap<String, Seen>, what: String, error: &io::Error) {
    seen.insert(what, Seen::Refused(error.raw_os_error()));
}

/// Adds every link by name.
pub(super) fn links(seen: &mut BTreeMap<String, Seen>) {
    let links = match Kernel::reached().and_then(|kernel| kernel.links()) {
        Ok(links) => links,
        Err(error) => return refused(seen, "links".to_owned(), &error),
    };
    for link in links {
        let what = format!("link {}", link.name);
        for (name, number) in [
            ("index", link.index),
            ("flags", link.flags),
            ("type", link.sort),
        ] {
            let number = format!("{number:#x}").into_bytes();
            seen.insert(format!("{what} {name}"), Seen::Holds(number));
        }
        attributes::put(seen, &what, "link", &link.attributes);
    }
}

/// Adds every qdisc with its classes and the filters of both, by the name of the link, the handle and the parent.
/// The handle alone is not unique: it is 0 for all qdiscs that were not set explicitly.
pub(super) fn qdiscs(seen: &mut BTreeMap<String, Seen>) {
    if let Err(error) = Kernel::reached().and_then(|kernel| all_qdiscs(&kernel, seen)) {
        refused(seen, "qdiscs".to_owned(), &error);
    }
}

fn all_qdiscs(kernel: &Kernel, seen: &mut BTreeMap<String, Seen>) -> io::Result<()> {
    let qdiscs = kernel.traffic(RTM_GETQDISC, 0, 0)?;
    for Link { name, index, .. } in kernel.links()? {
        // Filters can be attached to a qdisc, a class or a hook.
        let mut parents = HOOKS.to_vec();
        for qdisc in qdiscs.iter().filter(|qdisc| qdisc.index == index) {
            let (handle, parent) = (shown(qdisc.handle), shown(qdisc.parent));
            // The last word of the header is a reference count.
            qdisc.put(seen, format!("qdisc {name} {handle} {parent}"), "qdisc");
            parents.push(qdisc.handle);
        }
        match kernel.traffic(RTM_GETTCLASS, index, 0) {
            Err(error) => refused(seen, format!("classes {name}"), &error),
            Ok(classes) => {
                for class in classes {
                    if CLASSES_ARE_FLOWS.contains(&class.kind.as_str()) {
                        continue;
                    }
                    let (handle, parent) = (shown(class.handle), shown(class.parent));
                    let what = format!("class {name} {handle} {parent}");
                    let leaf = Seen::Holds(shown(class.info).into_bytes());
                    seen.insert(format!("{what} leaf"), leaf);
                    class.put(seen, what, "class");
                    parents.push(class.handle);
                }
            }
        }
        parents.sort_unstable();
        parents.dedup();
        for parent in parents {
            filters(kernel, seen, &name, index, parent);
        }
    }
    Ok(())
}

fn filters(
    kernel: &Kernel,
    seen: &mut BTreeMap<String, Seen>,
    name: &str,
    index: u32,
    parent: u32,
) {
    // Filters cannot be attached to a qdisc without a handle, and 0 would request those of the root.
    if parent == 0 {
        return;
    }
    match kernel.traffic(RTM_GETTFILTER, index, parent) {
        Err(error) => refused(seen, format!("filters {name} {}", shown(parent)), &error),
        Ok(filters) => {
            for filter in filters {
                let (priority, protocol) = (filter.info >> 16, filter.info as u16);
                let what = format!(
                    "filter {name} {} priority {priority} protocol {:#06x} handle {:#x}",
                    shown(parent),
                    u16::from_be(protocol),
                    filter.handle
                );
                filter.put(seen, what, "filter");
            }
        }
    }
}
