//! The lists of modules that depmod and the kernel's build create in the modules' directory.

use hosttune_core::{Host, HostError, HostErrorKind};

use crate::module::canonical;

/// The dependencies of modules. Each line is the file of a module, a colon, and the files to load
/// before it, in reverse order of loading.
pub(crate) const DEPENDENCIES: &str = "modules.dep";
/// The built-in modules, with the file that each would have on a line.
pub(crate) const BUILT_IN: &str = "modules.builtin";
/// The other names under which the kernel requests a module.
const ALIASES: &str = "modules.alias";
/// Optional dependencies of modules.
const SOFT: &str = "modules.softdep";

/// The directory of the running kernel's modules, if there is one that contains lists.
pub(crate) fn directory(host: &Host) -> Result<Option<String>, HostError> {
    let release = match host.read_text("/proc/sys/kernel/osrelease") {
        Ok(release) => release,
        // The tree has no `/proc` of a running kernel.
        Err(error) if *error.kind() == HostErrorKind::Missing => return Ok(None),
        Err(error) => return Err(error),
    };
    let release = release.trim();
    for modules in ["/lib/modules", "/usr/lib/modules"] {
        let directory = format!("{modules}/{release}");
        if !host.exists(&directory)? {
            continue;
        }
        for list in [DEPENDENCIES, BUILT_IN] {
            if host.exists(format!("{directory}/{list}"))? {
                return Ok(Some(directory));
            }
        }
    }
    Ok(None)
}

/// The text of a list; `None` if it does not exist.
pub(crate) fn read(host: &Host, directory: &str, list: &str) -> Result<Option<String>, HostError> {
    match host.read(format!("{directory}/{list}")) {
        Ok(bytes) => Ok(Some(match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        })),
        Err(error) if *error.kind() == HostErrorKind::Missing => Ok(None),
        Err(error) => Err(error),
    }
}

/// The line of `modules.dep` or `modules.builtin` that begins with the module's file.
///
/// The list of half a megabyte is searched for the last part of the file's name, which contains
/// neither `-` nor `_`; iterating over the lines would take ten times as long.
pub(crate) fn line_of<'l>(list: &'l str, module: &str) -> Option<&'l str> {
    let end = module.rsplit(['-', '_']).next().unwrap_or_default();
    list.match_indices(&format!("{end}.ko"))
        .find_map(|(at, _)| {
            let start = list[..at].rfind('\n').map_or(0, |newline| newline + 1);
            let line = list[start..].split('\n').next().unwrap_or_default();
            let path = line.split(':').next().unwrap_or_default();
            is_same(stem(path), module).then_some(line)
        })
}

/// The modules in `modules.dep`, each with its name and the path of its file.
pub(crate) fn files(list: &str) -> impl Iterator<Item = (&str, &str)> {
    list.lines().filter_map(|line| {
        let (path, _) = line.split_once(':')?;
        Some((stem(path), path)).filter(|(name, _)| !name.is_empty())
    })
}

/// Whether a file name is that of the module. `-` and `_` are the same in file names.
fn is_same(stem: &str, module: &str) -> bool {
    let same = |byte: u8| if byte == b'-' { b'_' } else { byte };
    stem.len() == module.len()
        && !stem.is_empty()
        && stem.bytes().map(same).eq(module.bytes().map(same))
}

/// The module's name in the path of its file, which may be compressed: `ifb.ko`, `ifb.ko.xz`.
fn stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.split('.').next().unwrap_or_default()
}

/// The modules that are loaded together with a module, in the order of loading: first its
/// dependencies and its soft dependencies of type `pre`, then the module itself, then its soft
/// dependencies of type `post`.
///
/// Additions from the administrator's modprobe.d are not included, nor are soft dependencies that
/// are given by an alias.
pub(crate) fn loaded_along(host: &Host, module: &str) -> Result<Vec<String>, HostError> {
    let own = canonical(module);
    let Some(directory) = directory(host)? else {
        return Ok(vec![own]);
    };
    let needed = read(host, &directory, DEPENDENCIES)?.unwrap_or_default();
    let soft = read(host, &directory, SOFT)?.unwrap_or_default();
    Ok(order(&needed, &soft, &own))
}

fn order(needed: &str, soft: &str, module: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut add = |names: Vec<String>| {
        for name in names {
            if !all.contains(&name) {
                all.push(name);
            }
        }
    };
    let with_needed = |name: &str| {
        let mut names = needs(needed, name);
        names.push(name.to_owned());
        names
    };
    let there = |name: &String| line_of(needed, name).is_some();
    let (before, behind) = wants(soft, module);
    for name in before.iter().filter(|name| there(name)) {
        add(with_needed(name));
    }
    add(with_needed(module));
    for name in behind.iter().filter(|name| there(name)) {
        add(with_needed(name));
    }
    all
}

/// The dependencies of a module, in the order of loading.
fn needs(list: &str, module: &str) -> Vec<String> {
    let line = line_of(list, module).unwrap_or_default();
    let files = line.split_once(':').map_or("", |(_, files)| files);
    let mut names: Vec<String> = files
        .split_whitespace()
        .map(stem)
        .filter(|stem| !stem.is_empty())
        .map(canonical)
        .collect();
    names.reverse();
    names
}

/// The soft dependencies to load before and after a module: `softdep NAME pre: A B post: C`.
fn wants(list: &str, module: &str) -> (Vec<String>, Vec<String>) {
    let (mut before, mut behind) = (Vec::new(), Vec::new());
    for line in list.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("softdep") || words.next().map(canonical).as_deref() != Some(module)
        {
            continue;
        }
        let mut to = None;
        for word in words {
            match (word, &to) {
                ("pre:", _) => to = Some(true),
                ("post:", _) => to = Some(false),
                (name, Some(true)) => before.push(canonical(name)),
                (name, Some(false)) => behind.push(canonical(name)),
                (_, None) => {}
            }
        }
    }
    (before, behind)
}

/// The interface types that a module provides: the kernel requests it as `rtnl-link-KIND`.
pub(crate) fn link_kinds(host: &Host, module: &str) -> Result<Vec<String>, HostError> {
    let own = canonical(module);
    let mut kinds = Vec::new();
    if let Some(directory) = directory(host)? {
        let aliases = read(host, &directory, ALIASES)?.unwrap_or_default();
        for (at, prefix) in aliases.match_indices("alias rtnl-link-") {
            let rest = aliases[at + prefix.len()..].lines().next();
            if let Some((kind, of)) = rest.and_then(|rest| rest.split_once(' '))
                && canonical(of.trim()) == own
            {
                kinds.push(kind.to_owned());
            }
        }
    }
    Ok(kinds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_found_by_its_file_whatever_dash_and_compression() {
        let list =
            "kernel/net/sched/sch_fq_codel.ko: \nkernel/net/ipv4/tcp-bbr.ko.xz: kernel/x.ko\n";
        let names = |list, module| line_of(list, module).is_some();
        assert!(names(list, "tcp_bbr"));
        assert!(names(list, "sch_fq_codel"));
        assert!(!names(list, "sch_fq"));
        assert!(!names(list, "x"));
        assert!(!names("", "sch_fq"));
    }

    #[test]
    fn what_is_needed_comes_first() {
        let needed = "kernel/a.ko.xz: kernel/b-b.ko.xz kernel/c.ko.xz\nkernel/b-b.ko.xz: kernel/c.ko.xz\n\
            kernel/c.ko.xz:\nkernel/d.ko.xz: kernel/c.ko.xz\nkernel/e.ko.xz:\n";
        assert_eq!(order(needed, "", "a"), ["c", "b_b", "a"]);
        assert_eq!(order(needed, "", "c"), ["c"]);
        let soft = "# all\nsoftdep a pre: d nowhere post: e\nsoftdep b pre: e\n";
        assert_eq!(order(needed, soft, "a"), ["c", "d", "b_b", "a", "e"]);
        assert_eq!(order("", "softdep", "nowhere"), ["nowhere"]);
    }
}
