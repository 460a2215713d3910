//! Behaviours of the keys whose writes do more than set a number.

use std::path::Path;

use hosttune_core::testing::{Behaviour, Tree};

use super::numbers::{integer, unsigned_long};
use super::{INTERFACES, RELEASE, path};

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const ERANGE: i32 = 34;

const PAGE: u64 = 4096;
/// The kernel counts these bytes in pages, in an unsigned int (`domain_dirty_limits`).
const MOST_BYTES: u64 = u32::MAX as u64 * PAGE;

fn set_beside(tree: &mut Tree, name: &str, value: &str) {
    tree.set(path(name), value);
}

/// Writing the ratio that is already shown changes nothing and leaves the bytes in force.
pub(super) fn dirty_ratio() -> Behaviour {
    Behaviour::new(|tree, path, value| {
        let before = tree.get(path);
        integer(tree, path, value, Some(0), Some(100))?;
        if tree.get(path) != before {
            set_beside(tree, "vm/dirty_bytes", "0");
        }
        Ok(())
    })
}

pub(super) fn dirty_bytes() -> Behaviour {
    Behaviour::new(|tree, path, value| {
        let before = tree.get(path);
        bytes(tree, path, value, 2 * PAGE)?;
        if tree.get(path) != before {
            set_beside(tree, "vm/dirty_ratio", "0");
        }
        Ok(())
    })
}

/// Unlike `dirty_ratio`, this one resets the bytes whatever is written.
pub(super) fn background_ratio() -> Behaviour {
    Behaviour::new(|tree, path, value| {
        integer(tree, path, value, Some(0), Some(100))?;
        set_beside(tree, "vm/dirty_background_bytes", "0");
        Ok(())
    })
}

pub(super) fn background_bytes() -> Behaviour {
    Behaviour::new(|tree, path, value| {
        bytes(tree, path, value, 1)?;
        set_beside(tree, "vm/dirty_background_ratio", "0");
        Ok(())
    })
}

fn bytes(tree: &mut Tree, path: &Path, value: &str, least: u64) -> Result<(), i32> {
    let before = tree.get(path).unwrap_or_default();
    unsigned_long(tree, path, value, least, u64::MAX)?;
    let set: u64 = tree
        .get(path)
        .and_then(|bytes| bytes.parse().ok())
        .unwrap_or_default();
    // The kernel adds one page minus one byte to round up, which overflows in the last page of the
    // 64-bit range, so that it is taken for the first page.
    if set > MOST_BYTES && set.checked_add(PAGE - 1).is_some() {
        tree.set(path, &before);
        return Err(ERANGE);
    }
    Ok(())
}

/// Each of the two sets the other to 0 whatever is written, including 0: both can be 0.
pub(super) fn overcommit_ratio() -> Behaviour {
    Behaviour::new(|tree, path, value| {
        integer(tree, path, value, None, None)?;
        set_beside(tree, "vm/overcommit_kbytes", "0");
        Ok(())
    })
}

pub(super) fn overcommit_kbytes() -> Behaviour {
    Behaviour::new(|tree, path, value| {
        unsigned_long(tree, path, value, 0, u64::MAX)?;
        set_beside(tree, "vm/overcommit_ratio", "0");
        Ok(())
    })
}

/// Once it is 3 it cannot be changed again (`yama_dointvec_minmax`).
pub(super) fn ptrace_scope() -> Behaviour {
    Behaviour::new(|tree, path, value| {
        let least = if tree.get(path).as_deref() == Some("3") {
            3
        } else {
            0
        };
        integer(tree, path, value, Some(least), Some(3))
    })
}

const AVAILABLE: &str = "net/ipv4/tcp_available_congestion_control";
const ALLOWED: &str = "net/ipv4/tcp_allowed_congestion_control";

/// What the kernel stores of a word: the text to its end, including blanks, truncated to 15
/// characters.
fn word(value: &str) -> &str {
    let end = value.find(['\n', '\0']).unwrap_or(value.len());
    let end = (0..=end.min(15)).rfind(|&end| value.is_char_boundary(end));
    &value[..end.unwrap_or(0)]
}

fn words(tree: &Tree, name: &str) -> Vec<String> {
    let text = tree.get(path(name)).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// Loads a module as modprobe would, if depmod has listed it; it stays loaded.
fn load(tree: &mut Tree, module: &str) -> bool {
    let listed = tree
        .get(format!("/lib/modules/{RELEASE}/modules.dep"))
        .unwrap_or_default();
    let file = format!("/{module}.ko");
    let found = listed.lines().any(|line| {
        line.split(':')
            .next()
            .is_some_and(|path| path.contains(&file))
    });
    // Once `modules_disabled` is set no module can be loaded.
    if !found || tree.get(path("kernel/modules_disabled")).as_deref() == Some("1") {
        return false;
    }
    tree.set(format!("/sys/module/{module}/initstate"), "live");
    true
}

/// `tcp_set_default_congestion_control`. An unknown word gives ENOENT after an attempt to load its
/// module. In the initial namespace a word that is set becomes an allowed one; in any other
/// namespace only allowed words can be set.
pub(super) fn congestion_control() -> Behaviour {
    Behaviour::new(|tree, file, value| {
        let name = word(value).to_owned();
        let mut available = words(tree, AVAILABLE);
        if !available.contains(&name) {
            if !load(tree, &format!("tcp_{name}")) {
                return Err(ENOENT);
            }
            available.push(name.clone());
            set_beside(tree, AVAILABLE, &available.join(" "));
        }
        let mut allowed = words(tree, ALLOWED);
        if !allowed.contains(&name) {
            let initial = tree.get(path("net/core/netdev_max_backlog")).is_some();
            if !initial {
                return Err(EPERM);
            }
            allowed.push(name.clone());
            allow(tree, &available, &allowed);
        }
        tree.set(file, &name);
        Ok(())
    })
}

/// Sets the list of allowed words, which is shown in the order in which the modules were loaded.
fn allow(tree: &mut Tree, available: &[String], allowed: &[String]) {
    let shown: Vec<&str> = available
        .iter()
        .filter(|name| allowed.contains(name))
        .map(String::as_str)
        .collect();
    set_beside(tree, ALLOWED, &shown.join(" "));
}

/// `tcp_set_allowed_congestion_control`: sets all of the words or none, and loads no modules. Two
/// consecutive blanks end the list.
pub(super) fn allowed_congestion_control() -> Behaviour {
    Behaviour::new(|tree, _, value| {
        let available = words(tree, AVAILABLE);
        let allowed: Vec<String> = value
            .split(' ')
            .take_while(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        if allowed.iter().any(|name| !available.contains(name)) {
            return Err(ENOENT);
        }
        allow(tree, &available, &allowed);
        Ok(())
    })
}

/// `qdisc_set_default`.
pub(super) fn default_qdisc() -> Behaviour {
    Behaviour::new(|tree, file, value| {
        let name = word(value).to_owned();
        let module = format!("sch_{name}");
        let built_in = tree
            .get(format!("/lib/modules/{RELEASE}/modules.builtin"))
            .unwrap_or_default()
            .contains(&format!("/{module}.ko"));
        let loaded = tree
            .get(format!("/sys/module/{module}/initstate"))
            .is_some();
        let always = matches!(
            name.as_str(),
            "pfifo_fast" | "pfifo" | "bfifo" | "noqueue" | "mq"
        );
        if !(always || built_in || loaded || load(tree, &module)) {
            return Err(ENOENT);
        }
        tree.set(file, &name);
        Ok(())
    })
}

fn conf(name: &str, variable: &str) -> String {
    path(&format!("net/ipv4/conf/{name}/{variable}"))
}

/// `ip_forward` and `conf/all/forwarding` are one variable. A change of it is copied to every
/// interface and to `default`, and sets `conf/all/accept_redirects` to the opposite.
pub(super) fn all_forwarding() -> Behaviour {
    Behaviour::new(|tree, file, value| {
        let before = tree.get(file);
        integer(tree, file, value, None, None)?;
        let Some(now) = tree.get(file).filter(|now| Some(now) != before.as_ref()) else {
            return Ok(());
        };
        set_beside(tree, "net/ipv4/ip_forward", &now);
        for name in ["all", "default"].into_iter().chain(INTERFACES) {
            set_where_it_is(tree, &conf(name, "forwarding"), &now);
        }
        let redirects = if now == "0" { "1" } else { "0" };
        set_where_it_is(tree, &conf("all", "accept_redirects"), redirects);
        Ok(())
    })
}

/// Affects only this interface; the value of `default` is not copied to any interface.
pub(super) fn interface_forwarding() -> Behaviour {
    Behaviour::new(|tree, file, value| integer(tree, file, value, None, None))
}

/// A value written to `default` is copied to every interface whose value was not written yet, even
/// if `default` already had that value, and even if the write was rejected.
pub(super) fn accept_redirects(name: &str) -> Behaviour {
    let is_default = name == "default";
    Behaviour::new(move |tree, file, value| {
        let answer = integer(tree, file, value, None, None);
        if is_default && let Some(now) = tree.get(file) {
            for follows in INTERFACES.into_iter().filter(|name| *name != "eth0") {
                set_where_it_is(tree, &conf(follows, "accept_redirects"), &now);
            }
        }
        answer
    })
}

/// Sets a file if it exists: the interface may have been removed.
fn set_where_it_is(tree: &mut Tree, file: &str, value: &str) {
    if tree.get(file).is_some() {
        tree.set(file, value);
    }
}
