//! What a CAKE qdisc has counted.

use serde::{Deserialize, Serialize};

use super::Unknown;
use crate::attribute::{Attribute, Attributes};

/// A structure of counters, each of them there or not, read from numbered attributes.
macro_rules! counters {
    ($(#[$outer:meta])* $name:ident {
        $($(#[$inner:meta])* $field:ident: $type:ident = $number:literal;)+
    }) => {
        $(#[$outer])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name {
            $($(#[$inner])* pub $field: Option<$type>,)+
            /// What the kernel tells beyond this, or in another size.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub unknown: Vec<Unknown>,
        }

        impl $name {
            /// Takes a counter that is known here and of the right size.
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
    /// What a tin has counted. Anything that the kernel did not tell is not there.
    Tin {
        /// Packets that were let in.
        sent_packets: u32 = 2;
        /// Bytes that were let in.
        sent_bytes: u64 = 3;
        /// Packets that were dropped to keep the queue short or the memory within its limit.
        dropped_packets: u32 = 4;
        /// TCP acknowledgements that were dropped as redundant.
        acks_dropped_packets: u32 = 6;
        /// Packets that were marked instead of dropped.
        ecn_marked_packets: u32 = 8;
        /// Bytes that wait now.
        backlog_bytes: u32 = 11;
        /// Bytes per second beyond which the tin loses its precedence.
        threshold_bytes_per_second: u64 = 12;
        /// The standing delay that is tolerated, in microseconds; more than the option on a link
        /// so slow that one packet takes longer.
        target_microseconds: u32 = 13;
        /// The time over which it is tolerated, in microseconds.
        interval_microseconds: u32 = 14;
        /// Packets whose flow shared its first choice of queue.
        way_indirect_hits: u32 = 15;
        /// Packets of flows that had no queue yet.
        way_misses: u32 = 16;
        /// Packets whose flow had to share a queue with another.
        way_collisions: u32 = 17;
        /// How long packets waited lately, in microseconds: a mean that follows longer waits fast.
        peak_delay_microseconds: u32 = 18;
        /// The same, following either way slowly.
        average_delay_microseconds: u32 = 19;
        /// The same, following shorter waits fast: that of sparse flows.
        base_delay_microseconds: u32 = 20;
        /// Flows that send little just now.
        sparse_flows: u32 = 21;
        /// Flows that keep a queue just now.
        bulk_flows: u32 = 22;
        /// Flows that do not slow down when they are dropped from.
        unresponsive_flows: u32 = 23;
        /// The longest packet that came, in bytes, before it was cut.
        longest_packet_bytes: u32 = 24;
        /// Bytes that a flow sends per turn.
        flow_quantum_bytes: u32 = 25;
    }
}

counters! {
    /// What a qdisc has counted. Anything that the kernel did not tell is not there.
    Counters {
        /// The estimate of `autorate-ingress`, in bytes per second.
        capacity_estimate_bytes_per_second: u64 = 2;
        /// The most bytes that waiting packets may take.
        memory_limit_bytes: u32 = 3;
        /// The most bytes that they ever took.
        memory_used_bytes: u32 = 4;
        /// The mean length of what stands before the network layer.
        average_network_offset_bytes: u32 = 5;
        /// The shortest packet, from its network layer on; 4,294,967,295 before the first.
        minimum_network_length_bytes: u32 = 6;
        /// The longest.
        maximum_network_length_bytes: u32 = 7;
        /// The shortest packet as it is counted; 4,294,967,295 before the first.
        minimum_adjusted_length_bytes: u32 = 8;
        /// The longest.
        maximum_adjusted_length_bytes: u32 = 9;
        /// Bytes that a flow may still send in its turn. Told of a class, which is a flow, only.
        deficit_bytes: i32 = 11;
        /// How often it was dropped from in a row. Of a class only.
        cobalt_count: u32 = 12;
        /// Whether it is being dropped from. Of a class only.
        dropping: u32 = 13;
        /// When that happens next, in microseconds from now. Of a class only.
        drop_next_microseconds: i32 = 14;
        /// How likely a packet is dropped for its flow not slowing down, in 2⁻³². Of a class only.
        drop_probability: u32 = 15;
        /// When that was last changed, in microseconds from now. Of a class only.
        blue_timer_microseconds: i32 = 16;
        /// How many queues of a multi-queue device are in use. Linux 7.0 and later.
        active_queues: u32 = 17;
    }
}

/// What a CAKE qdisc has counted, as a whole and by tin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Statistics {
    /// As a whole.
    #[serde(flatten)]
    pub counters: Counters,
    /// By tin, in the order in which `tc` prints them: the one of least precedence first.
    pub tins: Vec<Tin>,
}

/// The attribute that holds the tins, which are numbered from 1.
const TINS: u16 = 10;

/// Fills an attribute of eight bytes up to where it can be read at once.
const PADDING: u16 = 1;

impl Statistics {
    /// Reads the payload of `TCA_STATS_APP`, which lies in `TCA_STATS2`. Any bytes are read.
    pub fn read(application: &[u8]) -> Self {
        let mut statistics = Self::default();
        let unknown = each(application, |attribute| {
            if attribute.number == TINS {
                // The kernel tells them in order and leaves none out.
                for tin in Attributes::new(attribute.payload) {
                    statistics.tins.push(Tin::read(tin.payload));
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

/// Gives what was not taken.
fn each(bytes: &[u8], mut take: impl FnMut(&Attribute<'_>) -> bool) -> Vec<Unknown> {
    let mut unknown = Vec::new();
    let mut walk = Attributes::new(bytes);
    for attribute in walk.by_ref() {
        if attribute.number != PADDING && !take(&attribute) {
            unknown.push(Unknown {
                number: attribute.number,
                bytes: attribute.payload.to_vec(),
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
