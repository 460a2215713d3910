//! Rules over all disks of a host, as a [`Tuning`].

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use hosttune_core::host::RootKind;
use hosttune_core::{Error, Host, Planner, Tuning};
use hosttune_modules::module::{self, Availability};
use hosttune_modules::{KernelModule, ModuleState};
use serde::{Deserialize, Serialize};

use crate::device;
use crate::disk::{Disk, DiskKind, Facts};
use crate::name::DiskName;
use crate::persisted;
use crate::queue_attribute::{AttributeState, QueueAttribute};
use crate::rule::{Condition, Conditions, Rule, Standing};
use crate::scheduler::{Offered, Scheduler, SchedulerName, SchedulerState};
use crate::tunable::{SchedulerTunable, TunableState};

/// Rules for disks. The first rule that matches a disk applies to it.
///
/// Each rule is a part of the plan with the rule's name; notes in the plan say which disks it
/// matches, and which it skipped because of a single condition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[non_exhaustive]
pub struct Rules {
    /// The rules; earlier ones take precedence.
    pub rules: Vec<Rule>,
    /// Limits all rules to this disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<PathBuf>,
    /// The host's name in `/etc/udev/rules.d/61-hosttune-NAME.rules`, which applies the rules to
    /// hot-plugged disks; with `None` they keep the kernel's settings until the rules are applied
    /// again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persist: Option<String>,
}

/// How many disks a note names; of the others it gives the number.
const NAMED: usize = 8;

/// The disks that a rule matches or nearly matches.
#[derive(Debug, Default)]
struct Tally {
    taken: Names,
    missed: BTreeMap<Condition, Missed>,
    elsewhere: Names,
}

/// Disks that meet all conditions of a rule but one.
#[derive(Debug, Default)]
struct Missed {
    names: Names,
    /// What the first of them has for that condition.
    shown: String,
}

/// The first few names, and the number of all.
#[derive(Debug, Default)]
pub(crate) struct Names {
    first: Vec<String>,
    count: usize,
}

impl Names {
    pub(crate) fn add(&mut self, name: &DiskName) {
        if self.count < NAMED {
            self.first.push(name.to_string());
        }
        self.count += 1;
    }

    pub(crate) fn text(&self) -> String {
        let names = self.first.join(", ");
        match self.count.saturating_sub(self.first.len()) {
            0 => names,
            more => format!("{names} and {more} more"),
        }
    }
}

impl Rules {
    /// Creates rules; earlier ones take precedence.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self {
            rules: rules.into_iter().collect(),
            only: None,
            persist: None,
        }
    }

    /// Limits the rules to one disk: `/dev/sda`, a link to it, or a kernel name.
    ///
    /// Whether it is a disk is checked when the rules are planned: see [`device::find`].
    #[must_use]
    pub fn only(mut self, device: impl Into<PathBuf>) -> Self {
        self.only = Some(device.into());
        self
    }

    /// Applies the rules to hot-plugged disks too, now and after a reboot: writes
    /// `/etc/udev/rules.d/61-hosttune-NAME.rules`, the result of [`to_udev`](Self::to_udev).
    ///
    /// With [`only`](Self::only), the file is not changed.
    #[must_use]
    pub fn persisted_as(mut self, name: impl Into<String>) -> Self {
        self.persist = Some(name.into());
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let mut names = BTreeSet::new();
        for rule in &self.rules {
            rule.check()?;
            if !names.insert(&rule.name) {
                return Err(Error::tuning(
                    format!("two disk rules are named {}", rule.name),
                    "rename one of them",
                ));
            }
        }
        Ok(())
    }

    /// The facts that the rules need about each disk.
    fn facts(&self) -> Facts {
        let all = self.rules.iter().map(|rule| rule.disks.facts());
        all.fold(Facts::default(), |one, other| Facts {
            rotational: one.rotational || other.rotational,
            size: one.size || other.size,
            model: one.model || other.model,
            by_id: one.by_id || other.by_id,
            ..Facts::default()
        })
    }

    /// Which rule applies to which disk, in the order of the disks, and the notes about them.
    fn deal<'d>(&self, disks: &'d [Disk]) -> (Vec<(usize, &'d Disk)>, Vec<Tally>) {
        let mut tallies: Vec<Tally> = self.rules.iter().map(|_| Tally::default()).collect();
        let mut dealt = Vec::new();
        for disk in disks {
            let mut taken = false;
            for (number, rule) in self.rules.iter().enumerate() {
                let tally = &mut tallies[number];
                match rule.disks.standing(disk) {
                    Standing::Matches if taken => tally.elsewhere.add(&disk.name),
                    Standing::Matches => {
                        taken = true;
                        tally.taken.add(&disk.name);
                        dealt.push((number, disk));
                    }
                    Standing::NearMiss(condition) if !taken => {
                        let missed = tally.missed.entry(condition).or_default();
                        if missed.names.count == 0 {
                            missed.shown = Conditions::seen(disk, condition);
                        }
                        missed.names.add(&disk.name);
                    }
                    Standing::NearMiss(_) | Standing::No => {}
                }
            }
        }
        (dealt, tallies)
    }
}

impl Tally {
    fn note(&self, at: &mut Planner<'_>, rule: &Rule) {
        let (conditions, rule) = (&rule.disks, &rule.name);
        if self.taken.count == 0 {
            at.note(format!("rule {rule} matches no disk"));
        } else {
            at.note(format!("rule {rule} matches {}", self.taken.text()));
        }
        // With a single condition, every other disk misses the rule by one condition. That is worth
        // a note only if the rule matches nothing and the condition may be wrong.
        let missed = self
            .missed
            .iter()
            .filter(|_| self.taken.count == 0 || conditions.stated() > 1);
        for (condition, missed) in missed {
            let of_first = match missed.names.first.as_slice() {
                [first, _, ..] => format!("{condition} of {first}"),
                _ => condition.to_string(),
            };
            at.note(format!(
                "rule {rule} skipped {}: {of_first} is {}, not {}",
                missed.names.text(),
                missed.shown,
                conditions.required(*condition)
            ));
        }
        if self.elsewhere.count > 0 {
            at.note(format!(
                "rule {rule} also matches {}, but an earlier rule applies there",
                self.elsewhere.text()
            ));
        }
    }
}

impl Rules {
    /// The disks that the rules can select.
    pub(crate) fn disks(&self, host: &Host) -> Result<Vec<Disk>, Error> {
        let only = match &self.only {
            Some(device) => Some(device::find(host, device)?),
            None => None,
        };
        let mut disks = match &only {
            Some(only) => Vec::from_iter(Disk::one(host, only, self.facts())?),
            None => Disk::survey(host, self.facts())?,
        };
        // A path is tuned through the rule of its namespace; it has no node in /dev either.
        disks.retain(|disk| disk.kind != DiskKind::Path);
        Ok(disks)
    }

    /// Which rule applies to which disk, in the order of the disks.
    pub(crate) fn taken<'d>(&self, disks: &'d [Disk]) -> Vec<(&Rule, &'d Disk)> {
        let first = |disk: &'d Disk| {
            let mut rules = self.rules.iter();
            let rule = rules.find(|rule| rule.disks.standing(disk) == Standing::Matches)?;
            Some((rule, disk))
        };
        disks.iter().filter_map(first).collect()
    }
}

impl Tuning for Rules {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        self.check()?;
        // If no part is selected, disks are not read: only the names of the parts are needed.
        let is_meant = Cell::new(at.is_selected());
        for rule in &self.rules {
            at.part(&rule.name, &Meant(&is_meant));
        }
        if !is_meant.get() {
            return Ok(());
        }
        // A caller that names one disk, such as udev for a hot-plugged one, does not request the
        // file for all disks.
        let persist = self.persist.as_ref().filter(|_| self.only.is_none());
        if let Some(name) = persist
            && at.host().root_kind() == RootKind::Image
        {
            // An image has no disks, so there are no notes about disks.
            return persisted::declare(at, self, name, &[]);
        }
        let disks = self.disks(at.host())?;
        let (dealt, tallies) = self.deal(&disks);
        for (rule, tally) in self.rules.iter().zip(&tallies) {
            at.part(&rule.name, &Noted { rule, tally });
        }
        // Modules come before all disks, each once, whichever rule is the first to need it.
        let mut loaded: BTreeSet<SchedulerName> = BTreeSet::new();
        let taken = || {
            dealt
                .iter()
                .map(|(number, disk)| (&self.rules[*number], *disk))
        };
        for (rule, disk) in taken() {
            let module = match &rule.set.scheduler {
                Some(name) if !loaded.contains(name) => {
                    loaded.insert(name.clone());
                    name.module().map(|module| (name, module))
                }
                _ => None,
            };
            at.part(&rule.name, &OnDisk { rule, disk, module });
        }
        if let Some(name) = persist {
            persisted::declare(at, self, name, &taken().collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

/// Records whether a part is selected.
struct Meant<'c>(&'c Cell<bool>);

impl Tuning for Meant<'_> {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        self.0.set(self.0.get() || at.is_selected());
        Ok(())
    }
}

/// The notes about a rule.
struct Noted<'r> {
    rule: &'r Rule,
    tally: &'r Tally,
}

impl Tuning for Noted<'_> {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        self.tally.note(at, self.rule);
        Ok(())
    }
}

/// A rule applied to one disk.
struct OnDisk<'r> {
    rule: &'r Rule,
    disk: &'r Disk,
    /// The scheduler that this rule is the first to request, and its module.
    module: Option<(&'r SchedulerName, KernelModule)>,
}

impl OnDisk<'_> {
    /// Requests the module that the scheduler needs. The kernel would load it on demand if it can
    /// start modprobe, but then nothing would unload it.
    fn load(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        let Some((name, module)) = &self.module else {
            return Ok(());
        };
        let Some(queue) = self.disk.queues().first() else {
            return Ok(());
        };
        let offered = Offered::of(at.host(), queue)?;
        let unsupported =
            offered.is_some_and(|offered| offered.active.is_some() && !offered.offers(name));
        if unsupported && module::find(at.host(), module.name())? != Availability::Absent {
            for module in module.with_dependencies(at.host())? {
                at.want(&module, &ModuleState::Loaded)
                    .why(format!("provides the scheduler {name}"))
                    .optional();
            }
        }
        Ok(())
    }

    fn attribute(
        &self,
        at: &mut Planner<'_>,
        disk: &DiskName,
        attribute: crate::Attribute,
        value: u64,
    ) {
        let knob = QueueAttribute::new(disk, attribute);
        at.want(&knob, &AttributeState::Value(value))
            .why(self.rule.why.clone());
    }
}

impl Tuning for OnDisk<'_> {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        self.load(at)?;
        let Rule { set, why, .. } = self.rule;
        // The scheduler comes first because it resets most of what follows, and its tunables last
        // because `nr_requests` resets one of them.
        for queue in self.disk.queues() {
            if let Some(name) = &set.scheduler {
                at.want(
                    &Scheduler::new(queue),
                    &SchedulerState::Active(name.clone()),
                )
                .why(why.clone());
            }
            for (attribute, value) in set.queue.iter().filter(|(one, _)| one.is_of_requests()) {
                self.attribute(at, queue, *attribute, *value);
            }
            for (tunable, value) in &set.tunables {
                let Some(name) = &set.scheduler else { break };
                let knob = SchedulerTunable::new(queue, name, tunable);
                at.want(&knob, &TunableState::number(*value))
                    .why(why.clone());
            }
        }
        for (attribute, value) in set.queue.iter().filter(|(one, _)| !one.is_of_requests()) {
            self.attribute(at, &self.disk.name, *attribute, *value);
        }
        Ok(())
    }
}
