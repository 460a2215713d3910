//! From requests to steps: which requests become steps, in which order, starting from which state.
//!
//! This is decided only here, and nothing is changed. The planner uses it for each request while a
//! tuning declares it, and once more for all requests when the order is known.

use std::collections::{HashMap, HashSet};

use super::declared::{Declared, Role, Target};
use super::findings::found;
use super::view::{Outcome, PlannedView};
use super::{Before, Requirement, SavedState, Step};
use crate::any_knob::Key;
use crate::error::Error;
use crate::host::HostErrorKind;
use crate::report::{Finding, State};
use crate::unsupported::Unsupported;

/// The first two requests for different states of one knob, intermediate steps aside.
pub(crate) fn conflict(declared: &[Declared]) -> Option<Error> {
    let mut first: HashMap<&Key, (&Declared, &Target)> = HashMap::new();
    for request in declared {
        let (Role::End | Role::Expected(_), Some(target)) = (&request.role, &request.target) else {
            continue;
        };
        let Some((earlier, wanted)) = first.insert(&target.key, (request, target)) else {
            continue;
        };
        if !target.kind.satisfies(&target.knob, &wanted.to, &target.to) {
            let part = |request: &Declared| match request.part.as_str() {
                "" => "the tuning itself".to_owned(),
                part => part.to_owned(),
            };
            return Some(Error::Conflict {
                knob: request.name.clone(),
                first_part: part(earlier),
                first: wanted.to_text.clone(),
                second_part: part(request),
                second: target.to_text.clone(),
            });
        }
    }
    None
}

/// The ordered steps, and findings for the requests that are not steps.
pub(crate) struct Arranged {
    pub(crate) steps: Vec<Step>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) holds: Vec<Step>,
}

/// Orders the requests and decides the outcome of each.
pub(crate) fn arrange(
    view: &mut PlannedView<'_>,
    declared: Vec<Declared>,
) -> Result<Arranged, Error> {
    let mut declared: Vec<Declared> = declared;
    let mut order: Vec<usize> = (0..declared.len()).collect();
    // Moved and not copied: with thousands of devices they are most of the plan.
    let mut outcomes: Vec<Option<Outcome>> = declared
        .iter_mut()
        .map(|request| {
            request.ahead_before = Vec::new();
            request.outcome.take()
        })
        .collect();
    for (request, outcome) in declared.iter().zip(&mut outcomes) {
        if !matches!(request.role, Role::End | Role::Means) {
            *outcome = None;
        }
    }
    // Each round moves or enables one request, so the number of rounds is bounded. If two knobs
    // reset each other, no order is right, and verify will report it.
    for _ in 0..=2 * declared.len() {
        let Some((place, after, cures)) = displaced(&declared, &order, &outcomes) else {
            break;
        };
        let index = order.remove(place);
        if cures {
            declared[index].cured = true;
        }
        order.insert(after.max(place), index);
        outcomes = simulate(view, &declared, &order);
    }
    let mut steps = Vec::new();
    let mut findings: Vec<(usize, Finding)> = Vec::new();
    let holds = holds(view, &declared, &order, &outcomes)?;
    for (&index, outcome) in order.iter().zip(outcomes) {
        let request = &declared[index];
        if let (Role::Means, Some(Outcome::Unreadable(error))) = (&request.role, &outcome)
            && *error.kind() == HostErrorKind::Other
            && !error.is_not_a_directory()
        {
            // Without this step, the step that it is for would change the knob implicitly, and
            // nobody would revert it.
            return Err(error.clone().into());
        }
        if let (
            Some(Outcome::Step {
                from,
                planned_from,
                damaged,
                side_effects,
            }),
            Some(target),
        ) = (&outcome, &request.target)
        {
            let identity = target.kind.identity(&target.knob, view.host)?;
            let reset = side_effects.iter().chain(&request.taken_away);
            let reset: Vec<SavedState> = reset.cloned().collect();
            let mut step = step(request, target, from.clone(), reset, identity);
            step.planned_from.clone_from(planned_from);
            step.network_namespace = view.network_namespace(target, &step.side_effects)?;
            if let Some(damaged) = damaged {
                step.from_text = target.kind.show(&target.knob, damaged);
            }
            steps.push(step);
        } else if !matches!(request.role, Role::Means)
            || matches!(
                outcome,
                Some(Outcome::Unsupported(..) | Outcome::Unreadable(_))
            )
        {
            findings.push((index, found(view, request, outcome)));
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
        Ok(Arranged {
            steps,
            findings,
            holds,
        })
    } else {
        Err(Error::NotApplicable(refused))
    }
}

/// The requests that another owner's change satisfies already and that no step of this plan
/// affects.
fn holds(
    view: &mut PlannedView<'_>,
    declared: &[Declared],
    order: &[usize],
    outcomes: &[Option<Outcome>],
) -> Result<Vec<Step>, Error> {
    let mut holds: Vec<Step> = Vec::new();
    if view.journalled.of_others.is_empty() {
        return Ok(holds);
    }
    let mut touched: HashSet<Key> = HashSet::new();
    for (&index, outcome) in order.iter().zip(outcomes) {
        if let (Some(Outcome::Step { side_effects, .. }), Some(target)) =
            (outcome, &declared[index].target)
        {
            touched.insert(target.key.clone());
            touched.extend(side_effects.iter().map(|kept| kept.knob.key()));
        }
    }
    for (&index, outcome) in order.iter().zip(outcomes) {
        let request = &declared[index];
        let (Some(Outcome::AsWanted(seen)), Some(target)) = (outcome, &request.target) else {
            continue;
        };
        let is_held = holds.iter().any(|hold| hold.knob == target.knob);
        if is_held
            || touched.contains(&target.key)
            || !view.journalled.of_others.contains(&target.key)
        {
            continue;
        }
        let identity = target.kind.identity(&target.knob, view.host)?;
        let from = Before::Known(seen.clone());
        let step = step(request, target, from, Vec::new(), identity);
        holds.push(Step {
            to: seen.clone(),
            to_text: step.from_text.clone(),
            network_namespace: view.network_namespace(target, &[])?,
            ..step
        });
    }
    Ok(holds)
}

fn simulate(
    view: &mut PlannedView<'_>,
    declared: &[Declared],
    order: &[usize],
) -> Vec<Option<Outcome>> {
    let mut ahead = HashMap::new();
    order
        .iter()
        .map(|&index| {
            let request = &declared[index];
            let target = request.target.as_ref()?;
            if !matches!(request.role, Role::End | Role::Means) {
                return None;
            }
            let outcome = view.evaluate(&ahead, target, request.cured);
            if let Outcome::Step { side_effects, .. } = &outcome {
                ahead.insert(target.key.clone(), Before::Known(target.to.clone()));
                for kept in side_effects {
                    ahead.insert(kept.knob.key(), Before::DependsOnEarlierStep);
                }
            }
            Some(outcome)
        })
        .collect()
}

/// The first request in the wrong place: its place, the place of the one that it must follow, and
/// whether that one makes it supported.
fn displaced(
    declared: &[Declared],
    order: &[usize],
    outcomes: &[Option<Outcome>],
) -> Option<(usize, usize, bool)> {
    let mut reset_last: HashMap<Key, usize> = HashMap::new();
    for (place, outcome) in outcomes.iter().enumerate() {
        if let Some(Outcome::Step { side_effects, .. }) = outcome {
            reset_last.extend(side_effects.iter().map(|kept| (kept.knob.key(), place)));
        }
    }
    for (place, &index) in order.iter().enumerate() {
        let request = &declared[index];
        let Some(target) = &request.target else {
            continue;
        };
        match &outcomes[place] {
            // A later step resets this knob, so the request moves behind it.
            Some(Outcome::AsWanted(_) | Outcome::Step { .. })
                if matches!(request.role, Role::End) =>
            {
                if let Some(&last) = reset_last.get(&target.key)
                    && last > place
                {
                    return Some((place, last, false));
                }
            }
            // A step of this plan makes it supported: the last step of that knob before it, or one
            // after it.
            Some(Outcome::Unsupported(
                _,
                Unsupported {
                    cure: Some((cure, state)),
                    ..
                },
            )) => {
                let changed = |other: usize| {
                    let step = declared[order[other]].target.as_ref();
                    step.filter(|step| {
                        matches!(&outcomes[other], Some(Outcome::Step { .. })) && step.knob == *cure
                    })
                };
                let provides = |&other: &usize| {
                    changed(other).is_some_and(|step| step.kind.satisfies(cure, &step.to, state))
                };
                let before = (0..place).rev().find(|&other| changed(other).is_some());
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
    request: &Declared,
    target: &Target,
    from: Before,
    side_effects: Vec<SavedState>,
    identity: Option<String>,
) -> Step {
    let from_text = match &from {
        Before::Known(state) => target.kind.show(&target.knob, state),
        Before::DependsOnEarlierStep => "(depends on an earlier step)".to_owned(),
    };
    Step {
        part: request.part.clone(),
        knob: target.knob.clone(),
        from,
        planned_from: None,
        to: target.to.clone(),
        from_text,
        to_text: target.to_text.clone(),
        why: request.why.clone(),
        lifetime: target.kind.lifetime(),
        means: matches!(request.role, Role::Means),
        requirement: request.requirement,
        side_effects,
        identity,
        network_namespace: None,
    }
}
