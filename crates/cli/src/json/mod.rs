//! The JSON output of every command: the documents that `docs/schemas` describes.
//!
//! The documents have their own types instead of the engine's, so that the engine can change while the
//! documents stay the same. A field is never omitted: an unknown value is `null`.

mod boot;
mod error;
mod explain;
mod guest;
mod outcome;
mod pci;
mod plan;
mod run;
mod who_sets;

use serde::Serialize;

pub(super) use boot::boot_modes;
pub(super) use error::failed;
pub(super) use explain::explained;
pub(super) use guest::guest;
pub(super) use outcome::{
    applied, apply_failed, revert_declined, revert_failed, reverted, standing,
};
pub(super) use pci::bus;
pub(super) use plan::{planned, verified};
pub(super) use run::run_explained;
pub(super) use who_sets::who_sets;

/// One document on one line, for a command that prints several.
pub(super) fn line(document: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string(document)? + "\n")
}
