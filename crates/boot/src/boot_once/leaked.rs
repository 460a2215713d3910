//! Words of a trial that were copied into the configuration of the boot loader.
//!
//! Programs that add an entry for a new kernel can take the line of the running kernel for it:
//! kernel-install without `/etc/kernel/cmdline` does. If a trial runs at that time, its mark and what
//! makes it return become permanent in the new entry.

use std::fmt;

use hosttune_core::{Host, HostError};

use super::entry_file::is_ours;
use super::trial_entry::MARK;
use crate::boot_loader::{is_file, readable};

/// A file with the mark of a trial, in which it does not belong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leak {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{} contains words of a trial, copied from the running kernel: remove {MARK}=, and panic=10, rd.shell=0 and rd.emergency=reboot if they are not yours",
            self.file, self.line
        )
    }
}

/// Single files that contain kernel command lines.
const FILES: [&str; 5] = [
    "/etc/default/grub",
    "/etc/kernel/cmdline",
    "/boot/grub/grub.cfg",
    "/boot/grub2/grub.cfg",
    "/etc/default/limine",
];

/// Directories with files that contain kernel command lines.
const DIRECTORIES: [&str; 5] = [
    "/etc/default/grub.d",
    "/etc/cmdline.d",
    "/boot/loader/entries",
    "/efi/loader/entries",
    "/boot/efi/loader/entries",
];

/// Looks for words of a trial in everything that a boot loader or a generator reads, except the entry of
/// the trial itself. Files that this process cannot read are not looked at.
///
/// # Errors
/// Any other error from the host.
pub fn leaks(host: &Host) -> Result<Vec<Leak>, HostError> {
    let mut files: Vec<String> = FILES.iter().map(|&file| file.to_owned()).collect();
    for directory in DIRECTORIES {
        if let Some(names) = readable(host.list(directory))? {
            let read = names
                .iter()
                .filter(|name| name.ends_with(".conf") || name.ends_with(".cfg"))
                .filter(|name| !is_ours(name));
            files.extend(read.map(|name| format!("{directory}/{name}")));
        }
    }
    let mut found = Vec::new();
    for file in files {
        if readable(is_file(host, &file))? != Some(true) {
            continue;
        }
        let Some(bytes) = readable(host.read(&file))? else {
            continue;
        };
        let text = String::from_utf8_lossy(&bytes);
        let has_mark = |line: &str| line.contains(&format!("{MARK}="));
        for (number, _) in text.lines().enumerate().filter(|(_, line)| has_mark(line)) {
            found.push(Leak {
                file: file.clone(),
                line: number + 1,
            });
        }
    }
    Ok(found)
}
