//! What the counters of a CAKE qdisc say about its health.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Cake, Statistics, TinName};

/// A symptom in the counters that is worth investigating.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Symptom {
    /// Packets wait longer than a whole round trip. Usually CAKE is set to a higher rate than the
    /// link below accepts, and is held up by it.
    DelayAboveRoundTrip {
        /// The tin.
        tin: TinName,
        /// The delay in the queue, in microseconds.
        peak_microseconds: u32,
        /// The expected round-trip time, in microseconds.
        interval_microseconds: u32,
    },
    /// Packets are longer than the link's frames and are not split, so each of them occupies the
    /// link for as long as dozens of frames.
    PacketsNotCut {
        /// The tin.
        tin: TinName,
        /// The longest packet, in bytes.
        longest: u32,
        /// The longest frame of the link, in bytes, including its header.
        frame: u32,
    },
    /// Packets were dropped. A few drops are how senders are told to slow down.
    Drops {
        /// The tin.
        tin: TinName,
        /// The number of dropped packets.
        dropped: u32,
        /// The number of accepted packets.
        sent: u32,
    },
    /// Queued packets have used all of their memory at some time: further packets were dropped,
    /// whatever flow they belonged to.
    MemoryExhausted {
        /// The limit, in bytes.
        limit: u32,
    },
}

/// The percentage of drops in relation to accepted packets that is normal when senders react to them.
const ORDINARY_DROPS: u64 = 10;

impl Symptom {
    /// Whether it is part of normal operation and not worth a note. Drops are how CAKE tells senders
    /// to slow down; only if more than a tenth is dropped do the senders not react.
    pub fn is_ordinary(&self) -> bool {
        match self {
            Self::Drops { dropped, sent, .. } => {
                u64::from(*dropped) * 100 <= u64::from(*sent) * ORDINARY_DROPS
            }
            _ => false,
        }
    }
}

impl fmt::Display for Symptom {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DelayAboveRoundTrip {
                tin,
                peak_microseconds,
                interval_microseconds,
            } => write!(
                formatter,
                "{tin}: packets wait {peak_microseconds} µs, longer than a round trip of {interval_microseconds} µs; lower the bandwidth if the link below is slower, or look for a flow that does not slow down"
            ),
            Self::PacketsNotCut {
                tin,
                longest,
                frame,
            } => write!(
                formatter,
                "{tin}: packets of up to {longest} bytes are sent whole on a link with frames of {frame}; split-gso splits them"
            ),
            Self::Drops { tin, dropped, sent } => {
                write!(
                    formatter,
                    "{tin}: {dropped} packets dropped of {sent} accepted"
                )
            }
            Self::MemoryExhausted { limit } => write!(
                formatter,
                "the memory limit of {limit} bytes for queued packets was reached; raise memlimit, or look for a flow that does not slow down"
            ),
        }
    }
}

impl Statistics {
    /// The symptoms, given the options of the qdisc and the longest frame of its link in bytes, which
    /// is its MTU plus its header (14 on Ethernet).
    pub fn symptoms(&self, cake: &Cake, frame: u32) -> Vec<Symptom> {
        let mut symptoms = Vec::new();
        for (place, tin) in self.tins.iter().enumerate() {
            let name = TinName::of(place, self.tins.len());
            if let (Some(peak), Some(interval)) =
                (tin.peak_delay_microseconds, tin.interval_microseconds)
                && peak > interval
            {
                symptoms.push(Symptom::DelayAboveRoundTrip {
                    tin: name,
                    peak_microseconds: peak,
                    interval_microseconds: interval,
                });
            }
            // The kernel measures before it splits, so the length alone says nothing.
            if let Some(longest) = tin.longest_packet_bytes
                && !cake.split_gso
                && longest > frame
            {
                symptoms.push(Symptom::PacketsNotCut {
                    tin: name,
                    longest,
                    frame,
                });
            }
            if let Some(dropped @ 1..) = tin.dropped_packets {
                symptoms.push(Symptom::Drops {
                    tin: name,
                    dropped,
                    sent: tin.sent_packets.unwrap_or_default(),
                });
            }
        }
        if let (Some(used), Some(limit)) = (
            self.counters.memory_used_bytes,
            self.counters.memory_limit_bytes,
        ) && limit > 0
            && used >= limit
        {
            symptoms.push(Symptom::MemoryExhausted { limit });
        }
        symptoms
    }
}
