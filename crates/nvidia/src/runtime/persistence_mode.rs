//! The knob: persistence mode of a GPU.

use std::fmt;

use hosttune_core::{AnyKnob, Host, HostError, Knob, Unsupported, UnsupportedKind};
use serde::{Deserialize, Serialize};

use super::address::GpuAddress;
use super::clock_offset::GpuClockOffset;
use super::identity;
use super::library::GpuClock;
use super::locked_clocks::LockedClocks;
use super::management::GpuManagement;
use super::power_limit::PowerLimit;
use super::power_mizer_mode::GpuPowerMizerMode;
use super::state::{self, GpuState};

/// Persistence mode of a GPU: whether the driver keeps it initialized while no program has it open.
///
/// The mode itself is read, and not whether `nvidia-persistenced` runs, which can be started without it.
/// On a notebook whose GPU sleeps only as a whole (coarse-grained), persistence mode keeps it awake.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PersistenceMode {
    /// The GPU.
    pub gpu: GpuAddress,
}

impl PersistenceMode {
    /// That of a GPU.
    pub fn new(gpu: GpuAddress) -> Self {
        Self { gpu }
    }
}

impl fmt::Display for PersistenceMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GPU {} persistence mode", self.gpu)
    }
}

impl Knob for PersistenceMode {
    const NAME: &'static str = "nvidia-persistence-mode";
    const REPLACED: &'static str = "another GPU is at its address now";
    type State = GpuState<bool>;

    fn read(&self, host: &Host) -> Result<GpuState<bool>, HostError> {
        state::read(host, &self.gpu, self, |library| {
            library.persistence_mode(&self.gpu)
        })
    }

    fn set(&self, host: &mut Host, to: &GpuState<bool>) -> Result<(), HostError> {
        let on = *to.settable(self)?;
        GpuManagement::make(host, self, |library| {
            library.set_persistence_mode(&self.gpu, on)
        })
    }

    fn unsupported(
        &self,
        host: &Host,
        to: &GpuState<bool>,
    ) -> Result<Option<Unsupported>, HostError> {
        if let Some(unsupported) = state::unusable(host, &self.gpu)? {
            return Ok(Some(unsupported));
        }
        Ok(match to {
            GpuState::Value(false) => Some(
                Unsupported::new(
                    UnsupportedKind::SideEffects,
                    "without persistence mode the driver forgets limits and clocks that other programs have set",
                )
                .hint("leave it on, or switch it off by hand: nvidia-smi --persistence-mode=0"),
            ),
            _ => None,
        })
    }

    /// The settings that the driver forgets without it.
    fn destroys(&self, host: &Host, to: &GpuState<bool>) -> Result<Vec<AnyKnob>, HostError> {
        if to.value() != Some(&false) {
            return Ok(Vec::new());
        }
        let gpu = &self.gpu;
        let mut lost = vec![
            AnyKnob::of(&PowerLimit::new(gpu.clone())),
            AnyKnob::of(&GpuPowerMizerMode::new(gpu.clone())),
        ];
        for clock in GpuClock::ALL {
            lost.push(AnyKnob::of(&LockedClocks::new(gpu.clone(), clock)));
        }
        let offsets = state::read(host, gpu, self, |library| library.clock_offsets(gpu));
        let offsets = offsets.ok().and_then(|offsets| offsets.value().cloned());
        for offset in offsets.unwrap_or_default() {
            if offset.megahertz != 0 {
                let knob = GpuClockOffset::new(gpu.clone(), offset.clock, offset.performance_state);
                lost.push(AnyKnob::of(&knob));
            }
        }
        Ok(lost)
    }

    fn original(&self, seen: &GpuState<bool>) -> Option<GpuState<bool>> {
        seen.original()
    }

    fn is_gone(&self, seen: &GpuState<bool>) -> bool {
        seen.is_missing()
    }

    fn hidden(&self, seen: &GpuState<bool>) -> Option<String> {
        seen.hidden()
    }

    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        identity::identity(host, &self.gpu)
    }

    fn is_same_thing(identity: &str, other: &str) -> bool {
        identity::is_same(identity, other)
    }

    fn show(&self, state: &GpuState<bool>) -> String {
        state.show(|on| if *on { "on" } else { "off" }.to_owned())
    }
}
