//! The parts of the kernel that a shaper needs: in which module each is, and by which of its
//! functions it is known where it is built in.

use hosttune_boot::module::{Sought, find_all};
use hosttune_boot::{Availability, KernelModule, ModuleState, Modules};
use hosttune_core::{Error, Host, HostError, Lack, LackKind, Planner};

use crate::shaper::Shaper;

/// A part of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    /// What it is, in words.
    what: String,
    /// The module that it is in, unless it is built in.
    module: String,
    /// A function of it that nothing else has, where one is known.
    symbol: Option<&'static str>,
    /// The option that a kernel is built with it by, without `CONFIG_`.
    option: String,
}

/// The options have the names of the modules, but for the one that is not of traffic control.
fn option_of(module: &str) -> String {
    match module {
        "ifb" => "IFB".to_owned(),
        _ => format!("NET_{}", module.to_uppercase()),
    }
}

/// The kinds of queueing discipline that every kernel has that has any: `sch_generic`, `sch_mq` and
/// `sch_fifo` are no modules.
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

/// Kinds that are in a module of another name.
const IN_MODULE: [(&str, &str); 2] = [("cake_mq", "sch_cake"), ("clsact", "sch_ingress")];

/// The functions by which modules are known. Each is called by its address alone, so that none is
/// inlined; the same from Linux 6.1 to 7.2.
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

    /// `None` for what every kernel has.
    fn qdisc(kind: &str) -> Option<Self> {
        if IN_EVERY_KERNEL.contains(&kind) {
            return None;
        }
        let other = IN_MODULE.iter().find(|(of, _)| *of == kind);
        let module =
            other.map_or_else(|| format!("sch_{kind}"), |(_, module)| (*module).to_owned());
        Some(Self::new(format!("queueing discipline {kind}"), module))
    }

    fn knob(&self) -> KernelModule {
        if self.module == "ifb" {
            ifb_module()
        } else {
            KernelModule::new(&self.module)
        }
    }
}

/// Without a parameter it makes two links that nobody asked for, also where the kernel loads it by
/// itself because somebody creates one.
pub(crate) fn ifb_module() -> KernelModule {
    KernelModule::new("ifb").parameter("numifbs=0")
}

/// What a shaper needs, any of each group.
fn needed(shaper: &Shaper) -> Vec<Vec<Part>> {
    let mut all: Vec<Vec<Part>> = Vec::new();
    if shaper.ingress.is_some() {
        all.push(vec![Part::new("link type ifb", "ifb")]);
        all.push(vec![Part::new("action mirred", "act_mirred")]);
        all.push(vec![Part::new("ingress hook", "sch_ingress")]);
        // The second is asked for where the kernel knows no matchall.
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

/// The parts that a shaper needs, and what is known of each.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    /// Of each group the first that the kernel has, or may have; `Err` with the one to name where
    /// it certainly has none.
    chosen: Vec<Result<(Part, Availability), Part>>,
    /// Whether the kernel can have modules.
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
                // Of one that is not known here nobody has looked whether its option is named so.
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

    /// What this kernel certainly does not have, if anything. Where nothing tells, the kernel's
    /// own answer will.
    pub(crate) fn lack(&self) -> Option<Lack> {
        let absent = self.chosen.iter().find_map(|part| part.as_ref().err());
        let Part { what, module, .. } = absent?;
        let hint = if self.modular {
            format!(
                "install a kernel that has {module}, or the package with the rest of this one's modules (linux-modules-extra, kernel-modules-extra)"
            )
        } else {
            format!("this kernel loads no modules: boot one that has {module}")
        };
        Some(
            Lack::new(
                LackKind::ValueUnavailable,
                format!("this kernel has no {what}: module {module} is not here"),
            )
            .hint(hint)
            .module(module),
        )
    }

    /// Wants those that are to be loaded as means, where something is plugged in that loads them.
    pub(crate) fn want(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        for part in self.to_load(at.host()) {
            for module in part.knob().with_dependencies(at.host())? {
                at.pass(&module, &ModuleState::Loaded)
                    .why(format!("brings the {}", part.what))
                    .required();
            }
        }
        Ok(())
    }

    /// The modules that [`want`](Self::want) wants.
    pub(crate) fn modules(&self, host: &Host) -> Result<Vec<KernelModule>, HostError> {
        let mut all = Vec::new();
        for part in self.to_load(host) {
            all.extend(part.knob().with_dependencies(host)?);
        }
        Ok(all)
    }

    fn to_load<'a>(&'a self, host: &Host) -> impl Iterator<Item = &'a Part> + use<'a> {
        let loads = host.wire::<Modules>().is_ok();
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
