//! Attributes of links, qdiscs, classes and filters: nested, as bytes by number, without those that change by
//! themselves.

use std::collections::BTreeMap;

use netlink_packet_core::{NlaBuffer, NlasIterator};

use super::Seen;

/// The treatment of an attribute. The bytes of all other attributes are kept unchanged.
enum Treatment {
    /// Excluded, for this reason.
    Moves(&'static str),
    /// Only this many bytes are kept; the rest changes by itself, for this reason.
    Begins(usize, &'static str),
    /// Contains attributes of this sort.
    Holds(&'static str),
    /// Contains attributes whose meaning depends on the kind, which is in the sibling attribute with this number.
    HoldsByKind(&'static str, u16),
}

use Treatment::{Begins, Holds, HoldsByKind, Moves};

/// Stands for any number, in a list with numbered items.
const EACH: u16 = u16::MAX;

/// Treatments by sort and number. The numbers are from `linux/if_link.h`, `linux/rtnetlink.h`,
/// `linux/pkt_sched.h`, `linux/pkt_cls.h` and `linux/tc_act`.
const TREATMENTS: &[(&str, u16, Treatment)] = &[
    ("link", 7, Moves("counts packets")),
    ("link", 23, Moves("counts packets")),
    ("link", 35, Moves("counts")),
    ("link", 47, Moves("counts")),
    ("link", 48, Moves("counts")),
    ("link", 18, Holds("link info")),
    ("link info", 2, HoldsByKind("data of", 1)),
    ("link info", 3, Moves("counts")),
    ("link info", 5, HoldsByKind("port of", 4)),
    ("link", 26, Holds("families")),
    ("families", 10, Holds("inet6")),
    ("families", 2, Moves(SYSCTLS)),
    ("inet6", 2, Moves(SYSCTLS)),
    ("inet6", 3, Moves("counts packets")),
    (
        "inet6",
        5,
        Moves("contains the time of its update and random values"),
    ),
    ("inet6", 6, Moves("counts packets")),
    ("data of bridge", 16, Moves("is a timer")),
    ("data of bridge", 17, Moves("is a timer")),
    ("data of bridge", 18, Moves("is a timer")),
    ("data of bridge", 19, Moves("is a timer")),
    ("data of bridge", 47, Moves("holds timers")),
    ("port of bridge", 21, Moves("is a timer")),
    ("port of bridge", 22, Moves("is a timer")),
    ("port of bridge", 23, Moves("is a timer")),
    ("port of bridge", 38, Moves("counts")),
    ("qdisc", 3, Moves("counts packets")),
    ("qdisc", 4, Moves("counts")),
    ("qdisc", 7, Moves("counts packets")),
    ("qdisc", 2, HoldsByKind("qdisc options of", 1)),
    (
        "qdisc options of htb",
        2,
        Begins(16, "the rest counts packets"),
    ),
    ("class", 3, Moves("counts packets")),
    ("class", 4, Moves("counts")),
    ("class", 7, Moves("counts packets")),
    ("filter", 3, Moves("counts packets")),
    ("filter", 4, Moves("counts")),
    ("filter", 7, Moves("counts packets")),
    ("filter", 2, HoldsByKind("filter options of", 1)),
    ("filter options of basic", 3, Holds("actions")),
    ("filter options of basic", 5, Moves("counts packets")),
    ("filter options of bpf", 1, Holds("actions")),
    ("filter options of cgroup", 1, Holds("actions")),
    ("filter options of flow", 9, Holds("actions")),
    ("filter options of flower", 3, Holds("actions")),
    ("filter options of fw", 4, Holds("actions")),
    ("filter options of matchall", 2, Holds("actions")),
    ("filter options of matchall", 4, Moves("counts packets")),
    ("filter options of route", 6, Holds("actions")),
    ("filter options of u32", 7, Holds("actions")),
    ("filter options of u32", 9, Moves("counts packets")),
    ("actions", EACH, Holds("action")),
    ("action", 4, Moves("counts packets")),
    ("action", 2, HoldsByKind("action options of", 1)),
    ("action options of bpf", 1, Moves(SINCE)),
    ("action options of connmark", 2, Moves(SINCE)),
    ("action options of csum", 2, Moves(SINCE)),
    ("action options of gact", 1, Moves(SINCE)),
    ("action options of mirred", 1, Moves(SINCE)),
    ("action options of nat", 2, Moves(SINCE)),
    ("action options of pedit", 1, Moves(SINCE)),
    ("action options of police", 6, Moves(SINCE)),
    ("action options of skbedit", 1, Moves(SINCE)),
    ("action options of vlan", 1, Moves(SINCE)),
];

const SYSCTLS: &str = "is also in /proc/sys, where each value has a name";
const SINCE: &str = "contains the time since it was last used";

/// Names of attributes that tests are likely to show, as in `ip link`.
const NAMES: &[(&str, u16, &str)] = &[
    ("link", 1, "address"),
    ("link", 4, "mtu"),
    ("link", 6, "qdisc"),
    ("link", 10, "master"),
    ("link", 13, "txqueuelen"),
    ("link", 16, "operational state"),
    ("link", 30, "promiscuity"),
    ("link", 31, "transmit queues"),
    ("link", 32, "receive queues"),
    ("link", 33, "carrier"),
    ("link", 40, "most segments of generic segmentation"),
    ("link", 41, "largest packet of generic segmentation"),
    ("qdisc", 1, "kind"),
    ("class", 1, "kind"),
    ("filter", 1, "kind"),
    ("filter", 11, "chain"),
];

fn treatment(sort: &str, number: u16) -> Option<&'static Treatment> {
    TREATMENTS
        .iter()
        .find(|(of, wanted, _)| *of == sort && (*wanted == number || *wanted == EACH))
        .map(|(.., treatment)| treatment)
}

fn name(sort: &str, number: u16) -> String {
    NAMES
        .iter()
        .find(|(of, wanted, _)| *of == sort && *wanted == number)
        .map_or_else(
            || format!("attribute {number}"),
            |(.., name)| (*name).to_owned(),
        )
}

/// Returns what is excluded and why, with the sorts of this file as names.
pub(super) fn restless(link: bool) -> Vec<(String, &'static str)> {
    let of_links = ["link", "families", "inet6", "data of", "port of"];
    TREATMENTS
        .iter()
        .filter(|(sort, ..)| of_links.iter().any(|start| sort.starts_with(start)) == link)
        .filter_map(|(sort, number, treatment)| match treatment {
            Moves(why) => Some((format!("{sort} {number}"), *why)),
            Begins(from, why) => Some((format!("{sort} {number} from byte {from}"), *why)),
            Holds(_) | HoldsByKind(..) => None,
        })
        .collect()
}

/// Iterates over the attributes, up to the first malformed one.
pub(super) fn all(bytes: &[u8]) -> impl Iterator<Item = NlaBuffer<&[u8]>> {
    NlasIterator::new(bytes).map_while(Result::ok)
}

/// Returns the text of an attribute, up to its terminating zero.
pub(super) fn text(bytes: &[u8], number: u16) -> Option<String> {
    let attribute = all(bytes).find(|attribute| attribute.kind() == number)?;
    let value = attribute.value();
    let end = value.iter().position(|byte| *byte == 0);
    Some(String::from_utf8_lossy(&value[..end.unwrap_or(value.len())]).into_owned())
}

/// Adds each attribute below the name of its object.
pub(super) fn put(seen: &mut BTreeMap<String, Seen>, what: &str, sort: &str, bytes: &[u8]) {
    for attribute in all(bytes) {
        let number = attribute.kind();
        let value = attribute.value();
        let named = unused(seen, format!("{what} {}", name(sort, number)));
        match treatment(sort, number) {
            Some(Moves(_)) => {}
            Some(Begins(length, _)) => {
                let begins = value.get(..*length).unwrap_or(value);
                seen.insert(named, Seen::Holds(begins.to_vec()));
            }
            Some(Holds(inner)) => put(seen, &named, inner, value),
            Some(HoldsByKind(inner, kind)) => {
                let kind = text(bytes, *kind).unwrap_or_default();
                let inner = format!("{inner} {kind}");
                // Other kinds may have a structure here instead.
                if TREATMENTS.iter().any(|(of, ..)| *of == inner) {
                    put(seen, &named, &inner, value);
                } else {
                    seen.insert(named, Seen::Holds(value.to_vec()));
                }
            }
            None => {
                seen.insert(named, Seen::Holds(value.to_vec()));
            }
        }
    }
}

/// Returns the name, or the name with the first unused number.
pub(super) fn unused(seen: &BTreeMap<String, Seen>, name: String) -> String {
    if !seen.contains_key(&name) {
        return name;
    }
    let mut number = 2;
    loop {
        let numbered = format!("{name} #{number}");
        if !seen.contains_key(&numbered) {
            return numbered;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(number: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(value.len() + 4)
            .unwrap()
            .to_ne_bytes()
            .to_vec();
        bytes.extend(number.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// A filter with packet counters, a verdict and the time of its last use.
    fn filter(class: u8, counted: u8, since: u8, verdict: u8) -> BTreeMap<String, Seen> {
        let action = [
            attribute(1, b"gact\0"),
            attribute(4, &[counted]),
            attribute(
                2,
                &[attribute(1, &[since]), attribute(2, &[verdict])].concat(),
            ),
        ];
        let options = [
            attribute(1, &[class]),
            attribute(9, &[counted]),
            attribute(7, &attribute(1, &action.concat())),
        ];
        let bytes = [
            attribute(1, b"u32\0"),
            attribute(2, &options.concat()),
            attribute(7, &[counted]),
        ];
        let mut seen = BTreeMap::new();
        put(&mut seen, "filter", "filter", &bytes.concat());
        seen
    }

    #[test]
    fn what_a_filter_counts_does_not_show_and_what_it_does_shows() {
        let was = filter(1, 2, 3, 4);
        assert_eq!(was.len(), 4, "{was:#?}");
        assert_eq!(filter(1, 200, 3, 4), was, "packets");
        assert_eq!(filter(1, 2, 30, 4), was, "time");
        assert_ne!(filter(9, 2, 3, 4), was, "its class");
        assert_ne!(filter(1, 2, 3, 5), was, "its verdict");
    }

    /// No treatment is shadowed by an earlier one or belongs to a sort that is not nested anywhere.
    #[test]
    fn every_treatment_is_reached() {
        for (place, (sort, number, _)) in TREATMENTS.iter().enumerate() {
            let first = TREATMENTS
                .iter()
                .position(|(of, wanted, _)| of == sort && wanted == number);
            assert_eq!(first, Some(place), "{sort} {number} is listed twice");
            let reached = ["link", "qdisc", "class", "filter"].contains(sort)
                || TREATMENTS.iter().any(|(.., outer)| match outer {
                    Holds(inner) => inner == sort,
                    HoldsByKind(inner, _) => sort.starts_with(inner),
                    Moves(_) | Begins(..) => false,
                });
            assert!(reached, "no attribute contains {sort}");
        }
    }
}
