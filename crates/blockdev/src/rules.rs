//! Rules over all disks of a host, as a tuning.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use hosttune_boot::module::{self, Availability};
use hosttune_boot::{KernelModule, ModuleState};
use hosttune_core::host::RootKind;
use hosttune_core::{Error, Host, Planner, Tuning};
use serde::{Deserialize, Serialize};

use crate::device;
use crate::disk::{Disk, DiskKind, Facts};
use crate::name::DiskName;
use crate::persisted;
use crate::queue_attribute::{AttributeState, QueueAttribute};
use crate::rule::{Condition, Conditions, Rule, Standing};
use crate::scheduler::{Offered, Scheduler, SchedulerName, SchedulerState};
use crate::tunable::{SchedulerTunable, TunableState};

/// Rules for disks. A disk is taken by the first rule that it meets.
///
/// Each rule is a part of the plan, under its name; the notes of the plan say which disks it has
/// taken, and which it has missed by a single condition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[non_exhaustive]
pub struct Rules {
    /// The rules, the first to be asked first.
    pub rules: Vec<Rule>,
    /// Only this disk, whatever else the rules are about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<PathBuf>,
    /// The host's name in `/etc/udev/rules.d/61-hosttune-NAME.rules`, which has udev do the same to
    /// disks that come; `None` leaves them to whoever applies the rules again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persist: Option<String>,
}

/// So many disks are named in a note; of the others there is the number.
const NAMED: usize = 8;

/// Which disks a rule has to do with.
#[derive(Debug, Default)]
struct Tally {
    taken: Names,
    missed: BTreeMap<Condition, Missed>,
    elsewhere: Names,
}

/// Disks that meet all of a rule but one condition.
#[derive(Debug, Default)]
struct Missed {
    names: Names,
    /// What the first of them shows instead.
    shown: String,
}

/// The first few names, and how many there are.
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
    /// Rules, the first to be asked first.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self {
            rules: rules.into_iter().collect(),
            only: None,
            persist: None,
        }
    }

    /// For one disk only: `/dev/sda`, or a link to it, or its kernel name.
    ///
    /// That it is a disk shows when the rules are planned: see [`device::find`].
    #[must_use]
    pub fn only(mut self, device: impl Into<PathBuf>) -> Self {
        self.only = Some(device.into());
        self
    }

    /// Has udev do the same to disks that come, now and after the next boot: by
    /// `/etc/udev/rules.d/61-hosttune-NAME.rules`, which [`to_udev`](Self::to_udev) makes.
    ///
    /// For [one disk only](Self::only) the file stays as it is.
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
                    format!("two rules of disks are called {}", rule.name),
                    "give one of them another name",
                ));
            }
        }
        Ok(())
    }

    /// The facts that the rules need of each disk.
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

    /// Which rule takes which disk, in the order of the disks, and what is to be said about it.
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
    fn note(&self, at: &mut Planner<'_>, rule: &str, conditions: usize) {
        if self.taken.count == 0 {
            at.note(format!("the rule {rule} matches no disk"));
        } else {
            at.note(format!("the rule {rule} matches {}", self.taken.text()));
        }
        // Of a rule with one condition every other disk is missed by it: that is worth a line only
        // where it may be the condition that is wrong.
        let missed = self
            .missed
            .iter()
            .filter(|_| self.taken.count == 0 || conditions > 1);
        for (condition, missed) in missed {
            let of_first = match missed.names.first.as_slice() {
                [first, _, ..] => format!("{condition} of {first}"),
                _ => condition.to_string(),
            };
            at.note(format!(
                "the rule {rule} misses {} by one condition: {of_first} is {}",
                missed.names.text(),
                missed.shown
            ));
        }
        if self.elsewhere.count > 0 {
            at.note(format!(
                "the rule {rule} would match {} too, but an earlier rule has",
                self.elsewhere.text()
            ));
        }
    }
}

impl Rules {
    /// The disks that the rules can be about.
    pub(crate) fn disks(&self, host: &Host) -> Result<Vec<Disk>, Error> {
        let only = match &self.only {
            Some(device) => Some(device::find(host, device)?),
            None => None,
        };
        let mut disks = match &only {
            Some(only) => Vec::from_iter(Disk::one(host, only, self.facts())?),
            None => Disk::survey(host, self.facts())?,
        };
        // A path has its rules by the whole that it belongs to; it has no node in /dev either.
        disks.retain(|disk| disk.kind != DiskKind::Path);
        Ok(disks)
    }

    /// Which rule takes which disk, in the order of the disks.
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
        // Where none of it is meant no disk is looked at: the names of the parts are all there is to say.
        let is_meant = Cell::new(at.is_selected());
        for rule in &self.rules {
            at.part(&rule.name, &Meant(&is_meant));
        }
        if !is_meant.get() {
            return Ok(());
        }
        // Who asks for one disk, as udev does for each that comes, does not ask for what is about all.
        let persist = self.persist.as_ref().filter(|_| self.only.is_none());
        if let Some(name) = persist
            && at.host().root_kind() == RootKind::Image
        {
            // It has no disks, and there is nothing to be said about those.
            return persisted::declare(at, self, name, &[]);
        }
        let disks = self.disks(at.host())?;
        let (dealt, tallies) = self.deal(&disks);
        for (rule, tally) in self.rules.iter().zip(&tallies) {
            at.part(&rule.name, &Noted { rule, tally });
        }
        // Before all disks, and each once, whichever rule was first to want it.
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

/// Finds out whether a part is meant.
struct Meant<'c>(&'c Cell<bool>);

impl Tuning for Meant<'_> {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        self.0.set(self.0.get() || at.is_selected());
        Ok(())
    }
}

/// What is said about a rule.
struct Noted<'r> {
    rule: &'r Rule,
    tally: &'r Tally,
}

impl Tuning for Noted<'_> {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        let conditions = self.rule.disks.stated();
        self.tally.note(at, &self.rule.name, conditions);
        Ok(())
    }
}

/// A rule on one disk.
struct OnDisk<'r> {
    rule: &'r Rule,
    disk: &'r Disk,
    /// The scheduler that this rule is the first to want, and what has it.
    module: Option<(&'r SchedulerName, KernelModule)>,
}

impl OnDisk<'_> {
    /// Has the module loaded that the scheduler needs. The kernel would load it by itself where it can
    /// start modprobe, and nobody would unload it.
    fn load(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        let Some((name, module)) = &self.module else {
            return Ok(());
        };
        let Some(queue) = self.disk.queues().first() else {
            return Ok(());
        };
        let offered = Offered::of(at.host(), queue)?;
        let lacks =
            offered.is_some_and(|offered| offered.active.is_some() && !offered.offers(name));
        if lacks && module::find(at.host(), module.name())? != Availability::Absent {
            for module in module.with_dependencies(at.host())? {
                at.want(&module, &ModuleState::Loaded)
                    .why(format!("it has the scheduler {name}"))
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
        // The scheduler first: it resets most of what follows. Its tunables last: `nr_requests`
        // resets one of them.
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
