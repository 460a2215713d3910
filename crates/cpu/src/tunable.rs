//! What a governor can be told, and forgets when the last policy leaves it.

use std::fmt;

use hosttune_core::{Host, HostError, HostErrorKind, Knob};
use serde::{Deserialize, Serialize};

use crate::governor::Governor;
use crate::policy::{CPUFREQ, PolicyNumber};

/// One tunable of a governor: `schedutil/rate_limit_us`, `ondemand/up_threshold`, or the speed that
/// the governor `userspace` was given.
///
/// Most drivers have one set of them for all policies; some have one per policy
/// (`CPUFREQ_HAVE_GOVERNOR_PER_POLICY`). The kernel frees a set when the last policy that used it has
/// another governor, and makes it anew with its own defaults.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GovernorTunable {
    /// The policy it belongs to; `None` where it is one for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyNumber>,
    /// Its path beneath that.
    name: String,
}

/// What a tunable is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TunableState {
    /// No policy has the governor.
    Missing,
    /// It holds this.
    Value(String),
}

/// What `scaling_setspeed` holds under any other governor than `userspace`.
const UNSUPPORTED: &str = "<unsupported>";

const SPEED: &str = "scaling_setspeed";

impl GovernorTunable {
    /// The tunables of a policy's governor.
    ///
    /// # Errors
    /// Whatever the host answers; a governor that has none is no error.
    pub fn all_of(
        host: &Host,
        policy: PolicyNumber,
        governor: &Governor,
    ) -> Result<Vec<Self>, HostError> {
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
        match host.read_text(self.path()) {
            Ok(text) if text.trim() == UNSUPPORTED => Ok(TunableState::Missing),
            Ok(text) => Ok(TunableState::Value(text.trim().to_owned())),
            // ENODEV: the directory is still known by its name, and the governor has gone.
            Err(error) if matches!(error.kind(), HostErrorKind::Missing | HostErrorKind::Gone) => {
                Ok(TunableState::Missing)
            }
            Err(error) => Err(error),
        }
    }

    fn turn(&self, host: &mut Host, to: &TunableState) -> Result<(), HostError> {
        match to {
            TunableState::Value(value) => {
                host.write_value(self.path(), format!("{value}\n").as_bytes())
            }
            // It goes with the governor, and comes with it: there is nothing to write.
            TunableState::Missing => Ok(()),
        }
    }

    /// One that somebody else's governor had taken away by the time of a revert has no value to go
    /// back to, and whatever the kernel makes it anew with is right.
    fn counts_as(&self, seen: &TunableState, wanted: &TunableState) -> bool {
        seen == wanted || *wanted == TunableState::Missing
    }

    fn gone(&self, seen: &TunableState) -> bool {
        *seen == TunableState::Missing
    }

    fn show(&self, state: &TunableState) -> String {
        match state {
            TunableState::Missing => "missing".to_owned(),
            TunableState::Value(value) => value.clone(),
        }
    }
}
