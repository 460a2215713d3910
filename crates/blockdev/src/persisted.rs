//! The udev rules file that applies [`Rules`] to hot-plugged disks.

use hosttune_core::file::ConfigFile;
use hosttune_core::{Error, Planner};

use crate::disk::Disk;
use crate::rule::Rule;
use crate::rules::Rules;
use crate::udev::{Fights, RenderError};

/// Requests the file, and notes which other rules override it.
pub(crate) fn declare(
    at: &mut Planner<'_>,
    rules: &Rules,
    name: &str,
    taken: &[(&Rule, &Disk)],
) -> Result<(), Error> {
    if !at.is_selected() {
        return Ok(());
    }
    let own = rules.to_udev(name)?;
    let path = own.path().map_err(RenderError::File)?;
    let bytes = own.to_text().map_err(RenderError::File)?.into_bytes();
    let fights = Fights::of(at.host(), taken, Some(&own));
    fights.note(at, "after a reboot, on ");
    let beaten: Vec<String> = fights.certain().collect();
    at.want_file(
        &ConfigFile::new(&path)?,
        bytes,
        "required by the rules file",
    )?
    .why("applies the same to hot-plugged disks, also after a reboot")
    .overridden_by((!beaten.is_empty()).then(|| beaten.join("; ")));
    Ok(())
}
