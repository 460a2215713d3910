//! Links: looking them up, creating them, setting an alias, bringing them up, deleting them.

use hosttune_netlink::numbers::*;
use hosttune_netlink::{Attributes, Message, NetlinkError, Request, find};

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
        let attributes = Attributes::new().with_text(IFLA_IFNAME, name);
        Request::new(
            RTM_GETLINK,
            0,
            header(0, 0, 0),
            attributes,
            "look up the link",
            name,
        )
    }

    pub(super) fn look_for_number(index: u32) -> Request {
        Request::new(
            RTM_GETLINK,
            0,
            header(index, 0, 0),
            Attributes::new(),
            "look up the link",
            format!("index {index}"),
        )
    }

    pub(super) fn list() -> Request {
        Request::new(
            RTM_GETLINK,
            0,
            header(0, 0, 0),
            Attributes::new(),
            "list the links",
            "",
        )
    }

    pub(super) fn list_of_kind(kind: &str) -> Request {
        let info = Attributes::new().with_text(IFLA_INFO_KIND, kind);
        Request::new(
            RTM_GETLINK,
            0,
            header(0, 0, 0),
            Attributes::new().with_nested(IFLA_LINKINFO, &info),
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
        let info = Attributes::new().with_text(IFLA_INFO_KIND, "ifb");
        let attributes = Attributes::new()
            .with_text(IFLA_IFNAME, name)
            .with(IFLA_ADDRESS, address)
            .with_nested(IFLA_LINKINFO, &info);
        Request::new(
            RTM_NEWLINK,
            NLM_F_CREATE | NLM_F_EXCL,
            header(0, IFF_UP, IFF_UP),
            attributes,
            "create the IFB",
            name,
        )
    }

    /// Sets the alias. The kernel ignores an alias in the message that creates a link.
    pub fn note(&self, alias: &str) -> Request {
        // Without a null byte, which the kernel would store.
        let attributes = Attributes::new().with(IFLA_IFALIAS, alias.as_bytes());
        let header = header(self.index, 0, 0);
        Request::new(
            RTM_SETLINK,
            0,
            header,
            attributes,
            "set the alias",
            &self.name,
        )
    }

    /// Brings the link up or takes it down.
    pub fn bring(&self, up: bool) -> Request {
        let (flags, doing) = if up {
            (IFF_UP, "bring up")
        } else {
            (0, "take down")
        };
        let header = header(self.index, flags, IFF_UP);
        Request::new(RTM_SETLINK, 0, header, Attributes::new(), doing, &self.name)
    }

    /// Deletes the link and everything attached to it.
    pub fn delete(&self) -> Request {
        let header = header(self.index, 0, 0);
        Request::new(
            RTM_DELLINK,
            0,
            header,
            Attributes::new(),
            "delete the link",
            &self.name,
        )
    }
}

/// `ifi_type` in the fixed part.
fn hardware(payload: &[u8]) -> Option<u16> {
    let bytes = payload.get(2..4)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

fn header(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut header = vec![0; 4];
    for word in [index, flags, change] {
        header.extend(word.to_ne_bytes());
    }
    header
}
