//! Counters of a CAKE qdisc.

use hosttune_netlink::{Attribute, AttributeIter, attributes};
use serde::{Deserialize, Serialize};

use super::Unknown;

/// Declares a structure of optional counters that is read from numbered attributes.
macro_rules! counters {
    ($(#[$outer:meta])* $name:ident {
        $($(#[$inner:meta])* $field:ident: $type:ident = $number:literal;)+
    }) => {
        $(#[$outer])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name {
            $($(#[$inner])* pub $field: Option<$type>,)+
            /// Attributes that are unknown here, or of another size.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub unknown: Vec<Unknown>,
        }

        impl $name {
            /// Stores a known counter of the right size.
            fn take(&mut self, attribute: &Attribute<'_>) -> bool {
                match attribute.number {
                    $($number => {
                        self.$field = attribute.$type();
                        self.$field.is_some()
                    })+
                    _ => false,
                }
            }
        }
    };
}

counters! {
    /// The counters of a tin. A counter that the kernel did not show is `None`.
    Tin {
        /// Packets accepted.
        sent_packets: u32 = 2;
        /// Bytes accepted.
        sent_bytes: u64 = 3;
        /// Packets dropped to keep the queue short or the memory within its limit.
        dropped_packets: u32 = 4;
        /// TCP acknowledgements dropped as redundant.
        acks_dropped_packets: u32 = 6;
        /// Packets marked (ECN) instead of dropped.
        ecn_marked_packets: u32 = 8;
        /// Bytes in the queue now.
        backlog_bytes: u32 = 11;
        /// The rate in bytes per second above which the tin loses its precedence.
        threshold_bytes_per_second: u64 = 12;
        /// The tolerated standing delay, in microseconds. It is more than the option on a link so
        /// slow that one packet takes longer.
        target_microseconds: u32 = 13;
        /// The time for which it is tolerated, in microseconds.
        interval_microseconds: u32 = 14;
        /// Packets whose flow did not get its first choice of queue.
        way_indirect_hits: u32 = 15;
        /// Packets of flows that had no queue yet.
        way_misses: u32 = 16;
        /// Packets whose flow had to share a queue with another.
        way_collisions: u32 = 17;
        /// The recent queueing delay, in microseconds: a mean that follows longer delays fast.
        peak_delay_microseconds: u32 = 18;
        /// The same as a mean that follows slowly in both directions.
        average_delay_microseconds: u32 = 19;
        /// The same as a mean that follows shorter delays fast: the delay of sparse flows.
        base_delay_microseconds: u32 = 20;
        /// Flows that send little at present.
        sparse_flows: u32 = 21;
        /// Flows with a standing queue at present.
        bulk_flows: u32 = 22;
        /// Flows that do not slow down after drops.
        unresponsive_flows: u32 = 23;
        /// The longest packet that came in, in bytes, before splitting.
        longest_packet_bytes: u32 = 24;
        /// Bytes that a flow may send per round.
        flow_quantum_bytes: u32 = 25;
    }
}

counters! {
    /// The counters of a qdisc. A counter that the kernel did not show is `None`.
    Counters {
        /// The estimate of `autorate-ingress`, in bytes per second.
        capacity_estimate_bytes_per_second: u64 = 2;
        /// The maximum number of bytes that queued packets may use.
        memory_limit_bytes: u32 = 3;
        /// The maximum number of bytes that they ever used.
        memory_used_bytes: u32 = 4;
        /// The mean offset of the network header.
        average_network_offset_bytes: u32 = 5;
        /// The shortest packet, from its network layer on; 4,294,967,295 before the first.
        minimum_network_length_bytes: u32 = 6;
        /// The longest packet, from its network layer on.
        maximum_network_length_bytes: u32 = 7;
        /// The shortest packet with overhead and framing; 4,294,967,295 before the first.
        minimum_adjusted_length_bytes: u32 = 8;
        /// The longest packet with overhead and framing.
        maximum_adjusted_length_bytes: u32 = 9;
        /// Bytes that the flow may still send in its round. Only shown for a class, which is a flow.
        deficit_bytes: i32 = 11;
        /// How many drops in a row the flow had. Only shown for a class.
        cobalt_count: u32 = 12;
        /// Whether packets of the flow are being dropped. Only shown for a class.
        dropping: u32 = 13;
        /// When the next drop happens, in microseconds from now. Only shown for a class.
        drop_next_microseconds: i32 = 14;
        /// The probability of drops for not slowing down, in units of 2⁻³². Only shown for a class.
        drop_probability: u32 = 15;
        /// When that probability last changed, in microseconds from now. Only shown for a class.
        blue_timer_microseconds: i32 = 16;
        /// The number of queues in use of a multi-queue device. Linux 7.0 and later.
        active_queues: u32 = 17;
    }
}

/// The counters of a CAKE qdisc, in total and by tin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Statistics {
    /// The counters of the whole qdisc.
    #[serde(flatten)]
    pub counters: Counters,
    /// The counters by tin, in the order in which `tc` prints them: lowest precedence first.
    pub tins: Vec<Tin>,
}

/// The attribute that contains the tins, which are numbered from 1.
const TINS: u16 = 10;

/// The attribute that pads before one of eight bytes, so that it is aligned.
const PADDING: u16 = 1;

impl Statistics {
    /// Reads the payload of `TCA_STATS_APP`, which is nested in `TCA_STATS2`. Accepts any bytes.
    pub fn read(application: &[u8]) -> Self {
        let mut statistics = Self::default();
        let unknown = each(application, |attribute| {
            if attribute.number == TINS {
                // The kernel lists the tins in order without gaps.
                for tin in attributes(attribute.value) {
                    statistics.tins.push(Tin::read(tin.value));
                }
                return true;
            }
            statistics.counters.take(attribute)
        });
        statistics.counters.unknown = unknown;
        statistics
    }
}

impl Tin {
    fn read(bytes: &[u8]) -> Self {
        let mut tin = Self::default();
        tin.unknown = each(bytes, |attribute| tin.take(attribute));
        tin
    }
}

/// Passes each attribute to `take` and returns those that it did not take.
fn each(bytes: &[u8], mut take: impl FnMut(&Attribute<'_>) -> bool) -> Vec<Unknown> {
    let mut unknown = Vec::new();
    let mut walk = AttributeIter::new(bytes);
    for attribute in walk.by_ref() {
        if attribute.number != PADDING && !take(&attribute) {
            unknown.push(Unknown {
                number: attribute.number,
                bytes: attribute.value.to_vec(),
            });
        }
    }
    if !walk.rest().is_empty() {
        unknown.push(Unknown {
            number: 0,
            bytes: walk.rest().to_vec(),
        });
    }
    unknown
}

#[cfg(test)]
#[path = "statistics_tests.rs"]
mod tests;
