//! The management library in a program of its own, for host programs that are linked statically.

use std::time::Duration;

use hosttune_core::child::{Child, NotRun};
use hosttune_core::child_guard;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::address::GpuAddress;
use super::call::{Call, PROTOCOL};
use super::library::{
    ClockOffset, ClockRange, GpuClock, ManagementLibrary, PowerLimits, PowerMizer, PowerMizerMode,
};
use super::library_error::LibraryError;

/// The paths of `hosttune-nvml`, in the order in which they are tried.
pub const PROGRAMS: [&str; 3] = [
    "/usr/local/bin/hosttune-nvml",
    "/usr/bin/hosttune-nvml",
    // The only one on NixOS.
    "/run/current-system/sw/bin/hosttune-nvml",
];

/// How long a question may take. Initializing a GPU takes up to a few seconds; a change has no limit,
/// because one that is cut off leaves the GPU in an unknown state.
const PATIENCE: Duration = Duration::from_secs(120);

/// Asks the management library through `hosttune-nvml`, which is started for each call.
///
/// A program that is killed leaves a child behind that is about to finish its change. The child holds the
/// lock of [`child_guard`], and each question waits for it.
#[derive(Clone, Copy, Debug)]
pub struct ManagementProgram {
    programs: &'static [&'static str],
}

impl ManagementProgram {
    /// The program at the first of the [usual paths](PROGRAMS) that exists.
    #[must_use]
    pub fn installed() -> Self {
        Self::at(&PROGRAMS)
    }

    /// The program at the first of these absolute paths that exists.
    #[must_use]
    pub fn at(programs: &'static [&'static str]) -> Self {
        Self { programs }
    }

    fn make<T: DeserializeOwned>(&self, call: &Call) -> Result<T, LibraryError> {
        let other = |text: String| LibraryError::Other(text);
        let text = serde_json::to_string(call).map_err(|error| other(error.to_string()))?;
        let child = Child::new(self.programs).arguments([PROTOCOL, &text]);
        let child = if call.is_change() {
            child.makes_changes()
        } else {
            child_guard::wait("the GPU").map_err(|error| other(error.to_string()))?;
            child.time_limit(PATIENCE)
        };
        let ended = match child.run() {
            Ok(ended) => ended,
            Err(NotRun::NotInstalled) => return Err(LibraryError::NoProgram),
            Err(error @ NotRun::NotStarted { .. }) => return Err(other(error.to_string())),
        };
        if !ended.is_success() {
            return Err(other(ended.failure()));
        }
        let answer: Result<Value, LibraryError> = serde_json::from_slice(ended.output())
            .map_err(|error| other(format!("{} has answered no JSON: {error}", ended.program())))?;
        serde_json::from_value(answer?).map_err(|error| {
            other(format!(
                "{} has answered something else: {error}",
                ended.program()
            ))
        })
    }
}

impl ManagementLibrary for ManagementProgram {
    fn uuid(&self, gpu: &GpuAddress) -> Result<String, LibraryError> {
        self.make(&Call::Uuid { gpu: gpu.clone() })
    }

    fn persistence_mode(&self, gpu: &GpuAddress) -> Result<bool, LibraryError> {
        self.make(&Call::PersistenceMode { gpu: gpu.clone() })
    }

    fn set_persistence_mode(&mut self, gpu: &GpuAddress, on: bool) -> Result<(), LibraryError> {
        let gpu = gpu.clone();
        self.make(&Call::SetPersistenceMode { gpu, on })
    }

    fn power_limits(&self, gpu: &GpuAddress) -> Result<PowerLimits, LibraryError> {
        self.make(&Call::PowerLimits { gpu: gpu.clone() })
    }

    fn set_power_limit(&mut self, gpu: &GpuAddress, milliwatts: u32) -> Result<(), LibraryError> {
        let gpu = gpu.clone();
        self.make(&Call::SetPowerLimit { gpu, milliwatts })
    }

    fn current_clock(&self, gpu: &GpuAddress, clock: GpuClock) -> Result<u32, LibraryError> {
        let gpu = gpu.clone();
        self.make(&Call::CurrentClock { gpu, clock })
    }

    fn lock_clock(
        &mut self,
        gpu: &GpuAddress,
        clock: GpuClock,
        range: ClockRange,
    ) -> Result<(), LibraryError> {
        let gpu = gpu.clone();
        self.make(&Call::LockClock { gpu, clock, range })
    }

    fn unlock_clock(&mut self, gpu: &GpuAddress, clock: GpuClock) -> Result<(), LibraryError> {
        let gpu = gpu.clone();
        self.make(&Call::UnlockClock { gpu, clock })
    }

    fn clock_offsets(&self, gpu: &GpuAddress) -> Result<Vec<ClockOffset>, LibraryError> {
        self.make(&Call::ClockOffsets { gpu: gpu.clone() })
    }

    fn set_clock_offset(
        &mut self,
        gpu: &GpuAddress,
        clock: GpuClock,
        performance_state: u8,
        megahertz: i32,
    ) -> Result<(), LibraryError> {
        self.make(&Call::SetClockOffset {
            gpu: gpu.clone(),
            clock,
            performance_state,
            megahertz,
        })
    }

    fn power_mizer(&self, gpu: &GpuAddress) -> Result<PowerMizer, LibraryError> {
        self.make(&Call::PowerMizer { gpu: gpu.clone() })
    }

    fn set_power_mizer_mode(
        &mut self,
        gpu: &GpuAddress,
        mode: PowerMizerMode,
    ) -> Result<(), LibraryError> {
        let gpu = gpu.clone();
        self.make(&Call::SetPowerMizerMode { gpu, mode })
    }
}
