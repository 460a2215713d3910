//! CAKE, the kernel's qdisc for shaping, fair sharing and short queues: all of its options as a
//! value.

mod bandwidth;
mod choice;
mod difference;
mod health;
mod link_layer;
mod mark;
mod memory_limit;
mod option;
mod printed;
mod round_trip_time;
mod seen;
mod statistics;
mod text;
mod tin;

use serde::{Deserialize, Serialize};

pub use bandwidth::Bandwidth;
pub use choice::{AckFilter, Diffserv, Direction, FlowMode, Framing};
pub use difference::{Difference, differences};
pub use health::Symptom;
pub use link_layer::{BytesError, LinkLayer, MinimumPacket, Overhead};
pub use mark::{MarkError, MarkMask};
pub use memory_limit::MemoryLimit;
pub use option::CakeOption;
pub use round_trip_time::RoundTripTime;
pub use seen::{Inexpressible, NotExpressible, Seen, Unknown};
pub use statistics::{Counters, Statistics, Tin};
pub use text::{Problem, TextError};
pub use tin::TinName;

/// All options of CAKE.
///
/// The default is the kernel's. The text form ([`FromStr`](std::str::FromStr)) is what follows
/// `tc qdisc replace … root cake`, with the same meaning; [`Cake::from_shown`] reads what
/// `tc qdisc show` prints. [`Display`](std::fmt::Display) prints all options in words that `tc`
/// accepts, and `{:#}` only those that differ from the default. JSON has one field per option.
///
/// ```
/// use hosttune_qos::{Cake, Rate, RoundTripTime};
///
/// let cake = Cake::default().bandwidth(Rate::mbit(38)).diffserv4().ack_filter().rtt(RoundTripTime::REGIONAL);
/// assert_eq!(cake, "bandwidth 38mbit diffserv4 ack-filter regional".parse()?);
/// assert_eq!(format!("{cake:#}"), "bandwidth 38mbit diffserv4 ack-filter rtt 30ms");
/// # Ok::<(), hosttune_qos::TextError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Cake {
    /// The rate to shape to.
    pub bandwidth: Bandwidth,
    /// Whether the kernel estimates the bandwidth from the incoming traffic, and overwrites it. Only
    /// for ingress behind a link of varying speed.
    pub autorate_ingress: bool,
    /// How traffic is sorted into tins.
    pub diffserv: Diffserv,
    /// What the bandwidth is shared between.
    pub flows: FlowMode,
    /// Whether hosts behind this machine's own NAT are told apart by their addresses. Needs a kernel
    /// with connection tracking.
    pub nat: bool,
    /// Whether the DSCP is cleared after it was used.
    pub wash: bool,
    /// Whether this qdisc is before or behind the bottleneck.
    pub direction: Direction,
    /// Which TCP acknowledgements are dropped.
    pub ack_filter: AckFilter,
    /// Whether GSO packets are split before they are queued. It costs processor time and keeps a
    /// single packet of 64 KiB from occupying a slow link.
    pub split_gso: bool,
    /// The expected round-trip time.
    pub rtt: RoundTripTime,
    /// Whether packets are counted with the length that the kernel sees, which on Ethernet includes
    /// the header of 14 bytes, instead of from the network layer on. The overhead is added to either.
    pub raw: bool,
    /// How the link divides packets into cells or blocks.
    pub framing: Framing,
    /// Bytes that the link adds to each packet.
    pub overhead: Overhead,
    /// The minimum size of a packet on the link, in bytes.
    pub mpu: MinimumPacket,
    /// The memory limit for queued packets.
    pub memlimit: MemoryLimit,
    /// The bits of the firewall mark that select the tin.
    pub fwmark: MarkMask,
}

impl Default for Cake {
    fn default() -> Self {
        Self {
            bandwidth: Bandwidth::Unlimited,
            autorate_ingress: false,
            diffserv: Diffserv::default(),
            flows: FlowMode::default(),
            nat: false,
            wash: false,
            direction: Direction::default(),
            ack_filter: AckFilter::default(),
            split_gso: true,
            rtt: RoundTripTime::default(),
            raw: true,
            framing: Framing::default(),
            overhead: Overhead::default(),
            mpu: MinimumPacket::default(),
            memlimit: MemoryLimit::default(),
            fwmark: MarkMask::default(),
        }
    }
}

/// Options one by one, for literals in a program. Options without a method here are set as fields.
impl Cake {
    /// Shapes to this rate, or not at all.
    #[must_use]
    pub fn bandwidth(self, bandwidth: impl Into<Bandwidth>) -> Self {
        Self {
            bandwidth: bandwidth.into(),
            ..self
        }
    }

    /// Sorts traffic into tins in this way.
    #[must_use]
    pub fn diffserv(self, diffserv: Diffserv) -> Self {
        Self { diffserv, ..self }
    }

    /// Sorts traffic into four tins.
    #[must_use]
    pub fn diffserv4(self) -> Self {
        self.diffserv(Diffserv::Diffserv4)
    }

    /// Puts all traffic into one tin.
    #[must_use]
    pub fn besteffort(self) -> Self {
        self.diffserv(Diffserv::BestEffort)
    }

    /// Shares the bandwidth in this way.
    #[must_use]
    pub fn flows(self, flows: FlowMode) -> Self {
        Self { flows, ..self }
    }

    /// Looks up the addresses behind this machine's own NAT.
    #[must_use]
    pub fn nat(self) -> Self {
        Self { nat: true, ..self }
    }

    /// Clears the DSCP of outgoing packets.
    #[must_use]
    pub fn wash(self) -> Self {
        Self { wash: true, ..self }
    }

    /// Counts packets that are dropped here as having passed the bottleneck.
    #[must_use]
    pub fn ingress(self) -> Self {
        Self {
            direction: Direction::Ingress,
            ..self
        }
    }

    /// Drops redundant TCP acknowledgements.
    #[must_use]
    pub fn ack_filter(self) -> Self {
        Self {
            ack_filter: AckFilter::Filter,
            ..self
        }
    }

    /// Queues GSO packets without splitting them.
    #[must_use]
    pub fn no_split_gso(self) -> Self {
        Self {
            split_gso: false,
            ..self
        }
    }

    /// Expects this round-trip time.
    #[must_use]
    pub fn rtt(self, rtt: RoundTripTime) -> Self {
        Self { rtt, ..self }
    }

    /// Adds this many bytes to each packet, counted from the network layer on.
    #[must_use]
    pub fn overhead(self, overhead: Overhead) -> Self {
        Self {
            raw: false,
            overhead,
            ..self
        }
    }

    /// Counts each packet as this kind of link does, as if `tc`'s keyword for it were the only one
    /// about the link: earlier settings of overhead, minimum size and framing are discarded.
    #[must_use]
    pub fn link_layer(self, link: LinkLayer) -> Self {
        let effect = link.effect();
        let bytes = |bytes: i16| i64::from(bytes);
        Self {
            raw: false,
            framing: effect.framing.unwrap_or_default(),
            // All of them are in range; a test checks that.
            overhead: Overhead::new(bytes(effect.overhead)).unwrap_or_default(),
            mpu: MinimumPacket::new(bytes(effect.minimum.unwrap_or_default())).unwrap_or_default(),
            ..self
        }
    }
}

#[cfg(test)]
#[path = "cake/any_cake.rs"]
pub(crate) mod any_cake;

#[cfg(test)]
mod tests {
    use super::any_cake::any_cake;
    use super::*;
    use crate::Rate;
    use proptest::prelude::*;

    #[test]
    fn a_link_layer_is_what_its_word_alone_is() {
        for link in LinkLayer::ALL {
            assert_eq!(
                Cake::default().overhead(Overhead::MAXIMUM).link_layer(link),
                link.keyword().parse().unwrap(),
                "{link}"
            );
        }
    }

    #[test]
    fn json_has_these_names() {
        let cake = Cake {
            memlimit: MemoryLimit::bytes(32 << 20),
            fwmark: MarkMask::new(0xff),
            ..Cake::default()
                .bandwidth(Rate::mbit(950))
                .link_layer(LinkLayer::PppoePtm)
                .ingress()
        };
        let json = serde_json::to_string(&cake).unwrap();
        assert_eq!(
            json,
            concat!(
                r#"{"bandwidth":"950mbit","autorate-ingress":false,"diffserv":"diffserv3","#,
                r#""flows":"triple-isolate","nat":false,"wash":false,"direction":"ingress","#,
                r#""ack-filter":"no-ack-filter","split-gso":true,"rtt":"100ms","raw":false,"#,
                r#""framing":"ptm","overhead":30,"mpu":0,"memlimit":"32mb","fwmark":"0xff"}"#
            )
        );
        let json = serde_json::to_string(&Cake::default()).unwrap();
        assert!(json.contains(r#""bandwidth":"unlimited""#), "{json}");
        assert!(
            json.contains(r#""memlimit":"automatic","fwmark":"0x0"}"#),
            "{json}"
        );
    }

    #[test]
    fn json_may_leave_out_what_is_default_and_names_what_is_not_there() {
        let cake: Cake = serde_json::from_str(r#"{"bandwidth":"20mbit","rtt":"30ms"}"#).unwrap();
        assert_eq!(cake, "bandwidth 20mbit regional".parse().unwrap());
        for json in [
            r#"{"bandwith":"20mbit"}"#,
            r#"{"bandwidth":"0"}"#,
            r#"{"bandwidth":"20mbps"}"#,
            r#"{"overhead":300}"#,
            r#"{"diffserv":"diffserv5"}"#,
        ] {
            assert!(serde_json::from_str::<Cake>(json).is_err(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn any_cake_is_read_back_from_its_json(cake in any_cake()) {
            let json = serde_json::to_string(&cake)?;
            prop_assert_eq!(serde_json::from_str::<Cake>(&json)?, cake);
        }
    }
}
