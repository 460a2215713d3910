//! Options that the kernel shows differently from what it was given, or from what it accepts.

use hosttune_core::{Unsupported, UnsupportedKind};

use crate::bytes::Bytes;
use crate::netlink::{Attributes, Link, attributes, find};

/// The kinds whose options are attributes. The options of other kinds are a single structure.
const OF_ATTRIBUTES: [&str; 10] = [
    "cake", "cake_mq", "codel", "fq", "fq_codel", "fq_pie", "hhf", "htb", "pie", "tbf",
];

const TCA_HTB_INIT: u16 = 2;
/// The offset in `struct tc_htb_glob` of the count of packets that matched no class.
const HTB_COUNTS: usize = 16;

const TCA_CAKE_BASE_RATE64: u16 = 2;
const TCA_CAKE_OVERHEAD: u16 = 6;
const TCA_CAKE_AUTORATE: u16 = 9;
const TCA_CAKE_RAW: u16 = 12;

/// The rounding error of times that CoDel stores in units of 1.024 microseconds.
const MICROSECONDS: u32 = 2;

/// The attributes that hold times in CoDel's own unit.
fn times(kind: &str) -> &'static [u16] {
    match kind {
        "codel" => &[1, 3, 5],
        "fq_codel" => &[1, 3, 7],
        _ => &[],
    }
}

/// The options to send so that the kernel shows `given` again.
pub(super) fn to_send(kind: &str, given: &[u8]) -> Vec<u8> {
    let exact = |number: u16, value: &[u8]| -> Option<Vec<u8>> {
        if times(kind).contains(&number) {
            let shown = u32::from_ne_bytes(value.try_into().ok()?);
            return Some(unrounded(shown).to_ne_bytes().to_vec());
        }
        if kind == "htb" && number == TCA_HTB_INIT {
            // The kernel shows 0x30011 and accepts 3.
            let (version, rest) = value.split_first_chunk()?;
            let version = u32::from_ne_bytes(*version);
            let taken = if version > 0xffff {
                version >> 16
            } else {
                version
            };
            return Some([&taken.to_ne_bytes()[..], rest].concat());
        }
        None
    };
    if kind == "sfq" {
        return sfq(given);
    }
    if times(kind).is_empty() && kind != "htb" {
        return given.to_vec();
    }
    let all = attributes(given).fold(Attributes::new(), |all, attribute| {
        let changed = exact(attribute.number, attribute.value);
        all.with(
            attribute.number,
            changed.as_deref().unwrap_or(attribute.value),
        )
    });
    all.into_bytes()
}

/// Leaves out the limit if it was not requested. A requested limit also caps the number of flows,
/// so more flows than that, as by default, mean that no limit was requested.
fn sfq(given: &[u8]) -> Vec<u8> {
    // Offsets in `struct tc_sfq_qopt`.
    const LIMIT: usize = 8;
    const FLOWS: usize = 16;
    let word = |at: usize| {
        let word = given.get(at..at + 4)?;
        Some(u32::from_ne_bytes(word.try_into().ok()?))
    };
    let mut sent = given.to_vec();
    if word(FLOWS) > word(LIMIT)
        && let Some(limit) = sent.get_mut(LIMIT..LIMIT + 4)
    {
        limit.fill(0);
    }
    sent
}

/// The microseconds to send so that CoDel shows `shown`: it rounds down both on input and on
/// output.
fn unrounded(shown: u32) -> u32 {
    let kept = (u64::from(shown) * 1000).div_ceil(1024);
    u32::try_from((kept * 1024).div_ceil(1000)).unwrap_or(shown)
}

/// What `cake_mq` requires of a link and of its options. The kernel rejects it without a message.
pub(super) fn cake_mq_lacks(link: &Link, wanted: Option<&Bytes>) -> Option<Unsupported> {
    let (why, hint) = if link.transmit_queues.is_some_and(|queues| queues < 2) {
        (
            format!(
                "{} has one transmit queue: cake_mq needs several",
                link.name
            ),
            "use cake, or give the device more queues with ethtool -L",
        )
    } else if autorate(wanted?.as_slice()) {
        (
            "cake_mq has no autorate-ingress".to_owned(),
            "set a bandwidth, or use cake",
        )
    } else {
        return None;
    };
    Some(Unsupported::new(UnsupportedKind::ValueUnavailable, why).hint(hint))
}

/// Whether these options of CAKE let the kernel estimate the bandwidth.
fn autorate(options: &[u8]) -> bool {
    find(options, TCA_CAKE_AUTORATE).is_some_and(|on| on.u32().unwrap_or(0) != 0)
}

/// Whether requesting `wanted` results in the options that were seen.
pub(super) fn alike(kind: &str, seen: Option<&Bytes>, wanted: Option<&Bytes>) -> bool {
    let bytes = |options: Option<&Bytes>| {
        options.map_or_else(Vec::new, |options| options.as_slice().to_vec())
    };
    let (seen, wanted) = (bytes(seen), bytes(wanted));
    if seen == wanted {
        return true;
    }
    if !OF_ATTRIBUTES.contains(&kind) {
        return false;
    }
    let is_cake = kind.starts_with("cake");
    let autorate = is_cake && autorate(&wanted);
    // The kernel counts raw packets until an overhead is given.
    if is_cake
        && find(&wanted, TCA_CAKE_OVERHEAD).is_some()
        && find(&wanted, TCA_CAKE_RAW).is_none()
        && find(&seen, TCA_CAKE_RAW).is_some()
    {
        return false;
    }
    attributes(&wanted).all(|wanted| {
        if autorate && wanted.number == TCA_CAKE_BASE_RATE64 {
            return true;
        }
        let Some(seen) = find(&seen, wanted.number) else {
            return false;
        };
        if is_cake && wanted.number == TCA_CAKE_RAW || seen.value == wanted.value {
            return true;
        }
        match (seen.u32(), wanted.u32()) {
            (Some(seen), Some(wanted_time)) if times(kind).contains(&wanted.number) => {
                seen.abs_diff(wanted_time) <= MICROSECONDS
            }
            _ if kind == "htb" && wanted.number == TCA_HTB_INIT => {
                htb(seen.value) == htb(wanted.value)
            }
            _ => false,
        }
    })
}

/// Leaves out the version, which input and output encode differently, and the count.
fn htb(value: &[u8]) -> &[u8] {
    value.get(4..HTB_COUNTS).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(number: u16, word: u32) -> Attributes {
        Attributes::new().with(number, &word.to_ne_bytes())
    }

    fn bytes(attributes: Attributes) -> Bytes {
        attributes.into_bytes().into()
    }

    /// The calculation of `codel_time_to_us` and the netlink policy.
    fn kernel_shows(asked: u32) -> u32 {
        let kept = (u64::from(asked) * 1000) >> 10;
        u32::try_from((kept << 10) / 1000).unwrap()
    }

    #[test]
    fn what_codel_shows_is_asked_for_so_that_it_shows_it_again() {
        for asked in (0..200_000).chain([u32::MAX, u32::MAX - 1, 1_000_000_007]) {
            let shown = kernel_shows(asked);
            assert!(asked - shown <= MICROSECONDS, "{asked}");
            assert_eq!(kernel_shows(unrounded(shown)), shown, "{asked}");
        }
    }

    #[test]
    fn only_what_the_kernel_cannot_tell_apart_counts_as_the_same() {
        let alike = |kind, seen, wanted| alike(kind, Some(&bytes(seen)), Some(&bytes(wanted)));
        assert!(alike("fq_codel", of(1, 4999), of(1, 5000)));
        assert!(!alike("fq_codel", of(1, 4990), of(1, 5000)));
        assert!(!alike("fq_codel", of(2, 4999), of(2, 5000)), "a limit");
        assert!(!alike("pfifo", of(1, 4999), of(1, 5000)));
        // Options that were not requested may have any value.
        let more = || of(7, 100).with(8, &[1, 2, 3, 4]);
        assert!(alike("cake", more(), of(7, 100)));
        assert!(!alike("cake", of(7, 100), more()));
    }

    #[test]
    fn cake_is_raw_only_where_no_overhead_is_asked_for() {
        let alike = |seen, wanted| alike("cake", Some(&bytes(seen)), Some(&bytes(wanted)));
        let raw = |attributes: Attributes| attributes.with(TCA_CAKE_RAW, &[0; 4]);
        assert!(!alike(
            raw(of(TCA_CAKE_OVERHEAD, 0)),
            of(TCA_CAKE_OVERHEAD, 0)
        ));
        assert!(alike(raw(of(7, 1)), of(7, 1)));
        let rate = |rate: u64| of(TCA_CAKE_AUTORATE, 1).with(2, &rate.to_ne_bytes());
        assert!(alike(rate(5), rate(6)), "autorate moves it");
    }

    #[test]
    fn sfq_is_asked_for_a_limit_only_where_somebody_asked_for_one() {
        let words = |words: [u32; 5]| words.map(u32::to_ne_bytes).concat();
        let default = words([1514, 10, 127, 1024, 128]);
        assert_eq!(to_send("sfq", &default), words([1514, 10, 0, 1024, 128]));
        let limited = words([1514, 10, 99, 1024, 99]);
        assert_eq!(to_send("sfq", &limited), limited);
        assert_eq!(to_send("sfq", &[1, 2, 3]), [1, 2, 3]);
    }

    #[test]
    fn htb_is_sent_the_version_that_it_takes() {
        let glob = |version: u32| {
            let words = [version, 10, 0x30, 0, 7].map(u32::to_ne_bytes).concat();
            Attributes::new().with(TCA_HTB_INIT, &words).into_bytes()
        };
        assert_eq!(to_send("htb", &glob(0x3_0011)), glob(3));
        assert_eq!(to_send("htb", &glob(3)), glob(3));
        assert_eq!(to_send("pfifo", &[1, 2, 3]), [1, 2, 3]);
    }
}
