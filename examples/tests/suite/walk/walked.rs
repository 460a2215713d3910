//! Performs a walk and checks that what is reported is what the kernel shows.

use std::collections::{BTreeMap, BTreeSet};

use hosttune::testing::CrashPoint;
use hosttune::{Error, NotReverted, Reverted, Tuning};
use proptest::prelude::*;

use super::act::{Act, Fate, GAMING, GOVERNORS, KEYS, OWNERS, SCHEDULERS, Stranger, Walk, Want};
use super::machine::{Machine, PAIR, POLICIES, REQUESTS_OF_DISK, SCHEDULER, Shown};
use super::program;

/// How often things happened, so that walks in which nothing happens are noticed.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Count {
    applied: u32,
    rolled_back: u32,
    refused: u32,
    reverted: u32,
    died: u32,
    killed: u32,
    unread: u32,
}

impl Count {
    pub(super) fn plus(self, other: &Self) -> Self {
        Self {
            applied: self.applied + other.applied,
            rolled_back: self.rolled_back + other.rolled_back,
            refused: self.refused + other.refused,
            reverted: self.reverted + other.reverted,
            died: self.died + other.died,
            killed: self.killed + other.killed,
            unread: self.unread + other.unread,
        }
    }
}

/// The state of a walk so far.
#[derive(Debug)]
pub(super) struct Walked<'a> {
    machine: &'a Machine,
    /// The first value of each thing that exists now.
    came: Shown,
    /// What other programs have set.
    theirs: BTreeMap<&'static str, BTreeSet<String>>,
    strangers: bool,
    died: bool,
    /// Journals before they were cut, by owner.
    pub(super) kept: BTreeMap<usize, Vec<u8>>,
    pub(super) count: Count,
}

fn journal(owner: usize) -> String {
    format!("/run/hosttune/{}.journal", OWNERS[owner])
}

impl<'a> Walked<'a> {
    pub(super) fn new(machine: &'a Machine) -> Self {
        Self {
            machine,
            came: machine.shown(),
            theirs: BTreeMap::new(),
            strangers: false,
            died: false,
            kept: BTreeMap::new(),
            count: Count::default(),
        }
    }

    pub(super) fn walks(&mut self, walk: &Walk) -> Result<(), TestCaseError> {
        let alone = !walk.acts.iter().any(|act| matches!(act, Act::Stranger(_)));
        let before = alone.then(Machine::snapshot);
        for act in &walk.acts {
            self.does(act)
                .map_err(|error| TestCaseError::fail(format!("at {act:?}: {error}")))?;
        }
        let last = match walk.acts.last() {
            Some(Act::Apply(owner, ..) | Act::Revert(owner, ..)) => Some(*owner),
            Some(Act::Killed(..)) => Some(GAMING),
            _ => None,
        };
        if let (Some(bytes), Some(owner)) = (walk.cut, last) {
            self.cut(owner, bytes);
        }
        let mut left = self.reverts(&walk.order)?;
        if !self.came.keys().eq(self.machine.shown().keys()) {
            // What was hidden with its processor is shown again.
            self.machine.stranger(&Stranger::Online);
            left = self.reverts(&walk.order)?;
        }
        if self.count.unread > 0 {
            return Ok(());
        }
        let now = self.machine.shown();
        for (name, now) in &now {
            let came = &self.came[name];
            let theirs = self.theirs.get(name);
            // A cut can take the record of what was there before a step that needed a module, which the plan did not
            // know. Then the value is left, and the module is named: the known gap of decision 310.
            let needs_module =
                !self.kept.is_empty() && left.iter().any(|left| left.knob.kind == "kernel-module");
            let named = left
                .iter()
                .any(|left| place(&left.knob.text) == Some(*name));
            prop_assert!(
                now == came
                    || theirs.is_some_and(|theirs| theirs.contains(now))
                    || named
                    || needs_module,
                "{name} was {came}, is {now}, others set {theirs:?}, and nothing was said: {left:#?}"
            );
        }
        if left.is_empty() {
            for owner in 0..OWNERS.len() {
                let journal = journal(owner);
                prop_assert!(
                    !std::path::Path::new(&journal).exists(),
                    "{journal} is left"
                );
            }
            if let Some(before) = before {
                let differs = before.differs(&Machine::snapshot());
                prop_assert!(differs.is_empty(), "{differs:#?}");
            }
        }
        Ok(())
    }

    fn cut(&mut self, owner: usize, bytes: usize) {
        if let Ok(whole) = std::fs::read(journal(owner)) {
            let length = whole.len().saturating_sub(bytes);
            std::fs::write(journal(owner), &whole[..length]).unwrap();
            self.kept.insert(owner, whole);
        }
    }

    /// All owners revert. Returns what is not reverted.
    fn reverts(&mut self, order: &[usize]) -> Result<Vec<NotReverted>, TestCaseError> {
        let mut left = Vec::new();
        for owner in order {
            match self.machine.process(*owner, &CrashPoint::lives()).revert() {
                Ok(reverted) => {
                    self.is_true(&reverted, true)?;
                    left.extend(reverted.not_reverted);
                }
                // A journal that lost more than marks is rejected and kept.
                Err(Error::Journal(error)) if self.kept.contains_key(owner) => {
                    self.count.unread += 1;
                    prop_assert!(std::path::Path::new(&journal(*owner)).exists(), "{error}");
                }
                Err(error) => {
                    prop_assert!(false, "the last revert of {}: {error:?}", OWNERS[*owner]);
                }
            }
        }
        Ok(left)
    }

    fn does(&mut self, act: &Act) -> Result<(), TestCaseError> {
        let done = self.perform(act);
        if let Act::Apply(_, _, Fate::CallFails(_)) | Act::Revert(_, _, Fate::CallFails(_)) = act {
            // Without its journal a process can leave as much as one that died.
            self.died = true;
        }
        done
    }

    fn perform(&mut self, act: &Act) -> Result<(), TestCaseError> {
        match act {
            Act::Stranger(act) => {
                let before = self.machine.shown();
                self.machine.stranger(act);
                self.note(act, &before);
                Ok(())
            }
            Act::Killed(applies, after) => {
                if program::killed_after(*applies, *after) {
                    return Ok(());
                }
                self.died = true;
                self.count.killed += 1;
                Ok(())
            }
            Act::Apply(owner, want, fate) => self.apply(*owner, want, *fate),
            Act::Revert(owner, force, fate) => {
                let crash_point = fate.crash_point();
                let reverted = self
                    .machine
                    .process(*owner, &crash_point)
                    .force(*force)
                    .revert();
                if crash_point.is_dead() {
                    self.died = true;
                    self.count.died += 1;
                    return Ok(());
                }
                match reverted {
                    Ok(reverted) => {
                        self.count.reverted += 1;
                        self.is_true(&reverted, fate.lives())
                    }
                    // The journal could not be read or written.
                    Err(_) if matches!(fate, Fate::CallFails(_)) => Ok(()),
                    Err(error) => Err(TestCaseError::fail(format!("{error:?}"))),
                }
            }
        }
    }

    /// Notes what other programs have changed.
    fn note(&mut self, act: &Stranger, before: &Shown) {
        self.strangers = true;
        let now = self.machine.shown();
        let anew: &[&'static str] = match act {
            Stranger::Unplug | Stranger::Plug => &[SCHEDULER, REQUESTS_OF_DISK],
            Stranger::ReloadDriver => &POLICIES,
            _ => &[],
        };
        for name in anew
            .iter()
            .filter(|name| before.get(*name) != now.get(*name) || **name != SCHEDULER)
        {
            // It is another one now, and has nothing of ours.
            let came_back = matches!(act, Stranger::ReloadDriver)
                || before.contains_key(name) != now.contains_key(name);
            if came_back {
                self.theirs.remove(name);
                match now.get(name) {
                    Some(shown) => self.came.insert(name, shown.clone()),
                    None => self.came.remove(name),
                };
            }
        }
        for (name, shown) in &now {
            if before.get(name).is_some_and(|was| was != shown) {
                self.theirs.entry(name).or_default().insert(shown.clone());
            }
        }
    }

    fn apply(&mut self, owner: usize, want: &Want, fate: Fate) -> Result<(), TestCaseError> {
        let tuning = Machine::tuning(want);
        let before = self.machine.shown();
        let crash_point = fate.crash_point();
        let applied = tuning.apply(&mut self.machine.process(owner, &crash_point));
        if crash_point.is_dead() {
            self.died = true;
            self.count.died += 1;
            return Ok(());
        }
        let now = self.machine.shown();
        match applied {
            Ok(applied) => {
                self.count.applied += 1;
                let session = self.machine.process(owner, &CrashPoint::lives());
                let report = tuning.verify(&session).unwrap();
                prop_assert!(
                    report.is_as_wanted() || !fate.lives() || !applied.is_complete(),
                    "{applied:#?}\n{report:#?}"
                );
                if applied.is_complete() {
                    let plan = tuning.plan(&session).unwrap();
                    prop_assert!(plan.is_empty(), "{:#?}", plan.steps);
                    is_set(want, &now)?;
                }
            }
            Err(Error::RollbackIncomplete { left, .. }) => {
                self.count.rolled_back += 1;
                prop_assert!(!fate.lives() && !left.is_empty(), "{left:#?}");
                for left in &left {
                    self.shows_what_is_said(left, false)?;
                }
            }
            // Nothing is changed, except that what an earlier process left when it died is recovered first.
            Err(error) => {
                match error {
                    Error::RolledBack { .. } => self.count.rolled_back += 1,
                    _ => self.count.refused += 1,
                }
                prop_assert!(
                    !fate.lives() || self.strangers || self.died,
                    "refused without a reason: {error:?}"
                );
                prop_assert!(
                    self.died || before == now,
                    "{error:?}\n{before:#?}\n{now:#?}"
                );
            }
        }
        Ok(())
    }

    /// What is reported as undone shows its original value; what is not shows what is reported.
    fn is_true(&self, reverted: &Reverted, lived: bool) -> Result<(), TestCaseError> {
        let left: BTreeSet<_> = reverted
            .not_reverted
            .iter()
            .filter_map(|left| place(&left.knob.text))
            .collect();
        // Of several steps of a value, the one that was undone last is reported last.
        let mut last: BTreeMap<&str, &str> = BTreeMap::new();
        for undone in &reverted.undone {
            if let Some(name) = place(&undone.knob.text)
                && undone.held_by.is_none()
                && !undone.already
            {
                if name == SCHEDULER {
                    // It resets and restores the number of requests, whose original was that under our scheduler.
                    last.remove(REQUESTS_OF_DISK);
                }
                last.insert(name, &undone.original);
            }
        }
        let shown = self.machine.shown();
        for (name, original) in last {
            let now = shown.get(name);
            prop_assert!(
                left.contains(name) || now.is_some_and(|now| now == original),
                "{name} is told to be {original} again and is {now:?}: {reverted:#?}"
            );
        }
        for left in &reverted.not_reverted {
            self.shows_what_is_said(left, lived)?;
        }
        if lived {
            prop_assert!(reverted.unrecorded.is_none(), "{reverted:#?}");
        }
        Ok(())
    }

    fn shows_what_is_said(&self, left: &NotReverted, lived: bool) -> Result<(), TestCaseError> {
        if let Some(now) = place(&left.knob.text).and_then(|name| self.machine.shown().remove(name))
        {
            prop_assert!(left.seen == now, "{left}: it shows {now}");
            prop_assert!(!lived || left.seen != left.original, "{left}");
        }
        Ok(())
    }
}

/// The value that a knob is, if it is one that a walk looks at.
fn place(knob: &str) -> Option<&'static str> {
    let keys = KEYS.iter().map(|(key, _)| *key).find(|key| *key == knob);
    let (first, rest) = knob.split_once(' ').unwrap_or((knob, ""));
    let policies = POLICIES
        .into_iter()
        .find(|policy| *policy == first && rest == "scaling_governor");
    let disk = [SCHEDULER, REQUESTS_OF_DISK]
        .into_iter()
        .find(|name| first.starts_with("sd") && rest == *name);
    keys.or(policies).or(disk)
}

/// What was requested is shown, as far as it can be looked at.
fn is_set(want: &Want, now: &Shown) -> Result<(), TestCaseError> {
    let mut wanted: Vec<(&str, String)> = Vec::new();
    for (key, value) in &want.keys {
        let value = KEYS[*key].1[*value];
        wanted.push(match KEYS[*key].0 {
            // A hash table: its size is the next power of two.
            "net.core.rps_sock_flow_entries" => (
                "net.core.rps_sock_flow_entries",
                value
                    .parse::<u32>()
                    .unwrap()
                    .next_power_of_two()
                    .to_string(),
            ),
            "vm.dirty_bytes" => (PAIR, format!("{value} (dirty_bytes)")),
            key => (key, value.to_owned()),
        });
    }
    for policy in POLICIES {
        wanted.extend(
            want.governor
                .map(|governor| (policy, GOVERNORS[governor].to_owned())),
        );
    }
    wanted.extend(
        want.scheduler
            .map(|scheduler| (SCHEDULER, SCHEDULERS[scheduler].to_owned())),
    );
    for (name, wanted) in wanted {
        if let Some(now) = now.get(name) {
            prop_assert!(*now == wanted, "{name} is to be {wanted} and is {now}");
        }
    }
    Ok(())
}
