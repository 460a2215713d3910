//! The calls of the management library as data: the protocol between a host program and `hosttune-nvml`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::address::GpuAddress;
use super::library::{ClockRange, GpuClock, ManagementLibrary, PowerMizerMode};
use super::library_error::LibraryError;

/// The version of the protocol: the first argument of `hosttune-nvml`. The second is a [`Call`] as JSON.
/// The program prints its answer as JSON, `{"Ok": …}` or `{"Err": …}`.
pub const PROTOCOL: &str = "1";

/// One call of a [`ManagementLibrary`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case",
    tag = "call"
)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "each is a function of the trait, with its arguments"
)]
pub enum Call {
    Uuid {
        gpu: GpuAddress,
    },
    PersistenceMode {
        gpu: GpuAddress,
    },
    SetPersistenceMode {
        gpu: GpuAddress,
        on: bool,
    },
    PowerLimits {
        gpu: GpuAddress,
    },
    SetPowerLimit {
        gpu: GpuAddress,
        milliwatts: u32,
    },
    CurrentClock {
        gpu: GpuAddress,
        clock: GpuClock,
    },
    LockClock {
        gpu: GpuAddress,
        clock: GpuClock,
        range: ClockRange,
    },
    UnlockClock {
        gpu: GpuAddress,
        clock: GpuClock,
    },
    ClockOffsets {
        gpu: GpuAddress,
    },
    SetClockOffset {
        gpu: GpuAddress,
        clock: GpuClock,
        performance_state: u8,
        megahertz: i32,
    },
    PowerMizer {
        gpu: GpuAddress,
    },
    SetPowerMizerMode {
        gpu: GpuAddress,
        mode: PowerMizerMode,
    },
}

impl Call {
    /// Makes the call, and gives its answer as JSON; that of a setter is `null`.
    ///
    /// # Errors
    /// What the library answers instead.
    pub fn make(self, library: &mut dyn ManagementLibrary) -> Result<Value, LibraryError> {
        match self {
            Self::Uuid { gpu } => value(library.uuid(&gpu)),
            Self::PersistenceMode { gpu } => value(library.persistence_mode(&gpu)),
            Self::SetPersistenceMode { gpu, on } => value(library.set_persistence_mode(&gpu, on)),
            Self::PowerLimits { gpu } => value(library.power_limits(&gpu)),
            Self::SetPowerLimit { gpu, milliwatts } => {
                value(library.set_power_limit(&gpu, milliwatts))
            }
            Self::CurrentClock { gpu, clock } => value(library.current_clock(&gpu, clock)),
            Self::LockClock { gpu, clock, range } => value(library.lock_clock(&gpu, clock, range)),
            Self::UnlockClock { gpu, clock } => value(library.unlock_clock(&gpu, clock)),
            Self::ClockOffsets { gpu } => value(library.clock_offsets(&gpu)),
            Self::SetClockOffset {
                gpu,
                clock,
                performance_state,
                megahertz,
            } => value(library.set_clock_offset(&gpu, clock, performance_state, megahertz)),
            Self::PowerMizer { gpu } => value(library.power_mizer(&gpu)),
            Self::SetPowerMizerMode { gpu, mode } => {
                value(library.set_power_mizer_mode(&gpu, mode))
            }
        }
    }

    /// Whether it changes the GPU.
    pub fn is_change(&self) -> bool {
        matches!(
            self,
            Self::SetPersistenceMode { .. }
                | Self::SetPowerLimit { .. }
                | Self::LockClock { .. }
                | Self::UnlockClock { .. }
                | Self::SetClockOffset { .. }
                | Self::SetPowerMizerMode { .. }
        )
    }
}

fn value<T: Serialize>(answer: Result<T, LibraryError>) -> Result<Value, LibraryError> {
    serde_json::to_value(answer?).map_err(|error| LibraryError::Other(error.to_string()))
}
