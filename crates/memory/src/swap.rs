//! The active swap areas.

use hosttune_core::host::unescaped_path;
use hosttune_core::{Error, Host, HostError, HostErrorKind, Planner, Tuning};

/// The kernel's list of swap areas.
pub const LIST: &str = "/proc/swaps";

/// A device or file in use as swap.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Area {
    /// Its path as passed to `swapon(2)`. If the mount that it was reached by has gone, as that of a unit with mounts
    /// of its own after the unit has ended, the kernel shows it from that mount on: `/zram0` for `/dev/zram0`.
    pub path: String,
    /// Whether it is a device and not a file.
    pub is_device: bool,
    /// Its size in KiB, without the header.
    pub size: u64,
    /// The used part in KiB.
    pub used: u64,
    /// Its priority; the highest is used first.
    pub priority: i32,
}

impl Area {
    /// Returns all active swap areas.
    ///
    /// # Errors
    /// Returns the error of the host if the list cannot be read. A kernel without swap has no areas.
    pub fn all(host: &Host) -> Result<Vec<Self>, HostError> {
        let text = match host.read_text(LIST) {
            Ok(text) => text,
            Err(error) if *error.kind() == HostErrorKind::Missing => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        Ok(parse(&text))
    }

    /// Returns the number of the zram device, if it is one.
    pub fn zram(&self) -> Option<u32> {
        let from_a_mount_that_has_gone = || self.path.strip_prefix('/').filter(|_| self.is_device);
        let name = self.path.strip_prefix("/dev/");
        let name = name.or_else(from_a_mount_that_has_gone)?;
        // `swapon` accepts any path of a device; udev also creates this one for zram.
        let name = name.strip_prefix("block/").unwrap_or(name);
        name.strip_prefix("zram")?.parse().ok()
    }
}

/// Parses `/proc/swaps`. The kernel writes blanks in a path as `\040`.
fn parse(text: &str) -> Vec<Area> {
    let line = |line: &str| {
        let mut fields = line.split_whitespace();
        let path = unescaped_path(fields.next()?);
        Some(Area {
            path,
            is_device: fields.next()? == "partition",
            size: fields.next()?.parse().ok()?,
            used: fields.next()?.parse().ok()?,
            priority: fields.next()?.parse().ok()?,
        })
    };
    text.lines().filter_map(line).collect()
}

/// Adds a note if no zram device is or will be swap, for settings that are only right with swap in memory.
/// It requests nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteUnlessZram {
    /// The note.
    pub note: String,
}

impl Tuning for NoteUnlessZram {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if at.is_selected() && !is_or_will_be_zram(at)? {
            at.note(self.note.clone());
        }
        Ok(())
    }
}

/// Whether a zram device is swap, or will be after the requests declared so far.
///
/// # Errors
/// Returns the error of the host if the swap areas or the devices cannot be read.
pub fn is_or_will_be_zram(at: &mut Planner<'_>) -> Result<bool, Error> {
    let areas = Area::all(at.host())?;
    if areas.iter().any(|area| area.zram().is_some()) {
        return Ok(true);
    }
    crate::zram::will_be_swap(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_read_as_the_kernel_lists_them() {
        let text = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
            /dev/zram0                              partition\t195312\t\t12\t\t100\n\
            /swap\\040file                          file\t\t1048572\t\t0\t\t-2\n";
        let areas = parse(text);
        assert_eq!(areas.len(), 2);
        assert_eq!(areas[0].zram(), Some(0));
        assert_eq!(
            (areas[0].size, areas[0].used, areas[0].priority),
            (195_312, 12, 100)
        );
        assert_eq!(areas[1].path, "/swap file");
        assert_eq!((areas[1].zram(), areas[1].priority), (None, -2));
        // What a unit of systemd with mounts of its own has switched on, after it has ended; Linux 7.3.
        let text = "/zram0                                  partition\t491516\t\t0\t\t100\n\
            /zram1                                  file\t\t491516\t\t0\t\t100\n";
        let areas = parse(text);
        assert_eq!((areas[0].zram(), areas[1].zram()), (Some(0), None));
        assert!(parse("").is_empty());
        assert!(parse("/dev/zram1 partition x y z\n").is_empty());
    }
}
