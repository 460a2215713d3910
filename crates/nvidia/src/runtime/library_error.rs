//! What the management library answers instead of a value.

use hosttune_core::{HostError, HostErrorKind, Operation, Unsupported, UnsupportedKind};
use serde::{Deserialize, Serialize};

/// Why the management library does not answer or refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "error", content = "detail")]
#[non_exhaustive]
pub enum LibraryError {
    /// The program `hosttune-nvml` is not installed.
    #[error("the program hosttune-nvml is not installed")]
    NoProgram,
    /// The program is linked statically, and cannot load a library.
    #[error("this program is linked statically and cannot load NVML, the driver's library")]
    LinkedStatically,
    /// The library is not installed, or cannot be loaded.
    #[error("NVML, the driver's library libnvidia-ml.so.1, cannot be loaded: {0}")]
    NotLoaded(String),
    /// The library is older than this function.
    #[error("the installed driver is too old: its library has no such function ({0})")]
    NoFunction(String),
    /// The library and the loaded driver have different versions (`NVML_ERROR_LIB_RM_VERSION_MISMATCH`).
    #[error("the driver's library and the loaded driver have different versions")]
    VersionMismatch,
    /// The driver is not loaded (`NVML_ERROR_DRIVER_NOT_LOADED`).
    #[error("the NVIDIA driver is not loaded")]
    DriverNotLoaded,
    /// The driver has no GPU at this address (`NVML_ERROR_NOT_FOUND`).
    #[error("the driver has no GPU at this address")]
    NotFound,
    /// The GPU does not offer it (`NVML_ERROR_NOT_SUPPORTED`).
    #[error("this GPU does not offer it")]
    NotSupported,
    /// It needs root with `CAP_SYS_ADMIN`, which containers and services may lack (`NVML_ERROR_NO_PERMISSION`).
    #[error("permission denied by the driver, which wants root with CAP_SYS_ADMIN")]
    NoPermission,
    /// The value is not one that it takes (`NVML_ERROR_INVALID_ARGUMENT`).
    #[error("the driver refuses the value")]
    InvalidArgument,
    /// The GPU has fallen off the bus (`NVML_ERROR_GPU_IS_LOST`).
    #[error("the GPU does not answer any more: it has fallen off the bus")]
    GpuIsLost,
    /// The GPU has to be reset (`NVML_ERROR_RESET_REQUIRED`).
    #[error("the GPU has to be reset before it can be used")]
    ResetRequired,
    /// Anything else, as the library says it.
    #[error("NVML: {0}")]
    Other(String),
}

impl LibraryError {
    /// Whether the setting is unsupported on this host, and nothing is broken.
    pub(crate) fn unsupported(&self) -> Option<Unsupported> {
        let (kind, hint) = match self {
            Self::NoProgram => (
                UnsupportedKind::NoBackend,
                "install it: RUSTFLAGS= cargo install --locked --path crates/nvidia --features nvml --root /usr/local",
            ),
            Self::LinkedStatically => (
                UnsupportedKind::NoBackend,
                "build it with RUSTFLAGS= in the environment, which links dynamically",
            ),
            Self::NotLoaded(_) => (
                UnsupportedKind::NoBackend,
                "install the driver's programs and libraries: nvidia-utils, or libnvidia-ml1 on Debian",
            ),
            Self::NoFunction(_) => (
                UnsupportedKind::NoBackend,
                "clock offsets need a driver of branch 555 or later, PowerMizer modes one of branch 580 or later",
            ),
            Self::VersionMismatch => (
                UnsupportedKind::NoBackend,
                "reboot: the driver was upgraded and not loaded again",
            ),
            Self::DriverNotLoaded => (
                UnsupportedKind::NoBackend,
                "load it, or see dmesg for why it was not loaded",
            ),
            Self::NotFound => (
                UnsupportedKind::Missing,
                "see /proc/driver/nvidia/gpus for the GPUs that the driver uses",
            ),
            Self::NotSupported => (
                UnsupportedKind::Missing,
                "omit it: notebooks, MIG devices and virtual GPUs have few of these settings",
            ),
            // It depends on the service or container that this process is in, so it is not remembered.
            Self::NoPermission => (
                UnsupportedKind::Busy,
                "run it as root outside of a container; to hosttuned.service a drop-in with CapabilityBoundingSet=CAP_SYS_ADMIN adds it",
            ),
            _ => return None,
        };
        Some(Unsupported::new(kind, self.to_string()).hint(hint))
    }

    /// The error about a setting.
    pub(crate) fn of(self, setting: &impl std::fmt::Display) -> HostError {
        let subject = setting.to_string();
        if let Some(unsupported) = self.unsupported() {
            return HostError::not_applicable(Operation::Backend, subject, unsupported);
        }
        let (kind, hint) = match &self {
            Self::InvalidArgument => (HostErrorKind::Refused, "see nvidia-smi -q for the values"),
            Self::GpuIsLost => (
                HostErrorKind::Gone,
                "reboot, and see dmesg for Xid messages",
            ),
            Self::ResetRequired => (
                HostErrorKind::Other,
                "stop what uses the GPU, then: nvidia-smi --gpu-reset",
            ),
            _ => (HostErrorKind::Other, "see dmesg and nvidia-smi"),
        };
        HostError::new(Operation::Backend, subject, kind)
            .detail(self.to_string())
            .with_hint(hint)
    }
}
