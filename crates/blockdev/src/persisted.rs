//! The udev rules file that applies [`Rules`] to hot-plugged disks.

use std::path::{Path, PathBuf};

use hosttune_core::file::{ConfigFile, Directory, DirectoryState, FileState};
use hosttune_core::host::FileContent;
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
    for directory in missing(at, Path::new(&path))? {
        at.intermediate(&directory, &DirectoryState::Empty)
            .why("required by the rules file");
    }
    let fights = Fights::of(at.host(), taken, Some(&own));
    fights.note(at, "after a reboot, on ");
    let beaten: Vec<String> = fights.certain().collect();
    let file = ConfigFile::new(&path)?;
    // An existing file keeps its mode, owner and label; only its contents are ours.
    let content = match at.now(&file)? {
        FileState::Present(present) => FileContent { bytes, ..present },
        FileState::Absent | FileState::HalfWritten(_) => FileContent::new(bytes),
    };
    at.want(&file, &FileState::Present(content))
        .why("applies the same to hot-plugged disks, also after a reboot")
        .overridden_by((!beaten.is_empty()).then(|| beaten.join("; ")));
    Ok(())
}

/// The missing directories above a path, topmost first.
fn missing(at: &mut Planner<'_>, path: &Path) -> Result<Vec<Directory>, Error> {
    let mut missing = Vec::new();
    let parents = path.ancestors().skip(1);
    for parent in parents.filter(|parent| *parent != Path::new("/")) {
        let directory = Directory::new(PathBuf::from(parent))?;
        if at.now(&directory)? != DirectoryState::Absent {
            break;
        }
        missing.push(directory);
    }
    missing.reverse();
    Ok(missing)
}
