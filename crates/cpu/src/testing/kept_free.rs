//! Control groups and interrupts of a machine with eight processors.
//!
//! The answers are those of `kernel/irq/proc.c` (`write_irq_affinity`) and of `kernel/cgroup/cpuset.c`
//! (`update_prstate`, `perr_strings`) in Linux 6.12.

use hosttune_core::testing::{Behaviour, Memory, Tree};

use super::EINVAL;
use crate::kept_free::ProcessorList;

const EPERM: i32 = 1;
const EIO: i32 = 5;
const ENOENT: i32 = 2;
const EBUSY: i32 = 16;
const GROUPS: &str = "/sys/fs/cgroup";
/// The control group that the machine has below the root.
pub const GROUP: &str = "machine.slice";
/// The interrupts that can be moved.
pub const MOVABLE: [u32; 3] = [1, 24, 25];
/// The interrupts of queues, which the kernel assigns itself.
pub const MANAGED: [u32; 2] = [26, 27];

fn parsed(value: &str) -> Result<ProcessorList, i32> {
    value.parse().map_err(|_| EINVAL)
}

fn all() -> Result<ProcessorList, i32> {
    parsed("0-7")
}

/// Adds the control group and the interrupts to a machine.
#[must_use]
pub fn with_kept_free(memory: Memory) -> Memory {
    let any = Behaviour::takes_all;
    let mut memory = memory
        .file("/sys/devices/system/cpu/online", "0-7", any())
        .file(
            format!("{GROUPS}/cgroup.controllers"),
            "cpuset cpu memory",
            any(),
        )
        .file(
            format!("{GROUPS}/cgroup.subtree_control"),
            "cpu memory",
            subtree_control(),
        )
        .directory(format!("{GROUPS}/{GROUP}"))
        .behaving(file("cpuset.cpus"), processors())
        .behaving(file("cpuset.cpus.partition"), partition());
    for (number, affinity) in MOVABLE.into_iter().zip(["0-7", "3", "2-5"]) {
        let file = format!("/proc/irq/{number}/smp_affinity_list");
        let set = Behaviour::new(|tree, path, value| {
            let list = parsed(value)?;
            if list.is_empty() || list.without(&all()?) == list {
                return Err(EINVAL);
            }
            tree.set(path, &list.to_string());
            Ok(())
        });
        memory = memory.file(file, affinity, set);
    }
    // The answers of Linux 6.1 and 7.3.
    let refused = [("0-3", EIO), ("4-7", EPERM)];
    for (number, (affinity, errno)) in MANAGED.into_iter().zip(refused) {
        let file = format!("/proc/irq/{number}/smp_affinity_list");
        memory = memory.file(file, affinity, Behaviour::refuses(errno));
    }
    memory
}

fn file(name: &str) -> String {
    format!("{GROUPS}/{GROUP}/{name}")
}

/// `cgroup_subtree_control_write`: the files of the children come and go with the controller.
fn subtree_control() -> Behaviour {
    Behaviour::new(|tree, path, value| {
        let now = tree.get(path).unwrap_or_default();
        let mut words: Vec<&str> = now.split_whitespace().collect();
        match value.trim() {
            "+cpuset" if !words.contains(&"cpuset") => {
                words.insert(0, "cpuset");
                tree.set(file("cpuset.cpus"), "");
                tree.set(file("cpuset.cpus.partition"), "member");
            }
            "-cpuset" => {
                words.retain(|word| *word != "cpuset");
                tree.remove(file("cpuset.cpus"));
                tree.remove(file("cpuset.cpus.partition"));
            }
            "+cpuset" => {}
            _ => return Err(ENOENT),
        }
        let words = words.join(" ");
        tree.set(path, &words);
        Ok(())
    })
}

fn processors() -> Behaviour {
    Behaviour::new(|tree, path, value| {
        let list = parsed(value)?;
        if !list.is_within(&all()?) {
            return Err(EINVAL);
        }
        if list.is_empty() && tree.get(file("cpuset.cpus.partition")).as_deref() == Some("root") {
            return Err(EBUSY);
        }
        tree.set(path, &list.to_string());
        Ok(())
    })
}

/// The write succeeds; whether there is a partition is only shown.
fn partition() -> Behaviour {
    Behaviour::new(|tree, path, value| {
        let word = value.trim();
        if !["member", "root", "isolated"].contains(&word) {
            return Err(EINVAL);
        }
        let shown = verdict(tree, word)?;
        tree.set(path, &shown);
        Ok(())
    })
}

fn verdict(tree: &Tree, word: &str) -> Result<String, i32> {
    let list = parsed(&tree.get(file("cpuset.cpus")).unwrap_or_default())?;
    Ok(match word {
        "member" => word.to_owned(),
        _ if list.is_empty() => format!("{word} invalid (cpuset.cpus is empty)"),
        // Tasks of the root would have no processor left.
        _ if all()?.is_within(&list) => {
            format!("{word} invalid (Parent unable to distribute cpu downstream)")
        }
        _ => word.to_owned(),
    })
}
