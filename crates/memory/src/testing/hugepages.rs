//! Pools of hugepages on a machine with fragmented memory.

use hosttune_core::testing::{Memory, Tree};

use super::{EINVAL, answering, meminfo, number};

/// Number of pages of 2 MiB that contiguous memory exists for, on each node.
pub const PAGES_THAT_FIT: u64 = 150;

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
    let mut memory = memory.file("/proc/meminfo", &meminfo(), all());
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
        let set = answering(move |tree, value| {
            let count: u64 = value.trim().parse().map_err(|_| EINVAL)?;
            set(tree, node, nodes, count);
            Ok(())
        });
        memory = memory.behaving(format!("{directory}/nr_hugepages"), set);
        if let Some(node) = node {
            let text = format!("Node {node} {}", meminfo());
            memory = memory.file(format!("{NODES}/node{node}/meminfo"), &text, all());
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
fn set_node(tree: &mut Tree, node: u32, count: u64) {
    let now = counts(tree, node);
    // Surplus pages become persistent again before new pages are allocated.
    let least = now.used.min(now.all);
    let all = count.max(least).min(PAGES_THAT_FIT.max(now.all));
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
fn set(tree: &mut Tree, node: Option<u32>, nodes: u32, count: u64) {
    match node {
        Some(node) => set_node(tree, node, count),
        None => {
            let mut left = count;
            for node in 0..nodes {
                let share = left.div_ceil(u64::from(nodes - node));
                let share = share.min(PAGES_THAT_FIT);
                set_node(tree, node, share);
                left -= share;
            }
            // The first nodes take what the last ones could not.
            for node in 0..nodes {
                let now = counts(tree, node);
                let more = left.min(PAGES_THAT_FIT.saturating_sub(now.all));
                if more > 0 {
                    set_node(tree, node, now.all + more);
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
