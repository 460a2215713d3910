//! The cores of the host, and which of them a guest is given.

use hosttune_core::{Host, HostError, Unsupported, UnsupportedKind, attribute};

use super::list::ProcessorList;

const PROCESSORS: &str = "/sys/devices/system/cpu";
const NODES: &str = "/sys/devices/system/node";

/// A core of the host with its processors that are online.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Core {
    /// Its processors: one, or one for each thread.
    pub processors: ProcessorList,
    /// The processors that share its last-level cache; its own if the kernel does not show the cache.
    pub cache: ProcessorList,
    /// Its NUMA node, on a host with several.
    pub node: Option<u32>,
}

/// The cores of a host, by their first processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores(Vec<Core>);

fn list(host: &Host, path: &str) -> Result<Option<ProcessorList>, HostError> {
    let Some(text) = attribute::read(host, path)? else {
        return Ok(None);
    };
    let list = text.parse::<ProcessorList>();
    let list = list.map_err(|error| HostError::malformed(path, error.to_string()))?;
    Ok(Some(list))
}

/// The file `core_cpus_list` (since Linux 5.3), or the older name of the same.
fn threads(host: &Host, number: u32) -> Result<Option<ProcessorList>, HostError> {
    for name in ["core_cpus_list", "thread_siblings_list"] {
        let found = list(host, &format!("{PROCESSORS}/cpu{number}/topology/{name}"))?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The processors that share the cache of the highest level with one.
fn cache(host: &Host, number: u32) -> Result<Option<ProcessorList>, HostError> {
    for level in (0..8).rev() {
        let directory = format!("{PROCESSORS}/cpu{number}/cache/index{level}");
        let found = list(host, &format!("{directory}/shared_cpu_list"))?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

impl Cores {
    /// Reads the cores with processors that are online.
    ///
    /// # Errors
    /// If a file exists and cannot be read or understood.
    pub fn read(host: &Host) -> Result<Self, HostError> {
        let online = list(host, &format!("{PROCESSORS}/online"))?.unwrap_or_default();
        let mut nodes = Vec::new();
        for name in host.list_if_there(NODES)? {
            let number = name.strip_prefix("node").and_then(|text| text.parse().ok());
            if let Some(number) = number
                && let Some(processors) = list(host, &format!("{NODES}/{name}/cpulist"))?
            {
                nodes.push((number, processors));
            }
        }
        let of_several = nodes.len() > 1;
        let mut found: Vec<Core> = Vec::new();
        for number in online.iter() {
            let alone: ProcessorList = [number].into_iter().collect();
            if found.iter().any(|core| alone.is_within(&core.processors)) {
                continue;
            }
            let threads = threads(host, number)?.unwrap_or_else(|| alone.clone());
            let processors = threads.and(&online);
            let cache = cache(host, number)?.unwrap_or_else(|| processors.clone());
            let mut on = nodes.iter().filter(|_| of_several);
            let node = on.find(|(_, list)| alone.is_within(list));
            found.push(Core {
                processors,
                cache,
                node: node.map(|(node, _)| *node),
            });
        }
        Ok(Self(found))
    }

    /// Chooses cores to be kept free for a guest with `count` cores. Processor 0 stays with the host, because
    /// the kernel handles there what it does not assign to another.
    ///
    /// Cores that share one last-level cache are taken if enough of them do: the threads of a guest expect
    /// that. Among these, those on `node` come first, and then those with the highest numbers, which other
    /// programs use least.
    ///
    /// # Errors
    /// If the host has not so many cores beside that of processor 0.
    pub fn choose(&self, count: usize, node: Option<u32>) -> Result<Vec<Core>, Box<Unsupported>> {
        let is_of_host = |core: &&Core| core.processors.iter().next() == Some(0);
        let mut free: Vec<&Core> = self.0.iter().filter(|core| !is_of_host(core)).collect();
        let on_node = |core: &Core| node.is_some() && core.node == node;
        // The preferred ones last.
        free.sort_by_key(|core| (on_node(core), core.processors.iter().next()));
        if count == 0 || free.len() < count {
            let unsupported = Unsupported::new(
                UnsupportedKind::ValueUnavailable,
                format!(
                    "the guest has {count} cores, and the host has {} beside that of processor 0",
                    free.len()
                ),
            );
            return Err(Box::new(unsupported.hint("give the guest fewer cores")));
        }
        let sharing = |with: &&&Core| {
            let same = free.iter().filter(|core| core.cache == with.cache);
            same.count() >= count
        };
        let cache = free.iter().rev().find(sharing).map(|core| &core.cache);
        let from = free
            .iter()
            .rev()
            .filter(|core| cache.is_none_or(|cache| core.cache == *cache));
        let mut chosen: Vec<Core> = from.take(count).map(|core| (*core).clone()).collect();
        chosen.reverse();
        Ok(chosen)
    }

    /// Shares the processors of a list among the cores of a guest: the threads of one core to each, or one
    /// processor to each if the list has fewer cores than the guest.
    ///
    /// # Errors
    /// If there are fewer processors than the guest has cores, or some of them are not online.
    pub fn share(
        &self,
        list: &ProcessorList,
        count: usize,
    ) -> Result<Vec<ProcessorList>, Box<Unsupported>> {
        let of_cores = self.0.iter().map(|core| core.processors.and(list));
        let of_cores: Vec<ProcessorList> = of_cores.filter(|part| !part.is_empty()).collect();
        let online: ProcessorList = of_cores.iter().flat_map(ProcessorList::iter).collect();
        let refused = |why: String, hint: String| {
            let unsupported = Unsupported::new(UnsupportedKind::ValueUnavailable, why);
            Err(Box::new(unsupported.hint(hint)))
        };
        let missing = list.without(&online);
        if !missing.is_empty() {
            return refused(
                format!("processors {missing} are not online"),
                format!("cat {PROCESSORS}/online shows those that are"),
            );
        }
        if online.len() < count || count == 0 {
            return refused(
                format!(
                    "the guest has {count} cores, and processors {list} are {}",
                    online.len()
                ),
                "name as many processors as the guest has cores, or more".to_owned(),
            );
        }
        if of_cores.len() < count {
            let single = online.iter().take(count);
            return Ok(single
                .map(|number| [number].into_iter().collect())
                .collect());
        }
        Ok(of_cores.into_iter().take(count).collect())
    }
}
