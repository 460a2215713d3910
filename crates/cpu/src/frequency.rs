//! The frequencies between which the processors of a policy run.

use std::fmt;
use std::time::Duration;

use hosttune_core::{Host, HostError, HostErrorKind, Knob, Lack, Operation};
use serde::{Deserialize, Serialize};

use crate::attribute::{self, Attribute};
use crate::governor::no_scaling;
use crate::policy::{Driver, Policy, PolicyNumber};

/// What asks for no limit from above: `FREQ_QOS_MAX_DEFAULT_VALUE` in `include/linux/pm_qos.h`.
const NO_MAXIMUM: u32 = i32::MAX as u32;

/// What asks for no limit from below: `FREQ_QOS_MIN_DEFAULT_VALUE`.
const NO_MINIMUM: u32 = 0;

/// A frequency as somebody wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Frequency {
    /// The lowest of the hardware.
    Lowest,
    /// The highest of the hardware.
    Highest,
    /// So many kHz. What the hardware has not is rounded by the kernel as a limit is: a maximum
    /// down, a minimum up, and either to what there is.
    Kilohertz(u32),
}

impl Frequency {
    /// So many MHz.
    pub const fn megahertz(number: u32) -> Self {
        Self::Kilohertz(number.saturating_mul(1000))
    }

    /// What a policy makes a limit of that is wanted so.
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

/// Which of the two limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// The one from below, `scaling_min_freq`.
    Minimum,
    /// The one from above, `scaling_max_freq`.
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

    /// What the kernel makes of a limit: within what the hardware can do, and where the driver
    /// has a table one of its frequencies, a maximum never above what was asked for and a minimum
    /// never below (`cpufreq_set_policy` in `drivers/cpufreq/cpufreq.c`).
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
    /// What is asked for, or what is shown.
    pub kilohertz: u32,
    /// What the kernel makes of it, where it is something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub becomes: Option<u32>,
}

impl Limit {
    /// One that the kernel shows as it was asked for.
    pub fn new(kilohertz: u32) -> Self {
        Self {
            kilohertz,
            becomes: None,
        }
    }

    /// What is shown once it is set, in kHz.
    pub fn shown(self) -> u32 {
        self.becomes.unwrap_or(self.kilohertz)
    }
}

/// One limit of one policy.
///
/// What is written is a request, and what is read is what came of it: the kernel takes a minimum
/// above the maximum, shows both as the maximum, and shows the minimum again as soon as the
/// maximum is raised, unasked. So a limit is never turned past the other one: whoever wants both
/// turns them in the order in which they do not meet.
///
/// Where somebody else has set a maximum below our minimum, the minimum shows as theirs and is left
/// alone; it stays in the journal, and goes back once theirs is up again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FrequencyLimit {
    /// Of which policy.
    pub policy: PolicyNumber,
    /// Which of the two.
    pub bound: Bound,
}

impl FrequencyLimit {
    fn other(&self) -> Self {
        Self {
            policy: self.policy,
            bound: self.bound.other(),
        }
    }

    /// What to write for a limit that shows as `kilohertz`.
    ///
    /// The hardware's own end is asked for as no limit at all, which is what a policy starts with:
    /// asked for by its number it would stay where it is when boost moves the end.
    fn request(&self, host: &Host, kilohertz: u32) -> Result<u32, HostError> {
        let Some(policy) = Policy::of(host, self.policy)? else {
            return Ok(kilohertz);
        };
        // No limit from below is the lowest *efficient* frequency to amd_pstate (`amd_pstate_verify` in Linux 7.2).
        let amd = matches!(policy.driver, Driver::AmdActive | Driver::AmdPassive);
        Ok(match self.bound {
            Bound::Maximum if kilohertz == policy.highest => NO_MAXIMUM,
            Bound::Minimum if kilohertz == policy.lowest && !amd => NO_MINIMUM,
            _ => kilohertz,
        })
    }
}

/// Waits until what was switched has moved all limits that it moves: they follow behind the answer,
/// and what is read too early would later be taken for somebody else's.
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

/// For how long nothing may have moved; the worker usually runs within a tenth of a millisecond.
const QUIET: Duration = Duration::from_millis(20);

impl fmt::Display for FrequencyLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.policy, self.bound.file())
    }
}

impl Knob for FrequencyLimit {
    const NAME: &'static str = "cpu-frequency-limit";
    /// A request is taken at once, and what comes of it is worked out behind the answer
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
                        format!("'{text}' is no frequency in kHz"),
                    )
                })?;
                Attribute::Value(Limit::new(kilohertz))
            }
        })
    }

    fn turn(&self, host: &mut Host, to: &Self::State) -> Result<(), HostError> {
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
                    "{} is {end} kHz and would move along",
                    self.other()
                ))
                .with_hint(format!("want {} along with it", self.other())));
            }
        }
        // What becomes of it, and not what somebody asked for: what is shown is then all there is.
        let request = self.request(host, limit.shown())?;
        host.write_value(self.policy.file(file), format!("{request}\n").as_bytes())
    }

    fn counts_as(&self, seen: &Self::State, wanted: &Self::State) -> bool {
        match (seen, wanted) {
            (Attribute::Value(seen), Attribute::Value(wanted)) => seen.shown() == wanted.shown(),
            _ => seen == wanted,
        }
    }

    fn lacks(&self, host: &Host, to: &Self::State) -> Result<Option<Lack>, HostError> {
        if to.value().is_none() {
            return Ok(None);
        }
        attribute::lacks(host, self.policy, self.bound.file(), || {
            no_scaling(self.policy)
        })
    }

    fn gone(&self, seen: &Self::State) -> bool {
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
