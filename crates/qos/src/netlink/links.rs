//! Links: looking them up, creating them, setting an alias, bringing them up, deleting them.

use hosttune_netlink::numbers::*;
use hosttune_netlink::{Message, NetlinkError, Request, find};
use netlink_packet_core::DefaultNla;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkHeader, LinkInfo};

use super::emitted::{link_header, link_request, text, value};
use crate::hardware_address::HardwareAddress;

/// The size of the fixed part, `struct ifinfomsg`.
pub(super) const FIXED: usize = 16;

/// `ARPHRD_ETHER`, and the length of an Ethernet header.
const ETHERNET: u16 = 1;
const ETHERNET_HEADER: u32 = 14;

/// A link as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The name.
    pub name: String,
    /// The index. A link that replaces this one gets another.
    pub index: u32,
    /// The flags, `IFF_…`.
    pub flags: u32,
    /// The hardware address.
    pub address: Vec<u8>,
    /// The kind of virtual link. Empty for a link that is not virtual.
    pub kind: String,
    /// The alias, a free text.
    pub alias: Option<String>,
    /// `ARPHRD_…`: the type of its frames.
    pub hardware: u16,
    /// The MTU: the longest packet in bytes, without the frame header.
    pub mtu: Option<u32>,
    /// The number of transmit queues that it was created with.
    pub transmit_queues: Option<u32>,
    /// The index of the link that it is on top of, such as a VLAN on its interface. `None` if that
    /// is in another network namespace.
    pub lower: Option<u32>,
    /// The index of the bridge, bond or other link that it is a port of.
    pub master: Option<u32>,
    /// The address that the hardware came with. `None` if it has none of its own, and before
    /// Linux 5.6.
    pub permanent_address: Option<HardwareAddress>,
    /// The bus of its hardware (`pci`, `usb`, `virtio`). `None` before Linux 5.14.
    pub bus: Option<String>,
    /// The address on the bus (`0000:03:00.0`). `None` before Linux 5.14.
    pub bus_address: Option<String>,
}

impl Link {
    pub(super) fn look_for(name: &str) -> Request {
        link_request(
            RTM_GETLINK,
            0,
            &LinkHeader::default(),
            &[LinkAttribute::IfName(text(name))],
            "look up the link",
            name,
        )
    }

    pub(super) fn look_for_number(index: u32) -> Request {
        let none = LinkFlags::empty();
        link_request(
            RTM_GETLINK,
            0,
            &link_header(index, none, none),
            &[],
            "look up the link",
            &format!("index {index}"),
        )
    }

    pub(super) fn list() -> Request {
        let every = LinkHeader::default();
        link_request(RTM_GETLINK, 0, &every, &[], "list the links", "")
    }

    pub(super) fn list_of_kind(kind: &str) -> Request {
        link_request(
            RTM_GETLINK,
            0,
            &LinkHeader::default(),
            &[of_kind(kind)],
            "list the links of type",
            kind,
        )
    }

    pub(super) fn read(message: &Message) -> Result<Self, NetlinkError> {
        let attributes = message.payload.get(FIXED..).unwrap_or_default();
        let bytes = |number| find(attributes, number);
        let read = || {
            Some(Self {
                name: bytes(IFLA_IFNAME)?.text(),
                index: message.u32_at(4)?,
                flags: message.u32_at(8)?,
                address: bytes(IFLA_ADDRESS).map_or_else(Vec::new, |at| at.value.to_vec()),
                kind: bytes(IFLA_LINKINFO)
                    .and_then(|info| Some(find(info.value, IFLA_INFO_KIND)?.text()))
                    .unwrap_or_default(),
                alias: bytes(IFLA_IFALIAS).map(|alias| alias.text()),
                hardware: hardware(&message.payload)?,
                mtu: bytes(IFLA_MTU).and_then(|mtu| mtu.u32()),
                transmit_queues: bytes(IFLA_NUM_TX_QUEUES).and_then(|count| count.u32()),
                lower: bytes(IFLA_LINK)
                    .filter(|_| bytes(IFLA_LINK_NETNSID).is_none())
                    .and_then(|lower| lower.u32()),
                master: bytes(IFLA_MASTER).and_then(|master| master.u32()),
                permanent_address: bytes(IFLA_PERM_ADDRESS)
                    .and_then(|address| HardwareAddress::new(address.value)),
                bus: bytes(IFLA_PARENT_DEV_BUS_NAME).map(|bus| bus.text()),
                bus_address: bytes(IFLA_PARENT_DEV_NAME).map(|place| place.text()),
            })
        };
        read().ok_or_else(|| {
            NetlinkError::malformed(&Self::look_for(""), "the answer does not describe a link")
        })
    }

    /// Whether it has a carrier, as far as its driver can tell.
    pub fn has_carrier(&self) -> bool {
        self.flags & IFF_LOWER_UP != 0
    }

    /// Whether it is administratively up.
    pub fn is_up(&self) -> bool {
        self.flags & IFF_UP != 0
    }

    /// The longest frame that it sends, in bytes, as CAKE measures it: with the Ethernet header for
    /// Ethernet links, and without a header for others.
    pub fn longest_frame(&self) -> Option<u32> {
        let header = if self.hardware == ETHERNET {
            ETHERNET_HEADER
        } else {
            0
        };
        self.mtu?.checked_add(header)
    }

    /// Creates an IFB and brings it up, with a single message.
    pub fn create_ifb(name: &str, address: &[u8]) -> Request {
        link_request(
            RTM_NEWLINK,
            NLM_F_CREATE | NLM_F_EXCL,
            &link_header(0, LinkFlags::Up, LinkFlags::Up),
            &[
                LinkAttribute::IfName(text(name)),
                LinkAttribute::Address(value(address)),
                of_kind("ifb"),
            ],
            "create the IFB",
            name,
        )
    }

    /// Sets the alias. The kernel ignores an alias in the message that creates a link.
    pub fn note(&self, alias: &str) -> Request {
        // Without the null byte of `LinkAttribute::IfAlias`, which the kernel would store.
        let alias = DefaultNla::new(IFLA_IFALIAS, value(alias.as_bytes()));
        self.request(
            RTM_SETLINK,
            LinkFlags::empty(),
            LinkFlags::empty(),
            &[LinkAttribute::Other(alias)],
            "set the alias",
        )
    }

    /// Brings the link up or takes it down.
    pub fn bring(&self, up: bool) -> Request {
        let (flags, doing) = if up {
            (LinkFlags::Up, "bring up")
        } else {
            (LinkFlags::empty(), "take down")
        };
        self.request(RTM_SETLINK, flags, LinkFlags::Up, &[], doing)
    }

    /// Deletes the link and everything attached to it.
    pub fn delete(&self) -> Request {
        let none = LinkFlags::empty();
        self.request(RTM_DELLINK, none, none, &[], "delete the link")
    }

    fn request(
        &self,
        number: u16,
        flags: LinkFlags,
        change: LinkFlags,
        attributes: &[LinkAttribute],
        doing: &str,
    ) -> Request {
        let header = link_header(self.index, flags, change);
        link_request(number, 0, &header, attributes, doing, &self.name)
    }
}

fn of_kind(kind: &str) -> LinkAttribute {
    LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::from(text(kind).as_str()))])
}

/// `ifi_type` in the fixed part.
fn hardware(payload: &[u8]) -> Option<u16> {
    let bytes = payload.get(2..4)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}
