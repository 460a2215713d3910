//! Processes that have files of a device open.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use hosttune_core::host::EntryKind;
use hosttune_core::{Host, HostError, HostErrorKind};
use hosttune_pci::Address;

use super::nodes::{is_absent, nodes};
use super::runs_in::RunsIn;

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
    /// What it belongs to.
    pub runs_in: RunsIn,
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
    let mut of_all = holders_of_all(host, [address])?;
    Ok(of_all.remove(&address).unwrap_or_default())
}

/// The same for several devices, with one look at the processes. A node that devices share counts
/// for each of them.
pub(crate) fn holders_of_all(
    host: &Host,
    addresses: impl IntoIterator<Item = Address>,
) -> Result<BTreeMap<Address, Holders>, HostError> {
    let mut owners: HashMap<String, Vec<Address>> = HashMap::new();
    let mut found: BTreeMap<Address, Holders> = BTreeMap::new();
    for address in addresses {
        let nodes: BTreeSet<String> = nodes(host, address)?.into_iter().collect();
        if !nodes.is_empty() {
            found.insert(address, Holders::default());
        }
        for node in nodes {
            owners.entry(node).or_default().push(address);
        }
    }
    if owners.is_empty() {
        return Ok(found);
    }
    let names = match host.list("/proc") {
        Ok(names) => names,
        Err(error) if is_absent(&error) => return Ok(found),
        Err(error) => return Err(error),
    };
    for process in names.iter().filter_map(|name| name.parse::<u32>().ok()) {
        let directory = format!("/proc/{process}/fd");
        let files = match host.list(&directory) {
            Ok(files) => files,
            Err(error) if *error.kind() == HostErrorKind::Denied => {
                for holders in found.values_mut() {
                    holders.is_partial = true;
                }
                continue;
            }
            // It has ended (ENOENT, ESRCH).
            Err(_) => continue,
        };
        let mut open: BTreeSet<String> = BTreeSet::new();
        for file in files {
            // A file may be closed while the list is read.
            if let Ok(Some(entry)) = host.entry(format!("{directory}/{file}"))
                && let EntryKind::Link(target) = entry.kind
            {
                let target = target.to_string_lossy();
                if owners.contains_key(&*target) {
                    open.insert(target.into_owned());
                }
            }
        }
        if open.is_empty() {
            continue;
        }
        let name = host
            .read(format!("/proc/{process}/comm"))
            .unwrap_or_default();
        let name = String::from_utf8_lossy(&name)
            .trim()
            .replace(char::is_control, "?");
        let runs_in = RunsIn::of(host, process, &name)?;
        for file in open {
            for address in owners.get(&file).into_iter().flatten() {
                found.entry(*address).or_default().found.push(Holder {
                    process,
                    lets_go: lets_go(&name, &file),
                    runs_in: runs_in.clone(),
                    name: name.clone(),
                    file: file.clone(),
                });
            }
        }
    }
    Ok(found)
}

fn lets_go(name: &str, file: &str) -> bool {
    file.starts_with("/dev/snd/controlC") && SOUND_SERVERS.contains(&name)
}
