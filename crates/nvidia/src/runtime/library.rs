//! The functions of the management library that are used.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::address::GpuAddress;
use super::library_error::LibraryError;

/// A clock of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GpuClock {
    /// That of the graphics processors.
    Graphics,
    /// That of video memory.
    Memory,
}

impl GpuClock {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Graphics, Self::Memory];

    /// The name: `graphics`, `memory`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Graphics => "graphics",
            Self::Memory => "memory",
        }
    }
}

impl fmt::Display for GpuClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A range in which a clock is locked, in MHz.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClockRange {
    /// The lowest clock, in MHz.
    pub lowest: u32,
    /// The highest clock, in MHz; not below the lowest.
    pub highest: u32,
}

impl fmt::Display for ClockRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lowest == self.highest {
            true => write!(f, "{} MHz", self.lowest),
            false => write!(f, "{} to {} MHz", self.lowest, self.highest),
        }
    }
}

/// The power limit of a GPU and its bounds, in milliwatts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerLimits {
    /// The limit that is set.
    pub set: u32,
    /// The lowest that can be set.
    pub lowest: u32,
    /// The highest that can be set.
    pub highest: u32,
}

/// The offset of a clock in one performance state, in MHz.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockOffset {
    /// The clock.
    pub clock: GpuClock,
    /// The performance state, 0 (the fastest) to 15.
    pub performance_state: u8,
    /// The offset that is set; 0 is none.
    pub megahertz: i32,
    /// The lowest that can be set.
    pub lowest: i32,
    /// The highest that can be set.
    pub highest: i32,
}

/// How the driver chooses the clocks of a GPU: the setting that `nvidia-settings` names
/// `GPUPowerMizerMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PowerMizerMode {
    /// By the load (0).
    Adaptive,
    /// Prefer maximum performance (1): the clocks stay high while a program uses the GPU.
    MaximumPerformance,
    /// The driver's choice (2).
    Auto,
    /// Prefer consistent performance (3): the base clocks.
    ConsistentPerformance,
}

impl PowerMizerMode {
    /// The name for messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::MaximumPerformance => "prefer maximum performance",
            Self::Auto => "auto",
            Self::ConsistentPerformance => "prefer consistent performance",
        }
    }
}

impl fmt::Display for PowerMizerMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The PowerMizer mode that is set, and those that the GPU offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerMizer {
    /// The mode that is set.
    pub set: PowerMizerMode,
    /// The modes that the GPU offers.
    pub offered: Vec<PowerMizerMode>,
}

/// The management library of the driver, NVML, or a fake of it.
///
/// GPUs are named by PCI address only. Every function initializes the GPU that it asks: do not ask one
/// that sleeps. After each call the library may have closed the GPU, and so may have been the last
/// program that had it open.
///
/// The names in NVML are in `nvml.h`; the branch of the driver that first has a function is named where
/// it is later than 470. All setters need root.
pub trait ManagementLibrary: fmt::Debug + Send {
    /// The UUID: `GPU-…` (`nvmlDeviceGetUUID`).
    ///
    /// # Errors
    /// If the library does not answer.
    fn uuid(&self, gpu: &GpuAddress) -> Result<String, LibraryError>;

    /// Whether persistence mode is on (`nvmlDeviceGetPersistenceMode`).
    ///
    /// # Errors
    /// If the library does not answer, or the GPU does not offer it.
    fn persistence_mode(&self, gpu: &GpuAddress) -> Result<bool, LibraryError>;

    /// Switches persistence mode (`nvmlDeviceSetPersistenceMode`).
    ///
    /// # Errors
    /// If the library refuses.
    fn set_persistence_mode(&mut self, gpu: &GpuAddress, on: bool) -> Result<(), LibraryError>;

    /// The power limit (`nvmlDeviceGetPowerManagementLimit` and `…LimitConstraints`).
    ///
    /// # Errors
    /// If the library does not answer, or the GPU does not offer it, as many of notebooks.
    fn power_limits(&self, gpu: &GpuAddress) -> Result<PowerLimits, LibraryError>;

    /// Sets the power limit, in milliwatts (`nvmlDeviceSetPowerManagementLimit`).
    ///
    /// # Errors
    /// If the library refuses.
    fn set_power_limit(&mut self, gpu: &GpuAddress, milliwatts: u32) -> Result<(), LibraryError>;

    /// The clock that the GPU has at this moment, in MHz (`nvmlDeviceGetClockInfo`).
    ///
    /// # Errors
    /// If the library does not answer.
    fn current_clock(&self, gpu: &GpuAddress, clock: GpuClock) -> Result<u32, LibraryError>;

    /// Locks a clock (`nvmlDeviceSetGpuLockedClocks`, `nvmlDeviceSetMemoryLockedClocks`). There is no
    /// getter.
    ///
    /// # Errors
    /// If the library refuses.
    fn lock_clock(
        &mut self,
        gpu: &GpuAddress,
        clock: GpuClock,
        range: ClockRange,
    ) -> Result<(), LibraryError>;

    /// Unlocks a clock, whoever has locked it (`nvmlDeviceResetGpuLockedClocks`,
    /// `nvmlDeviceResetMemoryLockedClocks`).
    ///
    /// # Errors
    /// If the library refuses.
    fn unlock_clock(&mut self, gpu: &GpuAddress, clock: GpuClock) -> Result<(), LibraryError>;

    /// The offsets of both clocks in each performance state that has them
    /// (`nvmlDeviceGetClockOffsets`, branch 555).
    ///
    /// # Errors
    /// If the library does not answer, or the GPU does not offer it.
    fn clock_offsets(&self, gpu: &GpuAddress) -> Result<Vec<ClockOffset>, LibraryError>;

    /// Sets the offset of a clock in a performance state, in MHz (`nvmlDeviceSetClockOffsets`,
    /// branch 555).
    ///
    /// # Errors
    /// If the library refuses.
    fn set_clock_offset(
        &mut self,
        gpu: &GpuAddress,
        clock: GpuClock,
        performance_state: u8,
        megahertz: i32,
    ) -> Result<(), LibraryError>;

    /// The PowerMizer mode (`nvmlDeviceGetPowerMizerMode_v1`, branch 580).
    ///
    /// # Errors
    /// If the library does not answer, or the GPU does not offer it.
    fn power_mizer(&self, gpu: &GpuAddress) -> Result<PowerMizer, LibraryError>;

    /// Sets the PowerMizer mode (`nvmlDeviceSetPowerMizerMode_v1`, branch 580).
    ///
    /// # Errors
    /// If the library refuses.
    fn set_power_mizer_mode(
        &mut self,
        gpu: &GpuAddress,
        mode: PowerMizerMode,
    ) -> Result<(), LibraryError>;
}
