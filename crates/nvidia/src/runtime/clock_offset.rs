//! The knob: offset of a clock of a GPU.

use std::fmt;

use hosttune_core::{Host, HostError, Knob, Unsupported, UnsupportedKind};
use serde::{Deserialize, Serialize};

use super::address::GpuAddress;
use super::identity;
use super::library::{ClockOffset, GpuClock, ManagementLibrary};
use super::library_error::LibraryError;
use super::management::GpuManagement;
use super::state::{self, GpuState};

/// The offset of a clock in one performance state, in MHz; driver branch 555 or later.
///
/// Another value than 0 runs the GPU outside of what its maker has tested.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GpuClockOffset {
    /// The GPU.
    pub gpu: GpuAddress,
    /// The clock.
    pub clock: GpuClock,
    /// The performance state, 0 (the fastest) to 15.
    pub performance_state: u8,
}

impl GpuClockOffset {
    /// That of a clock of a GPU in a performance state.
    pub fn new(gpu: GpuAddress, clock: GpuClock, performance_state: u8) -> Self {
        Self {
            gpu,
            clock,
            performance_state,
        }
    }

    fn ask(&self, library: &dyn ManagementLibrary) -> Result<ClockOffset, LibraryError> {
        let mut offsets = library.clock_offsets(&self.gpu)?.into_iter();
        offsets
            .find(|offset| {
                (offset.clock, offset.performance_state) == (self.clock, self.performance_state)
            })
            .ok_or(LibraryError::NotSupported)
    }
}

impl fmt::Display for GpuClockOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            gpu,
            clock,
            performance_state,
        } = self;
        write!(f, "GPU {gpu} {clock} clock offset in P{performance_state}")
    }
}

impl Knob for GpuClockOffset {
    const NAME: &'static str = "nvidia-clock-offset";
    const REPLACED: &'static str = "another GPU is at its address now";
    type State = GpuState<i32>;

    fn read(&self, host: &Host) -> Result<GpuState<i32>, HostError> {
        state::read(host, &self.gpu, self, |library| {
            Ok(self.ask(library)?.megahertz)
        })
    }

    fn set(&self, host: &mut Host, to: &GpuState<i32>) -> Result<(), HostError> {
        let megahertz = *to.settable(self)?;
        GpuManagement::make(host, self, |library| {
            library.set_clock_offset(&self.gpu, self.clock, self.performance_state, megahertz)
        })
    }

    fn unsupported(
        &self,
        host: &Host,
        to: &GpuState<i32>,
    ) -> Result<Option<Unsupported>, HostError> {
        if let Some(unsupported) = state::unusable(host, &self.gpu)? {
            return Ok(Some(unsupported));
        }
        let offset = GpuManagement::ask(host, self, |library| self.ask(library))?;
        if let Some(wanted) = to.value()
            && !(offset.lowest..=offset.highest).contains(wanted)
        {
            return Ok(Some(
                Unsupported::new(
                    UnsupportedKind::ValueUnavailable,
                    format!(
                        "the driver takes {:+} to {:+} MHz for this clock",
                        offset.lowest, offset.highest
                    ),
                )
                .hint("request an offset within that range"),
            ));
        }
        state::not_kept(host, &self.gpu)
    }

    fn original(&self, seen: &GpuState<i32>) -> Option<GpuState<i32>> {
        seen.original()
    }

    fn is_gone(&self, seen: &GpuState<i32>) -> bool {
        seen.is_missing()
    }

    fn hidden(&self, seen: &GpuState<i32>) -> Option<String> {
        seen.hidden()
    }

    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        identity::identity(host, &self.gpu)
    }

    fn is_same_thing(identity: &str, other: &str) -> bool {
        identity::is_same(identity, other)
    }

    fn show(&self, state: &GpuState<i32>) -> String {
        state.show(|megahertz| format!("{megahertz:+} MHz"))
    }
}
