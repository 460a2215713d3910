//! Identity of the link that was changed, whatever its present name is.
//!
//! A link is identified by its index. While the kernel runs, no other link gets that index unless it
//! is requested, or in another network namespace. The identity therefore includes the namespace,
//! and for a card its permanent address.

use hosttune_core::host::EntryKind;
use hosttune_core::{Host, HostError};

use crate::netlink::{Link, Netlink, View};

/// The network namespace of the calling thread, which is that of its socket.
const NAMESPACE: &str = "/proc/thread-self/ns/net";

const NUMBER: &str = "link ";
const ADDRESS: &str = "address ";
const IN: &str = "in ";

/// Identity of the link behind this name, for the journal, such as
/// `link 2, address 52:54:00:12:34:56, in net:[4026531840]`.
pub(crate) fn link_identity(host: &Host, name: &str) -> Result<Option<String>, HostError> {
    let Some(link) = View::of(host)?.link(name)? else {
        return Ok(None);
    };
    Ok(Some(identity_of(&link, namespace(host).as_deref())))
}

fn identity_of(link: &Link, namespace: Option<&str>) -> String {
    let mut identity = format!("{NUMBER}{}", link.index);
    if let Some(address) = &link.permanent_address {
        identity.push_str(&format!(", {ADDRESS}{address}"));
    }
    if let Some(namespace) = namespace {
        identity.push_str(&format!(", {IN}{namespace}"));
    }
    identity
}

/// The kernel's name of the network namespace, such as `net:[4026531840]`. `None` if it cannot be
/// determined, for example without procfs.
fn namespace(host: &Host) -> Option<String> {
    let asked = || match host.entry(NAMESPACE).ok()??.kind {
        EntryKind::Link(target) => Some(target.display().to_string()),
        _ => None,
    };
    let backend = host.backend::<Netlink>().ok()?;
    backend.namespace.get_or_init(asked).clone()
}

/// Whether two identities are of the same link. Parts that only one of them has are not compared:
/// earlier versions wrote down the index alone, and kernels before 5.6 show no permanent address.
pub(crate) fn is_same_link(identity: &str, other: &str) -> bool {
    let agree = |what: &str| match (said(identity, what), said(other, what)) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    };
    match (number_in(identity), number_in(other)) {
        (Some(one), Some(other)) => one == other && agree(ADDRESS) && agree(IN),
        _ => identity == other,
    }
}

/// The value of this part of an identity.
fn said<'a>(identity: &'a str, what: &str) -> Option<&'a str> {
    identity
        .split(", ")
        .find_map(|part| part.strip_prefix(what))
}

/// The link index in an identity.
pub(crate) fn number_in(identity: &str) -> Option<u32> {
    said(identity, NUMBER)?.parse().ok()
}

/// The present name of the link with this identity. `None` if it is gone or in another namespace.
pub(crate) fn present_name(host: &Host, identity: &str) -> Result<Option<String>, HostError> {
    let Some(number) = number_in(identity) else {
        return Ok(None);
    };
    let Some(link) = host.backend::<Netlink>()?.link_of_number(number)? else {
        return Ok(None);
    };
    let now = identity_of(&link, namespace(host).as_deref());
    Ok(is_same_link(&now, identity).then_some(link.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_told_apart_by_all_that_both_identities_say() {
        const CARD: &str = "link 2, address 52:54:00:12:34:56, in net:[4026531840]";
        for other in [
            CARD,
            "link 2",
            "link 2, address 52:54:00:12:34:56",
            "link 2, in net:[4026531840]",
        ] {
            assert!(is_same_link(CARD, other) && is_same_link(other, CARD));
            assert_eq!(number_in(other), Some(2));
        }
        for other in [
            "link 3",
            "link 3, address 52:54:00:12:34:56, in net:[4026531840]",
            "link 2, address 52:54:00:12:34:57, in net:[4026531840]",
            "link 2, address 52:54:00:12:34:56, in net:[4026532000]",
            "",
            "link",
        ] {
            assert!(!is_same_link(CARD, other) && !is_same_link(other, CARD));
        }
    }
}
