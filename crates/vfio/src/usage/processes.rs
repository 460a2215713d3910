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
    /// The name of the virtual machine that it runs, if the file is one of VFIO and its command line has
    /// a name, as QEMU's has: `-name guest=windows11`.
    pub guest: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {}", self.name, self.process)?;
        if let Some(guest) = &self.guest {
            write!(f, ", guest {guest}")?;
        }
        write!(f, ", {})", self.file)
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
        let mut guest = None;
        if open.iter().any(|file| is_of_vfio(file)) {
            // It is empty if the process has ended.
            let line = host.read(format!("/proc/{process}/cmdline"));
            guest = guest_name(&line.unwrap_or_default());
        }
        for file in open {
            for address in owners.get(&file).into_iter().flatten() {
                found.entry(*address).or_default().found.push(Holder {
                    process,
                    lets_go: lets_go(&name, &file),
                    runs_in: runs_in.clone(),
                    name: name.clone(),
                    guest: guest.clone().filter(|_| is_of_vfio(&file)),
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

fn is_of_vfio(file: &str) -> bool {
    file.starts_with("/dev/vfio/")
}

/// The name of the virtual machine in a command line of QEMU (`/proc/PID/cmdline`, each word ends with a
/// zero byte): `-name NAME` or `-name guest=NAME,debug-threads=on`, with one or two dashes. The last one
/// counts. A comma in the name is written twice.
fn guest_name(line: &[u8]) -> Option<String> {
    let mut words = line.split(|byte| *byte == 0);
    let mut found = None;
    while let Some(word) = words.next() {
        if matches!(word, b"-name" | b"--name") {
            found = words.next();
        }
    }
    let value = String::from_utf8_lossy(found?).replace(",,", "\0");
    let is_first = |place: usize, option: &str| place == 0 && !option.contains('=');
    let mut options = value.split(',').enumerate();
    let name = options.find_map(|(place, option)| {
        let plain = is_first(place, option).then_some(option);
        option.strip_prefix("guest=").or(plain)
    })?;
    let name = name.replace('\0', ",").replace(char::is_control, "?");
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_guest_is_read_as_qemu_reads_it() {
        let name = |words: &[&str]| guest_name(words.join("\0").as_bytes());
        // libvirt 11.
        let words = [
            "/usr/bin/qemu-system-x86_64",
            "-name",
            "guest=win11,debug-threads=on",
            "-S",
        ];
        assert_eq!(name(&words).as_deref(), Some("win11"));
        for (value, is) in [
            ("win11", Some("win11")),
            ("win11,process=x", Some("win11")),
            ("debug-threads=on,guest=win11", Some("win11")),
            ("guest=a,,b", Some("a,b")),
            ("guest=a\u{1b}[31m", Some("a?[31m")),
            ("debug-threads=on", None),
            ("", None),
        ] {
            assert_eq!(name(&["qemu", "--name", value]).as_deref(), is, "{value}");
        }
        assert_eq!(
            name(&["qemu", "-name", "a", "-name", "b"]).as_deref(),
            Some("b")
        );
        assert_eq!(name(&["qemu", "-name"]), None);
        assert_eq!(guest_name(b""), None);
    }
}
