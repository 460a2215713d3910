//! Pools of hugepages on a machine with fragmented memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hosttune_core::testing::{Memory, Tree};

use super::{EINVAL, answering, meminfo, number};

/// Number of pages of 2 MiB that contiguous memory exists for, on each node.
pub const PAGES_THAT_FIT: u64 = 150;
/// The same after compaction.
pub const PAGES_THAT_FIT_COMPACTED: u64 = 220;

/// Which nodes were compacted. No file shows it, so a revert need not restore it.
type Compacted = Arc<Vec<AtomicBool>>;

/// How many pages fit on a node.
fn fit(compacted: &Compacted, node: u32) -> u64 {
    let node = usize::try_from(node)
        .ok()
        .and_then(|node| compacted.get(node));
    match node.is_some_and(|node| node.load(Ordering::Relaxed)) {
        true => PAGES_THAT_FIT_COMPACTED,
        false => PAGES_THAT_FIT,
    }
}

/// A file that compacts these nodes; only writable, and since Linux 5.18 only by 1.
fn with_compaction(
    memory: Memory,
    path: &str,
    compacted: &Compacted,
    nodes: std::ops::Range<u32>,
) -> Memory {
    let compacted = Arc::clone(compacted);
    let compact = answering(move |_, value| {
        if value.trim() != "1" {
            return Err(EINVAL);
        }
        for node in nodes.clone() {
            let node = usize::try_from(node)
                .ok()
                .and_then(|node| compacted.get(node));
            if let Some(node) = node {
                node.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    });
    memory.file(path, "", compact).mode(path, 0o200)
}

const NODES: &str = "/sys/devices/system/node";

fn pool(node: Option<u32>) -> String {
    match node {
        Some(node) => format!("{NODES}/node{node}/hugepages/hugepages-2048kB"),
        None => "/sys/kernel/mm/hugepages/hugepages-2048kB".to_owned(),
    }
}

/// Creates a machine with pages of 2 MiB and this number of nodes.
#[must_use]
pub fn with_hugepages(memory: Memory, nodes: u32) -> Memory {
    let all = hosttune_core::testing::Behaviour::takes_all;
    let compacted: Compacted = Arc::new((0..nodes).map(|_| AtomicBool::new(false)).collect());
    let memory = memory.file("/proc/meminfo", &meminfo(), all());
    let path = "/proc/sys/vm/compact_memory";
    let mut memory = with_compaction(memory, path, &compacted, 0..nodes);
    let over_all = (0..nodes).map(Some).collect::<Vec<_>>();
    for node in over_all.iter().copied().chain([None]) {
        let directory = pool(node);
        for file in [
            "nr_hugepages",
            "free_hugepages",
            "surplus_hugepages",
            "resv_hugepages",
        ] {
            memory = memory.file(format!("{directory}/{file}"), "0", all());
        }
        let of_pool = Arc::clone(&compacted);
        let set = answering(move |tree, value| {
            let count: u64 = value.trim().parse().map_err(|_| EINVAL)?;
            set(tree, node, nodes, count, &of_pool);
            Ok(())
        });
        memory = memory.behaving(format!("{directory}/nr_hugepages"), set);
        if let Some(node) = node {
            let text = format!("Node {node} {}", meminfo());
            memory = memory.file(format!("{NODES}/node{node}/meminfo"), &text, all());
            let path = format!("{NODES}/node{node}/compact");
            memory = with_compaction(memory, &path, &compacted, node..node + 1);
        }
    }
    let overcommit = answering(|tree, value| {
        let count: u64 = value.trim().parse().map_err(|_| EINVAL)?;
        let path = format!("{}/nr_overcommit_hugepages", pool(None));
        tree.set(path, &count.to_string());
        Ok(())
    });
    memory.file(
        format!("{}/nr_overcommit_hugepages", pool(None)),
        "0",
        overcommit,
    )
}

struct Counts {
    all: u64,
    surplus: u64,
    used: u64,
}

fn counts(tree: &Tree, node: u32) -> Counts {
    let directory = pool(Some(node));
    let of = |file: &str| number(tree, &format!("{directory}/{file}"));
    let all = of("nr_hugepages");
    Counts {
        all,
        surplus: of("surplus_hugepages"),
        used: all - of("free_hugepages").min(all),
    }
}

/// `set_max_huge_pages`: grows the pool as far as contiguous memory allows, or shrinks it and turns pages
/// in use into surplus.
fn set_node(tree: &mut Tree, node: u32, count: u64, compacted: &Compacted) {
    let now = counts(tree, node);
    // Surplus pages become persistent again before new pages are allocated.
    let least = now.used.min(now.all);
    let all = count.max(least).min(fit(compacted, node).max(now.all));
    let persistent = count.min(all);
    show(
        tree,
        node,
        &Counts {
            all,
            surplus: all - persistent,
            used: now.used,
        },
    );
}

fn show(tree: &mut Tree, node: u32, counts: &Counts) {
    let directory = pool(Some(node));
    let mut put = |file: &str, count: u64| {
        tree.set(format!("{directory}/{file}"), &count.to_string());
    };
    put("nr_hugepages", counts.all);
    put("surplus_hugepages", counts.surplus);
    put("free_hugepages", counts.all - counts.used);
}

/// Distributes the whole machine's pages evenly and skips full nodes.
fn set(tree: &mut Tree, node: Option<u32>, nodes: u32, count: u64, compacted: &Compacted) {
    match node {
        Some(node) => set_node(tree, node, count, compacted),
        None => {
            let mut left = count;
            for node in 0..nodes {
                let share = left.div_ceil(u64::from(nodes - node));
                let share = share.min(fit(compacted, node));
                set_node(tree, node, share, compacted);
                left -= share;
            }
            // The first nodes take what the last ones could not.
            for node in 0..nodes {
                let now = counts(tree, node);
                let more = left.min(fit(compacted, node).saturating_sub(now.all));
                if more > 0 {
                    set_node(tree, node, now.all + more, compacted);
                    left -= more;
                }
            }
        }
    }
    sum(tree, nodes);
}

fn sum(tree: &mut Tree, nodes: u32) {
    for file in ["nr_hugepages", "surplus_hugepages", "free_hugepages"] {
        let of_node = |node: u32| number(tree, &format!("{}/{file}", pool(Some(node))));
        let total: u64 = (0..nodes).map(of_node).sum();
        tree.set(format!("{}/{file}", pool(None)), &total.to_string());
    }
}

/// Makes programs use this number of pages of node 0, or release all with 0.
pub fn take_hugepages(memory: &Memory, nodes: u32, used: u64) {
    memory.change(|tree| {
        let now = counts(tree, 0);
        // Surplus pages that are no longer used are freed automatically.
        let surplus = now.surplus.min(used);
        let all = now.all - now.surplus + surplus;
        let used = used.min(all);
        show(tree, 0, &Counts { all, surplus, used });
        sum(tree, nodes);
    });
}
