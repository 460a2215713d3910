//! What uses an IFB of ours besides our own redirect, and would lose packets without it.

use hosttune_core::{Host, HostError};

use crate::netlink::{
    EGRESS_FILTERS, INGRESS_FILTERS, INGRESS_HANDLE, Link, Netlink, TrafficControl,
};
use crate::root_qdisc::is_our_handle;

/// The kinds of qdisc to whose classes filters can be attached, as well as to the qdisc itself.
const FILTERED_CLASSES: [&str; 4] = ["atm", "cbq", "hfsc", "htb"];

/// What would be lost if the link were deleted, if anything.
///
/// What programs of the kernel (BPF) send to it cannot be seen.
pub(crate) fn what_uses(host: &Host, link: &Link) -> Result<Option<String>, HostError> {
    let backend = host.backend::<Netlink>()?;
    let links = backend.links()?;
    let name = |index| {
        let named = links.iter().find(|link| link.index == index);
        named.map_or_else(|| format!("interface {index}"), |link| link.name.clone())
    };
    if let Some(master) = link.master {
        return Ok(Some(format!("it is a port of {}", name(master))));
    }
    let mut others = links.iter().filter(|other| other.index != link.index);
    if let Some(upper) = others.find(|other| other.lower == Some(link.index)) {
        return Ok(Some(format!(
            "the interface {} is on top of it",
            upper.name
        )));
    }
    for qdisc in backend.qdiscs()? {
        if qdisc.link == link.index {
            if qdisc.handle != 0 && !is_our_handle(qdisc.handle) {
                return Ok(Some(format!(
                    "another program's qdisc {} is attached to it",
                    qdisc.kind
                )));
            }
            continue;
        }
        for parent in parents(backend, &links, &qdisc)? {
            if backend.has_filter_to(qdisc.link, parent, link.index)? {
                return Ok(Some(format!(
                    "a filter of {} still sends packets to it",
                    name(qdisc.link)
                )));
            }
        }
    }
    Ok(None)
}

/// To what of a qdisc filters can be attached. A qdisc without a handle has no filters.
fn parents(
    backend: &Netlink,
    links: &[Link],
    qdisc: &TrafficControl,
) -> Result<Vec<u32>, HostError> {
    if qdisc.handle == INGRESS_HANDLE {
        return Ok(vec![INGRESS_FILTERS, EGRESS_FILTERS]);
    }
    let mut parents: Vec<u32> = (qdisc.handle != 0)
        .then_some(qdisc.handle)
        .into_iter()
        .collect();
    if FILTERED_CLASSES.contains(&qdisc.kind.as_str())
        && let Some(link) = links.iter().find(|link| link.index == qdisc.link)
    {
        let classes = backend.classes(link)?;
        let of_qdisc = classes.iter().map(|class| class.handle);
        parents.extend(of_qdisc.filter(|class| class >> 16 == qdisc.handle >> 16));
    }
    Ok(parents)
}
