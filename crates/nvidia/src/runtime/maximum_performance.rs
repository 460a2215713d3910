//! Maximum performance mode, for the time in which a command runs.

use hosttune_core::host::RootKind;
use hosttune_core::{Error, Planner, Tuning, Why};

use super::library::PowerMizerMode;
use super::power_mizer_mode::GpuPowerMizerMode;
use super::selection::GpuSelection;
use super::settings::GpuSettings;
use super::state::GpuState;
use crate::gpu::gpus;

/// The PowerMizer mode "prefer maximum performance" on all NVIDIA GPUs that are awake and offer it, with the
/// persistence mode that keeps it.
///
/// It is optional everywhere, and persistence mode is left alone on a GPU that does not offer the mode or has
/// it already. On a host without an NVIDIA GPU nothing is declared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaximumPerformance {
    why: Why,
}

impl MaximumPerformance {
    /// On all GPUs, with the reason.
    pub fn new(why: impl Into<Why>) -> Self {
        Self { why: why.into() }
    }
}

impl Tuning for MaximumPerformance {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        const MODE: PowerMizerMode = PowerMizerMode::MaximumPerformance;

        if !at.is_selected() || at.host().root_kind() == RootKind::Image {
            return Ok(());
        }
        let settings = |selection| {
            GpuSettings::new(selection)
                .power_mizer_mode(MODE)
                .why(self.why.clone())
                .optional()
        };
        match GpuSelection::All.gpus(at.host())? {
            Ok(found) => {
                for gpu in found {
                    let now = at.now(&GpuPowerMizerMode::new(gpu.clone()));
                    let settings = settings(GpuSelection::Address(gpu));
                    match now {
                        Ok(GpuState::Value(mode)) if mode != MODE => {
                            settings.persistence_mode().declare(at)?;
                        }
                        _ => settings.declare(at)?,
                    }
                }
                Ok(())
            }
            // The reason is for those who have a card.
            Err(_) if gpus(at.host())?.is_empty() => Ok(()),
            Err(_) => settings(GpuSelection::All).declare(at),
        }
    }
}
