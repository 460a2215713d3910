//! The processors: their type from `/proc/cpuinfo`, and their number from the topology in sysfs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::microarchitecture::Microarchitecture;
use crate::number_list;
use crate::source::{Source, plain};
use crate::x86_64_level::X86_64Level;

const INFO: &str = "/proc/cpuinfo";
const DIRECTORY: &str = "/sys/devices/system/cpu";
const NODES: &str = "/sys/devices/system/node/online";

/// The files that are read; see [`Facts::sources`](crate::Facts::sources).
pub(crate) const SOURCES: &[&str] = &[
    INFO,
    NODES,
    "/sys/devices/system/cpu/online",
    "/sys/devices/system/cpu/cpu*/topology/core_cpus_list",
    "/sys/devices/system/cpu/cpu*/topology/core_siblings_list",
    "/sys/devices/system/cpu/cpu*/topology/package_cpus_list",
    "/sys/devices/system/cpu/cpu*/topology/thread_siblings_list",
    "/sys/devices/system/cpu/cpufreq",
    "/sys/devices/system/cpu/cpufreq/policy*",
    "/sys/devices/system/cpu/cpufreq/policy*/scaling_driver",
    "/sys/devices/system/cpu/smt/active",
    "/sys/devices/system/cpu/smt/control",
];

/// The processors. If they differ, the values are those of the first online one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Cpu {
    /// The vendor as the processor reports it: `GenuineIntel`, `AuthenticAMD`. Only on x86, as are the
    /// numbers.
    pub vendor_id: Option<String>,
    /// The family, decimal.
    pub family: Option<u32>,
    /// The model, decimal.
    pub model: Option<u32>,
    /// The stepping.
    pub stepping: Option<u32>,
    /// The marketing name: `Intel(R) Core(TM) i7-6700K CPU @ 4.00GHz`.
    pub model_name: Option<String>,
    /// The name of its design, if family and model are known. A hypervisor may make up both.
    pub microarchitecture: Option<Microarchitecture>,
    /// The highest level of x86-64 that it supports completely.
    pub x86_64_level: Option<X86_64Level>,
    /// Number of online threads, which are what the kernel schedules on.
    pub threads: Option<u32>,
    /// Number of cores with an online thread.
    pub cores: Option<u32>,
    /// Number of sockets with an online thread.
    pub sockets: Option<u32>,
    /// Number of online NUMA nodes; `None` if the kernel has no NUMA support.
    pub numa_nodes: Option<u32>,
    /// Whether any core has two online threads.
    pub smt_active: Option<bool>,
    /// The SMT setting.
    pub smt_control: Option<SmtControl>,
    /// The frequency scaling driver: `amd-pstate-epp`, `intel_pstate`, `acpi-cpufreq`; `None` if there is
    /// none.
    pub frequency_driver: Option<String>,
}

/// The SMT setting (`/sys/devices/system/cpu/smt/control`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SmtControl {
    /// Enabled.
    On,
    /// Disabled.
    Off,
    /// Disabled until the next boot.
    ForceOff,
    /// Not supported by the processors.
    NotSupported,
    /// Not implemented by the kernel on this architecture.
    NotImplemented,
    /// Only some threads of each core are used (a number, since Linux 6.6), or a word of a later kernel.
    Other,
}

/// The fields of the first processor of `/proc/cpuinfo`.
#[derive(Debug, Default)]
pub(crate) struct CpuInfo(BTreeMap<String, String>);

impl CpuInfo {
    pub(crate) fn of(source: Source<'_>) -> Self {
        Self::parse(&source.lines(INFO).unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().skip_while(|line| line.trim().is_empty());
        let fields = lines.take_while(|line| !line.trim().is_empty());
        let fields = fields.filter_map(|line| line.split_once(':'));
        let fields = fields.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
        Self(fields.collect())
    }

    pub(crate) fn is_known(&self) -> bool {
        !self.0.is_empty()
    }

    pub(crate) fn value(&self, name: &str) -> Option<String> {
        plain(self.0.get(name)?)
    }

    /// Returns the number of processors in the file, or `None` if the architecture does not number them.
    fn processors(source: Source<'_>) -> Option<u32> {
        let text = source.lines(INFO)?;
        let names = text.lines().filter_map(|line| line.split_once(':'));
        let count = names.filter(|(name, _)| name.trim() == "processor").count();
        u32::try_from(count).ok().filter(|count| *count > 0)
    }

    fn number(&self, name: &str) -> Option<u32> {
        self.0.get(name)?.parse().ok()
    }

    /// Returns the flags, or `None` if the architecture has none.
    pub(crate) fn flags(&self) -> Option<BTreeSet<&str>> {
        Some(self.0.get("flags")?.split_whitespace().collect())
    }

    /// Returns the architecture of the kernel if it is x86. Only a 32-bit one reports the Pentium's
    /// division bug (`fdiv_bug`).
    pub(crate) fn x86_kernel_architecture(&self) -> Option<&'static str> {
        self.0.get("flags")?;
        Some(match self.0.contains_key("fdiv_bug") {
            true => "i686",
            false => "x86_64",
        })
    }
}

impl Cpu {
    pub(crate) fn of(source: Source<'_>, info: &CpuInfo) -> Self {
        let topology = Topology::of(source);
        let vendor_id = info.value("vendor_id");
        let (family, model) = (info.number("cpu family"), info.number("model"));
        let stepping = info.number("stepping");
        let level = info.flags().and_then(|flags| X86_64Level::of(&flags));
        let is_guest = info
            .flags()
            .is_some_and(|flags| flags.contains("hypervisor"));
        // A hypervisor may make the numbers up; a processor that supports more than the design is another
        // one.
        let is_made_up =
            |design: &Microarchitecture| is_guest && level > Some(design.highest_level());
        let microarchitecture = vendor_id
            .as_deref()
            .zip(family)
            .zip(model)
            .and_then(|((vendor, family), model)| {
                Microarchitecture::of(vendor, family, model, stepping)
            })
            .filter(|design| !is_made_up(design));
        Self {
            microarchitecture,
            vendor_id,
            family,
            model,
            stepping,
            model_name: info.value("model name"),
            x86_64_level: level,
            threads: topology
                .as_ref()
                .map(|topology| topology.threads)
                .or_else(|| CpuInfo::processors(source)),
            cores: topology.as_ref().and_then(|topology| topology.cores),
            sockets: topology.as_ref().and_then(|topology| topology.sockets),
            numa_nodes: source
                .lines(NODES)
                .and_then(|text| number_list::parse(&text))
                .and_then(|nodes| u32::try_from(nodes.len()).ok()),
            smt_active: source.flag(format!("{DIRECTORY}/smt/active")),
            smt_control: source
                .value(format!("{DIRECTORY}/smt/control"))
                .map(|word| SmtControl::of(&word)),
            frequency_driver: frequency_driver(source),
        }
    }

    /// Whether AMD made it.
    #[must_use]
    pub fn is_amd(&self) -> bool {
        self.vendor_id.as_deref() == Some("AuthenticAMD")
    }

    /// Whether Intel made it.
    #[must_use]
    pub fn is_intel(&self) -> bool {
        self.vendor_id.as_deref() == Some("GenuineIntel")
    }
}

impl SmtControl {
    fn of(word: &str) -> Self {
        match word {
            "on" => Self::On,
            "off" => Self::Off,
            "forceoff" => Self::ForceOff,
            "notsupported" => Self::NotSupported,
            "notimplemented" => Self::NotImplemented,
            _ => Self::Other,
        }
    }
}

/// Returns the frequency driver, which is the same for all policies.
fn frequency_driver(source: Source<'_>) -> Option<String> {
    let policies = source.names(format!("{DIRECTORY}/cpufreq"))?;
    let policy = policies.iter().find(|name| name.starts_with("policy"))?;
    source.value(format!("{DIRECTORY}/cpufreq/{policy}/scaling_driver"))
}

/// Numbers of threads, cores and sockets.
struct Topology {
    threads: u32,
    cores: Option<u32>,
    sockets: Option<u32>,
}

impl Topology {
    fn of(source: Source<'_>) -> Option<Self> {
        let online = number_list::parse(&source.lines(format!("{DIRECTORY}/online"))?)?;
        let online: BTreeSet<u32> = online.into_iter().collect();
        // The names since Linux 5.3, and the older ones.
        let cores = groups(source, &online, ["core_cpus_list", "thread_siblings_list"]);
        let sockets = groups(source, &online, ["package_cpus_list", "core_siblings_list"]);
        Some(Self {
            threads: u32::try_from(online.len()).ok()?,
            cores,
            sockets,
        })
    }
}

/// Returns the number of groups that the processors form. Each file lists a whole group, so this reads one
/// file per group and not one per processor.
fn groups(source: Source<'_>, online: &BTreeSet<u32>, files: [&str; 2]) -> Option<u32> {
    let mut left = online.clone();
    let mut count = 0;
    while let Some(first) = left.pop_first() {
        let file = |name| source.lines(format!("{DIRECTORY}/cpu{first}/topology/{name}"));
        let text = files.into_iter().find_map(file)?;
        let group = number_list::parse(&text)?;
        // A processor outside its own group means that the topology is invalid.
        if !group.contains(&first) {
            return None;
        }
        for member in group {
            left.remove(&member);
        }
        count += 1;
    }
    (count > 0).then_some(count)
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.model_name.as_deref().or(self.vendor_id.as_deref());
        f.write_str(name.unwrap_or("unknown"))?;
        match (self.microarchitecture, self.family, self.model) {
            (Some(microarchitecture), ..) => write!(f, ", {microarchitecture}")?,
            (None, Some(family), Some(model)) => write!(f, ", family {family} model {model}")?,
            _ => {}
        }
        if let Some(level) = self.x86_64_level {
            write!(f, ", {level}")?;
        }
        let counted = [
            (self.cores, "core"),
            (self.threads, "thread"),
            (self.sockets, "socket"),
            (self.numa_nodes, "NUMA node"),
        ];
        for (count, what) in counted {
            match count {
                Some(1) => write!(f, ", 1 {what}")?,
                Some(count) => write!(f, ", {count} {what}s")?,
                None => {}
            }
        }
        if let Some(driver) = &self.frequency_driver {
            write!(f, ", {driver}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_processor_ends_with_an_empty_line() {
        let info = CpuInfo::parse(
            "\nvendor_id\t: GenuineIntel\nmodel\t\t: 94\nmodel name\t: i7: fast\nflags\t\t: lm sse\n\nmodel\t: 1\nfdiv_bug\t: no\n",
        );
        assert_eq!(info.number("model"), Some(94));
        assert_eq!(info.value("model name"), Some("i7: fast".into()));
        assert_eq!(info.x86_kernel_architecture(), Some("x86_64"));
        assert!(!CpuInfo::parse("").is_known());
        let old = CpuInfo::parse("fdiv_bug\t: no\nflags\t: lm\n");
        assert_eq!(old.x86_kernel_architecture(), Some("i686"));
    }
}
