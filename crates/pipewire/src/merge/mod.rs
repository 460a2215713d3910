//! Which file and line sets each property, as a version of PipeWire merges its configuration.
//!
//! A daemon reads one main file, the first that it finds, and drop-ins from up to three directories.
//! Each file consists of sections. Sections of properties are merged key by key, the later file wins;
//! arrays of modules, objects and rules are joined. Which file is later, and whether one of the same
//! name in another directory is read at all, changed twice:
//!
//! | Version | Order, the last one wins | The same name in two directories |
//! |---|---|---|
//! | up to 1.0.3 | user, system, packages | only the user's, or else the system's, is read |
//! | 1.0.4 to 1.5.80 | packages, system, user | only the packages', or else the system's, is read |
//! | from 1.5.81 | packages, system, user | all are read |
//!
//! So from 1.0.4 to 1.5.80, which is every 1.2 and 1.4, a file of the administrator silently hides
//! one of a user that has the same name.
//!
//! [`ConfigFiles::collect`] reads the files, [`Merged::of`] merges them without reading anything, and
//! [`Merged::properties`] gives the properties with their origins.

mod dictionary;
mod environment;
mod files;
mod merged;
mod property;
mod rules;

pub use environment::{Environment, Layer};
pub use files::{ConfigFiles, ConfigText, DropIns};
pub use merged::{Dropped, Merged};
pub use property::{How, Origin, Properties, Property, Undetermined};
