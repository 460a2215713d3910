//! A queueing discipline that is wanted: its kind, and its options as the kernel reads them.

use hosttune_core::Error;
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::cake::{Cake, CakeOption, Seen};
use crate::netlink::{Attributes, find};

/// The kind that puts CAKE on every queue.
pub(crate) const CAKE_MQ: &str = "cake_mq";

const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
/// Where `struct tc_tbf_qopt` has its rate in bytes a second.
const RATE: std::ops::Range<usize> = 8..12;
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

    /// CAKE on every queue of a device that has several, which together keep to the one bandwidth:
    /// without the lock that one root is for all of them. Linux 7.0 and later.
    ///
    /// Only where it is asked for: what the queues do not use of their share of the bandwidth they
    /// learn from each other with a delay, and fairness is kept in each of them alone.
    pub fn cake_mq(cake: &Cake) -> Self {
        Self::new(CAKE_MQ, cake.to_attributes())
    }

    /// The options, where it is CAKE of either kind.
    pub(crate) fn cake_options(&self) -> Option<Seen> {
        let cake = matches!(self.kind.as_str(), "cake" | CAKE_MQ);
        cake.then(|| Seen::read(self.options.as_slice()))
    }

    /// What is wrong with it on any device.
    pub(crate) fn check(&self, device: &str) -> Result<(), Error> {
        let options = self.options.as_slice();
        let is_zero = |number, bytes: std::ops::Range<usize>| {
            let option = find(options, number)?;
            let rate = option.value.get(bytes)?;
            Some(rate.iter().all(|byte| *byte == 0))
        };
        if self.kind == "tbf"
            && is_zero(TCA_TBF_PARMS, RATE) == Some(true)
            && is_zero(TCA_TBF_RATE64, 0..8) != Some(false)
        {
            return Err(Error::tuning(
                format!("a token bucket of rate zero at {device} would let nothing through"),
                "say a rate of at least one byte a second",
            ));
        }
        Ok(())
    }

    /// What is wrong with it for what arrives at a device, although the kernel takes it.
    pub(crate) fn check_for_ingress(&self, device: &str) -> Result<(), Error> {
        if self.kind == CAKE_MQ {
            return Err(Error::tuning(
                format!(
                    "what arrives at {device} goes through an IFB, which has one queue: cake_mq needs several"
                ),
                "shape what arrives with cake; cake_mq is for what leaves",
            ));
        }
        let filters = self
            .cake_options()
            .and_then(|seen| seen.value(CakeOption::AckFilter));
        if filters.is_some_and(|filters| filters != 0) {
            return Err(Error::tuning(
                format!(
                    "ack-filter on what arrives at {device} saves nothing: the acknowledgements have crossed the slow link already, and what is sent would stumble without them"
                ),
                "say ack-filter for what leaves, and no-ack-filter for what arrives",
            ));
        }
        Ok(())
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
