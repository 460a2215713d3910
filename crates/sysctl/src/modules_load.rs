//! Keys of a module, kept across reboots: the module has to be there before the loader sets them.
//!
//! systemd-sysctl runs once, after systemd-modules-load and before what loads conntrack or
//! br_netfilter later. Without an entry in modules-load.d the key is missing then, the `-` before it
//! keeps that silent, and the value never returns.

use hosttune_boot::module::{self, Availability};
use hosttune_core::file::{ConfigFile, Directory, DirectoryState, FileState};
use hosttune_core::host::FileContent;
use hosttune_core::{Error, Planner};

use crate::catalogue::{self, Need};
use crate::key::Key;
use crate::value::Value;

const DIRECTORY: &str = "/etc/modules-load.d";

/// Families of keys that belong to one module, whichever of them the catalogue describes.
const FAMILIES: [(&[&str], &str); 6] = [
    (&["net", "netfilter"], "nf_conntrack"),
    (&["net", "bridge"], "br_netfilter"),
    (&["net", "ipv4", "vs"], "ip_vs"),
    (&["net", "sctp"], "sctp"),
    (&["net", "mpls"], "mpls_router"),
    (&["sunrpc"], "sunrpc"),
];

/// The file that has the modules of a host loaded.
pub(crate) fn file(name: &str) -> String {
    format!("{DIRECTORY}/60-hosttune-{name}.conf")
}

/// The module that a key appears with.
fn module_of(key: &Key) -> Option<&'static str> {
    let needs = catalogue::find(key).and_then(|entry| entry.needs);
    if let Some(Need::ModuleForKey { module }) = needs {
        return Some(module);
    }
    let canonical = key.canonical();
    let segments: Vec<&str> = canonical.segments().collect();
    let family = FAMILIES
        .iter()
        .find(|(beginning, _)| segments.starts_with(beginning) && segments.len() > beginning.len());
    family.map(|(_, module)| *module)
}

/// Has the modules of these keys loaded at boot, and notes what will not hold.
///
/// A module that is not loaded now is not loaded at boot either: that would be a change that nobody
/// asked for.
pub(crate) fn declare<'k>(
    at: &mut Planner<'_>,
    name: &str,
    kept: impl Iterator<Item = (&'k Key, &'k Value)>,
) -> Result<(), Error> {
    let mut modules: Vec<&str> = Vec::new();
    for (key, value) in kept {
        let Some(module) = module_of(key) else {
            continue;
        };
        let host = at.host();
        let is_module = match (
            host.exists(key.canonical().path())?,
            module::find(host, module)?,
        ) {
            // A module that was loaded says how far it has come; one that is part of the kernel does not,
            // and is there before all files are read.
            (true, Availability::Present) => {
                host.exists(format!("/sys/module/{module}/initstate"))?
            }
            (true, Availability::Loadable | Availability::Unknown) => true,
            (false, _) | (true, Availability::Absent) => {
                at.note(format!(
                    "{key} = {value} does not hold after a reboot unless {module} is loaded before sysctls are set: load it now and apply again, or name it in {DIRECTORY}"
                ));
                continue;
            }
        };
        if is_module && !modules.contains(&module) {
            modules.push(module);
        }
    }
    if modules.is_empty() {
        return Ok(());
    }
    let file = ConfigFile::new(file(name))?;
    let directory = Directory::new(DIRECTORY)?;
    if at.now(&directory)? == DirectoryState::Absent {
        at.pass(&directory, &DirectoryState::Empty)
            .why("the file needs it");
    }
    let bytes = text(name, &modules).into_bytes();
    let content = match at.now(&file)? {
        FileState::Present(present) => FileContent { bytes, ..present },
        FileState::Absent | FileState::HalfWritten(_) => FileContent::new(bytes),
    };
    at.want(&file, &FileState::Present(content))
        .why("their keys are there when sysctls are set at boot");
    Ok(())
}

fn text(name: &str, modules: &[&str]) -> String {
    format!(
        "# Written by hosttune for '{name}'. Taken back by what wrote it: its command revert.\n# The sysctls of 60-hosttune-{name}.conf need these: modules-load.d(5).\n{}\n",
        modules.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_of_a_key_is_known_by_its_family() {
        for (key, module) in [
            ("net.netfilter.nf_conntrack_max", Some("nf_conntrack")),
            ("net.nf_conntrack_max", Some("nf_conntrack")),
            ("net.netfilter.nf_conntrack_helper", Some("nf_conntrack")),
            ("net.bridge.bridge-nf-call-iptables", Some("br_netfilter")),
            (
                "net.bridge.bridge-nf-filter-vlan-tagged",
                Some("br_netfilter"),
            ),
            ("net.ipv4.vs.conntrack", Some("ip_vs")),
            ("vm.swappiness", None),
            ("net.ipv4.conf.bridge.forwarding", None),
        ] {
            let key: Key = key.parse().unwrap();
            assert_eq!(module_of(&key), module, "{key}");
        }
    }
}
