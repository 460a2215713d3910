//! Keys of a module, kept across reboots: the module has to be there before the loader sets them.
//!
//! systemd-sysctl runs once, after systemd-modules-load and before what loads conntrack or
//! br_netfilter later. Without an entry in modules-load.d the key is missing then, the `-` before it
//! keeps that silent, and the value never returns.

use std::collections::BTreeSet;

use hosttune_boot::module::{self, Availability};
use hosttune_core::file::{ConfigFile, Directory, DirectoryState, FileState};
use hosttune_core::host::FileContent;
use hosttune_core::{Error, Host, HostError, HostErrorKind, Planner};

use crate::catalogue::{self, Need};
use crate::key::Key;
use crate::value::Value;

const DIRECTORY: &str = "/etc/modules-load.d";

/// The directories of modules-load.d(5).
const DIRECTORIES: [&str; 4] = [
    DIRECTORY,
    "/run/modules-load.d",
    "/usr/local/lib/modules-load.d",
    "/usr/lib/modules-load.d",
];

/// Families of keys that belong to one module, whichever of them the catalogue describes: the directory, how
/// the next name begins, the module. Netfilter's core and its log have keys beside conntrack's.
const FAMILIES: [(&[&str], &str, &str); 13] = [
    (&["net", "netfilter"], "nf_conntrack", "nf_conntrack"),
    (&["net", "netfilter"], "nf_flowtable", "nf_conntrack"),
    (&["net", "bridge"], "", "br_netfilter"),
    (&["net", "ipv4", "vs"], "", "ip_vs"),
    (&["net", "sctp"], "", "sctp"),
    (&["net", "smc"], "", "smc"),
    (&["net", "tipc"], "", "tipc"),
    (&["net", "mpls"], "", "mpls_router"),
    (&["sunrpc", "svc_rdma"], "", "rpcrdma"),
    (&["sunrpc"], "", "sunrpc"),
    (&["fs", "nfs"], "nlm_", "lockd"),
    (&["fs", "nfs"], "nsm_", "lockd"),
    (&["dev", "raid"], "", "md_mod"),
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
    let family = FAMILIES.iter().find(|(directory, beginning, _)| {
        let rest = segments.strip_prefix(*directory);
        rest.and_then(<[&str]>::first)
            .is_some_and(|name| name.starts_with(beginning))
    });
    family.map(|(_, _, module)| *module)
}

/// Has the modules of these keys loaded at boot, and notes what will not hold.
///
/// A module that is not loaded now is not loaded at boot either: that would be a change that nobody
/// asked for. What is loaded at boot already, by whatever file, is; where that file is ours it goes on saying so.
pub(crate) fn declare<'k>(
    at: &mut Planner<'_>,
    name: &str,
    kept: impl Iterator<Item = (&'k Key, &'k Value)>,
) -> Result<(), Error> {
    let path = file(name);
    let mut modules: Vec<&str> = Vec::new();
    let mut loaded_at_boot: Option<Vec<(String, String)>> = None;
    for (key, value) in kept {
        let Some(module) = module_of(key) else {
            continue;
        };
        let host = at.host();
        let is_ours = match (
            host.exists(key.canonical().path())?,
            module::find(host, module)?,
        ) {
            // A module that was loaded says how far it has come; one that is part of the kernel does not,
            // and is there before all files are read.
            (true, Availability::Present) => {
                host.exists(format!("/sys/module/{module}/initstate"))?
            }
            (true, Availability::Unknown) => true,
            // It is there without the module, so it is another's.
            (true, Availability::Loadable | Availability::Absent) => continue,
            (false, _) => {
                let files = match &mut loaded_at_boot {
                    Some(files) => files,
                    none => none.insert(at_boot(host)?),
                };
                let mut by = files.iter().filter(|(_, named)| is_named(named, module));
                let Some((file, _)) = by.next() else {
                    at.note(format!(
                        "{key} = {value} does not hold after a reboot unless {module} is loaded before sysctls are set: load it now and apply again, or name it in {DIRECTORY}"
                    ));
                    continue;
                };
                *file == path
            }
        };
        if is_ours && !modules.contains(&module) {
            modules.push(module);
        }
    }
    let file = ConfigFile::new(path)?;
    if modules.is_empty() {
        // One of an earlier set would go on loading what nothing needs any more.
        if at.now(&file)? != FileState::Absent {
            at.want(&file, &FileState::Absent)
                .why("no key that is kept needs a module");
        }
        return Ok(());
    }
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

/// The modules that are loaded at boot: the file, and the name in it.
fn at_boot(host: &Host) -> Result<Vec<(String, String)>, HostError> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for directory in DIRECTORIES {
        let names = match host.list(directory) {
            Err(error) if *error.kind() == HostErrorKind::Missing => continue,
            names => names?,
        };
        for name in names {
            // One in a directory before it stands for it, also where it is empty.
            if !name.ends_with(".conf") || !seen.insert(name.clone()) {
                continue;
            }
            let path = format!("{directory}/{name}");
            // What cannot be read loads nothing.
            let Ok(text) = host.read_text(&path) else {
                continue;
            };
            let lines = text.lines().map(str::trim);
            let modules = lines.filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
            found.extend(modules.map(|module| (path.clone(), module.to_owned())));
        }
    }
    Ok(found)
}

/// As modprobe takes it: with a dash or an underscore.
fn is_named(named: &str, module: &str) -> bool {
    named.replace('-', "_") == module
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
            (
                "net.netfilter.nf_flowtable_tcp_timeout",
                Some("nf_conntrack"),
            ),
            ("net.netfilter.nf_log_all_netns", None),
            ("net.netfilter.nf_log.2", None),
            ("net.netfilter", None),
            ("sunrpc.svc_rdma.max_requests", Some("rpcrdma")),
            ("sunrpc.tcp_slot_table_entries", Some("sunrpc")),
            ("dev.raid.speed_limit_max", Some("md_mod")),
            ("vm.swappiness", None),
            ("net.ipv4.conf.bridge.forwarding", None),
        ] {
            let key: Key = key.parse().unwrap();
            assert_eq!(module_of(&key), module, "{key}");
        }
    }
}
