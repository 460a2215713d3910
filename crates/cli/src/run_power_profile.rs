//! The power profile that is held at the daemon that owns it, while a command runs.

use std::time::{Duration, Instant};

use hosttune_run::power_profile::{Hold, HoldError, Released, holder, system_bus};

use super::run::Run;

/// How long the daemon is waited for: a fifth of the time of `--wait`, of which the helper needs the rest, but at least
/// two seconds. It answers in a millisecond; a game does not wait for one that hangs.
fn limit(wait: u16) -> Duration {
    Duration::from_secs(u64::from(wait / 5).max(2))
}

/// What a run holds of a power profile, and what is to be said about it.
#[derive(Debug, Default)]
pub(super) struct HeldProfile {
    hold: Option<Hold>,
    /// How long the daemon is waited for.
    limit: Duration,
    /// Why it is not held although a daemon owns it, or not in effect.
    pub(super) note: Option<String>,
}

impl Run<'_> {
    /// The profile that a run holds, if its part is one of those that are applied.
    fn wanted_power_profile(&self) -> Option<&'static str> {
        let (profile, part) = self.profile.run_settings().power_profile?;
        let only = &self.global.only;
        (only.is_empty() || only.iter().any(|name| name == part)).then_some(profile)
    }

    /// Takes the hold, if a daemon runs that owns power profiles. From then on the host leaves to it what it owns.
    pub(super) fn hold_power_profile(&mut self, wait: u16) -> HeldProfile {
        let Some(profile) = self.wanted_power_profile() else {
            return HeldProfile::default();
        };
        let bus = system_bus(self.global.root.as_deref());
        let limit = limit(wait);
        // All users can see it.
        let reason = format!("{} runs a command", self.profile.name());
        match Hold::take(&bus, profile, &reason, Instant::now() + limit) {
            Ok(None) => HeldProfile::default(),
            Ok(Some(hold)) => {
                self.power_profile = Some(shown(profile, hold.daemon()));
                let active = hold.active().filter(|active| *active != profile);
                let note = active.map(|active| {
                    format!(
                        "the power profile {profile} is held, and {active} is in effect: another program holds it \
                         (powerprofilesctl list-holds)"
                    )
                });
                HeldProfile {
                    hold: Some(hold),
                    limit,
                    note,
                }
            }
            Err(why) => HeldProfile {
                hold: None,
                limit,
                note: Some(not_held(profile, &why)),
            },
        }
    }

    /// Looks for the daemon at which a profile would be held, and plans as if it was. Returns what is to be said about
    /// it. Nothing is changed.
    pub(super) fn would_hold_power_profile(&mut self, wait: u16) -> Option<String> {
        let profile = self.wanted_power_profile()?;
        let bus = system_bus(self.global.root.as_deref());
        match holder(&bus, Instant::now() + limit(wait)) {
            Ok(daemon) => {
                self.power_profile = daemon.map(|daemon| shown(profile, daemon));
                None
            }
            Err(why) => Some(not_held(profile, &why)),
        }
    }
}

impl HeldProfile {
    /// Gives it back. Returns what is to be said.
    pub(super) fn release(self) -> Option<String> {
        let hold = self.hold?;
        let profile = hold.profile().to_owned();
        match hold.release(Instant::now() + self.limit) {
            Ok(Released::Now) => None,
            Ok(Released::EndedBefore(why)) => Some(format!(
                "the power profile {profile} was not held until the end: {why}"
            )),
            // The connection is closed, by which the daemon ends the hold.
            Err(why) => Some(format!(
                "the daemon did not say that the power profile {profile} is given back: {}",
                causes(&why)
            )),
            Ok(_) => None,
        }
    }
}

fn shown(profile: &str, daemon: &str) -> String {
    format!("{profile} at {daemon}")
}

fn not_held(profile: &str, why: &HoldError) -> String {
    format!("the power profile {profile} is not held: {}", causes(why))
}

/// An error with those that have led to it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}
