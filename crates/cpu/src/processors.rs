//! The tuning for processors, as plain data.

use hosttune_core::host::RootKind;
use hosttune_core::{
    Error, Knob, Planner, Request, Requirement, Tuning, Unsupported, UnsupportedKind, Why,
};
use hosttune_modules::ModuleState;
use hosttune_modules::module::{self, Availability};
use serde::{Deserialize, Serialize};

use crate::attribute::{self, Attribute};
use crate::boost::{Boost, BoostState, nothing_switches_it};
use crate::frequency::{Bound, Frequency, FrequencyLimit, Limit};
use crate::governor::{Governor, PolicyGovernor};
use crate::mode::{DriverMode, Mode, ModeState, no_modes};
use crate::policy::{Driver, Policy, PolicyNumber};
use crate::preference::{EnergyPreference, PolicyPreference};

/// Requested settings of processors. Fields that are not set stay unchanged.
///
/// ```
/// use hosttune_cpu::{Frequency, Governor, Processors};
///
/// let quiet = Processors::new()
///     .governor(Governor::Schedutil)
///     .maximum(Frequency::megahertz(2400))
///     .boost(false);
/// # let _ = quiet;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Processors {
    /// The policies to change, by number; `None` for all. A control that is shared by all policies is
    /// changed for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<PolicyNumber>>,
    /// The mode of `intel_pstate` or `amd_pstate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// The governor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub governor: Option<Governor>,
    /// Whether the governor is set only under a driver that has governors of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_governor_only: bool,
    /// The energy-performance preference, for processors that choose their own frequency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_preference: Option<EnergyPreference>,
    /// The lower frequency limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Frequency>,
    /// The upper frequency limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<Frequency>,
    /// Whether they may exceed their nominal frequency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boost: Option<bool>,
    /// The reason.
    #[serde(default)]
    pub why: Why,
    /// What to do if a setting does not apply.
    #[serde(default)]
    pub requirement: Requirement,
}

impl Processors {
    /// Creates an empty tuning for all policies.
    pub fn new() -> Self {
        Self::default()
    }

    /// Restricts the tuning to these policies.
    #[must_use]
    pub fn policies(mut self, numbers: impl IntoIterator<Item = u32>) -> Self {
        self.policies = Some(numbers.into_iter().map(PolicyNumber).collect());
        self
    }

    /// Sets the mode of `intel_pstate` or `amd_pstate`.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Sets the governor.
    #[must_use]
    pub fn governor(mut self, governor: Governor) -> Self {
        self.governor = Some(governor);
        self.own_governor_only = false;
        self
    }

    /// Sets the governor where the driver has governors of its own (`intel_pstate` and `amd_pstate` in
    /// active mode), and leaves it elsewhere.
    ///
    /// There `powersave` follows the load. Under every other driver it is the lowest frequency, whatever
    /// the load.
    #[must_use]
    pub fn own_governor(mut self, governor: Governor) -> Self {
        self.governor = Some(governor);
        self.own_governor_only = true;
        self
    }

    /// Sets the energy-performance preference.
    #[must_use]
    pub fn energy_preference(mut self, preference: EnergyPreference) -> Self {
        self.energy_preference = Some(preference);
        self
    }

    /// Sets the lower frequency limit.
    #[must_use]
    pub fn minimum(mut self, frequency: Frequency) -> Self {
        self.minimum = Some(frequency);
        self
    }

    /// Sets the upper frequency limit.
    #[must_use]
    pub fn maximum(mut self, frequency: Frequency) -> Self {
        self.maximum = Some(frequency);
        self
    }

    /// Sets whether they may exceed their nominal frequency.
    #[must_use]
    pub fn boost(mut self, on: bool) -> Self {
        self.boost = Some(on);
        self
    }

    /// Sets the reason.
    #[must_use]
    pub fn why(mut self, why: impl Into<Why>) -> Self {
        self.why = why.into();
        self
    }

    /// Fails if a setting does not apply.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.requirement = Requirement::Required;
        self
    }

    /// Never fails because a setting does not apply.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.requirement = Requirement::Optional;
        self
    }

    fn on(&self, request: Request<'_, '_>) {
        request.why(self.why.clone()).requirement(self.requirement);
    }

    fn check(&self) -> Result<(), Error> {
        if self.governor == Some(Governor::Performance)
            && let Some(preference) = &self.energy_preference
            && *preference != EnergyPreference::Performance
            && self.mode != Some(Mode::Passive)
        {
            return Err(Error::tuning(
                format!(
                    "the performance governor and the preference {preference} conflict: that governor fixes the preference at performance"
                ),
                "use the powersave governor, which follows the load and the preference, or remove the preference",
            ));
        }
        if let (Some(Frequency::Kilohertz(minimum)), Some(Frequency::Kilohertz(maximum))) =
            (self.minimum, self.maximum)
            && minimum > maximum
        {
            return Err(min_above_max(minimum, maximum));
        }
        Ok(())
    }

    /// Returns the requested policies and reports those that do not exist.
    fn meant(&self, at: &mut Planner<'_>) -> Result<Vec<PolicyNumber>, Error> {
        let all = PolicyNumber::all(at.host())?;
        let Some(wanted) = &self.policies else {
            if all.is_empty() {
                let unsupported = Unsupported::new(UnsupportedKind::Missing, "no driver scales the frequency of these processors")
                    .hint("in a virtual machine the host does this; otherwise load the processor's driver, such as acpi-cpufreq");
                self.on(at.skip("the frequency of the processors", unsupported));
            }
            return Ok(all);
        };
        for policy in wanted.iter().filter(|policy| !all.contains(policy)) {
            let numbers: Vec<String> = all.iter().map(|policy| policy.0.to_string()).collect();
            let unsupported =
                Unsupported::new(UnsupportedKind::Missing, format!("{policy} does not exist"))
                    .hint(format!("existing policies: {}", numbers.join(", ")));
            self.on(at.skip(&policy.to_string(), unsupported));
        }
        Ok(wanted
            .iter()
            .copied()
            .filter(|policy| all.contains(policy))
            .collect())
    }

    /// Whether a driver has governors of its own, in the mode that is requested.
    fn will_have_own_governors(&self, driver: &Driver) -> bool {
        match self.mode {
            Some(Mode::Active) => driver.mode().is_some(),
            Some(Mode::Passive | Mode::Guided) => false,
            None => driver.has_own_governors(),
        }
    }

    fn declare_governor(
        &self,
        at: &mut Planner<'_>,
        governor: &Governor,
        policies: &[PolicyNumber],
    ) -> Result<(), Error> {
        let mut set = Vec::new();
        for number in policies {
            // What cannot be read while its processors are offline is said by the knob itself.
            let policy = Policy::of(at.host(), *number)?;
            let other = policy.filter(|policy| !self.will_have_own_governors(&policy.driver));
            match other {
                Some(policy) if self.own_governor_only => {
                    let what = PolicyGovernor(*number).to_string();
                    self.on(at.skip(&what, no_own_governors(&policy.driver, governor)));
                }
                Some(policy) if *governor == Governor::Powersave => {
                    at.note(format!(
                        "under {}, powersave is always the lowest frequency ({} MHz), whatever the load; schedutil follows the load",
                        policy.driver.name(),
                        policy.lowest / 1000
                    ));
                    set.push(*number);
                }
                _ => set.push(*number),
            }
        }
        self.declare_module(at, governor, &set)?;
        for policy in &set {
            let to = Attribute::Value(governor.clone());
            self.on(at.want(&PolicyGovernor(*policy), &to));
        }
        Ok(())
    }

    /// Loads the module of a governor that is not available yet as a step of its own. The kernel would load
    /// it when the governor is set, but then nothing would unload it.
    fn declare_module(
        &self,
        at: &mut Planner<'_>,
        governor: &Governor,
        policies: &[PolicyNumber],
    ) -> Result<(), Error> {
        let mut needed = false;
        for policy in policies {
            if let Some(policy) = Policy::of(at.host(), *policy)? {
                let offered = policy.governors.iter().any(|word| word == governor.word());
                needed |= !offered && !self.will_have_own_governors(&policy.driver);
            }
        }
        let module = governor.module();
        if !needed || module::find(at.host(), module.name())? != Availability::Loadable {
            return Ok(());
        }
        for module in module.with_dependencies(at.host())? {
            at.intermediate(&module, &ModuleState::Loaded)
                .why(format!("provides the governor {governor}"));
        }
        Ok(())
    }

    fn declare_limits(&self, at: &mut Planner<'_>, number: PolicyNumber) -> Result<(), Error> {
        if self.minimum.is_none() && self.maximum.is_none() {
            return Ok(());
        }
        let knob = |bound| FrequencyLimit {
            policy: number,
            bound,
        };
        let Some(policy) = Policy::of(at.host(), number)? else {
            for (bound, wanted) in [
                (Bound::Minimum, self.minimum),
                (Bound::Maximum, self.maximum),
            ] {
                match wanted {
                    // The knob itself reports why it is unsupported.
                    Some(Frequency::Kilohertz(kilohertz)) => {
                        let to = Attribute::Value(Limit::new(kilohertz));
                        self.on(at.want(&knob(bound), &to));
                    }
                    // The hardware's own limits can be read only while a processor is online.
                    Some(Frequency::Lowest | Frequency::Highest) => {
                        self.on(at.skip(&knob(bound).to_string(), attribute::offline(number)));
                    }
                    None => {}
                }
            }
            return Ok(());
        };
        // Present values are enough, whatever an earlier step resets: boost never makes them cross.
        let now = |bound: Bound| -> Result<u32, Error> {
            let end = match bound {
                Bound::Minimum => policy.lowest,
                Bound::Maximum => policy.highest,
            };
            let seen = knob(bound).read(at.host())?;
            Ok(seen.value().map_or(end, |limit| limit.shown()))
        };
        let (minimum_now, maximum_now) = (now(Bound::Minimum)?, now(Bound::Maximum)?);
        let minimum = self
            .minimum
            .map(|one| one.as_limit(Bound::Minimum, &policy));
        let maximum = self
            .maximum
            .map(|one| one.as_limit(Bound::Maximum, &policy));
        let will_be = |wanted: Option<Limit>, now| wanted.map_or(now, Limit::shown);
        let (lower, upper) = (will_be(minimum, minimum_now), will_be(maximum, maximum_now));
        if lower > upper {
            return Err(min_above_max(lower, upper));
        }
        let mut order = [(Bound::Maximum, maximum), (Bound::Minimum, minimum)];
        // The maximum is set first, unless that would take it below the present minimum. A revert in the
        // exact reverse order does not cross them either: the old minimum is not above the old maximum, and
        // the new minimum is not above the new maximum.
        if upper < minimum_now {
            order.reverse();
        }
        for (bound, wanted) in order {
            if let Some(limit) = wanted {
                self.on(at.want(&knob(bound), &Attribute::Value(limit)));
            }
        }
        Ok(())
    }

    fn declare_boost(
        &self,
        at: &mut Planner<'_>,
        on: bool,
        policies: &[PolicyNumber],
    ) -> Result<(), Error> {
        let to = if on { BoostState::On } else { BoostState::Off };
        let found = Boost::all(at.host())?;
        if found.is_empty() {
            self.on(at.skip("boost", nothing_switches_it()));
        }
        for boost in found {
            let meant = match boost {
                Boost::Policy(policy) => policies.contains(&policy),
                Boost::All | Boost::IntelPstate => true,
            };
            if meant {
                self.on(at.want(&boost, &to));
            }
        }
        Ok(())
    }
}

fn no_own_governors(driver: &Driver, governor: &Governor) -> Unsupported {
    let name = driver.name();
    let why = match governor {
        Governor::Powersave => format!(
            "{name} has no governors of its own: its powersave is always the lowest frequency"
        ),
        _ => format!("{name} has no governors of its own"),
    };
    let unsupported = Unsupported::new(UnsupportedKind::ValueUnavailable, why);
    match driver.mode() {
        Some(mode) => unsupported.hint(format!("set {mode} to active")),
        None => unsupported,
    }
}

fn min_above_max(minimum: u32, maximum: u32) -> Error {
    Error::tuning(
        format!("the minimum of {minimum} kHz is above the maximum of {maximum} kHz"),
        "set both together, the minimum not above the maximum; the kernel would accept this and use the maximum for both",
    )
}

impl Tuning for Processors {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        self.check()?;
        if at.host().root_kind() == RootKind::Image {
            let unsupported = Unsupported::new(
                UnsupportedKind::NotRunning,
                "an image has no running kernel",
            )
            .hint("run this on the live system instead");
            self.on(at.skip("the processors", unsupported));
            return Ok(());
        }
        if let Some(mode) = self.mode {
            match DriverMode::of(at.host())? {
                Some(driver) => self.on(at.want(&driver, &ModeState::Is(mode))),
                None => self.on(at.skip("the driver's mode", no_modes())),
            }
        }
        let policies = self.meant(at)?;
        if let Some(governor) = &self.governor {
            self.declare_governor(at, governor, &policies)?;
        }
        if let Some(preference) = &self.energy_preference {
            for policy in &policies {
                let to = Attribute::Value(preference.clone());
                self.on(at.want(&PolicyPreference(*policy), &to));
            }
        }
        if let Some(on) = self.boost {
            self.declare_boost(at, on, &policies)?;
        }
        for policy in &policies {
            self.declare_limits(at, *policy)?;
        }
        Ok(())
    }
}
