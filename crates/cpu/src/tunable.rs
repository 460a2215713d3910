//! The tunables of a governor, which the kernel frees when no policy uses the governor any more.

use std::fmt;

use hosttune_core::{Host, HostError, HostErrorKind, Knob, attribute};
use serde::{Deserialize, Serialize};

use crate::governor::Governor;
use crate::policy::{CPUFREQ, PolicyNumber};

/// One tunable of a governor, such as `schedutil/rate_limit_us`, `ondemand/up_threshold`, or the frequency
/// set for the governor `userspace`.
///
/// Most drivers have one set of tunables for all policies; some have one per policy
/// (`CPUFREQ_HAVE_GOVERNOR_PER_POLICY`). The kernel frees a set when the last policy that uses it switches
/// to another governor, and creates a new set with its own defaults.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GovernorTunable {
    /// The policy it belongs to; `None` if it is shared by all policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyNumber>,
    /// Its path below the policy or `cpufreq` directory.
    name: String,
}

/// State of a tunable.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TunableState {
    /// No policy uses the governor.
    Missing,
    /// The tunable's value.
    Value(String),
}

/// Content of `scaling_setspeed` under any governor except `userspace`.
const UNSUPPORTED: &str = "<unsupported>";

const SPEED: &str = "scaling_setspeed";

impl GovernorTunable {
    /// Returns the tunables of a policy's governor.
    ///
    /// # Errors
    /// Returns the error of the host if they cannot be listed. A governor without tunables is not an error,
    /// and neither is a name that no governor has: it is no name of a directory either.
    pub fn all_of(
        host: &Host,
        policy: PolicyNumber,
        governor: &Governor,
    ) -> Result<Vec<Self>, HostError> {
        if !governor.is_word() {
            return Ok(Vec::new());
        }
        if *governor == Governor::Userspace {
            return Ok(vec![Self {
                policy: Some(policy),
                name: SPEED.to_owned(),
            }]);
        }
        for of in [Some(policy), None] {
            let directory = Self {
                policy: of,
                name: governor.word().to_owned(),
            };
            let names = match host.list(directory.path()) {
                Ok(names) => names,
                Err(error)
                    if matches!(error.kind(), HostErrorKind::Missing | HostErrorKind::Gone) =>
                {
                    continue;
                }
                Err(error) => return Err(error),
            };
            let tunables = names.into_iter().map(|name| Self {
                policy: of,
                name: format!("{governor}/{name}"),
            });
            let mut writable = Vec::new();
            for tunable in tunables {
                let entry = host.entry(tunable.path())?;
                if entry.is_some_and(|entry| entry.owner_may_write() && entry.owner_may_read()) {
                    writable.push(tunable);
                }
            }
            return Ok(writable);
        }
        Ok(Vec::new())
    }

    fn path(&self) -> String {
        match self.policy {
            Some(policy) => policy.file(&self.name),
            None => format!("{CPUFREQ}/{}", self.name),
        }
    }
}

impl fmt::Display for GovernorTunable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.policy {
            Some(policy) => write!(f, "{policy} {}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

impl Knob for GovernorTunable {
    const NAME: &'static str = "cpu-governor-tunable";
    type State = TunableState;

    fn read(&self, host: &Host) -> Result<TunableState, HostError> {
        // Gone: the directory name still exists, but the governor is no longer in use.
        let text = attribute::read(host, self.path())?;
        let value = text.filter(|text| text != UNSUPPORTED);
        Ok(value.map_or(TunableState::Missing, TunableState::Value))
    }

    fn set(&self, host: &mut Host, to: &TunableState) -> Result<(), HostError> {
        match to {
            TunableState::Value(value) => {
                host.write_value(self.path(), format!("{value}\n").as_bytes())
            }
            // The kernel creates and frees it together with the governor, so nothing is written.
            TunableState::Missing => Ok(()),
        }
    }

    /// A tunable that was missing when a revert began, because another process had switched the governor,
    /// has no value to revert to. Whatever the kernel creates it with satisfies the request.
    fn satisfies(&self, seen: &TunableState, wanted: &TunableState) -> bool {
        seen == wanted || *wanted == TunableState::Missing
    }

    fn is_gone(&self, seen: &TunableState) -> bool {
        *seen == TunableState::Missing
    }

    fn show(&self, state: &TunableState) -> String {
        match state {
            TunableState::Missing => "missing".to_owned(),
            TunableState::Value(value) => value.clone(),
        }
    }
}
