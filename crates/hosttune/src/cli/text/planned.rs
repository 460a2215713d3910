//! A plan: what would be changed, from what to what, and why.

use hosttune_core::{Lifetime, Plan, Step};

use super::rows::{self, Cell, Row};
use super::{Page, as_wanted, count, finding_sections, tally};

/// A plan. The last lines say what to type next, unless it is just being carried out.
pub(in super::super) fn planned(page: &Page, plan: &Plan, being_applied: bool) -> String {
    let found = finding_sections(&plan.findings);
    let already = as_wanted(&plan.findings);
    let mut says = vec![match plan.steps.len() {
        0 => "nothing to do".to_owned(),
        steps => count(steps, "change", "changes"),
    }];
    let besides = tally(&found);
    if !besides.is_empty() {
        says.push(besides);
    }
    let mut text = page.headline(&says.join(", "));
    if let Some(provisional) = &plan.provisional {
        text.push_str(&page.attention(&format!(
            "{provisional}. The changes below start from the host as it is now, so they may differ then."
        )));
    }
    let mut sections = rows::by_title(
        plan.steps
            .iter()
            .map(|step| (step.part.clone(), step_row(step))),
    );
    sections.extend(found);
    if !sections.is_empty() {
        text.push('\n');
        text.push_str(&rows::render(page.look, &sections));
    }
    if already > 0 {
        text.push_str(&format!("\n  as wanted already: {already}\n"));
    }
    if !plan.notes.is_empty() {
        text.push('\n');
        text.push_str(&page.notes(&plan.notes));
    }
    let staying = plan
        .steps
        .iter()
        .filter(|step| step.lifetime == Lifetime::Disk)
        .count();
    if !plan.is_empty() {
        text.push_str(&match staying {
            0 => "\n  A reboot takes all of it back.\n".to_owned(),
            all if all == plan.steps.len() => {
                "\n  A reboot takes none of it back: it is on disk.\n".to_owned()
            }
            some => format!("\n  A reboot takes back all but {some}, which are on disk.\n"),
        });
    }
    if !plan.is_empty() && !being_applied {
        text.push_str(&page.next(&[
            page.changing("Apply", "apply"),
            format!("Back, at any time: {}", page.command("revert")),
        ]));
    }
    text
}

fn step_row(step: &Step) -> Row {
    Row {
        name: step.knob.text.clone(),
        cell: Cell::Turn(step.from_text.clone(), step.to_text.clone()),
        reason: if step.means && step.why.text.is_empty() {
            "on the way".to_owned()
        } else {
            step.why.to_string()
        },
        hint: None,
    }
}
