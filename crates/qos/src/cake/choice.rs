//! The options of CAKE that are one word out of a few.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An option whose values are keywords to `tc` and numbers to the kernel.
macro_rules! choice {
    ($(#[$outer:meta])* $name:ident {
        $($(#[$inner:meta])* $variant:ident = $number:literal, $keyword:literal;)+
    }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$inner])* #[serde(rename = $keyword)] $variant,)+
        }

        impl $name {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// `tc`'s word for it, which is also the text in JSON.
            pub const fn keyword(self) -> &'static str {
                match self { $(Self::$variant => $keyword),+ }
            }

            /// The kernel's number for it.
            pub const fn number(self) -> u32 {
                match self { $(Self::$variant => $number),+ }
            }

            /// The one that `tc` has this word for.
            pub fn from_keyword(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.keyword() == word)
            }

            /// The one that the kernel has this number for. It stores any number, and takes those
            /// it does not know for some other.
            pub fn from_number(number: u32) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.number() == number)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(self.keyword())
            }
        }
    };
}

choice! {
    /// How many tins traffic is sorted into by its DSCP, and how.
    Diffserv {
        /// Three: bulk, best effort, voice. The kernel's default.
        #[default]
        Diffserv3 = 0, "diffserv3";
        /// Four: bulk, best effort, video, voice.
        Diffserv4 = 1, "diffserv4";
        /// Eight, by type of traffic.
        Diffserv8 = 2, "diffserv8";
        /// One: the DSCP is not looked at.
        BestEffort = 3, "besteffort";
        /// Eight, by the precedence of the old type-of-service field.
        Precedence = 4, "precedence";
    }
}

choice! {
    /// What shares the bandwidth equally.
    FlowMode {
        /// Nothing: one queue per tin.
        FlowBlind = 0, "flowblind";
        /// Source addresses.
        SourceHost = 1, "srchost";
        /// Destination addresses.
        DestinationHost = 2, "dsthost";
        /// Pairs of source and destination address.
        Hosts = 3, "hosts";
        /// Flows: both addresses, both ports and the protocol.
        Flows = 4, "flows";
        /// Source addresses, and within each its flows. For egress out of a local network.
        DualSourceHost = 5, "dual-srchost";
        /// Destination addresses, and within each its flows. For ingress into a local network.
        DualDestinationHost = 6, "dual-dsthost";
        /// Source and destination addresses, and within them flows. The kernel's default.
        #[default]
        TripleIsolate = 7, "triple-isolate";
    }
}

choice! {
    /// How packets are cut up on the link, which makes them larger than they are.
    Framing {
        /// They are not. The kernel's default.
        #[default]
        Whole = 0, "noatm";
        /// Into ATM cells: 48 bytes of each 53 are payload.
        Atm = 1, "atm";
        /// Into PTM's blocks: 64 bytes of each 65 are payload.
        Ptm = 2, "ptm";
    }
}

choice! {
    /// Whether TCP acknowledgements that a later one makes redundant are dropped from the queue.
    AckFilter {
        /// None are. The kernel's default.
        #[default]
        Off = 0, "no-ack-filter";
        /// Those that TCP can do without, two redundant ones being kept.
        Filter = 1, "ack-filter";
        /// All that are redundant.
        Aggressive = 2, "ack-filter-aggressive";
    }
}

choice! {
    /// Which side of the bottleneck this is.
    Direction {
        /// Ahead of it: what is dropped here does not use it. The kernel's default.
        #[default]
        Egress = 0, "egress";
        /// Behind it: what is dropped here came through it and is counted.
        Ingress = 1, "ingress";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_are_one_to_one() {
        for (number, one) in Diffserv::ALL.iter().enumerate() {
            assert_eq!(Diffserv::from_keyword(one.keyword()), Some(*one));
            assert_eq!(
                Diffserv::from_number(u32::try_from(number).unwrap()),
                Some(*one)
            );
        }
        for (number, one) in FlowMode::ALL.iter().enumerate() {
            assert_eq!(FlowMode::from_keyword(one.keyword()), Some(*one));
            assert_eq!(
                FlowMode::from_number(u32::try_from(number).unwrap()),
                Some(*one)
            );
        }
    }

    #[test]
    fn numbers_that_the_kernel_only_stores_are_none_of_them() {
        assert_eq!(Diffserv::from_number(99), None);
        assert_eq!(Framing::from_number(77), None);
        assert_eq!(AckFilter::from_number(9), None);
    }

    #[test]
    fn json_has_tcs_words() {
        let json = serde_json::to_string(&(
            Diffserv::BestEffort,
            FlowMode::DualSourceHost,
            Framing::Whole,
            AckFilter::Aggressive,
            Direction::Ingress,
        ));
        assert_eq!(
            json.unwrap(),
            r#"["besteffort","dual-srchost","noatm","ack-filter-aggressive","ingress"]"#
        );
    }
}
