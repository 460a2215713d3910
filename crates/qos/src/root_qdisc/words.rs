//! A root qdisc as it is printed: its options in the words of `tc` as far as they are known, and a checksum
//! of what is not expressed. Roots that differ never look the same.

use hosttune_netlink::u32_at;

use super::{Attached, ExplicitRoot};
use crate::bytes::Bytes;
use crate::cake::Cake;
use crate::link::hash;
use crate::netlink::{attributes, find, format_handle};
use crate::qdisc::{CAKE_MQ, NANOSECONDS_PER_TICK, TCA_TBF_PARMS, TCA_TBF_RATE64};
use crate::rate::Rate;

/// The options of these kinds are attributes of 32 bits: number, word, unit.
const CODEL: [(u16, &str, &str); 5] = [
    (1, "target", "us"),
    (2, "limit", "p"),
    (3, "interval", "us"),
    (4, "ecn", ""),
    (5, "ce_threshold", "us"),
];
const FQ_CODEL: [(u16, &str, &str); 9] = [
    (2, "limit", "p"),
    (5, "flows", ""),
    (6, "quantum", ""),
    (1, "target", "us"),
    (7, "ce_threshold", "us"),
    (3, "interval", "us"),
    (9, "memory_limit", "b"),
    (4, "ecn", ""),
    (8, "drop_batch", ""),
];

/// Offsets in `struct tc_tbf_qopt`, and its size.
const RATE: usize = 8;
const LIMIT: usize = 24;
const BUFFER: usize = 28;
const TBF_SIZE: usize = 36;
/// The offset in `struct tc_ratespec` of the kind of link, which the kernel fills in.
const LINK_LAYER: usize = 1;

/// The number of priorities in `struct tc_prio_qopt`, behind the number of bands.
const PRIORITIES: usize = 16;

/// The root as it is printed.
pub(super) fn shown(root: &ExplicitRoot) -> String {
    let mut shown = format!("{} {}", root.kind, format_handle(root.handle));
    let raw = root.options.as_ref().map_or(&[][..], Bytes::as_slice);
    match cake(root).or_else(|| words(&root.kind, raw)) {
        Some(words) if words.is_empty() => {}
        Some(words) => shown.push_str(&format!(" {words}")),
        None => shown.push_str(&format!(" options {}", checksum(raw))),
    }
    if !root.children.is_empty() {
        let below: Vec<u8> = root.children.iter().flat_map(whole).collect();
        let number = root.children.len();
        shown.push_str(&format!(" with {number} below it ({})", checksum(&below)));
    }
    if !root.lost.is_empty() {
        shown.push_str(&format!(", cannot be restored: {}", root.lost.join(", ")));
    }
    shown
}

/// All that is known of a qdisc below the root, one field after the other.
fn whole(child: &Attached) -> Vec<u8> {
    let Attached {
        parent,
        kind,
        handle,
        options,
    } = child;
    let options = options.as_ref().map_or(&[][..], Bytes::as_slice);
    let length = u32::try_from(options.len()).unwrap_or(u32::MAX);
    let numbers = [*parent, *handle, length].map(u32::to_ne_bytes).concat();
    [&numbers, kind.as_bytes(), &[0], options].concat()
}

fn checksum(bytes: &[u8]) -> String {
    let hash = hash(bytes);
    format!("{:08x}", (hash ^ (hash >> 32)) & u64::from(u32::MAX))
}

/// The options of CAKE, if all of them can be expressed.
fn cake(root: &ExplicitRoot) -> Option<String> {
    let options = root.options.as_ref();
    let options = options.filter(|_| matches!(root.kind.as_str(), "cake" | CAKE_MQ))?;
    let (cake, unknown) = Cake::from_attributes(options.as_slice()).ok()?;
    unknown.is_empty().then(|| format!("{cake:#}"))
}

/// The options in the words of `tc`, if these express all of them; empty if there are none.
fn words(kind: &str, options: &[u8]) -> Option<String> {
    if options.is_empty() {
        return Some(String::new());
    }
    match kind {
        "pfifo" | "pfifo_head_drop" => Some(format!("limit {}p", one_word(options)?)),
        "bfifo" => Some(format!("limit {}b", one_word(options)?)),
        "prio" | "pfifo_fast" => bands(options),
        "tbf" => bucket(options),
        "codel" => numbers(&CODEL, options),
        "fq_codel" => numbers(&FQ_CODEL, options),
        _ => None,
    }
}

fn one_word(options: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(options.try_into().ok()?))
}

fn bands(options: &[u8]) -> Option<String> {
    let (bands, priorities) = options.split_first_chunk()?;
    if priorities.len() != PRIORITIES {
        return None;
    }
    let map: Vec<String> = priorities.iter().map(ToString::to_string).collect();
    let bands = i32::from_ne_bytes(*bands);
    Some(format!("bands {bands} priomap {}", map.join(" ")))
}

/// A token bucket without a peak rate, as `Qdisc::tbf` makes it.
fn bucket(options: &[u8]) -> Option<String> {
    let mut all = attributes(options);
    let is_known = all.all(|attribute| matches!(attribute.number, TCA_TBF_PARMS | TCA_TBF_RATE64));
    let parameters = find(options, TCA_TBF_PARMS)?.value;
    let mut rest = parameters.to_vec();
    *rest.get_mut(LINK_LAYER)? = 0;
    for used in [RATE, LIMIT, BUFFER] {
        rest.get_mut(used..used + 4)?.fill(0);
    }
    let rate = match find(options, TCA_TBF_RATE64) {
        Some(rate) => rate.u64()?,
        None => u64::from(u32_at(parameters, RATE)?),
    };
    let limit = u32_at(parameters, LIMIT)?;
    let ticks = u64::from(u32_at(parameters, BUFFER)?);
    // The kernel keeps the time that the bucket takes to fill, which several sizes have.
    let second = u128::from(1_000_000_000 / NANOSECONDS_PER_TICK);
    let burst = (u128::from(ticks) * u128::from(rate)).div_ceil(second);
    let again = (burst * second).checked_div(u128::from(rate));
    let is_whole = parameters.len() == TBF_SIZE
        && rest.iter().all(|byte| *byte == 0)
        && is_known
        && all.rest().is_empty()
        && again == Some(u128::from(ticks));
    let rate = Rate::bytes_per_second(rate).ok()?;
    is_whole.then(|| format!("rate {rate} burst {burst}b limit {limit}b"))
}

/// Attributes of 32 bits each, in the order in which `tc` prints them.
fn numbers(known: &[(u16, &str, &str)], options: &[u8]) -> Option<String> {
    let mut all = attributes(options);
    let mut count = 0;
    for attribute in all.by_ref() {
        attribute.u32()?;
        known
            .iter()
            .find(|(number, ..)| *number == attribute.number)?;
        count += 1;
    }
    let words: Vec<String> = known
        .iter()
        .filter_map(|(number, word, unit)| {
            let value = find(options, *number)?.u32()?;
            Some(format!("{word} {value}{unit}"))
        })
        .collect();
    // An attribute that comes twice, or bytes behind the last one, are not expressed.
    (words.len() == count && all.rest().is_empty()).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::netlink::Attributes;
    use crate::qdisc::Qdisc;

    fn root(kind: &str, options: impl Into<Vec<u8>>) -> ExplicitRoot {
        ExplicitRoot {
            kind: kind.to_owned(),
            handle: 12 << 16,
            options: Some(Bytes::from(options.into())),
            children: Vec::new(),
            lost: Vec::new(),
            discards: false,
        }
    }

    #[test]
    fn options_are_shown_in_the_words_of_tc() {
        let tbf = Qdisc::tbf(500_000, 20_000, 100_000);
        let prio = [&4_i32.to_ne_bytes()[..], &[1; 16]].concat();
        let of = |number, word: u32| Attributes::new().with(number, &word.to_ne_bytes());
        let codel = of(1, 4999).with(2, &10_240_u32.to_ne_bytes());
        for (root, expected) in [
            (root("pfifo", 77_u32.to_ne_bytes()), "pfifo c: limit 77p"),
            (root("bfifo", 77_u32.to_ne_bytes()), "bfifo c: limit 77b"),
            (
                root("prio", prio),
                "prio c: bands 4 priomap 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
            ),
            (
                root("tbf", tbf.options.as_slice()),
                "tbf c: rate 4mbit burst 20000b limit 100000b",
            ),
            (
                root("fq_codel", codel.into_bytes()),
                "fq_codel c: limit 10240p target 4999us",
            ),
            (root("noqueue", []), "noqueue c:"),
        ] {
            assert_eq!(shown(&root), expected);
        }
        let other = shown(&root("sfq", [1, 2, 3]));
        assert!(other.starts_with("sfq c: options "), "{other}");
    }

    /// Options of a few bytes, valid or not, and those of token buckets.
    fn options() -> impl Strategy<Value = Vec<u8>> {
        let numbers = prop::collection::vec((0..12_u16, 0..3_u32), 0..4).prop_map(|all| {
            let all = all
                .into_iter()
                .fold(Attributes::new(), |all, (number, word)| {
                    all.with(number, &word.to_ne_bytes())
                });
            all.into_bytes()
        });
        let bucket = (
            1..9_u64,
            1..40_u32,
            0..3_u32,
            prop::option::of((0..36_usize, any::<u8>())),
        );
        let bucket = bucket.prop_map(|(rate, burst, limit, changed)| {
            let mut options = Qdisc::tbf(rate * 1_000_003, burst, limit)
                .options
                .as_slice()
                .to_vec();
            if let Some((at, byte)) = changed {
                options[4 + at] = byte;
            }
            options
        });
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..24),
            prop::collection::vec(0..2_u8, 20),
            numbers,
            bucket,
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn roots_that_differ_never_look_the_same(
            kind in prop::sample::select(vec!["pfifo", "bfifo", "prio", "tbf", "codel", "fq_codel", "sfq"]),
            one in options(),
            other in options(),
        ) {
            let (one, other) = (root(kind, one), root(kind, other));
            let same = shown(&one) == shown(&other);
            // What kind of link a token bucket counts for is filled in by the kernel.
            let alike = super::super::options::alike(kind, one.options.as_ref(), other.options.as_ref());
            prop_assert!(one == other || !same || alike || kind == "tbf" && same_bucket(&one, &other));
        }
    }

    /// Whether two token buckets differ only in the kind of link.
    fn same_bucket(one: &ExplicitRoot, other: &ExplicitRoot) -> bool {
        let without = |root: &ExplicitRoot| {
            let mut options = root.options.as_ref().unwrap().as_slice().to_vec();
            options[4 + LINK_LAYER] = 0;
            options
        };
        without(one) == without(other)
    }
}
