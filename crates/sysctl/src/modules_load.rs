//! Keys of modules, kept across reboots: the module must be loaded before the loader sets them.
//!
//! systemd-sysctl runs once, after systemd-modules-load and before the programs that load conntrack
//! or `br_netfilter`. Without an entry in modules-load.d the key does not exist yet at that time,
//! the `-` before it suppresses the error, and the value is lost.

use std::collections::BTreeSet;

use hosttune_core::file::{ConfigFile, FileState};
use hosttune_core::{Error, Host, HostError, HostErrorKind, Planner};
use hosttune_modules::module::{self, Availability};

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

/// Families of keys that belong to one module, whether or not they are in the catalogue: the
/// directory, the prefix of the next name, and the module. The prefix is needed because Netfilter's
/// core and its log have keys in the same directory as conntrack.
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

/// The path of the file that loads the modules of a host at boot.
pub(crate) fn file(name: &str) -> String {
    format!("{DIRECTORY}/60-hosttune-{name}.conf")
}

/// The module that a key requires.
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

/// Loads the modules of these keys at boot, and notes the values that are lost after a reboot.
///
/// A module that is not loaded now is not added, because that would be a change that nobody
/// requested. A module that a file loads at boot already stays as it is, and stays in our file if
/// that is the file.
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
            // Only a loaded module has `initstate`; a built-in one does not, and is available before
            // any file is read.
            (true, Availability::Present) => {
                host.exists(format!("/sys/module/{module}/initstate"))?
            }
            (true, Availability::Unknown) => true,
            // The key exists without the module, so it belongs to another one.
            (true, Availability::Loadable | Availability::Absent) => continue,
            (false, _) => {
                let files = match &mut loaded_at_boot {
                    Some(files) => files,
                    none => none.insert(at_boot(host)?),
                };
                let mut by = files.iter().filter(|(_, named)| is_named(named, module));
                let Some((file, _)) = by.next() else {
                    at.note(format!(
                        "{key} = {value} is lost after a reboot unless {module} is loaded before sysctls are set: load it now and apply again, or add it to {DIRECTORY}"
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
        // The file of an earlier set would still load modules that are no longer needed.
        if at.now(&file)? != FileState::Absent {
            at.want(&file, &FileState::Absent)
                .why("no key that is kept across reboots requires a module");
        }
        return Ok(());
    }
    let bytes = text(name, &modules).into_bytes();
    at.want_file(&file, bytes, "required by the modules-load.d file")?
        .why("loads the modules before sysctls are set at boot");
    Ok(())
}

/// The modules that are loaded at boot, each as the file and the name in it.
fn at_boot(host: &Host) -> Result<Vec<(String, String)>, HostError> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for directory in DIRECTORIES {
        let names = match host.list(directory) {
            Err(error) if *error.kind() == HostErrorKind::Missing => continue,
            names => names?,
        };
        for name in names {
            // A file of the same name in an earlier directory masks it, even if that file is empty.
            if !name.ends_with(".conf") || !seen.insert(name.clone()) {
                continue;
            }
            let path = format!("{directory}/{name}");
            // An unreadable file loads nothing.
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

/// Whether a name in a file is this module. Like modprobe, this treats `-` and `_` as the same.
fn is_named(named: &str, module: &str) -> bool {
    named.replace('-', "_") == module
}

fn text(name: &str, modules: &[&str]) -> String {
    format!(
        "# Written by hosttune for '{name}'. Use the revert command of the program that wrote it to remove it.\n# The settings in 60-hosttune-{name}.conf require these modules: see modules-load.d(5).\n{}\n",
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
