//! What the counters of a CAKE qdisc say about whether it does its work.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Cake, Statistics};

/// Something in the counters that deserves a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Symptom {
    /// Packets wait longer than a whole round trip. CAKE is then told a higher rate than what is
    /// beneath it takes, and is held up by it.
    DelayAboveRoundTrip {
        /// The tin, counted from 0.
        tin: usize,
        /// How long they wait, in microseconds.
        peak_microseconds: u32,
        /// What is expected of a round trip, in microseconds.
        interval_microseconds: u32,
    },
    /// Packets come larger than the link takes and are not cut, so each holds the link for as long
    /// as dozens do.
    PacketsNotCut {
        /// The tin, counted from 0.
        tin: usize,
        /// The longest, in bytes.
        longest: u32,
        /// What the link takes, in bytes, with its header.
        frame: u32,
    },
    /// Packets were dropped. Some are how senders are told to slow down.
    Drops {
        /// The tin, counted from 0.
        tin: usize,
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

impl fmt::Display for Symptom {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DelayAboveRoundTrip {
                tin,
                peak_microseconds,
                interval_microseconds,
            } => write!(
                formatter,
                "tin {tin}: packets wait {peak_microseconds} µs, longer than a round trip of {interval_microseconds} µs; what is beneath is slower than the bandwidth, so lower that"
            ),
            Self::PacketsNotCut {
                tin,
                longest,
                frame,
            } => write!(
                formatter,
                "tin {tin}: packets of up to {longest} bytes go out whole where the link takes {frame}; split-gso cuts them"
            ),
            Self::Drops { tin, dropped, sent } => {
                write!(
                    formatter,
                    "tin {tin}: {dropped} packets dropped, {sent} let in"
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
            if let (Some(peak), Some(interval)) =
                (tin.peak_delay_microseconds, tin.interval_microseconds)
                && peak > interval
            {
                symptoms.push(Symptom::DelayAboveRoundTrip {
                    tin: place,
                    peak_microseconds: peak,
                    interval_microseconds: interval,
                });
            }
            // The kernel measures before it cuts, so the length alone says nothing.
            if let Some(longest) = tin.longest_packet
                && !cake.split_gso
                && longest > frame
            {
                symptoms.push(Symptom::PacketsNotCut {
                    tin: place,
                    longest,
                    frame,
                });
            }
            if let Some(dropped @ 1..) = tin.dropped_packets {
                symptoms.push(Symptom::Drops {
                    tin: place,
                    dropped,
                    sent: tin.sent_packets.unwrap_or_default(),
                });
            }
        }
        if let (Some(used), Some(limit)) = (self.counters.memory_used, self.counters.memory_limit)
            && limit > 0
            && used >= limit
        {
            symptoms.push(Symptom::MemoryExhausted { limit });
        }
        symptoms
    }
}
