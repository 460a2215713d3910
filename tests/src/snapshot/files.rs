//! Subtrees that consist of files.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

use super::{Seen, Subtree, configuration_space, restless};

/// Maximum size to read, in bytes. No attribute is larger; a larger file is a device's memory or a log.
const LARGEST: u64 = 64 * 1024;

/// Reads a file.
pub(super) fn read(path: &Path) -> Seen {
    let refused = |error: std::io::Error| Seen::Refused(error.raw_os_error());
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes)) {
        Ok(_) => Seen::Holds(bytes),
        Err(error) => refused(error),
    }
}

/// Returns the pattern of the symlinks to the devices of a subtree. No others are followed, because they lead
/// back up or into another subtree.
fn followed(subtree: Subtree) -> Option<&'static str> {
    match subtree {
        Subtree::BlockDevices => Some("*"),
        Subtree::PciDevices => Some("devices/*"),
        _ => None,
    }
}

fn matches(pattern: &Pattern, path: &Path) -> bool {
    let options = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: false,
    };
    pattern.matches_path_with(path, options)
}

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A pattern of excluded paths.
struct Restless {
    /// The last component, if it has no wildcards. It is compared first, because matching each pattern against
    /// some thousand paths takes long on an emulated processor.
    name: Option<&'static str>,
    pattern: Pattern,
}

impl Restless {
    fn new(text: &'static str) -> Self {
        let name = text.rsplit('/').next();
        Self {
            name: name.filter(|name| !name.contains(['*', '?', '['])),
            pattern: pattern(text),
        }
    }

    fn is(&self, path: &Path) -> bool {
        self.name
            .is_none_or(|name| path.file_name().is_some_and(|last| last == name))
            && matches(&self.pattern, path)
    }
}

struct Walk<'a> {
    subtree: Subtree,
    /// The actual top directory.
    top: PathBuf,
    /// The name of the top directory in the snapshot.
    called: &'a Path,
    device: u64,
    restless: Vec<Restless>,
    followed: Option<Pattern>,
}

/// Adds everything in a subtree that is a directory.
pub(super) fn subtree(subtree: Subtree, root: &Path, seen: &mut BTreeMap<String, Seen>) {
    let Some(called) = subtree.top() else {
        return;
    };
    let top = beneath(root, called);
    let metadata = match std::fs::metadata(&top) {
        Ok(metadata) => metadata,
        Err(error) => {
            let refused = Seen::Refused(error.raw_os_error());
            seen.insert(called.display().to_string(), refused);
            return;
        }
    };
    let walk = Walk {
        subtree,
        top,
        called,
        device: metadata.dev(),
        restless: restless::of(subtree)
            .iter()
            .map(|(text, _)| Restless::new(text))
            .collect(),
        followed: followed(subtree).map(pattern),
    };
    walk.all(seen);
}

impl Walk<'_> {
    fn all(&self, seen: &mut BTreeMap<String, Seen>) {
        self.each(&mut |within, one| {
            let what = self.called.join(within).display().to_string();
            seen.insert(what, one());
        });
    }

    /// Calls `found` for each entry, with its path below the top and a function that reads it.
    fn each(&self, found: &mut dyn FnMut(&Path, &dyn Fn() -> Seen)) {
        let mut ahead = vec![PathBuf::new()];
        while let Some(directory) = ahead.pop() {
            // The directory disappears with its device.
            let Ok(entries) = std::fs::read_dir(self.top.join(&directory)) else {
                continue;
            };
            for entry in entries.map_while(Result::ok) {
                let within = directory.join(entry.file_name());
                if self.restless.iter().any(|one| one.is(&within)) {
                    continue;
                }
                // Mount points such as binfmt_misc are skipped: they are not part of the subtree, and an
                // automount would be triggered.
                match entry.metadata() {
                    Ok(metadata) if metadata.dev() == self.device => {
                        found(&within, &|| self.one(&within, &metadata));
                        if self.is_looked_into(&within, &metadata) {
                            ahead.push(within);
                        }
                    }
                    Ok(_) | Err(_) => {}
                }
            }
        }
    }

    fn is_looked_into(&self, within: &Path, metadata: &Metadata) -> bool {
        if metadata.is_symlink() {
            let followed = self.followed.as_ref();
            return followed.is_some_and(|followed| matches(followed, within));
        }
        metadata.is_dir() && !self.is_device_of_its_own(within)
    }

    fn one(&self, within: &Path, metadata: &Metadata) -> Seen {
        let path = self.top.join(within);
        if metadata.is_symlink() {
            return std::fs::read_link(&path)
                .map_or_else(|error| Seen::Refused(error.raw_os_error()), Seen::LeadsTo);
        }
        if metadata.is_dir() {
            return Seen::Is(
                if self.is_device_of_its_own(within) {
                    "another device"
                } else {
                    "a directory"
                }
                .into(),
            );
        }
        if !metadata.is_file() {
            return Seen::Is("neither a file nor a directory".into());
        }
        // Root could open it nevertheless, and a driver might react to that.
        if metadata.mode() & 0o444 == 0 {
            return Seen::Is("a file without read permission".into());
        }
        if metadata.len() > LARGEST {
            return Seen::Is("a large file".into());
        }
        if self.subtree == Subtree::PciDevices && within.ends_with("config") {
            return configuration_space::seen(&path);
        }
        read(&path)
    }

    /// Whether a directory below a device is another device: a partition of the disk, the bus behind a bridge, the
    /// network interface. Its presence is part of the device's state; its contents are not.
    fn is_device_of_its_own(&self, within: &Path) -> bool {
        let subsystem = self.top.join(within).join("subsystem");
        matches!(self.subtree, Subtree::BlockDevices | Subtree::PciDevices)
            && std::fs::symlink_metadata(subsystem).is_ok_and(|metadata| metadata.is_symlink())
    }
}

fn beneath(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Adds the modules by name only, because their use counts change by themselves.
pub(super) fn modules(root: &Path, seen: &mut BTreeMap<String, Seen>) {
    let Some(called) = Subtree::Modules.top() else {
        return;
    };
    match std::fs::read_to_string(beneath(root, called)) {
        Ok(text) => {
            let names = text.lines().filter_map(|line| line.split(' ').next());
            seen.extend(names.map(|name| (format!("module {name}"), Seen::Is("loaded".into()))));
        }
        Err(error) => {
            let refused = Seen::Refused(error.raw_os_error());
            seen.insert(called.display().to_string(), refused);
        }
    }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
