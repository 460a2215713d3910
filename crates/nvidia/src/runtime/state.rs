//! What a run-time setting of a GPU can be.

use hosttune_core::host::RootKind;
use hosttune_core::{Host, HostError, Unsupported, UnsupportedKind};
use serde::{Deserialize, Serialize};

use super::address::GpuAddress;
use super::library::ManagementLibrary;
use super::library_error::LibraryError;
use super::management::GpuManagement;
use super::persistence_mode::PersistenceMode;
use super::presence::{ASLEEP, Presence};

/// The state of a run-time setting of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GpuState<T> {
    /// The driver has no such GPU.
    Missing,
    /// The GPU sleeps, so it was not asked.
    Asleep,
    /// The GPU has this value.
    Value(T),
}

impl<T> GpuState<T> {
    pub(crate) fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Missing | Self::Asleep => None,
        }
    }

    /// Only a value can be set.
    pub(crate) fn original(&self) -> Option<Self>
    where
        T: Clone,
    {
        self.value().cloned().map(Self::Value)
    }

    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }

    pub(crate) fn hidden(&self) -> Option<String> {
        matches!(self, Self::Asleep).then(|| ASLEEP.to_owned())
    }

    pub(crate) fn show(&self, value: impl FnOnce(&T) -> String) -> String {
        match self {
            Self::Missing => "no such GPU".to_owned(),
            Self::Asleep => "unknown, because the GPU sleeps".to_owned(),
            Self::Value(of) => value(of),
        }
    }

    /// The value to be set, or an error: a GPU is not unplugged or put to sleep from here.
    pub(crate) fn settable(&self, setting: &impl std::fmt::Display) -> Result<&T, HostError> {
        self.value().ok_or_else(|| {
            let unsupported = Unsupported::new(
                UnsupportedKind::ValueUnavailable,
                "a GPU cannot be made to be missing or asleep",
            );
            HostError::not_applicable(
                hosttune_core::Operation::Backend,
                setting.to_string(),
                unsupported,
            )
        })
    }
}

/// Reads a setting of a GPU that is there and awake.
pub(crate) fn read<T>(
    host: &Host,
    gpu: &GpuAddress,
    setting: &impl std::fmt::Display,
    question: impl FnOnce(&dyn ManagementLibrary) -> Result<T, LibraryError>,
) -> Result<GpuState<T>, HostError> {
    match Presence::of(host, gpu)? {
        Presence::Missing => Ok(GpuState::Missing),
        Presence::Asleep => Ok(GpuState::Asleep),
        Presence::Awake => match GpuManagement::ask(host, setting, question) {
            Ok(value) => Ok(GpuState::Value(value)),
            Err(error) => Err(error),
        },
    }
}

/// Why nothing can be set on a GPU now, whatever it is.
pub(crate) fn unusable(host: &Host, gpu: &GpuAddress) -> Result<Option<Unsupported>, HostError> {
    if host.root_kind() == RootKind::Image {
        return Ok(Some(Unsupported::new(
            UnsupportedKind::NotRunning,
            "this is an image, in which no driver runs",
        )));
    }
    if let Some(unsupported) = Presence::of(host, gpu)?.unsupported(gpu) {
        return Ok(Some(unsupported));
    }
    if host.backend::<GpuManagement>().is_err() {
        return Ok(Some(GpuManagement::absent()));
    }
    Ok(None)
}

/// Why a setting would be lost: persistence mode is off.
pub(crate) fn not_kept(host: &Host, gpu: &GpuAddress) -> Result<Option<Unsupported>, HostError> {
    let persistence = PersistenceMode::new(gpu.clone());
    let on = GpuManagement::ask(host, &persistence, |library| library.persistence_mode(gpu))?;
    if on {
        return Ok(None);
    }
    Ok(Some(
        Unsupported::new(
            UnsupportedKind::Other,
            format!(
                "persistence mode of GPU {gpu} is off, and without it the driver forgets the setting when the last program closes the GPU"
            ),
        )
        .hint("request persistence mode too, or switch it on: nvidia-smi --persistence-mode=1")
        .cured_by(&persistence, &GpuState::Value(true)),
    ))
}
