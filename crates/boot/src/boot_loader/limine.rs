//! Parameters in the entries of Limine's configuration, `limine.conf` (Limine 8 and later).
//!
//! A line that begins with slashes begins an entry, whose depth is their number; other lines are
//! `key: value`, and `#` begins a comment line. Source: `CONFIG.md` of Limine.

use hosttune_core::{Host, HostError, HostErrorKind, Unsupported, UnsupportedKind};

use std::ops::Range;

use super::entries::is_file;
use crate::command_line::KernelCommandLine;

/// Where Limine finds its configuration, with the boot partition mounted in one of the usual places.
pub(super) const CONFIGURATIONS: [&str; 10] = [
    "/boot/limine/limine.conf",
    "/boot/limine.conf",
    "/boot/EFI/BOOT/limine.conf",
    "/boot/EFI/limine/limine.conf",
    "/efi/limine.conf",
    "/efi/EFI/BOOT/limine.conf",
    "/efi/EFI/limine/limine.conf",
    "/boot/efi/limine.conf",
    "/boot/efi/EFI/BOOT/limine.conf",
    "/boot/efi/EFI/limine/limine.conf",
];

/// Where Limine's executables are.
const EXECUTABLES: [&str; 8] = [
    "/boot",
    "/boot/limine",
    "/boot/EFI/BOOT",
    "/boot/EFI/limine",
    "/efi/EFI/BOOT",
    "/efi/EFI/limine",
    "/boot/efi/EFI/BOOT",
    "/boot/efi/EFI/limine",
];

/// What stands before the hash of the configuration in an executable; 128 zeros if there is none.
const SIGNATURE: &[u8] = b"++CONFIG_B2SUM_SIGNATURE++";
const DIGITS: usize = 128;

/// Files of limine-entry-tool, which writes entries again from a configuration of its own.
const ENTRY_TOOL: [&str; 3] = [
    "/etc/default/limine",
    "/etc/limine-entry-tool.conf",
    "/etc/limine-entry-tool.d",
];

/// An entry that starts Linux.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LimineEntry {
    /// The titles that lead to it, each behind a slash.
    pub(super) path: String,
    /// Where its kernel command line is in the text, with the blanks before it.
    pub(super) line: Vec<Range<usize>>,
    /// Its other lines, as `key: value`.
    pub(super) others: Vec<String>,
}

/// The entries that start Linux, in order.
pub(super) fn entries(text: &str) -> Vec<LimineEntry> {
    let mut found: Vec<(LimineEntry, bool)> = Vec::new();
    let mut titles: Vec<&str> = Vec::new();
    let mut offset = 0;
    for whole in text.split_inclusive('\n') {
        let start = offset;
        offset += whole.len();
        let content = whole.trim_end_matches(['\r', '\n']);
        let line = content.trim_start();
        let from = start + content.len() - line.len();
        let depth = line.len() - line.trim_start_matches('/').len();
        if depth > 0 {
            titles.truncate(depth - 1);
            titles.push(line[depth..].trim_start_matches('+').trim());
            let path: String = titles.iter().map(|title| format!("/{title}")).collect();
            let entry = LimineEntry {
                path,
                line: Vec::new(),
                others: Vec::new(),
            };
            found.push((entry, false));
        } else if let Some((key, value)) = line.split_once(':')
            && !line.starts_with('#')
            && let Some((entry, is_linux)) = found.last_mut()
        {
            let end = start + content.len();
            match key.trim().to_ascii_lowercase().as_str() {
                "cmdline" | "kernel_cmdline" => {
                    entry.line.push(from + key.len() + 1..end);
                    continue;
                }
                "protocol" => *is_linux = value.trim() == "linux",
                _ => {}
            }
            let key = key.trim().to_ascii_lowercase();
            entry.others.push(format!("{key}: {}", value.trim()));
        }
    }
    let linux = found.into_iter().filter(|(_, is_linux)| *is_linux);
    linux.map(|(entry, _)| entry).collect()
}

/// The line of an entry, if there is one entry of that path with one line.
pub(super) fn range(text: &str, path: &str) -> Option<Range<usize>> {
    let all = entries(text);
    let mut of_path = all.iter().filter(|entry| entry.path == path);
    match (of_path.next(), of_path.next()) {
        (Some(entry), None) => match &entry.line[..] {
            [range] => Some(range.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// How many entries have these titles.
pub(super) fn count(text: &str, path: &str) -> usize {
    let all = entries(text);
    all.iter().filter(|entry| entry.path == path).count()
}

/// The configuration, or why it is not changed.
///
/// # Errors
/// Any error from the host.
pub(super) fn configuration(host: &Host) -> Result<Result<&'static str, Unsupported>, HostError> {
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
    let mut present = Vec::new();
    for file in CONFIGURATIONS {
        if host.exists(file)? {
            present.push(file);
        }
    }
    let file = match &present[..] {
        [file] => *file,
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
    let mut is_found = false;
    for directory in EXECUTABLES {
        for name in names(host, directory)? {
            let lower = name.to_ascii_lowercase();
            if !lower.ends_with(".efi") && lower != "limine-bios.sys" {
                continue;
            }
            let path = format!("{directory}/{name}");
            let Some(bytes) = executable(host, &path)? else {
                continue;
            };
            match enrolled(&bytes) {
                None => {}
                Some(false) => is_found = true,
                Some(true) => {
                    let why = format!(
                        "{path} has the hash of {file} enrolled, and would not boot after a change of it"
                    );
                    return Ok(Err(managed(
                        why,
                        "change cmdline: manually, then enrol the new hash: limine-update, or limine enroll-config",
                    )));
                }
            }
        }
    }
    if !is_found {
        let why = "no executable of Limine was found, so it is not known whether the hash of its configuration is enrolled";
        return Ok(Err(managed(
            why,
            "mount the boot partition, or add them to cmdline: in limine.conf manually",
        )));
    }
    Ok(Ok(file))
}

/// The bytes of an executable; `None` if it cannot be one of Limine, which has less than 2 MiB: it is no
/// file, or is larger than any file that is read here, as a unified kernel image can be.
fn executable(host: &Host, path: &str) -> Result<Option<Vec<u8>>, HostError> {
    if !is_file(host, path)? {
        return Ok(None);
    }
    match host.read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if *error.kind() == HostErrorKind::Malformed => Ok(None),
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

fn names(host: &Host, directory: &str) -> Result<Vec<String>, HostError> {
    match host.list(directory) {
        Err(error) if *error.kind() == HostErrorKind::Missing || error.is_not_a_directory() => {
            Ok(Vec::new())
        }
        names => names,
    }
}

fn managed(why: impl Into<String>, hint: &str) -> Unsupported {
    Unsupported::new(UnsupportedKind::Managed, why).hint(hint)
}

/// Whether the line of an entry has a macro, which Limine replaces.
pub(super) fn has_macro(line: &KernelCommandLine) -> bool {
    line.to_string().contains("${")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "timeout: 3\n# /no entry\n/+Arch\n//linux\n    protocol: linux\n    path: boot():/vmlinuz\n    cmdline: root=UUID=1 rw quiet\n//other\n    protocol: efi\n    cmdline: x\n/Arch\n    PROTOCOL: linux\n    cmdline:a=1\r\n";

    #[test]
    fn entries_are_found_by_their_path() {
        let found = entries(TEXT);
        let paths: Vec<&str> = found.iter().map(|entry| &*entry.path).collect();
        assert_eq!(paths, ["/Arch/linux", "/Arch"]);
        assert_eq!(
            &TEXT[range(TEXT, "/Arch/linux").unwrap()],
            " root=UUID=1 rw quiet"
        );
        assert_eq!(&TEXT[range(TEXT, "/Arch").unwrap()], "a=1");
        assert_eq!(range(&TEXT.repeat(2), "/Arch"), None);
    }

    #[test]
    fn an_enrolled_hash_is_found() {
        let of = |digits: &str| enrolled(&[b"MZ..", SIGNATURE, digits.as_bytes(), b".."].concat());
        assert_eq!(of(&"0".repeat(128)), Some(false));
        assert_eq!(of(&format!("{}1", "0".repeat(127))), Some(true));
        assert_eq!(of("0"), None);
        assert_eq!(enrolled(b"MZ"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(/{0,2}[a+ ]{0,2}|cmdline:|protocol: linux|#|[ \r]|\n){0,12}") {
            for entry in entries(&text) {
                prop_assert!(entry.line.iter().all(|range| text.get(range.clone()).is_some()));
            }
        }
    }
}
