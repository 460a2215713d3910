//! Performs a walk and checks that what is reported is what the kernel shows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use hosttune_core::testing::{CrashPoint, Fate};
use hosttune_core::{
    AnyKnob, Error, Host, Knob, NotReverted, Reverted, Tuning, journal::JournalLocation,
};
use hosttune_qos::{IfbLink, IngressHook, Redirect, RootQdisc, Shaper};
use hosttune_test_machine::{Snapshot, Subtree};
use proptest::prelude::*;
use serde::de::DeserializeOwned;

use super::act::{Act, OWNERS, Walk, Want};
use super::network::Network;
use super::picture::{self, Picture, Shown};

/// How often things happened, so that a walk in which nothing happens is noticed.
pub(super) type Counts = Mutex<Count>;

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Count {
    pub(super) walks: u32,
    pub(super) applied: u32,
    pub(super) rolled_back: u32,
    pub(super) refused: u32,
    pub(super) reverted: u32,
    pub(super) died: u32,
    pub(super) unread: u32,
}

/// The state of a walk so far.
#[derive(Debug)]
pub(super) struct Walked<'a> {
    network: Network,
    counts: &'a Counts,
    /// Each link as it was when it was created, by index.
    came: Picture,
    /// The roots that the other program has left on each link, by index.
    theirs: BTreeMap<u32, BTreeSet<String>>,
    /// The links whose hook or filters the other program has changed.
    touched: BTreeSet<u32>,
    /// Whether the other program has done anything.
    strangers: bool,
    died: bool,
}

impl<'a> Walked<'a> {
    pub(super) fn new(network: Network, counts: &'a Counts) -> Self {
        Self {
            network,
            counts,
            came: picture::take(),
            theirs: BTreeMap::new(),
            touched: BTreeSet::new(),
            strangers: false,
            died: false,
        }
    }

    pub(super) fn walks(mut self, walk: &Walk) -> Result<(), TestCaseError> {
        let before = snapshot();
        for act in &walk.acts {
            self.does(act).map_err(|error| at(act, &error))?;
        }
        let cut = match (walk.cut, walk.acts.last()) {
            (Some(bytes), Some(Act::Apply(owner, ..) | Act::Revert(owner, ..))) => {
                self.cut(*owner, bytes)
            }
            _ => false,
        };
        let mut left = Vec::new();
        let mut unread = false;
        for owner in &walk.order {
            let lives = CrashPoint::lives();
            match self.network.process(*owner, &lives).revert() {
                Ok(reverted) => {
                    self.is_true(*owner, &reverted, true)?;
                    left.extend(reverted.not_reverted);
                }
                // A journal that lost more than marks is rejected and kept.
                Err(Error::Journal(_)) if cut => {
                    unread = true;
                    self.count(|count| count.unread += 1);
                    let bytes = self
                        .network
                        .store
                        .bytes(JournalLocation::Volatile, OWNERS[*owner]);
                    prop_assert!(bytes.is_some_and(|bytes| !bytes.is_empty()));
                }
                Err(error) => {
                    prop_assert!(false, "the last revert of {}: {error:?}", OWNERS[*owner]);
                }
            }
        }
        if unread {
            return Ok(());
        }
        self.is_as_it_came(&left)?;
        if left.is_empty() {
            prop_assert!(self.network.store.is_empty(), "a journal is left");
            if !self.strangers {
                let differs = before.differs(&snapshot());
                prop_assert!(differs.is_empty(), "{differs:#?}");
            }
        }
        Ok(())
    }

    fn count(&self, add: impl FnOnce(&mut Count)) {
        add(&mut self.counts.lock().unwrap());
    }

    fn cut(&self, owner: usize, bytes: usize) -> bool {
        let store = &self.network.store;
        let Some(mut journal) = store.bytes(JournalLocation::Volatile, OWNERS[owner]) else {
            return false;
        };
        journal.truncate(journal.len().saturating_sub(bytes));
        store.set_bytes(JournalLocation::Volatile, OWNERS[owner], &journal);
        true
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
                let before = picture::take();
                self.network.stranger(act);
                self.note(&before, &picture::take());
                Ok(())
            }
            Act::Apply(owner, want, fate) => self.apply(*owner, want, *fate),
            Act::Revert(owner, force, fate) => {
                let crash_point = fate.crash_point();
                let mut session = self.network.process(*owner, &crash_point);
                let reverted = session.force(*force).revert();
                if crash_point.is_dead() {
                    self.died = true;
                    self.count(|count| count.died += 1);
                    return Ok(());
                }
                match reverted {
                    Ok(reverted) => {
                        self.count(|count| count.reverted += 1);
                        self.is_true(*owner, &reverted, fate.lives())
                    }
                    // The journal could not be read or written.
                    Err(_) if matches!(fate, Fate::CallFails(_)) => Ok(()),
                    Err(error) => Err(TestCaseError::fail(format!("{error:?}"))),
                }
            }
        }
    }

    /// Notes what the other program has changed.
    fn note(&mut self, before: &Picture, now: &Picture) {
        self.strangers |= before != now;
        for (index, shown) in now {
            match before.get(index) {
                None => {
                    self.came.insert(*index, shown.clone());
                }
                Some(was) => {
                    if was.root != shown.root {
                        self.theirs
                            .entry(*index)
                            .or_default()
                            .insert(shown.root.clone());
                    }
                    if (&was.hook, &was.filters) != (&shown.hook, &shown.filters) {
                        self.touched.insert(*index);
                    }
                }
            }
        }
    }

    fn apply(&mut self, owner: usize, want: &Want, fate: Fate) -> Result<(), TestCaseError> {
        let Some(shaper) = self.network.shaper(want) else {
            return Ok(());
        };
        let before = picture::take();
        let crash_point = fate.crash_point();
        let applied = shaper.apply(&mut self.network.process(owner, &crash_point));
        if crash_point.is_dead() {
            self.died = true;
            self.count(|count| count.died += 1);
            return Ok(());
        }
        let now = picture::take();
        match applied {
            Ok(applied) => {
                self.count(|count| count.applied += 1);
                let session = self.network.process(owner, &CrashPoint::lives());
                let report = shaper.verify(&session).unwrap();
                prop_assert!(report.is_as_wanted(), "{applied:#?}\n{report:#?}");
                let plan = shaper.plan(&session).unwrap();
                prop_assert!(plan.is_empty(), "{:#?}", plan.steps);
                is_shaped(&shaper, &now)?;
            }
            Err(Error::RollbackIncomplete { left, .. }) => {
                self.count(|count| count.rolled_back += 1);
                prop_assert!(!fate.lives() && !left.is_empty(), "{left:#?}");
                for left in &left {
                    self.shows_what_is_said(left, false)?;
                }
            }
            // Nothing is changed, except that what an earlier process left when it died is recovered first, and
            // that what the other program has broken may be left mended.
            Err(error) => {
                match error {
                    Error::RolledBack { .. } => self.count(|count| count.rolled_back += 1),
                    _ => self.count(|count| count.refused += 1),
                }
                let all_exist = before.values().any(|link| link.name == shaper.device);
                prop_assert!(
                    !fate.lives() || self.strangers || self.died || !all_exist,
                    "refused without a reason: {error:?}"
                );
                prop_assert!(
                    self.died || self.strangers || same(&before, &now),
                    "{error:?}\n{before:#?}\n{now:#?}"
                );
            }
        }
        Ok(())
    }

    /// What is reported as undone shows its original value; what is not shows what is reported.
    fn is_true(&self, owner: usize, reverted: &Reverted, lived: bool) -> Result<(), TestCaseError> {
        let left: BTreeSet<&str> = reverted
            .not_reverted
            .iter()
            .map(|left| &*left.knob.text)
            .collect();
        // Of several steps of a knob, the one that was undone last is reported last.
        let mut last: BTreeMap<&str, (&AnyKnob, &str)> = BTreeMap::new();
        for undone in &reverted.undone {
            if undone.held_by.is_none() && !undone.already {
                last.insert(&undone.knob.text, (&undone.knob, &undone.original));
            }
        }
        let host = self.network.process(owner, &CrashPoint::lives());
        for (knob, original) in last.into_values() {
            let now = shows(host.host(), knob);
            // The root of an IFB is deleted with it, and a device can be deleted by the other program.
            prop_assert!(
                left.contains(&*knob.text) || alike(original, &now) || is_absent(&now),
                "{} is told to be {original} again and is {now}: {reverted:#?}",
                knob.text
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
        let session = self.network.process(0, &CrashPoint::lives());
        let now = shows(session.host(), &left.knob);
        prop_assert!(alike(&left.seen, &now), "{left}: it shows {now}");
        prop_assert!(!lived || !alike(&left.seen, &left.original), "{left}");
        Ok(())
    }

    /// Each link is as it came or as the other program left it, or is named.
    fn is_as_it_came(&self, left: &[NotReverted]) -> Result<(), TestCaseError> {
        let named: BTreeSet<&str> = left.iter().map(|left| &*left.knob.text).collect();
        let keeps_ifb = left.iter().any(|left| left.knob.kind == IfbLink::NAME);
        for (index, now) in picture::take() {
            // Only owners make IFBs here. One whose maker died at once has no alias yet.
            if now.kind == "ifb" {
                prop_assert!(keeps_ifb, "{now:?} is left, and nothing was said");
                continue;
            }
            let Some(came) = self.came.get(&index) else {
                return Err(TestCaseError::fail(format!("who made {now:?}?")));
            };
            let theirs = self.theirs.get(&index);
            prop_assert!(
                now.root == came.root
                    || theirs.is_some_and(|theirs| theirs.contains(&now.root))
                    || named.contains(&*format!("root qdisc of {}", now.name)),
                "the root came as {}, is {}, the other program set {theirs:?}, and nothing was said: {left:#?}",
                came.root,
                now.root
            );
            prop_assert!(
                now.filters.iter().all(|filter| !filter.ours)
                    || left.iter().any(|left| left.knob.kind == Redirect::NAME),
                "{now:?} still has a redirect, and nothing was said: {left:#?}"
            );
            prop_assert!(
                now.hook == came.hook
                    || self.touched.contains(&index)
                    || named.contains(&*format!("ingress hook of {}", now.name)),
                "the hook came as {:?}, is {:?}, and nothing was said: {left:#?}",
                came.hook,
                now.hook
            );
        }
        Ok(())
    }
}

fn snapshot() -> Snapshot {
    Snapshot::of(&[Subtree::Links, Subtree::Qdiscs])
}

fn at(act: &Act, error: &TestCaseError) -> TestCaseError {
    TestCaseError::fail(format!("at {act:?}: {error}"))
}

/// An IFB that is made again has another index.
fn same(one: &Picture, other: &Picture) -> bool {
    one.values().collect::<Vec<_>>() == other.values().collect::<Vec<_>>()
}

/// What is requested is there, without asking a knob.
fn is_shaped(shaper: &Shaper, now: &Picture) -> Result<(), TestCaseError> {
    let link = now.values().find(|link| link.name == shaper.device);
    let Some(link) = link else {
        return Err(TestCaseError::fail(format!(
            "{} does not exist",
            shaper.device
        )));
    };
    let has = |link: &Shown, kind: &str| link.root.starts_with(&format!("{kind} "));
    if let Some(egress) = &shaper.egress {
        prop_assert!(has(link, &egress.kind), "{link:#?}");
    }
    if let Some(ingress) = &shaper.ingress {
        let ours: Vec<_> = link.filters.iter().filter(|filter| filter.ours).collect();
        prop_assert!(ours.len() == 1, "{link:#?}");
        let ifb = now
            .values()
            .find(|ifb| Some(&ifb.name) == ours[0].leads_to.as_ref());
        prop_assert!(
            ifb.is_some_and(|ifb| ifb.up && ifb.is_our_ifb() && has(ifb, &ingress.kind)),
            "{link:#?} leads to {ifb:#?}"
        );
        let others = now.values().filter(|other| other.name != link.name);
        let mut others = others.flat_map(|other| &other.filters);
        prop_assert!(
            !others.any(|filter| filter.ours && filter.leads_to == ours[0].leads_to),
            "two links share an IFB: {now:#?}"
        );
    }
    Ok(())
}

fn is_absent(text: &str) -> bool {
    matches!(text, "absent" | "no device")
}

/// The kernel's default may be another one, or none while the link is down.
fn alike(one: &str, other: &str) -> bool {
    let default = "the kernel's default";
    one == other || one.starts_with(default) && other.starts_with(default)
}

/// What the knob shows now, as it is printed.
fn shows(host: &Host, knob: &AnyKnob) -> String {
    fn of<K: Knob + DeserializeOwned>(host: &Host, knob: &AnyKnob) -> String {
        let knob: K = serde_json::from_value(knob.id.clone()).unwrap();
        knob.read(host)
            .map_or_else(|error| error.to_string(), |state| knob.show(&state))
    }
    match &*knob.kind {
        IfbLink::NAME => of::<IfbLink>(host, knob),
        IngressHook::NAME => of::<IngressHook>(host, knob),
        Redirect::NAME => of::<Redirect>(host, knob),
        RootQdisc::NAME => of::<RootQdisc>(host, knob),
        other => panic!("a knob {other}"),
    }
}
