//! Messages to send, and received ones.

use super::attributes::{attributes, u32_at};
use super::numbers::*;
use super::{Attributes, find};

/// A request as bytes, with a description for errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The type of the message, `RTM_…`.
    pub number: u16,
    /// `NLM_F_…`, in addition to those of every request of its sort.
    pub flags: u16,
    /// The fixed part before the attributes.
    pub header: Vec<u8>,
    /// The attributes.
    pub attributes: Vec<u8>,
    /// What the request does, as in "cannot …".
    pub doing: String,
    /// The device that it is about; empty for all devices.
    pub device: String,
}

impl Request {
    /// Creates a request from these parts.
    pub fn new(
        number: u16,
        flags: u16,
        header: Vec<u8>,
        attributes: Attributes,
        doing: impl Into<String>,
        device: impl Into<String>,
    ) -> Self {
        Self {
            number,
            flags,
            header,
            attributes: attributes.into_bytes(),
            doing: doing.into(),
            device: device.into(),
        }
    }

    /// The bytes to send, with these additional flags and this sequence number.
    pub fn to_bytes(&self, flags: u16, sequence: u32) -> Vec<u8> {
        let length = NLMSG_HEADER + self.header.len() + self.attributes.len();
        let mut bytes = Vec::with_capacity(length);
        bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
        bytes.extend(self.number.to_ne_bytes());
        bytes.extend((NLM_F_REQUEST | flags | self.flags).to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(&self.header);
        bytes.extend(&self.attributes);
        bytes
    }

    /// The name of the attribute at this offset in bytes, preceded by the names of the attributes
    /// that contain it.
    pub fn attribute_at(&self, offset: usize) -> Option<String> {
        let start = NLMSG_HEADER + self.header.len();
        let sort = match self.number {
            RTM_NEWLINK..=RTM_SETLINK => Sort::Link,
            _ => Sort::Traffic,
        };
        within(&self.attributes, offset.checked_sub(start)?, sort)
    }
}

#[derive(Clone, Copy)]
enum Sort {
    Link,
    LinkInfo,
    Traffic,
    Other,
}

fn within(bytes: &[u8], offset: usize, sort: Sort) -> Option<String> {
    let mut at = 0;
    for attribute in attributes(bytes) {
        let next = at + (4 + attribute.value.len()).next_multiple_of(4);
        if offset < next {
            let (name, inner) = name(sort, attribute.number);
            // An offset inside of an attribute points at one that it contains.
            let held = match offset.checked_sub(at + 4) {
                Some(inside) => within(attribute.value, inside, inner),
                None => None,
            };
            return Some(match held {
                Some(held) => format!("{name}, {held}"),
                None => name,
            });
        }
        at = next;
    }
    None
}

fn name(sort: Sort, number: u16) -> (String, Sort) {
    let (name, inner) = match (sort, number) {
        (Sort::Link, IFLA_ADDRESS) => ("IFLA_ADDRESS", Sort::Other),
        (Sort::Link, IFLA_IFNAME) => ("IFLA_IFNAME", Sort::Other),
        (Sort::Link, IFLA_LINKINFO) => ("IFLA_LINKINFO", Sort::LinkInfo),
        (Sort::Link, IFLA_IFALIAS) => ("IFLA_IFALIAS", Sort::Other),
        (Sort::LinkInfo, IFLA_INFO_KIND) => ("IFLA_INFO_KIND", Sort::Other),
        (Sort::Traffic, TCA_KIND) => ("TCA_KIND", Sort::Other),
        (Sort::Traffic, TCA_OPTIONS) => ("TCA_OPTIONS", Sort::Other),
        _ => return (format!("attribute {number}"), Sort::Other),
    };
    (name.to_owned(), inner)
}

/// A received message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The type of the message, `RTM_…`.
    pub number: u16,
    /// The fixed part and the attributes.
    pub payload: Vec<u8>,
}

impl Message {
    /// The four-byte number at this offset in the payload.
    pub fn u32_at(&self, at: usize) -> Option<u32> {
        u32_at(&self.payload, at)
    }
}

/// The kind that a request names.
pub(crate) fn kind_of(request: &Request) -> Option<String> {
    match request.number {
        RTM_NEWLINK..=RTM_SETLINK => {
            let info = find(&request.attributes, IFLA_LINKINFO)?;
            find(info.value, IFLA_INFO_KIND).map(|kind| kind.text())
        }
        _ => find(&request.attributes, TCA_KIND).map(|kind| kind.text()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attribute_at_an_offset_is_named() {
        let info = Attributes::new().with_text(IFLA_INFO_KIND, "ifb");
        let attributes = Attributes::new()
            .with_text(IFLA_IFNAME, "ifb4")
            .with_nested(IFLA_LINKINFO, &info);
        let request = Request::new(RTM_NEWLINK, 0, vec![0; 16], attributes, "create", "ifb4");
        assert_eq!(request.to_bytes(0, 1).len(), 32 + 12 + 12);
        let at = |offset| request.attribute_at(offset);
        assert_eq!(at(32).as_deref(), Some("IFLA_IFNAME"));
        assert_eq!(at(44).as_deref(), Some("IFLA_LINKINFO"));
        assert_eq!(at(48).as_deref(), Some("IFLA_LINKINFO, IFLA_INFO_KIND"));
        assert_eq!(at(500), None);
        assert_eq!(at(3), None);
    }
}
