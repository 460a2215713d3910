//! Counters of the kernel: of qdiscs, actions and links.

use hosttune_netlink::numbers::*;
use hosttune_netlink::{Message, attributes, find};
use serde::{Deserialize, Serialize};

use super::traffic_numbers::*;
use super::{Filter, TrafficControl};
use crate::cake;

const TCA_STATS_BASIC: u16 = 1;
const TCA_STATS_QUEUE: u16 = 3;
const TCA_STATS_APP: u16 = 4;
const TCA_STATS_PKT64: u16 = 8;

/// Counters that the kernel keeps of every qdisc, class and action.
///
/// A counter that the kernel does not show, or not in the expected size, is `None` and not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TrafficStatistics {
    /// Bytes sent, with the lengths that the kernel sees.
    pub bytes: Option<u64>,
    /// Packets sent. A packet that the card splits counts as the packets it is split into.
    pub packets: Option<u64>,
    /// Packets in the queue now.
    pub queued_packets: Option<u32>,
    /// Bytes in the queue now.
    pub backlog_bytes: Option<u32>,
    /// Packets dropped.
    pub drops: Option<u32>,
    /// Packets that the link did not accept and that were queued again.
    pub requeues: Option<u32>,
    /// How often a packet could not be sent yet because of the rate limit. For an action, how often
    /// it failed.
    pub overlimits: Option<u32>,
}

impl TrafficStatistics {
    /// Reads the payload of `TCA_STATS2` or of `TCA_ACT_STATS`. Accepts any bytes.
    pub fn read(bytes: &[u8]) -> Self {
        let mut read = Self::default();
        let mut more_than_32_bits = None;
        for attribute in attributes(bytes) {
            let word = |place: usize| {
                let (words, _) = attribute.value.as_chunks::<4>();
                words.get(place).map(|word| u32::from_ne_bytes(*word))
            };
            match attribute.number {
                TCA_STATS_BASIC => {
                    read.bytes = long(attribute.value, 0);
                    read.packets = word(2).map(u64::from);
                }
                TCA_STATS_QUEUE => {
                    read.queued_packets = word(0);
                    read.backlog_bytes = word(1);
                    read.drops = word(2);
                    read.requeues = word(3);
                    read.overlimits = word(4);
                }
                // Only present if the counter next to the bytes is too small.
                TCA_STATS_PKT64 => more_than_32_bits = long(attribute.value, 0),
                _ => {}
            }
        }
        read.packets = more_than_32_bits.or(read.packets);
        read
    }

    /// Packets that came in: sent, dropped, or still queued.
    pub fn taken_packets(&self) -> Option<u64> {
        let others = u64::from(self.drops.unwrap_or_default())
            + u64::from(self.queued_packets.unwrap_or_default());
        Some(self.packets?.saturating_add(others))
    }
}

/// The 8-byte number at this position, counted in numbers.
fn long(bytes: &[u8], place: usize) -> Option<u64> {
    let (words, _) = bytes.as_chunks::<8>();
    words.get(place).map(|word| u64::from_ne_bytes(*word))
}

impl TrafficControl {
    /// The counters, or `None` if the kernel does not show any.
    pub fn statistics(&self) -> Option<TrafficStatistics> {
        find(&self.attributes, TCA_STATS2).map(|told| TrafficStatistics::read(told.value))
    }

    /// The counters of CAKE itself, or `None` if it is not CAKE or the kernel does not show them.
    pub fn cake_statistics(&self) -> Option<cake::Statistics> {
        if !self.kind.starts_with("cake") {
            return None;
        }
        let told = find(&self.attributes, TCA_STATS2)?;
        let own = find(told.value, TCA_STATS_APP)?;
        Some(cake::Statistics::read(own.value))
    }
}

impl Filter {
    /// The counters of its first action, if that is `mirred`.
    pub fn mirred_statistics(&self) -> Option<TrafficStatistics> {
        self.mirred()?;
        let told = find(self.first_action()?, TCA_ACT_STATS)?;
        Some(TrafficStatistics::read(told.value))
    }
}

/// The kernel's counters of a link, in packets as the driver counts them.
///
/// A counter that the kernel does not show is `None` and not zero. Some drivers query their
/// hardware once a second, so counters can be that old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LinkStatistics {
    /// Packets received.
    pub received_packets: Option<u64>,
    /// Packets sent.
    pub transmitted_packets: Option<u64>,
    /// Bytes received.
    pub received_bytes: Option<u64>,
    /// Bytes sent.
    pub transmitted_bytes: Option<u64>,
    /// Damaged packets received.
    pub receive_errors: Option<u64>,
    /// Packets that could not be sent.
    pub transmit_errors: Option<u64>,
    /// Packets received and dropped, for lack of space or of a receiver.
    pub received_dropped_packets: Option<u64>,
    /// Packets dropped on the way out, below the qdisc.
    pub transmitted_dropped_packets: Option<u64>,
}

impl LinkStatistics {
    /// Reads the payload of `IFLA_STATS64`. Accepts any bytes.
    pub fn read(bytes: &[u8]) -> Self {
        Self {
            received_packets: long(bytes, 0),
            transmitted_packets: long(bytes, 1),
            received_bytes: long(bytes, 2),
            transmitted_bytes: long(bytes, 3),
            receive_errors: long(bytes, 4),
            transmit_errors: long(bytes, 5),
            received_dropped_packets: long(bytes, 6),
            transmitted_dropped_packets: long(bytes, 7),
        }
    }

    /// Reads the counters from an answer about a link.
    pub(super) fn of(message: &Message) -> Self {
        let attributes = message.payload.get(super::links::FIXED..);
        find(attributes.unwrap_or_default(), IFLA_STATS64)
            .map_or_else(Self::default, |told| Self::read(told.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Attributes;
    use proptest::prelude::*;

    fn basic(bytes: u64, packets: u32) -> Vec<u8> {
        [&bytes.to_ne_bytes()[..], &packets.to_ne_bytes(), &[0; 4]].concat()
    }

    #[test]
    fn each_counter_has_its_place() {
        let queue = [1_u32, 2, 3, 4, 5].map(u32::to_ne_bytes).concat();
        let told = Attributes::new()
            .with(TCA_STATS_BASIC, &basic(1 << 40, 7))
            .with(TCA_STATS_QUEUE, &queue)
            .into_bytes();
        let read = TrafficStatistics::read(&told);
        assert_eq!(
            read,
            TrafficStatistics {
                bytes: Some(1 << 40),
                packets: Some(7),
                queued_packets: Some(1),
                backlog_bytes: Some(2),
                drops: Some(3),
                requeues: Some(4),
                overlimits: Some(5),
            }
        );
        assert_eq!(read.taken_packets(), Some(7 + 3 + 1));
        let all: Vec<u8> = (1..=24_u64).flat_map(u64::to_ne_bytes).collect();
        let link = LinkStatistics::read(&all);
        assert_eq!(
            (link.received_packets, link.transmitted_packets),
            (Some(1), Some(2))
        );
        assert_eq!(link.transmitted_dropped_packets, Some(8));
    }

    #[test]
    fn packets_beyond_32_bits_are_told_apart_and_counted_whole() {
        let told = Attributes::new()
            .with(TCA_STATS_PKT64, &(5_u64 << 32).to_ne_bytes())
            .with(TCA_STATS_BASIC, &basic(1 << 50, 0))
            .into_bytes();
        assert_eq!(TrafficStatistics::read(&told).packets, Some(5 << 32));
    }

    #[test]
    fn what_is_not_told_is_not_zero() {
        let nothing = TrafficStatistics::read(&[]);
        assert_eq!(nothing, TrafficStatistics::default());
        assert_eq!(nothing.taken_packets(), None);
        let short = Attributes::new()
            .with(TCA_STATS_BASIC, &basic(9, 9)[..8])
            .with(TCA_STATS_QUEUE, &[7, 0, 0, 0, 1, 1])
            .into_bytes();
        let read = TrafficStatistics::read(&short);
        assert_eq!((read.bytes, read.packets), (Some(9), None));
        assert_eq!((read.queued_packets, read.drops), (Some(7), None));
        let link = LinkStatistics::read(&[0; 12]);
        assert_eq!(
            (link.received_packets, link.transmitted_packets),
            (Some(0), None)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>, number in 0..10_u16, value: Vec<u8>) {
            let _ = TrafficStatistics::read(&bytes).taken_packets();
            let _ = LinkStatistics::read(&bytes);
            let told = Attributes::new().with(number, &value).with(number, &bytes).into_bytes();
            let _ = TrafficStatistics::read(&told).taken_packets();
            let shown = TrafficControl {
                link: 1,
                handle: 1,
                parent: TC_H_ROOT,
                info: 0,
                kind: "cake".to_owned(),
                attributes: Attributes::new().with(TCA_STATS2, &told).into_bytes(),
            };
            let _ = (shown.statistics(), shown.cake_statistics());
            for kind in ["matchall", "u32", "flower"] {
                let filter = Filter {
                    link: 1,
                    handle: 1,
                    parent: 1,
                    priority: 1,
                    protocol: 3,
                    chain: 0,
                    kind: kind.to_owned(),
                    options: told.clone(),
                };
                let _ = filter.mirred_statistics();
            }
        }
    }
}
