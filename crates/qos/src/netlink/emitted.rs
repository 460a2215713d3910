//! Requests that are built with the crate `netlink-packet-route`.
//!
//! Only what this program writes itself passes through it: what the kernel has sent is neither
//! parsed nor sent back with it (decision 136).

use hosttune_netlink::Request;
use netlink_packet_core::Emitable;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkHeader};
use netlink_packet_route::tc::{TcAttribute, TcHeader};

/// Where a value is cut off, in bytes: far above what the kernel accepts for any of them, and low enough
/// that the attributes around it fit too. The crate does not check lengths, and panics.
const LONGEST: usize = 32 * 1024;

/// The fixed part of a request about a link, `struct ifinfomsg`.
pub(super) fn link_header(index: u32, flags: LinkFlags, change_mask: LinkFlags) -> LinkHeader {
    LinkHeader {
        index,
        flags,
        change_mask,
        ..LinkHeader::default()
    }
}

/// A request about a link.
pub(super) fn link_request(
    number: u16,
    flags: u16,
    header: &LinkHeader,
    attributes: &[LinkAttribute],
    doing: &str,
    device: &str,
) -> Request {
    Request {
        number,
        flags,
        header: bytes(header),
        attributes: bytes(&attributes),
        doing: doing.to_owned(),
        device: device.to_owned(),
    }
}

/// The fixed part of a request about traffic control, `struct tcmsg`.
pub(super) fn traffic_header(link: u32, handle: u32, parent: u32, info: u32) -> TcHeader {
    TcHeader {
        index: link.cast_signed(),
        handle: handle.into(),
        parent: parent.into(),
        info,
        ..TcHeader::default()
    }
}

/// A request about traffic control.
pub(super) fn traffic_request(
    number: u16,
    flags: u16,
    header: &TcHeader,
    attributes: &[TcAttribute],
    doing: &str,
    device: &str,
) -> Request {
    Request {
        number,
        flags,
        header: bytes(header),
        attributes: bytes(&attributes),
        doing: doing.to_owned(),
        device: device.to_owned(),
    }
}

/// The bytes of a part of a message.
pub(super) fn bytes(part: &impl Emitable) -> Vec<u8> {
    let mut bytes = vec![0; part.buffer_len()];
    part.emit(&mut bytes);
    bytes
}

/// The value of an attribute.
pub(super) fn value(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len().min(LONGEST)].to_vec()
}

/// A text that is sent with a null byte after it.
pub(super) fn text(text: &str) -> String {
    let end = (0..=LONGEST.min(text.len())).rfind(|&end| text.is_char_boundary(end));
    text[..end.unwrap_or(0)].to_owned()
}
