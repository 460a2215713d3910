//! What the kernel makes of the options given to a queueing discipline.

use super::{Answered, refuse};
use crate::netlink::{Attribute, Attributes, EINVAL, EOPNOTSUPP, attributes, find};

/// The attributes in the order in which the kernel shows them, with their default values.
const CAKE: [(u16, u32); 16] = [
    (5, 7),
    (7, 100000),
    (8, 5000),
    (10, 0),
    (9, 0),
    (15, 0),
    (16, 0),
    (11, 0),
    (3, 0),
    (13, 0),
    (6, 0),
    (12, 0),
    (4, 0),
    (14, 0),
    (17, 1),
    (18, 0),
];
const BASE_RATE64: u16 = 2;
const OVERHEAD: u16 = 6;
const RTT: u16 = 7;
const AUTORATE: u16 = 9;
const RAW: u16 = 12;

const FQ_CODEL: [(u16, u32); 8] = [
    (1, 4999),
    (2, 10240),
    (3, 99999),
    (4, 1),
    (6, 1514),
    (8, 64),
    (9, 33554432),
    (5, 1024),
];

/// The options of a queueing discipline after it was given `options`. `was` has its previous
/// options, if it is changed and not created.
pub(super) fn given(
    kind: &str,
    was: Option<&[u8]>,
    options: Option<&[u8]>,
) -> Answered<Option<Vec<u8>>> {
    let options = options.unwrap_or_default();
    Ok(match kind {
        "mq" | "noqueue" | "ingress" | "clsact" | "pfifo_fast" | "sfq" if was.is_some() => {
            return refuse(EINVAL, "Change operation not supported by specified qdisc");
        }
        "mq" | "noqueue" | "ingress" | "clsact" => None,
        "cake_mq" if value(find(options, AUTORATE), 0) != 0 => {
            return refuse(EOPNOTSUPP, "Can't use autorate-ingress with cake_mq");
        }
        "cake" | "cake_mq" => Some(cake(was, options)),
        "fq_codel" => Some(fq_codel(was, options)),
        "sfq" => Some(sfq(options)?),
        "tbf" => {
            let Some(parameters) = find(options, 1) else {
                return refuse(EINVAL, "");
            };
            let mut shown = Attributes::new().with(1, parameters.value);
            if let Some(rate) = find(options, 4) {
                shown = shown.with(4, rate.value);
            }
            Some(shown.into_bytes())
        }
        "pfifo" if options.is_empty() => Some(1000_u32.to_ne_bytes().to_vec()),
        "pfifo" if options.len() < 4 => return refuse(EINVAL, ""),
        "pfifo_fast" => {
            let bands = [1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];
            Some([&3_u32.to_ne_bytes()[..], &bands].concat())
        }
        _ if options.is_empty() => return refuse(EINVAL, ""),
        _ => Some(options.to_vec()),
    })
}

fn value(of: Option<Attribute<'_>>, otherwise: u32) -> u32 {
    of.and_then(|attribute| attribute.u32())
        .unwrap_or(otherwise)
}

/// An option that is not given keeps its value, also on a change.
fn cake(was: Option<&[u8]>, options: &[u8]) -> Vec<u8> {
    let before = was.unwrap_or_default();
    let rate = find(options, BASE_RATE64).or_else(|| find(before, BASE_RATE64));
    let mut shown = Attributes::new().with(BASE_RATE64, rate.map_or(&[0; 8], |rate| rate.value));
    let raw = find(options, RAW).is_some()
        || find(options, OVERHEAD).is_none() && (was.is_none() || find(before, RAW).is_some());
    for (number, default) in CAKE {
        let asked = value(find(options, number), value(find(before, number), default));
        let kept = match number {
            RAW if raw => 0,
            RAW => continue,
            RTT => asked.max(1),
            _ => asked,
        };
        shown = shown.with(number, &kept.to_ne_bytes());
    }
    shown.into_bytes()
}

/// The kernel keeps the times in units of 1.024 microseconds, and rounds down twice.
fn fq_codel(was: Option<&[u8]>, options: &[u8]) -> Vec<u8> {
    let before = was.unwrap_or_default();
    let mut shown = Attributes::new();
    for (number, default) in FQ_CODEL {
        let asked = find(options, number).and_then(|asked| asked.u32());
        let kept = match asked {
            Some(asked) if matches!(number, 1 | 3) => {
                let kept = (u64::from(asked) * 1000) >> 10;
                u32::try_from((kept << 10) / 1000).unwrap_or(asked)
            }
            Some(asked) => asked,
            None => value(find(before, number), default),
        };
        shown = shown.with(number, &kept.to_ne_bytes());
    }
    // An option without a default is shown only if it was set.
    for attribute in attributes(options).filter(|attribute| attribute.number == 7) {
        shown = shown.with(7, attribute.value);
    }
    shown.into_bytes()
}

/// The number of flows never exceeds a requested limit; by default it is one more than the limit.
fn sfq(options: &[u8]) -> Answered<Vec<u8>> {
    const LENGTH: usize = 72;
    let mut words = vec![1514, 0, 127, 1024, 128, 127];
    words.resize(LENGTH / 4, 0);
    if options.is_empty() {
        return Ok(bytes(&words));
    }
    if options.len() < 20 {
        return refuse(EINVAL, "");
    }
    let asked = self::words(options);
    for at in [0, 3, 4] {
        if asked[at] != 0 {
            words[at] = asked[at];
        }
    }
    words[1] = asked[1];
    if asked[2] != 0 {
        words[2] = asked[2];
        words[4] = words[4].min(asked[2]);
    }
    Ok(bytes(&words))
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|word| u32::from_ne_bytes(*word))
        .collect()
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}
