//! The parts of the kernel that a shaper needs: the module that each is in, and the function that
//! identifies it where it is built in.

use hosttune_core::{Error, Host, HostError, Planner, Unsupported, UnsupportedKind};
use hosttune_modules::module::{Sought, find_all};
use hosttune_modules::{Availability, KernelModule, ModuleState, Modules};

use crate::shaper::Shaper;

/// A part of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    /// Its name in words, for messages.
    what: String,
    /// The module that contains it, unless it is built in.
    module: String,
    /// A function that only this part has, if one is known.
    symbol: Option<&'static str>,
    /// The kernel configuration option for it, without `CONFIG_`.
    option: String,
}

/// The options are named like the modules, except for the one outside of traffic control.
fn option_of(module: &str) -> String {
    match module {
        "ifb" => "IFB".to_owned(),
        _ => format!("NET_{}", module.to_uppercase()),
    }
}

/// The kinds of qdisc that every kernel with traffic control has: `sch_generic`, `sch_mq` and
/// `sch_fifo` are not modules.
const IN_EVERY_KERNEL: [&str; 8] = [
    "bfifo",
    "blackhole",
    "mq",
    "noop",
    "noqueue",
    "pfifo",
    "pfifo_fast",
    "pfifo_head_drop",
];

/// Kinds whose module has another name.
const IN_MODULE: [(&str, &str); 2] = [("cake_mq", "sch_cake"), ("clsact", "sch_ingress")];

/// The functions that identify modules. Each is called only through a pointer and therefore not
/// inlined. The names are the same from Linux 6.1 to 7.2.
const SYMBOLS: [(&str, &str); 27] = [
    ("act_mirred", "tcf_mirred_act"),
    ("cls_matchall", "mall_classify"),
    ("cls_u32", "u32_classify"),
    ("ifb", "ifb_xmit"),
    ("sch_cake", "cake_enqueue"),
    ("sch_choke", "choke_enqueue"),
    ("sch_codel", "codel_qdisc_enqueue"),
    ("sch_drr", "drr_enqueue"),
    ("sch_etf", "etf_enqueue_timesortedlist"),
    ("sch_ets", "ets_qdisc_enqueue"),
    ("sch_fq", "fq_enqueue"),
    ("sch_fq_codel", "fq_codel_enqueue"),
    ("sch_fq_pie", "fq_pie_qdisc_enqueue"),
    ("sch_hfsc", "hfsc_enqueue"),
    ("sch_hhf", "hhf_enqueue"),
    ("sch_htb", "htb_enqueue"),
    ("sch_ingress", "ingress_init"),
    ("sch_multiq", "multiq_enqueue"),
    ("sch_netem", "netem_enqueue"),
    ("sch_pie", "pie_qdisc_enqueue"),
    ("sch_plug", "plug_enqueue"),
    ("sch_prio", "prio_enqueue"),
    ("sch_qfq", "qfq_enqueue"),
    ("sch_red", "red_enqueue"),
    ("sch_sfb", "sfb_enqueue"),
    ("sch_sfq", "sfq_enqueue"),
    ("sch_tbf", "tbf_enqueue"),
];

impl Part {
    fn new(what: impl Into<String>, module: impl Into<String>) -> Self {
        let module = module.into();
        let known = SYMBOLS.iter().find(|(of, _)| *of == module);
        Self {
            what: what.into(),
            symbol: known.map(|(_, symbol)| *symbol),
            option: option_of(&module),
            module,
        }
    }

    /// Returns `None` for a kind that every kernel has.
    fn qdisc(kind: &str) -> Option<Self> {
        if IN_EVERY_KERNEL.contains(&kind) {
            return None;
        }
        let other = IN_MODULE.iter().find(|(of, _)| *of == kind);
        let module =
            other.map_or_else(|| format!("sch_{kind}"), |(_, module)| (*module).to_owned());
        Some(Self::new(format!("qdisc {kind}"), module))
    }

    fn knob(&self) -> KernelModule {
        if self.module == "ifb" {
            ifb_module()
        } else {
            KernelModule::new(&self.module)
        }
    }
}

/// Without the parameter the module creates two unwanted links, even when the kernel loads it by
/// itself because a link is created.
pub(crate) fn ifb_module() -> KernelModule {
    KernelModule::new("ifb").parameter("numifbs=0")
}

/// What a shaper needs: one part of each group.
fn needed(shaper: &Shaper) -> Vec<Vec<Part>> {
    let mut all: Vec<Vec<Part>> = Vec::new();
    if shaper.ingress.is_some() {
        all.push(vec![Part::new("link type ifb", "ifb")]);
        all.push(vec![Part::new("action mirred", "act_mirred")]);
        all.push(vec![Part::new("ingress hook", "sch_ingress")]);
        // u32 is the fallback for kernels without matchall.
        all.push(vec![
            Part::new("classifier matchall", "cls_matchall"),
            Part::new("classifier u32", "cls_u32"),
        ]);
    }
    for qdisc in [&shaper.egress, &shaper.ingress].into_iter().flatten() {
        all.extend(Part::qdisc(&qdisc.kind).map(|part| vec![part]));
    }
    all.dedup();
    all
}

/// The parts that a shaper needs, and the availability of each.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    /// The first part of each group that the kernel has or may have. `Err` holds the part to name in
    /// the error if the kernel certainly has none of the group.
    chosen: Vec<Result<(Part, Availability), Part>>,
    /// Whether the kernel supports modules.
    modular: bool,
}

impl Parts {
    pub(crate) fn of(shaper: &Shaper, host: &Host) -> Result<Self, HostError> {
        let needed = needed(shaper);
        let sought: Vec<Sought<'_>> = needed
            .iter()
            .flatten()
            .map(|part| Sought {
                name: &part.module,
                symbol: part.symbol,
                // The option's name is only verified for the modules in `SYMBOLS`.
                option: part.symbol.map(|_| &*part.option),
            })
            .collect();
        let mut found = find_all(host, &sought)?.into_iter();
        let chosen = needed.iter().map(|group| {
            let found: Vec<Availability> = found.by_ref().take(group.len()).collect();
            let mut both = group.iter().zip(found);
            both.find(|(_, found)| *found != Availability::Absent)
                .map(|(part, found)| (part.clone(), found))
                .ok_or_else(|| group[0].clone())
        });
        Ok(Self {
            chosen: chosen.collect(),
            modular: host.exists("/proc/modules")?,
        })
    }

    /// What this kernel certainly does not have, if anything. If that cannot be determined, the
    /// kernel's own answer decides at apply.
    pub(crate) fn unsupported(&self) -> Option<Unsupported> {
        let absent = self.chosen.iter().find_map(|part| part.as_ref().err());
        let Part { what, module, .. } = absent?;
        let hint = if self.modular {
            format!(
                "install a kernel that has {module}, or the package with the rest of this kernel's modules (linux-modules-extra, kernel-modules-extra)"
            )
        } else {
            format!("this kernel does not support modules: boot one that has {module}")
        };
        Some(
            Unsupported::new(
                UnsupportedKind::ValueUnavailable,
                format!("this kernel has no {what}: module {module} is missing"),
            )
            .hint(hint)
            .module(module),
        )
    }

    /// Plans to load the modules as intermediate steps, if the host has a backend that loads them.
    pub(crate) fn want(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        for part in self.to_load(at.host()) {
            for module in part.knob().with_dependencies(at.host())? {
                at.intermediate(&module, &ModuleState::Loaded)
                    .why(format!("provides the {}", part.what))
                    .required();
            }
        }
        Ok(())
    }

    /// The modules that [`want`](Self::want) plans to load.
    pub(crate) fn modules(&self, host: &Host) -> Result<Vec<KernelModule>, HostError> {
        let mut all = Vec::new();
        for part in self.to_load(host) {
            all.extend(part.knob().with_dependencies(host)?);
        }
        Ok(all)
    }

    fn to_load<'a>(&'a self, host: &Host) -> impl Iterator<Item = &'a Part> + use<'a> {
        let loads = host.backend::<Modules>().is_ok();
        self.chosen
            .iter()
            .flatten()
            .filter(move |(_, available)| loads && *available == Availability::Loadable)
            .map(|(part, _)| part)
    }
}

#[cfg(test)]
#[path = "kernel_part_tests.rs"]
mod tests;
