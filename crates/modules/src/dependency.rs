//! What a module brings along: the modules that are loaded with it, and the types of interfaces that it provides.

use hosttune_core::{Host, HostError};

use crate::list::{DEPENDENCIES, directory, line_of, read, stem};
use crate::module::canonical;

/// The other names under which the kernel requests a module.
const ALIASES: &str = "modules.alias";
/// Optional dependencies of modules.
const SOFT: &str = "modules.softdep";

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
