//! The backend that asks the management library.

use hosttune_core::{Host, HostError, Operation, Unsupported, UnsupportedKind};

use super::library::ManagementLibrary;
use super::library_error::LibraryError;
use super::program::ManagementProgram;

/// The backend of a host with GPUs of NVIDIA's. Without it this crate sets nothing at run time.
#[derive(Debug)]
pub struct GpuManagement {
    library: Box<dyn ManagementLibrary>,
    wakes: bool,
}

impl GpuManagement {
    /// A backend that starts the program `hosttune-nvml` for each call. For a program that is linked
    /// statically it is the only way.
    #[must_use]
    pub fn program() -> Self {
        Self::over(ManagementProgram::installed())
    }

    /// A backend that loads the library into this program, at the first call.
    #[cfg(feature = "nvml")]
    #[must_use]
    pub fn library() -> Self {
        Self::over(super::LoadedLibrary::new())
    }

    /// A backend over any other library.
    #[must_use]
    pub fn over(library: impl ManagementLibrary + 'static) -> Self {
        Self {
            library: Box::new(library),
            wakes: false,
        }
    }

    /// Consents to waking GPUs that sleep, also to read their settings. By default they are left asleep.
    #[must_use]
    pub fn waking(mut self) -> Self {
        self.wakes = true;
        self
    }

    pub(crate) fn wakes(&self) -> bool {
        self.wakes
    }

    /// Asks the library of a host about a setting.
    pub(crate) fn ask<T>(
        host: &Host,
        setting: &impl std::fmt::Display,
        question: impl FnOnce(&dyn ManagementLibrary) -> Result<T, LibraryError>,
    ) -> Result<T, HostError> {
        let Ok(management) = host.backend::<Self>() else {
            return Err(HostError::not_applicable(
                Operation::Backend,
                setting.to_string(),
                Self::absent(),
            ));
        };
        question(&*management.library).map_err(|error| error.of(setting))
    }

    /// What is said where there is none.
    pub(crate) fn absent() -> Unsupported {
        Unsupported::new(
            UnsupportedKind::NoBackend,
            "this program has no backend that asks NVML, the driver's library",
        )
        .hint("add the backend GpuManagement::program() to the session")
    }

    /// Makes a change through the library of a host. It passes the host's gate.
    pub(crate) fn make(
        host: &mut Host,
        setting: &impl std::fmt::Display,
        change: impl FnOnce(&mut dyn ManagementLibrary) -> Result<(), LibraryError>,
    ) -> Result<(), HostError> {
        host.change::<Self, ()>(|management| {
            change(&mut *management.library).map_err(|error| error.of(setting))
        })
    }
}
