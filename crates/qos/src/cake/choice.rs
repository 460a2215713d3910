//! Options of CAKE that are one keyword out of a few.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Declares an option whose values are keywords in `tc` and numbers in the kernel.
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
            /// All values.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// `tc`'s keyword for it, which is also its JSON form.
            pub const fn keyword(self) -> &'static str {
                match self { $(Self::$variant => $keyword),+ }
            }

            /// The kernel's number for it.
            pub const fn number(self) -> u32 {
                match self { $(Self::$variant => $number),+ }
            }

            /// The value with this keyword in `tc`.
            pub fn from_keyword(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.keyword() == word)
            }

            /// The value with this number in the kernel. The kernel stores any number, and treats an
            /// unknown one as some other value.
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
    /// How many tins traffic is sorted into by its DSCP, and in which way.
    Diffserv {
        /// Three: bulk, best effort, voice. The kernel's default.
        #[default]
        Diffserv3 = 0, "diffserv3";
        /// Four: bulk, best effort, video, voice.
        Diffserv4 = 1, "diffserv4";
        /// Eight, by type of traffic.
        Diffserv8 = 2, "diffserv8";
        /// One: the DSCP is ignored.
        BestEffort = 3, "besteffort";
        /// Eight, by the precedence bits of the old type-of-service field.
        Precedence = 4, "precedence";
    }
}

choice! {
    /// What the bandwidth is shared between.
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
    /// How the link divides packets into cells or blocks, which makes them longer.
    Framing {
        /// It does not. The kernel's default.
        #[default]
        Whole = 0, "noatm";
        /// Into ATM cells: 48 of every 53 bytes are payload.
        Atm = 1, "atm";
        /// Into PTM blocks: 64 of every 65 bytes are payload.
        Ptm = 2, "ptm";
    }
}

choice! {
    /// Whether TCP acknowledgements that a later one makes redundant are dropped from the queue.
    AckFilter {
        /// None are dropped. The kernel's default.
        #[default]
        Off = 0, "no-ack-filter";
        /// Those that TCP can do without; two redundant ones are kept.
        Filter = 1, "ack-filter";
        /// All redundant ones.
        Aggressive = 2, "ack-filter-aggressive";
    }
}

choice! {
    /// On which side of the bottleneck the qdisc is.
    Direction {
        /// Before it: packets dropped here do not use it. The kernel's default.
        #[default]
        Egress = 0, "egress";
        /// Behind it: packets dropped here have passed it and are counted.
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
