//! Which images of the running kernel have copies of files of modprobe.d.

use hosttune_core::{Host, HostError, HostErrorKind};

use crate::location::images_of;

/// The images of the running kernel that have one of these files of modprobe.d inside, with the file; both as
/// absolute paths, several files of one image with commas. `None` if it is not known: no image is found, or one
/// cannot be read to its end.
///
/// # Errors
/// Any error from the host.
pub fn copies_of(host: &Host, files: &[&str]) -> Result<Option<Vec<(String, String)>>, HostError> {
    let release = match host.read_text("/proc/sys/kernel/osrelease") {
        Ok(release) => release.trim().to_owned(),
        Err(error) if *error.kind() == HostErrorKind::Missing => return Ok(None),
        Err(error) => return Err(error),
    };
    let images = images_of(host, &release)?;
    if images.is_empty() {
        return Ok(None);
    }
    let mut found = Vec::new();
    for one in images {
        let image = one.read(host)?;
        if image.incomplete().is_some() {
            return Ok(None);
        }
        for inside in image.modprobe_files() {
            if files.contains(&&*inside.path) {
                found.push((one.paths.join(", "), inside.path));
            }
        }
    }
    Ok(Some(found))
}
