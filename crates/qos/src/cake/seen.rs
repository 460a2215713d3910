//! The options of a CAKE qdisc as shown by a kernel.

use std::collections::BTreeMap;

use hosttune_netlink::AttributeIter;
use serde::{Deserialize, Serialize};

use super::{
    AckFilter, Bandwidth, Cake, CakeOption, Diffserv, Direction, FlowMode, Framing, MarkMask,
    MemoryLimit, MinimumPacket, Overhead, RoundTripTime,
};

/// An unknown attribute: one with a number that this program has no option for, or with a size other
/// than that of its option.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Unknown {
    /// The number of the attribute, or 0 for trailing bytes that are not an attribute.
    pub number: u16,
    /// The value, as received.
    pub bytes: Vec<u8>,
}

/// What a kernel shows of one CAKE qdisc, which may be more, less or other than this program knows.
///
/// The kernel stores numbers that are meaningless to it, such as 99 for the sorting into tins, and a
/// newer kernel may have options that are unknown here. Neither keeps the rest from being read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Seen {
    /// The value of each option that was shown. `Raw` is 1 or absent. A bandwidth of 2⁶³ bytes per
    /// second or more is among the unknown attributes.
    pub values: BTreeMap<CakeOption, i64>,
    /// The other attributes that were shown.
    pub unknown: Vec<Unknown>,
}

/// The attribute that pads before one of eight bytes, so that it is aligned.
const PADDING: u16 = 1;

impl Seen {
    /// Reads the payload of `TCA_OPTIONS`. Accepts any bytes.
    pub fn read(options: &[u8]) -> Self {
        let mut seen = Self::default();
        let mut walk = AttributeIter::new(options);
        for attribute in walk.by_ref() {
            let option = CakeOption::from_number(attribute.number);
            let value = match option {
                Some(CakeOption::Raw) => Some(1),
                Some(CakeOption::Overhead) => attribute.i32().map(i64::from),
                Some(CakeOption::Bandwidth) => {
                    attribute.u64().and_then(|bytes| i64::try_from(bytes).ok())
                }
                Some(_) => attribute.u32().map(i64::from),
                None if attribute.number == PADDING => continue,
                None => None,
            };
            match (option, value) {
                (Some(option), Some(value)) => {
                    seen.values.insert(option, value);
                }
                _ => seen.unknown.push(Unknown {
                    number: attribute.number,
                    bytes: attribute.value.to_vec(),
                }),
            }
        }
        if !walk.rest().is_empty() {
            seen.unknown.push(Unknown {
                number: 0,
                bytes: walk.rest().to_vec(),
            });
        }
        seen
    }

    /// The options that were not shown, or not in a readable form. Never `Raw`, whose absence means
    /// that it is off.
    pub fn missing(&self) -> Vec<CakeOption> {
        CakeOption::ALL
            .into_iter()
            .filter(|option| *option != CakeOption::Raw && !self.values.contains_key(option))
            .collect()
    }

    /// The value of this option. `Raw` always has one.
    pub fn value(&self, option: CakeOption) -> Option<i64> {
        let absent = (option == CakeOption::Raw).then_some(0);
        self.values.get(&option).copied().or(absent)
    }

    /// These options as a [`Cake`].
    ///
    /// # Errors
    ///
    /// If an option was not shown or has a value that `tc` has no word for.
    pub fn cake(&self) -> Result<Cake, NotExpressible> {
        let mut options = Vec::new();
        let mut cake = Cake::default();
        for option in CakeOption::ALL {
            let value = self.value(option);
            if value
                .and_then(|value| set(&mut cake, option, value))
                .is_none()
            {
                options.push(Inexpressible { option, value });
            }
        }
        if options.is_empty() {
            Ok(cake)
        } else {
            Err(NotExpressible { options })
        }
    }
}

/// Returns `None` if the option has no such value.
fn set(cake: &mut Cake, option: CakeOption, value: i64) -> Option<()> {
    let number = u32::try_from(value).ok();
    match option {
        CakeOption::Bandwidth => {
            cake.bandwidth = Bandwidth::from_bytes_per_second(u64::try_from(value).ok()?).ok()?;
        }
        CakeOption::Diffserv => cake.diffserv = Diffserv::from_number(number?)?,
        CakeOption::Framing => cake.framing = Framing::from_number(number?)?,
        CakeOption::Flows => cake.flows = FlowMode::from_number(number?)?,
        CakeOption::Overhead => cake.overhead = Overhead::new(value).ok()?,
        CakeOption::Rtt => cake.rtt = RoundTripTime::microseconds(number?).ok()?,
        // The target comes after the time that it is derived from.
        CakeOption::Target => return (number? == cake.rtt.target()).then_some(()),
        CakeOption::AutorateIngress => cake.autorate_ingress = value != 0,
        CakeOption::Memlimit => cake.memlimit = MemoryLimit::bytes(number?),
        CakeOption::Nat => cake.nat = value != 0,
        CakeOption::Raw => cake.raw = value != 0,
        CakeOption::Wash => cake.wash = value != 0,
        CakeOption::Mpu => cake.mpu = MinimumPacket::new(value).ok()?,
        CakeOption::Direction => {
            cake.direction = if value == 0 {
                Direction::Egress
            } else {
                Direction::Ingress
            };
        }
        CakeOption::AckFilter => cake.ack_filter = AckFilter::from_number(number?)?,
        CakeOption::SplitGso => cake.split_gso = value != 0,
        CakeOption::Fwmark => cake.fwmark = MarkMask::new(number?),
    }
    Some(())
}

/// An option whose value cannot be expressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inexpressible {
    /// The option.
    pub option: CakeOption,
    /// The value, if it was shown.
    pub value: Option<i64>,
}

/// The qdisc has options that no words of `tc` result in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the kernel shows CAKE options that cannot be expressed: {}; the qdisc was not set with tc, or this kernel version is unknown here",
    listed(options)
)]
#[non_exhaustive]
pub struct NotExpressible {
    /// The options that cannot be expressed.
    pub options: Vec<Inexpressible>,
}

fn listed(options: &[Inexpressible]) -> String {
    let texts: Vec<String> = options
        .iter()
        .map(|Inexpressible { option, value }| match value {
            Some(value) => format!("{option} is {}", option.in_words(*value)),
            None => format!("{option} is not shown"),
        })
        .collect();
    texts.join(", ")
}

impl Cake {
    /// Reads the payload of `TCA_OPTIONS`, and returns the unknown attributes along with the options.
    ///
    /// # Errors
    ///
    /// If an option was not shown or has a value that cannot be expressed. [`Seen::read`] returns
    /// what there is.
    pub fn from_attributes(options: &[u8]) -> Result<(Self, Vec<Unknown>), NotExpressible> {
        let seen = Seen::read(options);
        Ok((seen.cake()?, seen.unknown))
    }
}

#[cfg(test)]
#[path = "seen_tests.rs"]
mod tests;
