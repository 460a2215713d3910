//! A plan: what would change, the current and the new values, and why.

use hosttune_core::{Lifetime, Plan, Step};

use super::rows::{self, Cell, Row};
use super::{Page, as_wanted, count, finding_sections, tally};

/// A plan. The last lines say what to type next, unless the plan is being applied.
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
            "{provisional}. The changes below are computed from the current state and may differ after that."
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
        text.push_str(&format!("\n  already as wanted: {already}\n"));
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
            0 => "\n  A reboot undoes all of these changes.\n".to_owned(),
            all if all == plan.steps.len() => {
                "\n  A reboot undoes none of these changes: they are stored on disk.\n".to_owned()
            }
            some => {
                format!("\n  A reboot undoes all of these changes except {some} stored on disk.\n")
            }
        });
    }
    if !plan.is_empty() && !being_applied {
        text.push_str(&page.next(&[
            page.changing("Apply", "apply"),
            format!("Revert at any time: {}", page.command("revert")),
        ]));
    }
    text
}

fn step_row(step: &Step) -> Row {
    Row {
        name: step.knob.text.clone(),
        cell: Cell::Change(step.from_text.clone(), step.to_text.clone()),
        reason: if step.means && step.why.text.is_empty() {
            "intermediate step".to_owned()
        } else {
            step.why.to_string()
        },
        hint: None,
    }
}
