//! From wishes to steps: what is a step, in which order, starting from what.
//!
//! Decided here and nowhere else, without turning anything: the planner asks it
//! wish by wish while a tuning declares, and once more for the whole when the
//! order is known.

use std::collections::HashMap;

use serde_json::Value;

use super::planner::Refusal;
use super::{Before, Kept, Requirement, Step, When, Why};
use crate::error::{Error, HostError, HostErrorKind};
use crate::host::Host;
use crate::knob::{AnyKnob, Key, KnobKind, Lack, Registry, show_value};
use crate::report::{Finding, State};

/// What a wish is to its tuning.
#[derive(Debug, Clone)]
pub(crate) enum Role {
    End,
    Means,
    Expected(When),
    Skipped(Lack),
}

/// The knob of a wish, and what it is to become.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) knob: AnyKnob,
    pub(crate) kind: KnobKind,
    pub(crate) key: Key,
    pub(crate) to: Value,
    pub(crate) to_text: String,
}

/// One wish as declared.
pub(crate) struct Declared {
    pub(crate) part: String,
    pub(crate) name: String,
    pub(crate) target: Option<Target>,
    pub(crate) role: Role,
    pub(crate) why: Why,
    pub(crate) requirement: Requirement,
    pub(crate) overridden: Option<String>,
    /// What the planner knew of the knobs this wish moves, before it.
    pub(crate) ahead_before: Vec<(Key, Option<Before>)>,
    /// What became of it where it was declared.
    outcome: Option<Outcome>,
    /// A step of the plan cures what it lacks.
    cured: bool,
}

impl std::fmt::Debug for Declared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Declared")
            .field("part", &self.part)
            .field("name", &self.name)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl Declared {
    pub(crate) fn new(
        part: String,
        knob: AnyKnob,
        kind: KnobKind,
        to: Value,
        to_text: String,
        role: Role,
    ) -> Self {
        Self {
            part,
            name: knob.text.clone(),
            target: Some(Target {
                key: knob.key(),
                knob,
                kind,
                to,
                to_text,
            }),
            role,
            why: Why::default(),
            requirement: Requirement::Plain,
            overridden: None,
            ahead_before: Vec::new(),
            outcome: None,
            cured: false,
        }
    }

    pub(crate) fn skipped(part: String, name: String, lack: Lack) -> Self {
        Self {
            part,
            name,
            target: None,
            role: Role::Skipped(lack),
            why: Why::default(),
            requirement: Requirement::Plain,
            overridden: None,
            ahead_before: Vec::new(),
            outcome: None,
            cured: false,
        }
    }

    fn finding(&self, seen: Option<&Value>, state: State) -> Finding {
        let show = |value: &Value| match &self.target {
            Some(target) => target.kind.show(&target.knob, value),
            None => show_value(value),
        };
        Finding {
            part: self.part.clone(),
            knob: self.target.as_ref().map(|target| target.knob.clone()),
            name: self.name.clone(),
            wanted: self.target.as_ref().map(|target| target.to.clone()),
            wanted_text: self
                .target
                .as_ref()
                .map_or_else(String::new, |target| target.to_text.clone()),
            seen: seen.cloned(),
            seen_text: seen.map_or_else(String::new, show),
            state,
            why: self.why.clone(),
            requirement: self.requirement,
        }
    }
}

/// What becomes of one wish.
#[derive(Clone)]
enum Outcome {
    AsWanted(Value),
    Step { from: Before, disturbs: Vec<Kept> },
    Lacking(Option<Value>, Lack),
    Unreadable(HostError),
}

/// The host as planning sees it: each knob is read once.
pub(crate) struct Sight<'a> {
    pub(crate) host: &'a Host,
    pub(crate) registry: &'a Registry,
    refusals: &'a [Refusal],
    seen: HashMap<Key, Value>,
}

impl std::fmt::Debug for Sight<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sight")
            .field("read", &self.seen.len())
            .finish_non_exhaustive()
    }
}

impl<'a> Sight<'a> {
    pub(crate) fn new(host: &'a Host, registry: &'a Registry, refusals: &'a [Refusal]) -> Self {
        Self {
            host,
            registry,
            refusals,
            seen: HashMap::new(),
        }
    }

    /// What the host shows now.
    fn read(&mut self, kind: &KnobKind, knob: &AnyKnob, key: &Key) -> Result<Value, HostError> {
        if let Some(seen) = self.seen.get(key) {
            return Ok(seen.clone());
        }
        let seen = kind.read(knob, self.host)?;
        self.seen.insert(key.clone(), seen.clone());
        Ok(seen)
    }

    /// What the knob will show after the steps so far.
    pub(crate) fn current(
        &mut self,
        ahead: &HashMap<Key, Before>,
        kind: &KnobKind,
        knob: &AnyKnob,
    ) -> Result<Before, HostError> {
        let key = knob.key();
        match ahead.get(&key) {
            Some(before) => Ok(before.clone()),
            None => Ok(Before::Known(self.read(kind, knob, &key)?)),
        }
    }

    /// Decides what becomes of a wish where it is declared, and lets it take effect on what
    /// lies ahead.
    pub(crate) fn advance(&mut self, ahead: &mut HashMap<Key, Before>, declared: &mut Declared) {
        let (Some(target), Role::End | Role::Means) = (&declared.target, &declared.role) else {
            return;
        };
        let outcome = self.evaluate(ahead, target, false);
        if let Outcome::Step { disturbs, .. } = &outcome {
            let before = &mut declared.ahead_before;
            let mut set = |key: Key, value| {
                before.push((key.clone(), ahead.insert(key, value)));
            };
            set(target.key.clone(), Before::Known(target.to.clone()));
            for kept in disturbs {
                set(kept.knob.key(), Before::Unsettled);
            }
        }
        declared.outcome = Some(outcome);
    }

    fn evaluate(&mut self, ahead: &HashMap<Key, Before>, target: &Target, cured: bool) -> Outcome {
        let Target { knob, kind, to, .. } = target;
        let mut current = match self.current(ahead, kind, knob) {
            _ if cured => Before::Unsettled,
            Ok(current) => current,
            Err(error) => return unreadable(error),
        };
        if let Before::Known(seen) = &current
            && kind.counts_as(knob, seen, to)
        {
            return Outcome::AsWanted(seen.clone());
        }
        if !cured && let Some(outcome) = self.lacking(target, current.known()) {
            if !self.is_cured_ahead(ahead, &outcome) {
                return outcome;
            }
            current = Before::Unsettled;
        }
        match self.disturbed(ahead, target) {
            Ok(disturbs) => Outcome::Step {
                from: current,
                disturbs,
            },
            Err(error) => unreadable(error),
        }
    }

    fn lacking(&self, target: &Target, seen: Option<&Value>) -> Option<Outcome> {
        let Target {
            knob,
            kind,
            key,
            to,
            ..
        } = target;
        match kind.lacks(knob, self.host, to) {
            Ok(Some(lack)) => Some(Outcome::Lacking(seen.cloned(), lack)),
            Err(error) => Some(unreadable(error)),
            Ok(None) => self
                .refusals
                .iter()
                .find(|refusal| refusal.key == *key && refusal.to == *to)
                .map(|refusal| Outcome::Lacking(seen.cloned(), refusal.lack.clone())),
        }
    }

    /// Whether an earlier step of the plan provides what is lacking. One that comes later is found
    /// when the whole is known; that takes a look at all wishes, for each.
    fn is_cured_ahead(&self, ahead: &HashMap<Key, Before>, outcome: &Outcome) -> bool {
        let Outcome::Lacking(_, lack) = outcome else {
            return false;
        };
        let Some((cure, state)) = &lack.cure else {
            return false;
        };
        matches!(
            (ahead.get(&cure.key()), self.registry.find(&cure.kind)),
            (Some(Before::Known(provided)), Ok(kind)) if kind.counts_as(cure, provided, state)
        )
    }

    fn disturbed(
        &mut self,
        ahead: &HashMap<Key, Before>,
        target: &Target,
    ) -> Result<Vec<Kept>, HostError> {
        let mut disturbs = Vec::new();
        for knob in target.kind.disturbs(&target.knob, self.host, &target.to)? {
            let kind = self.registry.find(&knob.kind).map_err(|error| {
                HostError::malformed(target.knob.text.clone(), error.to_string())
            })?;
            let state = self.current(ahead, &kind, &knob)?;
            disturbs.push(Kept { knob, state });
        }
        Ok(disturbs)
    }
}

fn unreadable(error: HostError) -> Outcome {
    match error.kind() {
        HostErrorKind::NotApplicable(lack) => Outcome::Lacking(None, lack.clone()),
        _ => Outcome::Unreadable(error),
    }
}

/// The first two ends that want different things of one knob.
pub(crate) fn conflict(declared: &[Declared]) -> Option<Error> {
    let mut first: HashMap<&Key, (&Declared, &Target)> = HashMap::new();
    for wish in declared {
        let (Role::End | Role::Expected(_), Some(target)) = (&wish.role, &wish.target) else {
            continue;
        };
        let Some((earlier, wanted)) = first.insert(&target.key, (wish, target)) else {
            continue;
        };
        if !target.kind.counts_as(&target.knob, &wanted.to, &target.to) {
            let part = |wish: &Declared| match wish.part.as_str() {
                "" => "the tuning itself".to_owned(),
                part => part.to_owned(),
            };
            return Some(Error::Conflict {
                knob: wish.name.clone(),
                first_part: part(earlier),
                first: wanted.to_text.clone(),
                second_part: part(wish),
                second: target.to_text.clone(),
            });
        }
    }
    None
}

/// Steps in order, and the wishes that are none.
pub(crate) struct Arranged {
    pub(crate) steps: Vec<Step>,
    pub(crate) findings: Vec<Finding>,
}

/// Orders the wishes and decides what each one is.
pub(crate) fn arrange(sight: &mut Sight<'_>, declared: Vec<Declared>) -> Result<Arranged, Error> {
    let mut declared: Vec<Declared> = declared;
    let mut order: Vec<usize> = (0..declared.len()).collect();
    // Taken and not copied: in a plan for thousands of things they are most of it.
    let mut outcomes: Vec<Option<Outcome>> = declared
        .iter_mut()
        .map(|wish| {
            wish.ahead_before = Vec::new();
            wish.outcome.take()
        })
        .collect();
    for (wish, outcome) in declared.iter().zip(&mut outcomes) {
        if !matches!(wish.role, Role::End | Role::Means) {
            *outcome = None;
        }
    }
    // Each round moves or cures one wish, so the rounds are bounded; where two
    // knobs reset each other there is no right order, and verify will say so.
    for _ in 0..=2 * declared.len() {
        let Some((place, after, cures)) = displaced(&declared, &order, &outcomes) else {
            break;
        };
        let index = order.remove(place);
        if cures {
            declared[index].cured = true;
        }
        order.insert(after.max(place), index);
        outcomes = simulate(sight, &declared, &order);
    }
    let mut steps = Vec::new();
    let mut findings: Vec<(usize, Finding)> = Vec::new();
    for (&index, outcome) in order.iter().zip(outcomes) {
        let wish = &declared[index];
        if let (Some(Outcome::Step { from, disturbs }), Some(target)) = (&outcome, &wish.target) {
            let identity = target.kind.identity(&target.knob, sight.host)?;
            steps.push(step(wish, target, from.clone(), disturbs.clone(), identity));
        } else if !matches!(wish.role, Role::Means)
            || matches!(outcome, Some(Outcome::Lacking(..) | Outcome::Unreadable(_)))
        {
            findings.push((index, found(sight, wish, outcome)));
        }
    }
    findings.sort_by_key(|(index, _)| *index);
    let findings: Vec<Finding> = findings.into_iter().map(|(_, finding)| finding).collect();
    let refused: Vec<Finding> = findings
        .iter()
        .filter(|finding| {
            finding.requirement == Requirement::Required
                && matches!(
                    finding.state,
                    State::NotApplicable { .. } | State::Unverifiable { .. }
                )
        })
        .cloned()
        .collect();
    if refused.is_empty() {
        Ok(Arranged { steps, findings })
    } else {
        Err(Error::NotApplicable(refused))
    }
}

fn simulate(sight: &mut Sight<'_>, declared: &[Declared], order: &[usize]) -> Vec<Option<Outcome>> {
    let mut ahead = HashMap::new();
    order
        .iter()
        .map(|&index| {
            let wish = &declared[index];
            let target = wish.target.as_ref()?;
            if !matches!(wish.role, Role::End | Role::Means) {
                return None;
            }
            let outcome = sight.evaluate(&ahead, target, wish.cured);
            if let Outcome::Step { disturbs, .. } = &outcome {
                ahead.insert(target.key.clone(), Before::Known(target.to.clone()));
                for kept in disturbs {
                    ahead.insert(kept.knob.key(), Before::Unsettled);
                }
            }
            Some(outcome)
        })
        .collect()
}

/// The first wish that stands at the wrong place: `(its place, the place of what it must follow,
/// whether that cures it)`.
fn displaced(
    declared: &[Declared],
    order: &[usize],
    outcomes: &[Option<Outcome>],
) -> Option<(usize, usize, bool)> {
    let mut reset_last: HashMap<Key, usize> = HashMap::new();
    for (place, outcome) in outcomes.iter().enumerate() {
        if let Some(Outcome::Step { disturbs, .. }) = outcome {
            reset_last.extend(disturbs.iter().map(|kept| (kept.knob.key(), place)));
        }
    }
    for (place, &index) in order.iter().enumerate() {
        let wish = &declared[index];
        let Some(target) = &wish.target else { continue };
        match &outcomes[place] {
            // A later step resets what is wanted here: the wish goes behind it.
            Some(Outcome::AsWanted(_) | Outcome::Step { .. }) if matches!(wish.role, Role::End) => {
                if let Some(&last) = reset_last.get(&target.key)
                    && last > place
                {
                    return Some((place, last, false));
                }
            }
            // What it lacks, a step of this plan provides: the last of that knob before it, or one
            // after it.
            Some(Outcome::Lacking(
                _,
                Lack {
                    cure: Some((cure, state)),
                    ..
                },
            )) => {
                let turned = |other: usize| {
                    let step = declared[order[other]].target.as_ref();
                    step.filter(|step| {
                        matches!(&outcomes[other], Some(Outcome::Step { .. })) && step.knob == *cure
                    })
                };
                let provides = |&other: &usize| {
                    turned(other).is_some_and(|step| step.kind.counts_as(cure, &step.to, state))
                };
                let before = (0..place).rev().find(|&other| turned(other).is_some());
                let provides = before
                    .filter(provides)
                    .or_else(|| (place + 1..order.len()).find(provides));
                if let Some(provides) = provides {
                    return Some((place, provides, true));
                }
            }
            _ => {}
        }
    }
    None
}

fn step(
    wish: &Declared,
    target: &Target,
    from: Before,
    disturbs: Vec<Kept>,
    identity: Option<String>,
) -> Step {
    let from_text = match &from {
        Before::Known(state) => target.kind.show(&target.knob, state),
        Before::Unsettled => "(depends on an earlier step)".to_owned(),
    };
    Step {
        part: wish.part.clone(),
        knob: target.knob.clone(),
        from,
        to: target.to.clone(),
        from_text,
        to_text: target.to_text.clone(),
        why: wish.why.clone(),
        lifetime: target.kind.lifetime,
        means: matches!(wish.role, Role::Means),
        requirement: wish.requirement,
        disturbs,
        identity,
    }
}

fn found(sight: &mut Sight<'_>, wish: &Declared, outcome: Option<Outcome>) -> Finding {
    match outcome {
        Some(Outcome::AsWanted(seen)) => {
            let state = as_wanted(wish, &seen);
            wish.finding(Some(&seen), state)
        }
        Some(Outcome::Lacking(seen, lack)) => {
            wish.finding(seen.as_ref(), State::NotApplicable { lack })
        }
        Some(Outcome::Unreadable(error)) => wish.finding(None, unverifiable(&error)),
        // A step is no finding; what is left is expected or skipped, and reads as in a report.
        Some(Outcome::Step { .. }) | None => seen_now(sight, wish),
    }
}

/// Every wish but the means, read against what the host shows now.
pub(crate) fn report(sight: &mut Sight<'_>, declared: Vec<Declared>) -> Vec<Finding> {
    declared
        .into_iter()
        .filter(|wish| !matches!(wish.role, Role::Means))
        .map(|wish| seen_now(sight, &wish))
        .collect()
}

fn seen_now(sight: &mut Sight<'_>, wish: &Declared) -> Finding {
    let target = match (&wish.role, &wish.target) {
        (Role::Skipped(lack), _) => {
            return wish.finding(None, State::NotApplicable { lack: lack.clone() });
        }
        (_, Some(target)) => target,
        (_, None) => return wish.finding(None, State::Drifted),
    };
    let seen = match sight.read(&target.kind, &target.knob, &target.key) {
        Ok(seen) => seen,
        Err(error) => {
            let state = match error.kind() {
                HostErrorKind::NotApplicable(lack) => State::NotApplicable { lack: lack.clone() },
                _ => unverifiable(&error),
            };
            return wish.finding(None, state);
        }
    };
    let state = if target.kind.counts_as(&target.knob, &seen, &target.to) {
        as_wanted(wish, &seen)
    } else if let Role::Expected(until) = wish.role {
        State::Pending { until }
    } else {
        match sight.lacking(target, Some(&seen)) {
            Some(Outcome::Lacking(_, lack)) => State::NotApplicable { lack },
            Some(Outcome::Unreadable(error)) => unverifiable(&error),
            _ => State::Drifted,
        }
    };
    wish.finding(Some(&seen), state)
}

fn as_wanted(wish: &Declared, seen: &Value) -> State {
    match (&wish.overridden, &wish.target) {
        (Some(by), _) => State::Overridden { by: by.clone() },
        (None, Some(target)) if differs(target, seen) => State::Rounded,
        _ => State::Matches,
    }
}

/// What reads the same to people was not rounded: a state may hold more than it shows, as what the
/// kernel adds to options that were left to it.
fn differs(target: &Target, seen: &Value) -> bool {
    target.to != *seen && target.kind.show(&target.knob, seen) != target.to_text
}

fn unverifiable(error: &HostError) -> State {
    let mut why = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        why = format!("{why}: {source}");
    }
    State::Unverifiable { why }
}
