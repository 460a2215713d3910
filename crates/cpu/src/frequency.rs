//! The frequency limits of a policy.

use std::fmt;
use std::time::Duration;

use hosttune_core::{Host, HostError, HostErrorKind, Knob, Operation, Unsupported};
use serde::{Deserialize, Serialize};

use crate::attribute::{self, Attribute};
use crate::governor::no_scaling;
use crate::policy::{Driver, Policy, PolicyNumber};

/// Requests no upper limit: `FREQ_QOS_MAX_DEFAULT_VALUE` in `include/linux/pm_qos.h`.
const NO_MAXIMUM: u32 = i32::MAX as u32;

/// Requests no lower limit: `FREQ_QOS_MIN_DEFAULT_VALUE`.
const NO_MINIMUM: u32 = 0;

/// A requested frequency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Frequency {
    /// The lowest frequency of the hardware.
    Lowest,
    /// The highest frequency of the hardware.
    Highest,
    /// A frequency in kHz. The kernel rounds it as a limit: a maximum down and a minimum up to a frequency
    /// that the hardware has, and both into the hardware's range.
    Kilohertz(u32),
}

impl Frequency {
    /// A frequency in MHz.
    pub const fn megahertz(number: u32) -> Self {
        Self::Kilohertz(number.saturating_mul(1000))
    }

    /// Returns the limit that a policy makes of this frequency.
    pub fn as_limit(self, bound: Bound, policy: &Policy) -> Limit {
        match self {
            Self::Lowest => Limit::new(policy.lowest),
            Self::Highest => Limit::new(policy.highest),
            Self::Kilohertz(kilohertz) => {
                let becomes = bound.rounds(kilohertz, policy);
                Limit {
                    kilohertz,
                    becomes: (becomes != kilohertz).then_some(becomes),
                }
            }
        }
    }
}

/// Lower or upper limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// The lower limit, `scaling_min_freq`.
    Minimum,
    /// The upper limit, `scaling_max_freq`.
    Maximum,
}

impl Bound {
    fn file(self) -> &'static str {
        match self {
            Self::Minimum => "scaling_min_freq",
            Self::Maximum => "scaling_max_freq",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Minimum => Self::Maximum,
            Self::Maximum => Self::Minimum,
        }
    }

    /// Returns what the kernel makes of a limit: it is clamped to the range of the hardware and, if the
    /// driver has a table, rounded to one of its frequencies. A maximum is never rounded up and a minimum
    /// never down (`cpufreq_set_policy` in `drivers/cpufreq/cpufreq.c`).
    fn rounds(self, kilohertz: u32, policy: &Policy) -> u32 {
        let within = kilohertz.clamp(policy.lowest, policy.highest.max(policy.lowest));
        let mut table = policy
            .frequencies
            .iter()
            .copied()
            .filter(|one| (policy.lowest..=policy.highest).contains(one));
        match self {
            Self::Maximum => table.rfind(|one| *one <= within),
            Self::Minimum => table.find(|one| *one >= within),
        }
        .unwrap_or(within)
    }
}

/// A limit, in kHz.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limit {
    /// The requested value or the value read, in kHz.
    pub kilohertz: u32,
    /// The value that the kernel makes of it, in kHz, if it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub becomes: Option<u32>,
}

impl Limit {
    /// Creates a limit that the kernel shows as requested.
    pub fn new(kilohertz: u32) -> Self {
        Self {
            kilohertz,
            becomes: None,
        }
    }

    /// Returns the value that is read back once the limit is set, in kHz.
    pub fn shown(self) -> u32 {
        self.becomes.unwrap_or(self.kilohertz)
    }
}

/// One limit of one policy.
///
/// A write is a request, and a read shows the outcome: the kernel accepts a minimum above the maximum,
/// shows both as the maximum, and shows the requested minimum again as soon as the maximum is raised. A
/// limit is therefore never set beyond the other one. To change both, set them in the order in which they
/// do not cross.
///
/// If another process has set a maximum below our minimum, the minimum reads as that maximum and is not
/// changed. It stays in the journal and is reverted once that maximum is raised again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FrequencyLimit {
    /// The policy.
    pub policy: PolicyNumber,
    /// Lower or upper limit.
    pub bound: Bound,
}

impl FrequencyLimit {
    fn other(&self) -> Self {
        Self {
            policy: self.policy,
            bound: self.bound.other(),
        }
    }

    /// Returns the value to write for a limit that reads as `kilohertz`.
    ///
    /// The hardware's own limit is requested as no limit, which is what a policy starts with. Requested by
    /// its number, it would not follow when boost changes the hardware's limit.
    fn request(&self, host: &Host, kilohertz: u32) -> Result<u32, HostError> {
        let Some(policy) = Policy::of(host, self.policy)? else {
            return Ok(kilohertz);
        };
        // For amd_pstate, no lower limit means the lowest *efficient* frequency (`amd_pstate_verify` in
        // Linux 7.2).
        let amd = matches!(policy.driver, Driver::AmdActive | Driver::AmdPassive);
        Ok(match self.bound {
            Bound::Maximum if kilohertz == policy.highest => NO_MAXIMUM,
            Bound::Minimum if kilohertz == policy.lowest && !amd => NO_MINIMUM,
            _ => kilohertz,
        })
    }
}

/// Waits until a switch has updated all limits that depend on it.
///
/// They change after the write returns, and a value read too early would later look like a change by
/// another process.
pub(crate) fn come_to_rest(host: &Host) -> Result<(), HostError> {
    let policies = PolicyNumber::all(host)?;
    let limits = || -> Result<Vec<Attribute<Limit>>, HostError> {
        let both = |policy: &PolicyNumber| {
            [Bound::Minimum, Bound::Maximum].map(|bound| FrequencyLimit {
                policy: *policy,
                bound,
            })
        };
        let all = policies.iter().flat_map(both);
        all.map(|limit| limit.read(host)).collect()
    };
    let (mut seen, mut quiet, mut waited) = (limits()?, Duration::ZERO, Duration::ZERO);
    while quiet < QUIET && waited < FrequencyLimit::SETTLE {
        host.pause(PAUSE);
        waited += PAUSE;
        let now = limits()?;
        quiet = if now == seen {
            quiet + PAUSE
        } else {
            Duration::ZERO
        };
        seen = now;
    }
    Ok(())
}

const PAUSE: Duration = Duration::from_millis(5);

/// How long all limits must be unchanged. The worker usually runs within a tenth of a millisecond.
const QUIET: Duration = Duration::from_millis(20);

impl fmt::Display for FrequencyLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.policy, self.bound.file())
    }
}

impl Knob for FrequencyLimit {
    const NAME: &'static str = "cpu-frequency-limit";
    /// A request is accepted at once, and its outcome is computed after the write returns
    /// (`cpufreq_notifier_max` leaves it to a worker).
    const SETTLE: Duration = Duration::from_secs(2);
    type State = Attribute<Limit>;

    fn read(&self, host: &Host) -> Result<Self::State, HostError> {
        let file = self.bound.file();
        Ok(match attribute::read(host, self.policy, file)? {
            Attribute::Missing => Attribute::Missing,
            Attribute::Offline => Attribute::Offline,
            Attribute::Value(text) => {
                let kilohertz = text.parse().map_err(|_| {
                    HostError::malformed(
                        self.policy.file(file),
                        format!("'{text}' is not a frequency in kHz"),
                    )
                })?;
                Attribute::Value(Limit::new(kilohertz))
            }
        })
    }

    fn set(&self, host: &mut Host, to: &Self::State) -> Result<(), HostError> {
        let file = self.bound.file();
        let Attribute::Value(limit) = to else {
            return Err(attribute::no_value(self.policy, file));
        };
        if let Attribute::Value(other) = self.other().read(host)? {
            let (shown, end) = (limit.shown(), other.kilohertz);
            let past = match self.bound {
                Bound::Minimum => shown > end,
                Bound::Maximum => shown < end,
            };
            if past {
                return Err(HostError::new(
                    Operation::Write,
                    self.policy.file(file),
                    HostErrorKind::Refused,
                )
                .wanted(format!("{shown} kHz"))
                .detail(format!(
                    "{} is {end} kHz and would change with it",
                    self.other()
                ))
                .with_hint(format!("also set {}", self.other())));
            }
        }
        // Writes the expected result instead of the requested value, so that a read shows all there is.
        let request = self.request(host, limit.shown())?;
        host.write_value(self.policy.file(file), format!("{request}\n").as_bytes())
    }

    fn satisfies(&self, seen: &Self::State, wanted: &Self::State) -> bool {
        match (seen, wanted) {
            (Attribute::Value(seen), Attribute::Value(wanted)) => seen.shown() == wanted.shown(),
            _ => seen == wanted,
        }
    }

    fn unsupported(&self, host: &Host, to: &Self::State) -> Result<Option<Unsupported>, HostError> {
        if to.value().is_none() {
            return Ok(None);
        }
        attribute::unsupported(host, self.policy, self.bound.file(), || {
            no_scaling(self.policy)
        })
    }

    fn is_gone(&self, seen: &Self::State) -> bool {
        *seen == Attribute::Missing
    }

    fn hidden(&self, seen: &Self::State) -> Option<String> {
        (*seen == Attribute::Offline).then(|| attribute::offline(self.policy).why)
    }

    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        self.policy.identity(host)
    }

    fn show(&self, state: &Self::State) -> String {
        state.show(|limit| format!("{} kHz", limit.kilohertz))
    }
}
