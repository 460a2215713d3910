//! Processes that have files of a device open.

use std::collections::HashSet;
use std::fmt;

use hosttune_core::host::EntryKind;
use hosttune_core::{Host, HostError, HostErrorKind};
use hosttune_pci::Address;

use super::nodes::{is_absent, nodes};

/// A process that has a file of a device open.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Its process ID.
    pub process: u32,
    /// Its name, from `comm`.
    pub name: String,
    /// The file.
    pub file: String,
    /// Whether it closes the file by itself when the device is unplugged.
    pub lets_go: bool,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {}, {})", self.name, self.process, self.file)
    }
}

/// The processes that have files of a device open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Holders {
    pub(crate) found: Vec<Holder>,
    /// Whether some processes could not be examined, because they belong to other users.
    pub(crate) is_partial: bool,
}

/// Sound servers keep the control node of each card open to be told of changes, and close it when
/// the card goes away.
const SOUND_SERVERS: [&str; 5] = [
    "wireplumber",
    "pipewire",
    "pipewire-pulse",
    "pipewire-media-",
    "pulseaudio",
];

/// Looks through the open files of all processes. A device node that is reached by another path
/// than udev's, such as in a container's own `/dev`, is not found.
pub(crate) fn holders(host: &Host, address: Address) -> Result<Holders, HostError> {
    let nodes: HashSet<String> = nodes(host, address)?.into_iter().collect();
    let mut holders = Holders::default();
    if nodes.is_empty() {
        return Ok(holders);
    }
    let names = match host.list("/proc") {
        Ok(names) => names,
        Err(error) if is_absent(&error) => return Ok(holders),
        Err(error) => return Err(error),
    };
    for process in names.iter().filter_map(|name| name.parse::<u32>().ok()) {
        let directory = format!("/proc/{process}/fd");
        let files = match host.list(&directory) {
            Ok(files) => files,
            Err(error) if *error.kind() == HostErrorKind::Denied => {
                holders.is_partial = true;
                continue;
            }
            // It has ended (ENOENT, ESRCH).
            Err(_) => continue,
        };
        for file in files {
            // A file may be closed while the list is read.
            let Ok(Some(entry)) = host.entry(format!("{directory}/{file}")) else {
                continue;
            };
            let EntryKind::Link(target) = entry.kind else {
                continue;
            };
            let target = target.to_string_lossy();
            if !nodes.contains(&*target) || is_known(&holders, process, &target) {
                continue;
            }
            let name = host
                .read(format!("/proc/{process}/comm"))
                .unwrap_or_default();
            let name = String::from_utf8_lossy(&name)
                .trim()
                .replace(char::is_control, "?");
            holders.found.push(Holder {
                process,
                lets_go: lets_go(&name, &target),
                name,
                file: target.into_owned(),
            });
        }
    }
    Ok(holders)
}

fn is_known(holders: &Holders, process: u32, file: &str) -> bool {
    let found = &mut holders.found.iter();
    found.any(|holder| holder.process == process && holder.file == file)
}

fn lets_go(name: &str, file: &str) -> bool {
    file.starts_with("/dev/snd/controlC") && SOUND_SERVERS.contains(&name)
}
