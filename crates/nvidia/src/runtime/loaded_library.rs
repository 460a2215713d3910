//! NVML itself, loaded into this program.

use std::sync::Mutex;

use nvml_wrapper::bitmasks::InitFlags;
use nvml_wrapper::bitmasks::device::PowerMizerModes;
use nvml_wrapper::enum_wrappers::device::{Clock, PerformanceState};
use nvml_wrapper::enums::device::{GpuLockedClocksSetting, PowerMizerMode as Mode};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use super::address::GpuAddress;
use super::library::{
    ClockOffset, ClockRange, GpuClock, ManagementLibrary, PowerLimits, PowerMizer, PowerMizerMode,
};
use super::library_error::LibraryError;

/// Where the library is, in the order in which it is tried: by the loader's own search, and on NixOS.
const LIBRARIES: [&str; 2] = [
    "libnvidia-ml.so.1",
    "/run/opengl-driver/lib/libnvidia-ml.so.1",
];

/// The performance states, by number.
const STATES: [PerformanceState; 16] = [
    PerformanceState::Zero,
    PerformanceState::One,
    PerformanceState::Two,
    PerformanceState::Three,
    PerformanceState::Four,
    PerformanceState::Five,
    PerformanceState::Six,
    PerformanceState::Seven,
    PerformanceState::Eight,
    PerformanceState::Nine,
    PerformanceState::Ten,
    PerformanceState::Eleven,
    PerformanceState::Twelve,
    PerformanceState::Thirteen,
    PerformanceState::Fourteen,
    PerformanceState::Fifteen,
];

/// The PowerMizer modes: ours, the library's, and its bit among those that are offered.
const MODES: [(PowerMizerMode, Mode, PowerMizerModes); 4] = [
    (
        PowerMizerMode::Adaptive,
        Mode::Adaptive,
        PowerMizerModes::ADAPTIVE,
    ),
    (
        PowerMizerMode::MaximumPerformance,
        Mode::PreferMaximumPerformance,
        PowerMizerModes::PREFER_MAXIMUM_PERFORMANCE,
    ),
    (PowerMizerMode::Auto, Mode::Auto, PowerMizerModes::AUTO),
    (
        PowerMizerMode::ConsistentPerformance,
        Mode::PreferConsistentPerformance,
        PowerMizerModes::PREFER_CONSISTENT_PERFORMANCE,
    ),
];

/// NVML, loaded at the first call and kept until this value is dropped.
///
/// It is initialized without attaching GPUs; each is attached when it is asked. A GPU that was asked stays
/// open until the value is dropped, and does not sleep until then: drop it, or use a
/// [`ManagementProgram`](super::ManagementProgram), in a program that runs for long.
#[derive(Debug, Default)]
pub struct LoadedLibrary {
    nvml: Mutex<Option<Nvml>>,
}

impl LoadedLibrary {
    /// The library; nothing is loaded yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(
        &self,
        gpu: &GpuAddress,
        call: impl FnOnce(&mut Device<'_>) -> Result<T, NvmlError>,
    ) -> Result<T, LibraryError> {
        // glibc can load a library into a static program only if it is the very version that the program was
        // built with, and the library then has a second C library beside it; musl cannot at all.
        if cfg!(target_feature = "crt-static") {
            return Err(LibraryError::LinkedStatically);
        }
        let mut nvml = self
            .nvml
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let nvml = match &mut *nvml {
            Some(nvml) => nvml,
            none => none.insert(load().map_err(converted)?),
        };
        let mut device = nvml.device_by_pci_bus_id(gpu.as_str()).map_err(converted)?;
        call(&mut device).map_err(converted)
    }
}

fn load() -> Result<Nvml, NvmlError> {
    let init = |path: &str| {
        Nvml::builder()
            .lib_path(path.as_ref())
            .flags(InitFlags::NO_ATTACH)
            .init()
    };
    let [first, second] = LIBRARIES;
    match init(first) {
        Err(error @ NvmlError::LibloadingError(_)) => match init(second) {
            // The first error names the library that most systems have.
            Err(NvmlError::LibloadingError(_)) => Err(error),
            loaded => loaded,
        },
        loaded => loaded,
    }
}

fn converted(error: NvmlError) -> LibraryError {
    match error {
        NvmlError::LibloadingError(error) => LibraryError::NotLoaded(error.to_string()),
        NvmlError::LibraryNotFound => LibraryError::NotLoaded(error.to_string()),
        NvmlError::FailedToLoadSymbol(symbol) => LibraryError::NoFunction(symbol),
        // The library has the function, and the loaded driver does not know it.
        NvmlError::FunctionNotFound => LibraryError::NoFunction(error.to_string()),
        NvmlError::LibRmVersionMismatch => LibraryError::VersionMismatch,
        NvmlError::DriverNotLoaded => LibraryError::DriverNotLoaded,
        NvmlError::NotFound => LibraryError::NotFound,
        NvmlError::NotSupported => LibraryError::NotSupported,
        NvmlError::NoPermission => LibraryError::NoPermission,
        NvmlError::InvalidArg => LibraryError::InvalidArgument,
        NvmlError::GpuLost => LibraryError::GpuIsLost,
        NvmlError::ResetRequired => LibraryError::ResetRequired,
        other => LibraryError::Other(other.to_string()),
    }
}

fn clock_of(clock: GpuClock) -> Clock {
    match clock {
        GpuClock::Graphics => Clock::Graphics,
        GpuClock::Memory => Clock::Memory,
    }
}

impl ManagementLibrary for LoadedLibrary {
    fn uuid(&self, gpu: &GpuAddress) -> Result<String, LibraryError> {
        self.with(gpu, |device| device.uuid())
    }

    fn persistence_mode(&self, gpu: &GpuAddress) -> Result<bool, LibraryError> {
        self.with(gpu, |device| device.is_in_persistent_mode())
    }

    fn set_persistence_mode(&mut self, gpu: &GpuAddress, on: bool) -> Result<(), LibraryError> {
        self.with(gpu, |device| device.set_persistent(on))
    }

    fn power_limits(&self, gpu: &GpuAddress) -> Result<PowerLimits, LibraryError> {
        self.with(gpu, |device| {
            let bounds = device.power_management_limit_constraints()?;
            Ok(PowerLimits {
                set: device.power_management_limit()?,
                lowest: bounds.min_limit,
                highest: bounds.max_limit,
            })
        })
    }

    fn set_power_limit(&mut self, gpu: &GpuAddress, milliwatts: u32) -> Result<(), LibraryError> {
        self.with(gpu, |device| device.set_power_management_limit(milliwatts))
    }

    fn current_clock(&self, gpu: &GpuAddress, clock: GpuClock) -> Result<u32, LibraryError> {
        self.with(gpu, |device| device.clock_info(clock_of(clock)))
    }

    fn lock_clock(
        &mut self,
        gpu: &GpuAddress,
        clock: GpuClock,
        range: ClockRange,
    ) -> Result<(), LibraryError> {
        self.with(gpu, |device| match clock {
            GpuClock::Graphics => device.set_gpu_locked_clocks(GpuLockedClocksSetting::Numeric {
                min_clock_mhz: range.lowest,
                max_clock_mhz: range.highest,
            }),
            GpuClock::Memory => device.set_mem_locked_clocks(range.lowest, range.highest),
        })
    }

    fn unlock_clock(&mut self, gpu: &GpuAddress, clock: GpuClock) -> Result<(), LibraryError> {
        self.with(gpu, |device| match clock {
            GpuClock::Graphics => device.reset_gpu_locked_clocks(),
            GpuClock::Memory => device.reset_mem_locked_clocks(),
        })
    }

    fn clock_offsets(&self, gpu: &GpuAddress) -> Result<Vec<ClockOffset>, LibraryError> {
        self.with(gpu, |device| {
            let mut offsets = Vec::new();
            for (performance_state, state) in (0u8..).zip(STATES) {
                for clock in GpuClock::ALL {
                    match device.clock_offset(clock_of(clock), state) {
                        Ok(offset) => offsets.push(ClockOffset {
                            clock,
                            performance_state,
                            megahertz: offset.clock_offset_mhz,
                            lowest: offset.min_clock_offset_mhz,
                            highest: offset.max_clock_offset_mhz,
                        }),
                        // A GPU has few of the states, and not both clocks in each.
                        Err(NvmlError::NotSupported | NvmlError::InvalidArg) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            match offsets.is_empty() {
                true => Err(NvmlError::NotSupported),
                false => Ok(offsets),
            }
        })
    }

    fn set_clock_offset(
        &mut self,
        gpu: &GpuAddress,
        clock: GpuClock,
        performance_state: u8,
        megahertz: i32,
    ) -> Result<(), LibraryError> {
        let state = STATES
            .get(usize::from(performance_state))
            .ok_or(LibraryError::InvalidArgument)?;
        self.with(gpu, |device| {
            device.set_clock_offset(clock_of(clock), *state, megahertz)
        })
    }

    fn power_mizer(&self, gpu: &GpuAddress) -> Result<PowerMizer, LibraryError> {
        let info = self.with(gpu, |device| device.power_mizer_mode())?;
        let set = MODES.iter().find(|(_, theirs, _)| *theirs == info.current);
        let (set, ..) = set.ok_or_else(|| LibraryError::Other("an unknown mode".to_owned()))?;
        Ok(PowerMizer {
            set: *set,
            offered: MODES
                .iter()
                .filter(|(_, _, bit)| info.supported.contains(*bit))
                .map(|(mode, ..)| *mode)
                .collect(),
        })
    }

    fn set_power_mizer_mode(
        &mut self,
        gpu: &GpuAddress,
        mode: PowerMizerMode,
    ) -> Result<(), LibraryError> {
        let theirs = MODES.iter().find(|(ours, ..)| *ours == mode);
        let (_, theirs, _) = theirs.ok_or(LibraryError::InvalidArgument)?;
        self.with(gpu, |device| device.set_power_mizer_mode(*theirs))
    }
}
