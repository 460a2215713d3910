//! Requested run-time settings of GPUs.

use hosttune_core::host::RootKind;
use hosttune_core::{Error, Knob, Planner, Requirement, Tuning, Why};
use serde::{Deserialize, Serialize};

use super::address::GpuAddress;
use super::clock_offset::GpuClockOffset;
use super::library::{ClockRange, GpuClock, PowerMizerMode};
use super::locked_clocks::{ClockLock, LockedClocks};
use super::persistence_mode::PersistenceMode;
use super::power_limit::PowerLimit;
use super::power_mizer_mode::GpuPowerMizerMode;
use super::selection::GpuSelection;
use super::state::GpuState;

/// Run-time settings of GPUs, until the revert or the next boot.
///
/// Persistence mode is set first and reverted last. If it is neither on nor requested, the other settings
/// are not applicable: the driver would forget them.
///
/// ```
/// use hosttune_nvidia::runtime::{ClockRange, GpuClock, GpuSelection, GpuSettings};
///
/// let settings = GpuSettings::new("GPU-5d8a1f0e-1b2c-4d5e-8f90-123456789abc".parse::<GpuSelection>()?)
///     .persistence_mode()
///     .lock_clock(GpuClock::Graphics, ClockRange { lowest: 1200, highest: 1800 })
///     .why("even frame times");
/// # let _ = settings;
/// # Ok::<(), hosttune_nvidia::runtime::SelectionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuSettings {
    /// The GPUs.
    pub gpus: GpuSelection,
    /// Whether persistence mode is to be on.
    #[serde(default)]
    pub persistence_mode: bool,
    /// The power limit, in milliwatts.
    #[serde(default)]
    pub power_limit: Option<u32>,
    /// The clocks that are to be locked, each with its range in MHz.
    #[serde(default)]
    pub locked_clocks: Vec<(GpuClock, ClockRange)>,
    /// The clocks that are to have an offset: the clock, the performance state, and the offset in MHz.
    #[serde(default)]
    pub clock_offsets: Vec<(GpuClock, u8, i32)>,
    /// The PowerMizer mode.
    #[serde(default)]
    pub power_mizer_mode: Option<PowerMizerMode>,
    /// The reason.
    #[serde(default)]
    pub why: Why,
    /// How the settings are treated where they are not supported.
    #[serde(default)]
    pub requirement: Requirement,
}

hosttune_core::why_and_requirement!(GpuSettings);

impl GpuSettings {
    /// No settings yet, of these GPUs.
    pub fn new(gpus: GpuSelection) -> Self {
        Self {
            gpus,
            persistence_mode: false,
            power_limit: None,
            locked_clocks: Vec::new(),
            clock_offsets: Vec::new(),
            power_mizer_mode: None,
            why: Why::default(),
            requirement: Requirement::default(),
        }
    }

    /// Requests persistence mode, which the other settings need.
    #[must_use]
    pub fn persistence_mode(mut self) -> Self {
        self.persistence_mode = true;
        self
    }

    /// Requests a power limit, in milliwatts.
    #[must_use]
    pub fn power_limit(mut self, milliwatts: u32) -> Self {
        self.power_limit = Some(milliwatts);
        self
    }

    /// Requests that a clock is locked in a range.
    #[must_use]
    pub fn lock_clock(mut self, clock: GpuClock, range: ClockRange) -> Self {
        self.locked_clocks.push((clock, range));
        self
    }

    /// Requests an offset of a clock in a performance state (0 is the fastest), in MHz.
    #[must_use]
    pub fn clock_offset(mut self, clock: GpuClock, performance_state: u8, megahertz: i32) -> Self {
        let offset = (clock, performance_state, megahertz);
        self.clock_offsets.push(offset);
        self
    }

    /// Requests a PowerMizer mode.
    #[must_use]
    pub fn power_mizer_mode(mut self, mode: PowerMizerMode) -> Self {
        self.power_mizer_mode = Some(mode);
        self
    }

    fn want<K: Knob>(&self, at: &mut Planner<'_>, knob: &K, to: &K::State, by: Option<String>) {
        at.want(knob, to)
            .why(self.why.clone())
            .requirement(self.requirement)
            .overridden_by(by);
    }

    fn declare_of(&self, at: &mut Planner<'_>, gpu: &GpuAddress) -> Result<(), Error> {
        if self.persistence_mode {
            let knob = PersistenceMode::new(gpu.clone());
            self.want(at, &knob, &GpuState::Value(true), None);
        }
        if let Some(milliwatts) = self.power_limit {
            let knob = PowerLimit::new(gpu.clone());
            self.want(at, &knob, &GpuState::Value(milliwatts), None);
        }
        for (clock, range) in &self.locked_clocks {
            let knob = LockedClocks::new(gpu.clone(), *clock);
            let by = knob.contradicted(at.host())?;
            let to = GpuState::Value(ClockLock::Locked(*range));
            self.want(at, &knob, &to, by);
            at.note(format!(
                "{knob}: NVML has no getter, so what is reported is what was locked from here; a revert resets it to unlocked"
            ));
        }
        for (clock, performance_state, megahertz) in &self.clock_offsets {
            let knob = GpuClockOffset::new(gpu.clone(), *clock, *performance_state);
            self.want(at, &knob, &GpuState::Value(*megahertz), None);
        }
        if let Some(mode) = self.power_mizer_mode {
            let knob = GpuPowerMizerMode::new(gpu.clone());
            self.want(at, &knob, &GpuState::Value(mode), None);
        }
        Ok(())
    }
}

impl Tuning for GpuSettings {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        let gpus = match at.host().root_kind() {
            RootKind::Image => Ok(Vec::new()),
            _ => self.gpus.gpus(at.host())?,
        };
        match gpus {
            Ok(gpus) => {
                for gpu in &gpus {
                    self.declare_of(at, gpu)?;
                }
            }
            Err(unsupported) => {
                let what = format!("run-time settings of GPU {}", self.gpus);
                at.skip(&what, unsupported)
                    .why(self.why.clone())
                    .requirement(self.requirement);
            }
        }
        Ok(())
    }
}
