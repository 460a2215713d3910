//! Which link it is that was changed, whatever its name is by now.
//!
//! A link is known by its number, which no other gets while the kernel runs, unless somebody asks
//! for it, or in another network namespace. So the namespace belongs to the identity, and of a card
//! the permanent address.

use hosttune_core::host::EntryKind;
use hosttune_core::{Host, HostError};

use crate::netlink::{Link, Netlink, View};

/// The namespace of the thread that asks, which is that of its socket.
const NAMESPACE: &str = "/proc/thread-self/ns/net";

const NUMBER: &str = "link ";
const ADDRESS: &str = "address ";
const IN: &str = "in ";

/// What tells the link of this name from another that later has it, for the journal: such as
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

/// How the kernel names the network namespace, such as `net:[4026531840]`. `None` where it cannot
/// be told, as without procfs.
fn namespace(host: &Host) -> Option<String> {
    let asked = || match host.entry(NAMESPACE).ok()??.kind {
        EntryKind::Link(target) => Some(target.display().to_string()),
        _ => None,
    };
    let wire = host.wire::<Netlink>().ok()?;
    wire.namespace.get_or_init(asked).clone()
}

/// Whether two identities are of the same link. What one of them does not say is not compared:
/// earlier versions wrote down the number alone, and kernels before 5.6 show no permanent address.
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

/// What an identity says of this.
fn said<'a>(identity: &'a str, what: &str) -> Option<&'a str> {
    identity
        .split(", ")
        .find_map(|part| part.strip_prefix(what))
}

/// The number in an identity.
pub(crate) fn number_in(identity: &str) -> Option<u32> {
    said(identity, NUMBER)?.parse().ok()
}

/// The name by now of the link that had this identity; `None` where it has gone, or is in another
/// namespace.
pub(crate) fn present_name(host: &Host, identity: &str) -> Result<Option<String>, HostError> {
    let Some(number) = number_in(identity) else {
        return Ok(None);
    };
    let Some(link) = host.wire::<Netlink>()?.link_of_number(number)? else {
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
