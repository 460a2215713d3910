//! What the counters of a CAKE qdisc say about whether it does its work.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Cake, Statistics, TinName};

/// Something in the counters that deserves a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Symptom {
    /// Packets wait longer than a whole round trip. CAKE is then told a higher rate than what is
    /// beneath it takes, and is held up by it.
    DelayAboveRoundTrip {
        /// The tin.
        tin: TinName,
        /// How long they wait, in microseconds.
        peak_microseconds: u32,
        /// What is expected of a round trip, in microseconds.
        interval_microseconds: u32,
    },
    /// Packets come larger than the link takes and are not cut, so each holds the link for as long
    /// as dozens do.
    PacketsNotCut {
        /// The tin.
        tin: TinName,
        /// The longest, in bytes.
        longest: u32,
        /// What the link takes, in bytes, with its header.
        frame: u32,
    },
    /// Packets were dropped. Some are how senders are told to slow down.
    Drops {
        /// The tin.
        tin: TinName,
        /// How many.
        dropped: u32,
        /// How many were let in.
        sent: u32,
    },
    /// Waiting packets once took all the memory they may: what did not fit was dropped, whatever
    /// flow it was of.
    MemoryExhausted {
        /// The limit, in bytes.
        limit: u32,
    },
}

/// Of a hundred packets that were let in, so many are dropped where senders slow down when they are told to.
const ORDINARY_DROPS: u64 = 10;

impl Symptom {
    /// Whether it is part of ordinary work, and nothing to be noted: drops are how CAKE tells
    /// senders to slow down, and only where more than a tenth is dropped do they not listen.
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
                "{tin}: packets wait {peak_microseconds} µs, longer than a round trip of {interval_microseconds} µs; what is beneath may be slower than the bandwidth, which is to be lowered then, or a flow does not slow down"
            ),
            Self::PacketsNotCut {
                tin,
                longest,
                frame,
            } => write!(
                formatter,
                "{tin}: packets of up to {longest} bytes go out whole where the link takes {frame}; split-gso cuts them"
            ),
            Self::Drops { tin, dropped, sent } => {
                write!(
                    formatter,
                    "{tin}: {dropped} packets dropped of {sent} that were let in"
                )
            }
            Self::MemoryExhausted { limit } => write!(
                formatter,
                "the {limit} bytes of memory for waiting packets were all in use; raise memlimit, or look for a flow that does not slow down"
            ),
        }
    }
}

impl Statistics {
    /// What deserves a look, given the options of the qdisc and the longest frame of its link in
    /// bytes, which is its MTU and its header (14 on Ethernet).
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
            // The kernel measures before it cuts, so the length alone says nothing.
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
