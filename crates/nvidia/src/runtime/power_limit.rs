//! The knob: power limit of a GPU.

use std::fmt;

use hosttune_core::{Host, HostError, Knob, Unsupported, UnsupportedKind};
use serde::{Deserialize, Serialize};

use super::address::GpuAddress;
use super::identity;
use super::management::GpuManagement;
use super::state::{self, GpuState};

/// The power limit of a GPU, in milliwatts.
///
/// The driver's bounds are read first. Most notebooks offer none, and some suspends reset it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PowerLimit {
    /// The GPU.
    pub gpu: GpuAddress,
}

impl PowerLimit {
    /// That of a GPU.
    pub fn new(gpu: GpuAddress) -> Self {
        Self { gpu }
    }
}

impl fmt::Display for PowerLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GPU {} power limit", self.gpu)
    }
}

/// `250 W`, `187.5 W`.
pub(crate) fn watts(milliwatts: u32) -> String {
    match milliwatts % 1000 {
        0 => format!("{} W", milliwatts / 1000),
        rest => format!(
            "{}.{} W",
            milliwatts / 1000,
            format!("{rest:03}").trim_end_matches('0')
        ),
    }
}

impl Knob for PowerLimit {
    const NAME: &'static str = "nvidia-power-limit";
    const REPLACED: &'static str = "another GPU is at its address now";
    type State = GpuState<u32>;

    fn read(&self, host: &Host) -> Result<GpuState<u32>, HostError> {
        state::read(host, &self.gpu, self, |library| {
            Ok(library.power_limits(&self.gpu)?.set)
        })
    }

    fn set(&self, host: &mut Host, to: &GpuState<u32>) -> Result<(), HostError> {
        let milliwatts = *to.settable(self)?;
        GpuManagement::make(host, self, |library| {
            library.set_power_limit(&self.gpu, milliwatts)
        })
    }

    fn unsupported(
        &self,
        host: &Host,
        to: &GpuState<u32>,
    ) -> Result<Option<Unsupported>, HostError> {
        if let Some(unsupported) = state::unusable(host, &self.gpu)? {
            return Ok(Some(unsupported));
        }
        let limits = GpuManagement::ask(host, self, |library| library.power_limits(&self.gpu))?;
        if let Some(wanted) = to.value()
            && !(limits.lowest..=limits.highest).contains(wanted)
        {
            let (lowest, highest) = (watts(limits.lowest), watts(limits.highest));
            return Ok(Some(
                Unsupported::new(
                    UnsupportedKind::ValueUnavailable,
                    format!("the driver takes {lowest} to {highest} for this GPU"),
                )
                .hint("request a limit within that range"),
            ));
        }
        state::not_kept(host, &self.gpu)
    }

    fn original(&self, seen: &GpuState<u32>) -> Option<GpuState<u32>> {
        seen.original()
    }

    fn is_gone(&self, seen: &GpuState<u32>) -> bool {
        seen.is_missing()
    }

    fn hidden(&self, seen: &GpuState<u32>) -> Option<String> {
        seen.hidden()
    }

    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        identity::identity(host, &self.gpu)
    }

    fn is_same_thing(identity: &str, other: &str) -> bool {
        identity::is_same(identity, other)
    }

    fn show(&self, state: &GpuState<u32>) -> String {
        state.show(|milliwatts| watts(*milliwatts))
    }
}
