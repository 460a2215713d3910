//! A queueing discipline that is wanted: its kind, and its options as the kernel reads them.

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::cake::Cake;
use crate::netlink::Attributes;

const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
/// What a queue of bytes counts time in: 64 nanoseconds.
const NANOSECONDS_PER_TICK: u64 = 64;

/// A queueing discipline that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Qdisc {
    /// Its kind, as `tc` names it.
    pub kind: String,
    /// The payload of its `TCA_OPTIONS`.
    pub options: Bytes,
}

impl From<&Cake> for Qdisc {
    /// CAKE with every option said, so that nothing of what was there before remains.
    fn from(cake: &Cake) -> Self {
        Self::new("cake", cake.to_attributes())
    }
}

impl From<Cake> for Qdisc {
    fn from(cake: Cake) -> Self {
        Self::from(&cake)
    }
}

impl Qdisc {
    /// Any kind, with the payload of its `TCA_OPTIONS`.
    pub fn new(kind: impl Into<String>, options: impl Into<Bytes>) -> Self {
        Self {
            kind: kind.into(),
            options: options.into(),
        }
    }

    /// A token bucket, for kernels that have no CAKE: so many bytes a second, so many at once, and
    /// so many waiting.
    pub fn tbf(rate: u64, burst: u32, limit: u32) -> Self {
        const ETHERNET: u8 = 1;
        let ticks = u64::from(burst) * 1_000_000_000 / rate.max(1) / NANOSECONDS_PER_TICK;
        let mut parameters = vec![0, ETHERNET, 0, 0, 0, 0, 0, 0];
        parameters.extend(u32::try_from(rate).unwrap_or(u32::MAX).to_ne_bytes());
        // No peak rate.
        parameters.resize(24, 0);
        parameters.extend(limit.to_ne_bytes());
        parameters.extend(u32::try_from(ticks).unwrap_or(u32::MAX).to_ne_bytes());
        parameters.extend(0_u32.to_ne_bytes());
        let mut options = Attributes::new().with(TCA_TBF_PARMS, &parameters);
        if rate > u64::from(u32::MAX) {
            options = options.with(TCA_TBF_RATE64, &rate.to_ne_bytes());
        }
        Self::new("tbf", options.into_bytes())
    }
}
