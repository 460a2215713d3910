//! The kernel over rtnetlink, with as little code in between as possible, because bytes are
//! compared.

use std::io;
use std::process::Command;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST, NlaBuffer, NlasIterator,
};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

const RTM_NEWQDISC: u16 = 36;
const RTM_GETQDISC: u16 = 38;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_STATS2: u16 = 7;
const TCA_STATS_APP: u16 = 4;
const ROOT: u32 = u32::MAX;
/// Length of `struct nlmsghdr` and `struct tcmsg`.
const HEADERS: usize = 16 + 20;

/// Dummy devices, which are deleted on drop.
pub(crate) struct Devices {
    names: [&'static str; 2],
    numbers: [u32; 2],
}

impl Devices {
    pub(crate) fn new(names: [&'static str; 2]) -> Self {
        let numbers = names.map(|name| {
            ip(&["link", "add", name, "type", "dummy"]);
            let number = std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex")).unwrap();
            number.trim().parse().unwrap()
        });
        Self { names, numbers }
    }

    pub(crate) fn number(&self, place: usize) -> u32 {
        self.numbers[place]
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        for name in self.names {
            ip(&["link", "delete", name]);
        }
    }
}

pub(crate) fn ip(arguments: &[&str]) {
    assert!(
        Command::new("ip")
            .args(arguments)
            .status()
            .unwrap()
            .success(),
        "{arguments:?}"
    );
}

pub(crate) struct Kernel {
    socket: Socket,
}

impl Kernel {
    pub(crate) fn reached() -> Self {
        let mut socket = Socket::new(NETLINK_ROUTE).unwrap();
        socket.bind_auto().unwrap();
        socket.connect(&SocketAddr::new(0, 0)).unwrap();
        Self { socket }
    }

    /// Creates a new CAKE with these options.
    #[track_caller]
    pub(crate) fn make(&mut self, device: u32, options: &[u8]) {
        // A qdisc of another kind in between, so that nothing of the previous one is kept.
        self.set(device, b"pfifo\0", &[]);
        self.set(device, b"cake\0", options);
    }

    /// Changes the existing qdisc, or creates one.
    #[track_caller]
    pub(crate) fn change(&mut self, device: u32, options: &[u8]) {
        self.set(device, b"cake\0", options);
    }

    #[track_caller]
    fn set(&mut self, device: u32, kind: &[u8], options: &[u8]) {
        let mut attributes = Vec::new();
        attribute(&mut attributes, TCA_KIND, kind);
        if !options.is_empty() {
            attribute(&mut attributes, TCA_OPTIONS, options);
        }
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        self.ask(RTM_NEWQDISC, flags, device, ROOT, &attributes);
    }

    /// The payload of `TCA_OPTIONS` of the root qdisc, if that is CAKE.
    pub(crate) fn options(&mut self, device: u32) -> Option<Vec<u8>> {
        self.cake(device, TCA_OPTIONS)
    }

    /// The payload of `TCA_STATS_APP`.
    pub(crate) fn counters(&mut self, device: u32) -> Option<Vec<u8>> {
        inner(&self.cake(device, TCA_STATS2)?, TCA_STATS_APP)
    }

    fn cake(&mut self, device: u32, wanted: u16) -> Option<Vec<u8>> {
        let answers = self.ask(RTM_GETQDISC, NLM_F_DUMP, device, 0, &[]);
        answers.iter().find_map(|answer| {
            let number = u32::from_ne_bytes(*answer.get(4..)?.first_chunk()?);
            let attributes = answer.get(20..)?;
            (number == device && inner(attributes, TCA_KIND)? == b"cake\0")
                .then(|| inner(attributes, wanted))?
        })
    }

    /// The answers, each from `struct tcmsg` on.
    #[track_caller]
    fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        device: u32,
        parent: u32,
        attributes: &[u8],
    ) -> Vec<Vec<u8>> {
        let mut request = Vec::new();
        request.extend(
            u32::try_from(HEADERS + attributes.len())
                .unwrap()
                .to_ne_bytes(),
        );
        request.extend(kind.to_ne_bytes());
        request.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        request.extend([0; 8]);
        request.extend([0; 4]);
        request.extend(device.to_ne_bytes());
        request.extend([0; 4]);
        request.extend(parent.to_ne_bytes());
        request.extend([0; 4]);
        request.extend(attributes);
        self.socket.send(&request, 0).unwrap();
        let mut answers = Vec::new();
        loop {
            let (packet, _) = self.socket.recv_from_full().unwrap();
            let mut rest = packet.as_slice();
            while rest.len() >= 16 {
                let length =
                    usize::try_from(u32::from_ne_bytes(*rest.first_chunk().unwrap())).unwrap();
                let kind = u16::from_ne_bytes([rest[4], rest[5]]);
                let payload = &rest[16..length];
                match kind {
                    NLMSG_DONE => return answers,
                    NLMSG_ERROR => {
                        let code = i32::from_ne_bytes(*payload.first_chunk().unwrap());
                        assert_eq!(code, 0, "{}", io::Error::from_raw_os_error(-code));
                        return answers;
                    }
                    _ => answers.push(payload.to_vec()),
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

fn attribute(bytes: &mut Vec<u8>, number: u16, payload: &[u8]) {
    bytes.extend(u16::try_from(4 + payload.len()).unwrap().to_ne_bytes());
    bytes.extend(number.to_ne_bytes());
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The payload of one attribute, found by a library's parser instead of our own.
fn inner(attributes: &[u8], number: u16) -> Option<Vec<u8>> {
    NlasIterator::new(attributes)
        .filter_map(Result::ok)
        .find(|found: &NlaBuffer<_>| found.kind() == number)
        .map(|found| found.value().to_vec())
}
