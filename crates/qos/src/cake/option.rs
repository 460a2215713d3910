//! The options of CAKE by the kernel's attribute numbers.

use std::fmt;

use hosttune_netlink::push_attribute;
use serde::{Deserialize, Serialize};

use super::{
    AckFilter, Bandwidth, Cake, Diffserv, Direction, FlowMode, Framing, MarkMask, MemoryLimit,
    RoundTripTime,
};

/// One of the 17 attributes in `TCA_OPTIONS` of a CAKE qdisc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CakeOption {
    /// Bytes per second as a `u64`; zero means unlimited.
    Bandwidth,
    /// See [`Diffserv`].
    Diffserv,
    /// See [`Framing`].
    Framing,
    /// See [`FlowMode`].
    Flows,
    /// Bytes. The only signed option.
    Overhead,
    /// Microseconds.
    Rtt,
    /// Microseconds; see [`RoundTripTime::target`].
    Target,
    /// Whether the kernel estimates the bandwidth.
    AutorateIngress,
    /// Bytes; zero means automatic.
    Memlimit,
    /// Whether addresses are looked up behind NAT.
    Nat,
    /// Present or absent; the kernel ignores the value.
    Raw,
    /// Whether the DSCP is cleared.
    Wash,
    /// Bytes.
    Mpu,
    /// See [`Direction`].
    Direction,
    /// See [`AckFilter`].
    AckFilter,
    /// Whether GSO packets are split.
    SplitGso,
    /// A mask. Linux 5.1 and later.
    Fwmark,
}

impl CakeOption {
    /// All options, in the kernel's order.
    pub const ALL: [Self; 17] = [
        Self::Bandwidth,
        Self::Diffserv,
        Self::Framing,
        Self::Flows,
        Self::Overhead,
        Self::Rtt,
        Self::Target,
        Self::AutorateIngress,
        Self::Memlimit,
        Self::Nat,
        Self::Raw,
        Self::Wash,
        Self::Mpu,
        Self::Direction,
        Self::AckFilter,
        Self::SplitGso,
        Self::Fwmark,
    ];

    /// The number of the attribute, `TCA_CAKE_…` in `linux/pkt_sched.h`.
    pub const fn number(self) -> u16 {
        self.told().0
    }

    /// The kernel's name of the attribute.
    pub const fn kernel_name(self) -> &'static str {
        self.told().1
    }

    /// The option with this attribute number.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|option| option.number() == number)
    }

    /// The size of the attribute's value in bytes.
    pub(super) const fn size(self) -> usize {
        match self {
            Self::Bandwidth => 8,
            _ => 4,
        }
    }

    const fn told(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::Bandwidth => (2, "TCA_CAKE_BASE_RATE64", "bandwidth"),
            Self::Diffserv => (3, "TCA_CAKE_DIFFSERV_MODE", "diffserv"),
            Self::Framing => (4, "TCA_CAKE_ATM", "framing"),
            Self::Flows => (5, "TCA_CAKE_FLOW_MODE", "flows"),
            Self::Overhead => (6, "TCA_CAKE_OVERHEAD", "overhead"),
            Self::Rtt => (7, "TCA_CAKE_RTT", "rtt"),
            Self::Target => (8, "TCA_CAKE_TARGET", "target"),
            Self::AutorateIngress => (9, "TCA_CAKE_AUTORATE", "autorate-ingress"),
            Self::Memlimit => (10, "TCA_CAKE_MEMORY", "memlimit"),
            Self::Nat => (11, "TCA_CAKE_NAT", "nat"),
            Self::Raw => (12, "TCA_CAKE_RAW", "raw"),
            Self::Wash => (13, "TCA_CAKE_WASH", "wash"),
            Self::Mpu => (14, "TCA_CAKE_MPU", "mpu"),
            Self::Direction => (15, "TCA_CAKE_INGRESS", "direction"),
            Self::AckFilter => (16, "TCA_CAKE_ACK_FILTER", "ack-filter"),
            Self::SplitGso => (17, "TCA_CAKE_SPLIT_GSO", "split-gso"),
            Self::Fwmark => (18, "TCA_CAKE_FWMARK", "fwmark"),
        }
    }

    /// A value of this option in `tc`'s words, or as a number if it has no word for it.
    pub fn in_words(self, value: i64) -> String {
        let number = u32::try_from(value).ok();
        let word = |word: Option<&'static str>| word.map(str::to_owned);
        let flag =
            |on: &'static str, off: &'static str| word(Some(if value == 0 { off } else { on }));
        match self {
            Self::Bandwidth => u64::try_from(value)
                .ok()
                .and_then(|bytes| Bandwidth::from_bytes_per_second(bytes).ok())
                .map(|bandwidth| bandwidth.to_string())
                .or_else(|| Some(format!("{value}bps"))),
            Self::Diffserv => word(
                number
                    .and_then(Diffserv::from_number)
                    .map(Diffserv::keyword),
            ),
            Self::Framing => word(number.and_then(Framing::from_number).map(Framing::keyword)),
            Self::Flows => word(
                number
                    .and_then(FlowMode::from_number)
                    .map(FlowMode::keyword),
            ),
            Self::Direction => word(
                number
                    .and_then(Direction::from_number)
                    .map(Direction::keyword),
            ),
            Self::AckFilter => word(
                number
                    .and_then(AckFilter::from_number)
                    .map(AckFilter::keyword),
            ),
            Self::Rtt | Self::Target => number
                .and_then(|number| RoundTripTime::microseconds(number).ok())
                .map(|time| time.to_string()),
            Self::Memlimit => number.map(|bytes| MemoryLimit::bytes(bytes).to_string()),
            Self::Fwmark => number.map(|mask| MarkMask::new(mask).to_string()),
            Self::AutorateIngress => flag("autorate-ingress", "no autorate-ingress"),
            Self::Nat => flag("nat", "nonat"),
            Self::Raw => flag("raw", "not raw"),
            Self::Wash => flag("wash", "nowash"),
            Self::SplitGso => flag("split-gso", "no-split-gso"),
            Self::Overhead | Self::Mpu => None,
        }
        .unwrap_or_else(|| value.to_string())
    }
}

impl fmt::Display for CakeOption {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.told().2)
    }
}

impl Cake {
    /// The value of each option in the kernel's unit; `Raw` is 1 or 0.
    pub fn value(&self, option: CakeOption) -> i64 {
        match option {
            // `Rate::MAXIMUM` is far below the maximum of `i64`.
            CakeOption::Bandwidth => self.bandwidth.as_bytes_per_second().cast_signed(),
            CakeOption::Diffserv => self.diffserv.number().into(),
            CakeOption::Framing => self.framing.number().into(),
            CakeOption::Flows => self.flows.number().into(),
            CakeOption::Overhead => self.overhead.bytes().into(),
            CakeOption::Rtt => self.rtt.as_microseconds().into(),
            CakeOption::Target => self.rtt.target().into(),
            CakeOption::AutorateIngress => self.autorate_ingress.into(),
            CakeOption::Memlimit => self.memlimit.as_bytes().into(),
            CakeOption::Nat => self.nat.into(),
            CakeOption::Raw => self.raw.into(),
            CakeOption::Wash => self.wash.into(),
            CakeOption::Mpu => self.mpu.bytes().into(),
            CakeOption::Direction => self.direction.number().into(),
            CakeOption::AckFilter => self.ack_filter.number().into(),
            CakeOption::SplitGso => self.split_gso.into(),
            CakeOption::Fwmark => self.fwmark.bits().into(),
        }
    }

    /// The payload of `TCA_OPTIONS` that gives a CAKE qdisc exactly these options, whatever it had
    /// before.
    ///
    /// It contains all attributes because the kernel merges: an option that is not sent keeps its
    /// value. `tc` sends only what was requested, and cannot reset a minimum packet size, a memory
    /// limit or a mark to zero.
    pub fn to_attributes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for option in CakeOption::ALL {
            if option == CakeOption::Raw && !self.raw {
                continue;
            }
            let value = self.value(option);
            if option.size() == 8 {
                push_attribute(&mut bytes, option.number(), &value.to_ne_bytes());
            } else {
                // Truncating two's complement keeps sign and value: every value fits its attribute.
                let [a, b, c, d, ..] = value.to_le_bytes();
                let half = u32::from_le_bytes([a, b, c, d]);
                push_attribute(&mut bytes, option.number(), &half.to_ne_bytes());
            }
        }
        bytes
    }
}
