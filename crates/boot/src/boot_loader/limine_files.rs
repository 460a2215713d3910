//! Where Limine reads its configuration, and whether that can be changed. Source: `CONFIG.md` of Limine.
//!
//! From 10.3 on it looks beside its own executable first, in whatever directory of the EFI system partition that
//! is, then in `boot/limine`, `boot`, `limine` and the root of the partition, whose directory is `/boot` or
//! another one here; the first file that is found hides the others. Names are compared without regard to case.

use hosttune_core::host::EntryKind;
use hosttune_core::{Host, HostError, HostErrorKind, Unsupported, UnsupportedKind};

use super::entries::is_file;
use super::start::Start;

/// Where the partition with Limine is mounted.
const MOUNTS: [&str; 3] = ["/boot", "/efi", "/boot/efi"];

/// Directories of a partition in which Limine looks, wherever its executable is.
const ALWAYS: [&str; 4] = ["boot/limine", "boot", "limine", ""];

/// Directories below that of the firmware's executables in which releases before 10.3 look.
const OF_FIRMWARE: [&str; 2] = ["boot", "limine"];

/// How many directories deep executables are looked for below `EFI`.
const DEPTH: usize = 3;

/// The largest file that can be an executable of Limine, which has less than 2 MiB. Unified kernel images are
/// larger.
const LARGEST: usize = 16 << 20;

/// What stands before the hash of the configuration in an executable; 128 zeros if there is none.
const SIGNATURE: &[u8] = b"++CONFIG_B2SUM_SIGNATURE++";
const DIGITS: usize = 128;

/// Files of limine-entry-tool, which writes entries again from a configuration of its own.
const ENTRY_TOOL: [&str; 3] = [
    "/etc/default/limine",
    "/etc/limine-entry-tool.conf",
    "/etc/limine-entry-tool.d",
];

/// A directory in which Limine may look, with what is in it.
struct Directory {
    path: String,
    names: Vec<String>,
    /// Whether Limine looks there wherever its executable is.
    is_always: bool,
}

impl Directory {
    fn read(host: &Host, path: String, is_always: bool) -> Result<Option<Self>, HostError> {
        match host.list(&*path) {
            Err(error) if *error.kind() == HostErrorKind::Missing || error.is_not_a_directory() => {
                Ok(None)
            }
            names => Ok(Some(Self {
                path,
                names: names?,
                is_always,
            })),
        }
    }

    fn named<'d>(&'d self, is_it: impl Fn(&str) -> bool + 'd) -> impl Iterator<Item = String> + 'd {
        let names = self.names.iter();
        let found = names.filter(move |name| is_it(&name.to_ascii_lowercase()));
        found.map(|name| match &*self.path {
            "/" => format!("/{name}"),
            path => format!("{path}/{name}"),
        })
    }

    fn configurations(&self) -> impl Iterator<Item = String> + '_ {
        self.named(|name| name == "limine.conf")
    }

    fn executables(&self) -> impl Iterator<Item = String> + '_ {
        self.named(|name| name.ends_with(".efi") || name == "limine-bios.sys")
    }
}

/// The directories in which Limine or its configuration can be.
fn directories(host: &Host) -> Result<Vec<Directory>, HostError> {
    let mut found: Vec<Directory> = Vec::new();
    let mut add = |directory: Option<Directory>| {
        let Some(directory) = directory else { return };
        match found.iter_mut().find(|known| known.path == directory.path) {
            Some(known) => known.is_always |= directory.is_always,
            None => found.push(directory),
        }
    };
    add(Directory::read(host, "/".to_owned(), true)?);
    add(Directory::read(host, "/limine".to_owned(), true)?);
    for mount in MOUNTS {
        for below in ALWAYS {
            let path = format!("{mount}/{below}");
            let path = path.trim_end_matches('/').to_owned();
            add(Directory::read(host, path, true)?);
        }
        let Some(root) = Directory::read(host, mount.to_owned(), true)? else {
            continue;
        };
        // Another partition can be mounted on `/boot/efi`; it is looked at by itself.
        let of_firmware = root.named(|name| name == "efi");
        let of_firmware: Vec<String> = of_firmware
            .filter(|path| !MOUNTS.contains(&&**path))
            .collect();
        for path in of_firmware {
            let mut level = vec![path.clone()];
            for _ in 0..=DEPTH {
                let mut next = Vec::new();
                for directory in level {
                    let below = directory.strip_prefix(&path).unwrap_or_default();
                    let below = below.trim_start_matches('/').to_ascii_lowercase();
                    let is_always = OF_FIRMWARE.contains(&&*below);
                    let Some(directory) = Directory::read(host, directory, is_always)? else {
                        continue;
                    };
                    for name in directory.named(|_| true) {
                        let kind = host.entry(&*name)?.map(|entry| entry.kind);
                        if kind == Some(EntryKind::Directory) {
                            next.push(name);
                        }
                    }
                    add(Some(directory));
                }
                level = next;
            }
        }
    }
    Ok(found)
}

/// All configurations that are there, whether Limine reads them or not.
///
/// # Errors
/// Any error from the host.
pub(super) fn configurations(host: &Host) -> Result<Vec<String>, HostError> {
    let all = directories(host)?;
    Ok(all.iter().flat_map(Directory::configurations).collect())
}

/// The configuration, or why it is not changed.
///
/// # Errors
/// Any error from the host.
pub(super) fn configuration(host: &Host) -> Result<Result<String, Unsupported>, HostError> {
    for file in ENTRY_TOOL {
        if host.exists(file)? {
            let why =
                format!("the boot entries are written by limine-entry-tool ({file} is there)");
            return Ok(Err(managed(
                why,
                "add them to the whole line, with root=, in KERNEL_CMDLINE[default] of /etc/default/limine, then run limine-update",
            )));
        }
    }
    let all = directories(host)?;
    let mut present = Vec::new();
    let mut is_found = false;
    let mut hashed = None;
    for directory in &all {
        let mut has_limine = false;
        for path in directory.executables() {
            let Some(bytes) = executable(host, &path)? else {
                continue;
            };
            match enrolled(&bytes) {
                None => continue,
                Some(false) => {}
                Some(true) => hashed = hashed.or(Some(path)),
            }
            has_limine = true;
        }
        is_found |= has_limine;
        if has_limine || directory.is_always {
            present.extend(directory.configurations());
        }
    }
    let file = match &present[..] {
        [file] => file.clone(),
        [] => {
            let why = "no limine.conf was found in the usual places";
            return Ok(Err(managed(
                why,
                "mount the boot partition if it is not mounted; or add them to cmdline: in limine.conf manually",
            )));
        }
        several => {
            let why = format!(
                "it is not known which of these Limine reads: {}",
                several.join(", ")
            );
            return Ok(Err(managed(why, "remove all but the one that it reads")));
        }
    };
    if let Some(executable) = hashed {
        let why = format!(
            "{executable} has the hash of its configuration enrolled, and would not boot after a change of {file}"
        );
        return Ok(Err(managed(
            why,
            "change cmdline: manually, then enrol the new hash: limine-update, or limine enroll-config",
        )));
    }
    if !is_found {
        let why = "no executable of Limine was found, so it is not known whether the hash of its configuration is enrolled";
        return Ok(Err(managed(
            why,
            "mount the boot partition, or add them to cmdline: in limine.conf manually",
        )));
    }
    Ok(match is_away(host, &file)? {
        false => Ok(file),
        true => Err(managed(
            format!(
                "Limine was started from a partition that is not mounted, and it may read another file than {file}"
            ),
            "mount it at /boot or /efi, then run this again",
        )),
    })
}

/// Whether Limine was started from a partition that is mounted in none of the usual places. False also if
/// nothing tells.
fn is_away(host: &Host, file: &str) -> Result<bool, HostError> {
    let Some(of_loader) = Start::read(host)?.partition else {
        return Ok(false);
    };
    for path in MOUNTS.into_iter().chain([file]) {
        match host.partition(path)? {
            Some(partition) if partition.uuid != of_loader => {}
            // It is that one, or is not known.
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// The bytes of an executable; `None` if it cannot be one of Limine: it is no file, or is too large.
fn executable(host: &Host, path: &str) -> Result<Option<Vec<u8>>, HostError> {
    if !is_file(host, path)? {
        return Ok(None);
    }
    match host.read(path) {
        Ok(bytes) => Ok((bytes.len() <= LARGEST).then_some(bytes)),
        // Larger than any file that is read here, or a link to nothing.
        Err(error)
            if matches!(
                error.kind(),
                HostErrorKind::Malformed | HostErrorKind::Missing
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether a hash is enrolled in an executable; `None` if it is not one of Limine.
fn enrolled(bytes: &[u8]) -> Option<bool> {
    let mut places = bytes.windows(SIGNATURE.len());
    let at = places.position(|window| window == SIGNATURE)? + SIGNATURE.len();
    let digits = bytes.get(at..at + DIGITS)?;
    Some(digits.iter().any(|digit| *digit != b'0'))
}

fn managed(why: impl Into<String>, hint: &str) -> Unsupported {
    Unsupported::new(UnsupportedKind::Managed, why).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enrolled_hash_is_found() {
        let of = |digits: &str| enrolled(&[b"MZ..", SIGNATURE, digits.as_bytes(), b".."].concat());
        assert_eq!(of(&"0".repeat(128)), Some(false));
        assert_eq!(of(&format!("{}1", "0".repeat(127))), Some(true));
        assert_eq!(of("0"), None);
        assert_eq!(enrolled(b"MZ"), None);
    }
}
