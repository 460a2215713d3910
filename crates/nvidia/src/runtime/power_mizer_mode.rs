//! The knob: PowerMizer mode of a GPU.

use std::fmt;

use hosttune_core::{Host, HostError, Knob, Unsupported, UnsupportedKind};
use serde::{Deserialize, Serialize};

use super::address::GpuAddress;
use super::identity;
use super::library::PowerMizerMode;
use super::management::GpuManagement;
use super::state::{self, GpuState};

/// The PowerMizer mode of a GPU, set without an X server; driver branch 580 or later.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GpuPowerMizerMode {
    /// The GPU.
    pub gpu: GpuAddress,
}

impl GpuPowerMizerMode {
    /// That of a GPU.
    pub fn new(gpu: GpuAddress) -> Self {
        Self { gpu }
    }
}

impl fmt::Display for GpuPowerMizerMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GPU {} PowerMizer mode", self.gpu)
    }
}

impl Knob for GpuPowerMizerMode {
    const NAME: &'static str = "nvidia-power-mizer-mode";
    const REPLACED: &'static str = "another GPU is at its address now";
    type State = GpuState<PowerMizerMode>;

    fn read(&self, host: &Host) -> Result<GpuState<PowerMizerMode>, HostError> {
        state::read(host, &self.gpu, self, |library| {
            Ok(library.power_mizer(&self.gpu)?.set)
        })
    }

    fn set(&self, host: &mut Host, to: &GpuState<PowerMizerMode>) -> Result<(), HostError> {
        let mode = *to.settable(self)?;
        GpuManagement::make(host, self, |library| {
            library.set_power_mizer_mode(&self.gpu, mode)
        })
    }

    fn unsupported(
        &self,
        host: &Host,
        to: &GpuState<PowerMizerMode>,
    ) -> Result<Option<Unsupported>, HostError> {
        if let Some(unsupported) = state::unusable(host, &self.gpu)? {
            return Ok(Some(unsupported));
        }
        let modes = GpuManagement::ask(host, self, |library| library.power_mizer(&self.gpu))?;
        if let Some(wanted) = to.value()
            && !modes.offered.contains(wanted)
        {
            let offered: Vec<&str> = modes.offered.iter().map(|mode| mode.as_str()).collect();
            return Ok(Some(
                Unsupported::new(
                    UnsupportedKind::ValueUnavailable,
                    format!("this GPU offers only: {}", offered.join(", ")),
                )
                .hint("request one of these"),
            ));
        }
        state::not_kept(host, &self.gpu)
    }

    fn original(&self, seen: &GpuState<PowerMizerMode>) -> Option<GpuState<PowerMizerMode>> {
        seen.original()
    }

    fn is_gone(&self, seen: &GpuState<PowerMizerMode>) -> bool {
        seen.is_missing()
    }

    fn hidden(&self, seen: &GpuState<PowerMizerMode>) -> Option<String> {
        seen.hidden()
    }

    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        identity::identity(host, &self.gpu)
    }

    fn is_same_thing(identity: &str, other: &str) -> bool {
        identity::is_same(identity, other)
    }

    fn show(&self, state: &GpuState<PowerMizerMode>) -> String {
        state.show(ToString::to_string)
    }
}
