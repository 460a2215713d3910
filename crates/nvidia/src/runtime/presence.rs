//! Whether a GPU can be asked now. Nothing here wakes one.

use hosttune_core::{Host, HostError, Unsupported, UnsupportedKind};

use super::address::GpuAddress;
use super::management::GpuManagement;
use crate::gpu::{DEVICES, OF_DRIVER, optional};

/// Whether a GPU can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// The driver has no such GPU: it is unplugged, or the driver is not loaded or does not use it.
    Missing,
    /// It sleeps, or whether it sleeps is not known.
    Asleep,
    /// It can be asked.
    Awake,
}

impl Presence {
    pub(crate) fn of(host: &Host, gpu: &GpuAddress) -> Result<Self, HostError> {
        let of_driver = host.list_if_there(OF_DRIVER)?;
        if !of_driver.iter().any(|known| known == gpu.as_str()) {
            return Ok(Self::Missing);
        }
        if host
            .backend::<GpuManagement>()
            .is_ok_and(GpuManagement::wakes)
        {
            return Ok(Self::Awake);
        }
        let status = optional(host, &format!("{DEVICES}/{gpu}/power/runtime_status"))?;
        // "unsupported" and "error" do not tell whether it sleeps.
        Ok(match status.as_deref().map(str::trim) {
            Some("active") => Self::Awake,
            _ => Self::Asleep,
        })
    }

    /// Why a GPU cannot be asked; `None` if it can.
    pub(crate) fn unsupported(self, gpu: &GpuAddress) -> Option<Unsupported> {
        match self {
            Self::Missing => Some(
                Unsupported::new(
                    UnsupportedKind::Missing,
                    format!("the loaded NVIDIA driver has no GPU {gpu}"),
                )
                .hint(format!("see {OF_DRIVER} for the GPUs that it uses"))
                .module("nvidia"),
            ),
            Self::Asleep => Some(
                Unsupported::new(
                    UnsupportedKind::Busy,
                    format!("{ASLEEP} ({gpu}): its settings are unknown"),
                )
                .hint("start what uses the GPU, which wakes it, and try again"),
            ),
            Self::Awake => None,
        }
    }
}

/// What is said of a GPU that is not asked.
pub(crate) const ASLEEP: &str = "the GPU sleeps and is not woken to be asked";
