//! Hugepages: pools of large pages that programs request explicitly.

mod overcommit;

use std::fmt;

use hosttune_core::{
    Error, Host, HostError, Knob, Operation, Planner, Requirement, Tuning, Unsupported,
    UnsupportedKind, Why, attribute,
};
use serde::{Deserialize, Serialize};

pub use overcommit::{Overcommit, OvercommitState};

use crate::total;

const DIRECTORY: &str = "/sys/kernel/mm/hugepages";
const NODES: &str = "/sys/devices/system/node";

/// The persistent hugepages of one size, on the whole machine or on one NUMA node.
///
/// A read does not count surplus pages, which the kernel allocates beyond the pool and frees itself.
///
/// If the kernel finds too little contiguous memory, it allocates fewer pages without an error. If the pool
/// shrinks below the number in use, the pages in use become surplus until their users release them; a
/// revert reports this.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pool {
    /// The size of a page, in KiB.
    pub size: u64,
    /// The node; `None` for the whole machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u32>,
}

/// State of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PoolState {
    /// The kernel has no pages of this size, or the node does not exist.
    Missing,
    /// A pool with this number of pages.
    Pages {
        /// Number of pages.
        pages: u64,
        /// For a request: the number of pages that is enough.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at_least: Option<u64>,
        /// For a request: compact memory first if the pool grows.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        compact: bool,
        /// Pages on each node if there are several; empty if the distribution does not matter.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        nodes: Vec<u64>,
    },
}

impl PoolState {
    /// Returns the state with exactly this number of pages.
    pub fn pages(pages: u64) -> Self {
        Self::Pages {
            pages,
            at_least: None,
            compact: false,
            nodes: Vec::new(),
        }
    }

    fn count(&self) -> Option<u64> {
        match self {
            Self::Missing => None,
            Self::Pages { pages, .. } => Some(*pages),
        }
    }
}

impl Pool {
    /// Returns the pool of the whole machine with pages of this size in KiB.
    pub fn of_size(size: u64) -> Self {
        Self { size, node: None }
    }

    fn path(&self) -> String {
        match self.node {
            Some(node) => format!("{NODES}/node{node}/hugepages/hugepages-{}kB", self.size),
            None => format!("{DIRECTORY}/hugepages-{}kB", self.size),
        }
    }

    fn number(&self, host: &Host, file: &str) -> Result<Option<u64>, HostError> {
        attribute::read_number(host, format!("{}/{file}", self.path()))
    }

    /// Returns the number of persistent pages, or `None` if the pool does not exist.
    fn persistent(&self, host: &Host) -> Result<Option<u64>, HostError> {
        let Some(all) = self.number(host, "nr_hugepages")? else {
            return Ok(None);
        };
        let surplus = self.number(host, "surplus_hugepages")?.unwrap_or(0);
        Ok(Some(all.saturating_sub(surplus)))
    }

    /// Sets the number of pages on each node. Nodes that get more come first, so that the total never drops
    /// below both the old and the new one.
    fn deal_out(&self, host: &mut Host, nodes: &[u64]) -> Result<(), HostError> {
        let of_nodes = self.of_nodes(host)?;
        for more in [true, false] {
            for (node, pages) in of_nodes.iter().zip(nodes) {
                let now = node.persistent(host)?.unwrap_or(0);
                if now != *pages && (*pages > now) == more {
                    let file = format!("{}/nr_hugepages", node.path());
                    host.write_value(file, format!("{pages}\n").as_bytes())?;
                }
            }
        }
        Ok(())
    }

    /// Returns the pools of the same size on each node in numerical order; empty for the pool of a node.
    fn of_nodes(&self, host: &Host) -> Result<Vec<Self>, HostError> {
        if self.node.is_some() {
            return Ok(Vec::new());
        }
        let names = host.list_if_there(NODES)?;
        let node = |name: &String| name.strip_prefix("node")?.parse().ok();
        let mut numbers: Vec<u32> = names.iter().filter_map(node).collect();
        numbers.sort_unstable();
        Ok(numbers
            .into_iter()
            .map(|node| Self {
                size: self.size,
                node: Some(node),
            })
            .collect())
    }

    /// Has the kernel move pages together, so that it finds contiguous memory. Nothing shows it and there
    /// is nothing to revert. Page cache is not dropped: that costs every program its files, and memory that
    /// cannot be moved stays where it is. A kernel without CONFIG_COMPACTION has no such file.
    fn compact(&self, host: &mut Host) -> Result<(), HostError> {
        let file = match self.node {
            Some(node) => format!("{NODES}/node{node}/compact"),
            None => "/proc/sys/vm/compact_memory".to_owned(),
        };
        if host.exists(&file)? {
            host.write_value(file, b"1\n")?;
        }
        Ok(())
    }

    fn memory(&self, host: &Host) -> Result<u64, HostError> {
        match self.node {
            Some(node) => total::of_file(host, &format!("{NODES}/node{node}/meminfo")),
            None => total::of_host(host),
        }
    }
}

/// Formats a size given in KiB.
fn size(kilobytes: u64) -> String {
    total::shown(kilobytes * 1024)
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hugepages of {}", size(self.size))?;
        match self.node {
            Some(node) => write!(f, " on node {node}"),
            None => Ok(()),
        }
    }
}

impl Knob for Pool {
    const NAME: &'static str = "hugepages";
    type State = PoolState;

    fn read(&self, host: &Host) -> Result<PoolState, HostError> {
        let Some(pages) = self.persistent(host)? else {
            return Ok(PoolState::Missing);
        };
        let mut state = PoolState::pages(pages);
        let of_nodes = self.of_nodes(host)?;
        if let PoolState::Pages { nodes, .. } = &mut state
            && of_nodes.len() > 1
        {
            for node in of_nodes {
                nodes.push(node.persistent(host)?.unwrap_or(0));
            }
        }
        Ok(state)
    }

    fn set(&self, host: &mut Host, to: &PoolState) -> Result<(), HostError> {
        let file = format!("{}/nr_hugepages", self.path());
        let PoolState::Pages {
            pages,
            at_least,
            compact,
            nodes,
        } = to
        else {
            return Err(attribute::no_value(
                file,
                "a pool cannot be removed, only emptied",
            ));
        };
        if !nodes.is_empty() {
            return self.deal_out(host, nodes);
        }
        let before = self.read(host)?;
        if *compact && before.count().is_some_and(|now| now < *pages) {
            self.compact(host)?;
        }
        host.write_value(&file, format!("{pages}\n").as_bytes())?;
        let now = self.read(host)?.count().unwrap_or(0);
        if now >= *pages || at_least.is_some_and(|least| now >= least) {
            return Ok(());
        }
        // The kernel reported success for too few pages. They are freed again, because half a pool is of no
        // use to a program that needs all of it.
        match &before {
            PoolState::Pages { nodes, .. } if !nodes.is_empty() => self.deal_out(host, nodes)?,
            before => {
                let before = before.count().unwrap_or(0);
                host.write_value(&file, format!("{before}\n").as_bytes())?;
            }
        }
        let why = format!(
            "the kernel found contiguous memory for {now} of {pages} pages of {}",
            size(self.size)
        );
        let unsupported = Unsupported::new(UnsupportedKind::ValueUnavailable, why).hint(
            "request fewer pages, set a minimum (at-least), or apply right after boot, before memory is fragmented",
        );
        Err(
            HostError::not_applicable(Operation::Write, file, unsupported)
                .wanted(pages.to_string()),
        )
    }

    fn satisfies(&self, seen: &PoolState, wanted: &PoolState) -> bool {
        match (seen, wanted) {
            (
                PoolState::Pages {
                    pages: seen,
                    nodes: lie,
                    ..
                },
                PoolState::Pages {
                    pages,
                    at_least,
                    nodes,
                    ..
                },
            ) => {
                (nodes.is_empty() || nodes == lie)
                    && (seen == pages
                        || at_least.is_some_and(|least| (least..=*pages).contains(seen)))
            }
            _ => seen == wanted,
        }
    }

    /// Fewer pages than requested are not a rounded value.
    fn rounds(&self, _: &PoolState, _: &PoolState) -> bool {
        false
    }

    fn unsupported(&self, host: &Host, to: &PoolState) -> Result<Option<Unsupported>, HostError> {
        let Some(pages) = to.count() else {
            return Ok(None);
        };
        if self.read(host)? == PoolState::Missing {
            return missing(host, self).map(Some);
        }
        let memory = self.memory(host)?;
        let asked = u128::from(pages) * u128::from(self.size) * 1024;
        if asked > u128::from(memory) {
            let most = memory / (self.size * 1024);
            return Ok(Some(
                Unsupported::new(
                    UnsupportedKind::ValueUnavailable,
                    format!(
                        "{pages} pages of {} exceed the total memory of {} MiB",
                        size(self.size),
                        memory >> 20
                    ),
                )
                .hint(format!("{most} pages would take all of it; use far fewer")),
            ));
        }
        host.unwritable_here(self.path())
    }

    /// Allocation takes long, and a process killed during it leaves some of the pages.
    fn is_partial_write(&self, seen: &PoolState, from: &PoolState, to: &PoolState) -> bool {
        match (seen.count(), from.count(), to.count()) {
            (Some(seen), Some(from_pages), Some(to_pages)) => {
                // While pages are distributed to several nodes again, their total may be higher than both
                // ends.
                let most = match from {
                    PoolState::Pages { nodes, .. } if !nodes.is_empty() => from_pages + to_pages,
                    _ => from_pages.max(to_pages),
                };
                (from_pages.min(to_pages)..=most).contains(&seen)
            }
            _ => false,
        }
    }

    fn is_gone(&self, seen: &PoolState) -> bool {
        *seen == PoolState::Missing
    }

    fn revert_note(&self, host: &Host, _: &PoolState) -> Option<String> {
        let surplus = self.number(host, "surplus_hugepages").ok()??;
        let overcommit = self.number(host, "nr_overcommit_hugepages").ok()?;
        (surplus > overcommit.unwrap_or(0)).then(|| {
            format!("{self}: {surplus} pages in use stay as surplus until their users release them; the kernel then frees them")
        })
    }

    fn show(&self, state: &PoolState) -> String {
        match state.count() {
            None => "missing".to_owned(),
            Some(1) => "1 page".to_owned(),
            Some(pages) => format!("{pages} pages"),
        }
    }
}

fn missing(host: &Host, pool: &Pool) -> Result<Unsupported, HostError> {
    let directory = match pool.node {
        Some(node) => format!("{NODES}/node{node}/hugepages"),
        None => DIRECTORY.to_owned(),
    };
    let names = host.list_if_there(&directory)?;
    let sizes: Vec<String> = names
        .iter()
        .filter_map(|name| {
            let kilobytes = name.strip_prefix("hugepages-")?.strip_suffix("kB")?;
            Some(size(kilobytes.parse().ok()?))
        })
        .collect();
    let unsupported = Unsupported::new(
        UnsupportedKind::Missing,
        match pool.node {
            Some(node) if sizes.is_empty() => format!("NUMA node {node} does not exist"),
            _ => format!("this kernel has no pages of {}", size(pool.size)),
        },
    );
    Ok(if sizes.is_empty() {
        unsupported
    } else {
        unsupported.hint(format!("available page sizes: {}", sizes.join(", ")))
    })
}

/// A request for pages of one size.
///
/// ```
/// use hosttune_memory::hugepages::Hugepages;
///
/// let guest = Hugepages::of_size(2048, 4096) // 8 GiB for a virtual machine
///     .on_node(0)
///     .required();
/// let some = Hugepages::of_size(2048, 512).at_least(256); // 256 are enough
/// # let _ = (guest, some);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Hugepages {
    /// The size of a page, in KiB.
    pub size: u64,
    /// Number of pages in the pool.
    pub pages: u64,
    /// The number of pages that is enough. Without it, too few pages are freed again and the request is not
    /// applicable, or fails if it is required. A pool that already has enough pages matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<u64>,
    /// Whether memory is compacted first if the pool grows.
    #[serde(default)]
    pub compact: bool,
    /// The node; `None` for the whole machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u32>,
    /// Number of surplus pages that the kernel may allocate on demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overcommit: Option<u64>,
    /// The reason.
    #[serde(default)]
    pub why: Why,
    /// What to do if the request does not apply.
    #[serde(default)]
    pub requirement: Requirement,
}

hosttune_core::why_and_requirement!(Hugepages);

impl Hugepages {
    /// Creates a request for a number of pages of a size in KiB.
    pub fn of_size(size: u64, pages: u64) -> Self {
        Self {
            size,
            pages,
            at_least: None,
            compact: false,
            node: None,
            overcommit: None,
            why: Why::default(),
            requirement: Requirement::Plain,
        }
    }

    /// Sets the number of pages that is enough.
    #[must_use]
    pub fn at_least(mut self, pages: u64) -> Self {
        self.at_least = Some(pages);
        self
    }

    /// Compacts memory before the pool grows: on a host that has run for a while, contiguous memory is
    /// rare. It takes up to seconds.
    #[must_use]
    pub fn compact_first(mut self) -> Self {
        self.compact = true;
        self
    }

    /// Requests the pages on this NUMA node.
    #[must_use]
    pub fn on_node(mut self, node: u32) -> Self {
        self.node = Some(node);
        self
    }

    /// Sets the number of surplus pages that the kernel may allocate on demand.
    #[must_use]
    pub fn overcommit(mut self, pages: u64) -> Self {
        self.overcommit = Some(pages);
        self
    }
}

impl Tuning for Hugepages {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        if self.at_least.is_some_and(|least| least > self.pages) {
            return Err(Error::tuning(
                format!(
                    "the minimum number of hugepages is above the requested {}",
                    self.pages
                ),
                "set at-least to at most that number",
            ));
        }
        let pool = Pool {
            size: self.size,
            node: self.node,
        };
        let to = PoolState::Pages {
            pages: self.pages,
            at_least: self.at_least,
            compact: self.compact,
            nodes: Vec::new(),
        };
        at.want(&pool, &to)
            .why(self.why.clone())
            .requirement(self.requirement);
        if let Some(pages) = self.overcommit {
            let request = at.want(&Overcommit(self.size), &OvercommitState::Pages(pages));
            request.why(self.why.clone()).requirement(self.requirement);
        }
        Ok(())
    }
}
