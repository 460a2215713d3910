//! A requested queueing discipline: its kind, and its options as the kernel reads them.

use hosttune_core::Error;
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::cake::{Cake, CakeOption, Seen};
use crate::netlink::{Attributes, find};

/// The kind that attaches a CAKE instance to every queue.
pub(crate) const CAKE_MQ: &str = "cake_mq";

pub(crate) const TCA_TBF_PARMS: u16 = 1;
pub(crate) const TCA_TBF_RATE64: u16 = 4;
/// Where `struct tc_tbf_qopt` has its rate, in bytes per second.
const RATE: std::ops::Range<usize> = 8..12;
/// The unit in which `tbf` counts time: 64 nanoseconds.
pub(crate) const NANOSECONDS_PER_TICK: u64 = 64;

/// A requested queueing discipline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Qdisc {
    /// The kind, as `tc` names it.
    pub kind: String,
    /// The payload of `TCA_OPTIONS`.
    pub options: Bytes,
}

impl From<&Cake> for Qdisc {
    /// CAKE with every option given, so that none of the previous ones remains in effect.
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
    /// A qdisc of any kind, with the payload of its `TCA_OPTIONS`.
    pub fn new(kind: impl Into<String>, options: impl Into<Bytes>) -> Self {
        Self {
            kind: kind.into(),
            options: options.into(),
        }
    }

    /// CAKE on every queue of a multi-queue device. Together they keep to the one bandwidth,
    /// without the lock that a single root qdisc takes for all queues. Linux 7.0 and later.
    ///
    /// Never chosen by default: the queues learn only with a delay which share of the bandwidth the
    /// others leave unused, and fairness holds within each queue alone.
    pub fn cake_mq(cake: &Cake) -> Self {
        Self::new(CAKE_MQ, cake.to_attributes())
    }

    /// The options, where the kind is `cake` or `cake_mq`.
    pub(crate) fn cake_options(&self) -> Option<Seen> {
        let cake = matches!(self.kind.as_str(), "cake" | CAKE_MQ);
        cake.then(|| Seen::read(self.options.as_slice()))
    }

    /// Rejects what cannot work on any device.
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
                format!("a token bucket with a rate of zero on {device} would pass no packets"),
                "set a rate of at least one byte per second",
            ));
        }
        Ok(())
    }

    /// Rejects what cannot work for ingress, although the kernel accepts it.
    pub(crate) fn check_for_ingress(&self, device: &str) -> Result<(), Error> {
        if self.kind == CAKE_MQ {
            return Err(Error::tuning(
                format!(
                    "ingress of {device} goes through an IFB, which has a single queue: cake_mq needs several"
                ),
                "use cake for ingress; cake_mq is for egress only",
            ));
        }
        let filters = self
            .cake_options()
            .and_then(|seen| seen.value(CakeOption::AckFilter));
        if filters.is_some_and(|filters| filters != 0) {
            return Err(Error::tuning(
                format!(
                    "ack-filter on ingress of {device} saves nothing: the acknowledgements have already crossed the slow link, and uploads would stall without them"
                ),
                "set ack-filter for egress, and no-ack-filter for ingress",
            ));
        }
        Ok(())
    }

    /// A token bucket, for kernels without CAKE: `rate` bytes per second, `burst` bytes at once,
    /// and at most `limit` bytes queued.
    pub fn tbf(rate: u64, burst: u32, limit: u32) -> Self {
        const ETHERNET: u8 = 1;
        let ticks = u64::from(burst) * 1_000_000_000 / rate.max(1) / NANOSECONDS_PER_TICK;
        let mut parameters = vec![0, ETHERNET, 0, 0, 0, 0, 0, 0];
        parameters.extend(u32::try_from(rate).unwrap_or(u32::MAX).to_ne_bytes());
        // The peak rate stays zero: there is none.
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
