//! The gate that every change of the host passes.

use std::path::Path;

use super::{FileContent, HostError};

/// A change that is about to be made to the host, as the [`Gate`] sees it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Change<'a> {
    /// A value written with one `write(2)` to a file that exists.
    Value {
        /// The file.
        path: &'a Path,
        /// The bytes to write, newline included.
        bytes: &'a [u8],
    },
    /// A file created or atomically replaced.
    File {
        /// The file.
        path: &'a Path,
        /// The new content.
        content: &'a FileContent,
    },
    /// An empty directory created.
    Directory {
        /// The directory.
        path: &'a Path,
    },
    /// A file or an empty directory removed.
    Removal {
        /// The file or directory.
        path: &'a Path,
    },
    /// A change made through a backend.
    Backend {
        /// The Rust type of the backend.
        backend: &'static str,
    },
}

/// Sees every change of the host before and after it is made.
///
/// Tests kill here, traces print here, benchmarks count here. An error from `before` refuses the
/// change. An error from `after` reports the change as failed although it was made, as if the
/// process had died between the two.
pub trait Gate: Send {
    /// The change is about to be made.
    ///
    /// # Errors
    /// An error refuses the change; it is then not made.
    fn before(&mut self, change: &Change<'_>) -> Result<(), HostError>;

    /// The change was made (successfully or not).
    ///
    /// # Errors
    /// An error reports a change that was made as failed.
    fn after(&mut self, change: &Change<'_>) -> Result<(), HostError> {
        let _ = change;
        Ok(())
    }
}

/// Makes a change between the two calls of the gate.
pub(super) fn pass<T>(
    gate: &mut Option<Box<dyn Gate>>,
    change: &Change<'_>,
    make: impl FnOnce() -> Result<T, HostError>,
) -> Result<T, HostError> {
    let Some(gate) = gate else { return make() };
    gate.before(change)?;
    let made = make();
    gate.after(change)?;
    made
}
