//! The udev rules file that applies [`Rules`] to hot-plugged disks.

use hosttune_core::file::ConfigFile;
use hosttune_core::{Error, Planner};

use crate::disk::Disk;
use crate::rule::Rule;
use crate::rules::Rules;
use crate::scheduler::SchedulerName;
use crate::udev::{Fights, RenderError};
use crate::zoned;

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
    note_left_out(at, taken)?;
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

/// Names the disks on which the file sets less than a plan; see [`Rules::to_udev`].
fn note_left_out(at: &mut Planner<'_>, taken: &[(&Rule, &Disk)]) -> Result<(), Error> {
    let mut multipath: Vec<&str> = Vec::new();
    let mut zoned: Vec<&str> = Vec::new();
    for (rule, disk) in taken {
        if !disk.paths.is_empty() && rule.sets_requests() {
            multipath.push(disk.name.as_str());
        }
        // What this kernel does not get now is no difference.
        if let Some(name) = &rule.set.scheduler
            && *name != SchedulerName::mq_deadline()
            && zoned::is_host_managed(at.host(), &disk.name)?
            && zoned::unsupported(at.host(), &disk.name, name)?.is_none()
        {
            zoned.push(disk.name.as_str());
        }
    }
    let again = "after a reboot they have it only once this is applied again, as by a unit at boot";
    if !multipath.is_empty() {
        at.note(format!(
            "the rules file does not set the requests of {}, because udev has no events for the paths of multipath NVMe: {again}",
            multipath.join(", ")
        ));
    }
    if !zoned.is_empty() {
        at.note(format!(
            "the rules file does not set the scheduler of {}, because it outlives this kernel, and before Linux 6.10 only mq-deadline keeps the writes of a host-managed zoned disk in order: {again}",
            zoned.join(", ")
        ));
    }
    Ok(())
}
