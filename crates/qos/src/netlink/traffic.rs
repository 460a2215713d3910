//! Qdiscs and classes, whose options are kept as raw bytes.

use hosttune_netlink::numbers::*;
#[cfg(feature = "testing")]
use hosttune_netlink::u32_at;
use hosttune_netlink::{Attributes, Message, Request, find};
use netlink_packet_route::tc::TcAttribute;

use super::Link;
use super::emitted::{bytes, traffic_header, traffic_request};
use super::traffic_numbers::*;

/// The size of the fixed part, `struct tcmsg`.
const FIXED: usize = 20;

/// A class, which has the same form as a qdisc: [`TrafficControl`].
pub type Class = TrafficControl;

/// A qdisc, a class or a filter as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrafficControl {
    /// The index of its link.
    pub link: u32,
    /// The handle; zero for a qdisc that was not set explicitly.
    pub handle: u32,
    /// The parent that it is attached to.
    pub parent: u32,
    /// For a filter its priority and protocol, for a class the qdisc below it.
    pub info: u32,
    /// The kind.
    pub kind: String,
    /// The attributes, as received.
    pub attributes: Vec<u8>,
}

impl TrafficControl {
    pub(super) fn read(message: &Message) -> Option<Self> {
        let attributes = message.payload.get(FIXED..)?;
        Some(Self {
            link: message.u32_at(4)?,
            handle: message.u32_at(8)?,
            parent: message.u32_at(12)?,
            info: message.u32_at(16)?,
            kind: find(attributes, TCA_KIND)?.text(),
            attributes: attributes.to_vec(),
        })
    }

    /// The options, as received, or `None` if it has none.
    pub fn options(&self) -> Option<&[u8]> {
        find(&self.attributes, TCA_OPTIONS).map(|options| options.value)
    }

    /// Whether it has this attribute with a nonzero value.
    pub fn has(&self, number: u16) -> bool {
        find(&self.attributes, number)
            .is_some_and(|attribute| attribute.value.iter().any(|byte| *byte != 0))
    }

    /// Whether the kernel estimates its rate, which only its statistics show.
    pub fn has_rate_estimator(&self) -> bool {
        find(&self.attributes, TCA_STATS2).is_some_and(|statistics| {
            [TCA_STATS_RATE_EST, TCA_STATS_RATE_EST64]
                .iter()
                .any(|number| find(statistics.value, *number).is_some())
        })
    }

    pub(super) fn list_qdiscs() -> Request {
        Self::list(RTM_GETQDISC, 0, 0, "list the qdiscs", "")
    }

    pub(super) fn list_classes(link: &Link) -> Request {
        let (index, name) = (link.index, &link.name);
        Self::list(RTM_GETTCLASS, index, 0, "list the classes", name)
    }

    pub(super) fn list(number: u16, link: u32, parent: u32, doing: &str, name: &str) -> Request {
        let header = traffic_header(link, 0, parent, 0);
        traffic_request(number, 0, &header, &[], doing, name)
    }

    /// Replaces what is attached to `parent` by a qdisc of this kind, handle and options, or changes
    /// the existing one if it has this handle.
    pub fn replace(
        link: &Link,
        parent: u32,
        kind: &str,
        handle: u32,
        options: Option<&[u8]>,
    ) -> Request {
        Self::attach(
            link,
            parent,
            kind,
            handle,
            options,
            NLM_F_CREATE | NLM_F_REPLACE,
        )
    }

    /// Adds an ingress hook. Never replaces an existing one, whose filters would be deleted with it.
    pub fn add_ingress(link: &Link) -> Request {
        traffic_request(
            RTM_NEWQDISC,
            NLM_F_CREATE | NLM_F_EXCL,
            &traffic_header(link.index, INGRESS_HANDLE, TC_H_INGRESS, 0),
            &[TcAttribute::Kind("ingress".to_owned())],
            "attach the qdisc ingress",
            &link.name,
        )
    }

    /// The same with explicit flags for an existing qdisc.
    pub fn attach(
        link: &Link,
        parent: u32,
        kind: &str,
        handle: u32,
        options: Option<&[u8]>,
        flags: u16,
    ) -> Request {
        let mut attributes = Attributes::new().with_text(TCA_KIND, kind);
        if let Some(options) = options {
            // Some kinds require the flag, and the others accept it.
            attributes = attributes.with(TCA_OPTIONS | NLA_F_NESTED, options);
        }
        Request::new(
            RTM_NEWQDISC,
            flags,
            bytes(&traffic_header(link.index, handle, parent, 0)),
            attributes,
            format!("attach the qdisc {kind}"),
            &link.name,
        )
    }

    /// Deletes the qdisc with this handle below this parent.
    pub fn delete(link: &Link, parent: u32, handle: u32) -> Request {
        traffic_request(
            RTM_DELQDISC,
            0,
            &traffic_header(link.index, handle, parent, 0),
            &[],
            "delete the qdisc",
            &link.name,
        )
    }
}

/// The numbers in a fixed part: link, handle, parent, and `tcm_info`.
#[cfg(feature = "testing")]
pub(crate) fn words(header: &[u8]) -> Option<[u32; 4]> {
    Some([
        u32_at(header, 4)?,
        u32_at(header, 8)?,
        u32_at(header, 12)?,
        u32_at(header, 16)?,
    ])
}

/// A handle in the notation of `tc`.
pub fn format_handle(handle: u32) -> String {
    let (major, minor) = (handle >> 16, handle & 0xffff);
    match (handle, minor) {
        (TC_H_ROOT, _) => "root".to_owned(),
        (TC_H_INGRESS, _) => "ingress".to_owned(),
        (_, 0) => format!("{major:x}:"),
        _ => format!("{major:x}:{minor:x}"),
    }
}
