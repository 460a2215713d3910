//! The result of a revert: what was reverted, what was not, and why.

use hosttune_core::{NotReverted, NotRevertedReason, Reverted, Undone};

use super::super::colour::Role;
use super::rows::{self, Cell, Row, Section};
use super::{Page, count};

/// The result of a revert.
pub(in super::super) fn reverted(page: &Page, reverted: &Reverted, notes: &[String]) -> String {
    let written = reverted
        .undone
        .iter()
        .filter(|undone| !undone.already)
        .count();
    let held = reverted
        .undone
        .iter()
        .filter(|undone| undone.held_by.is_some())
        .count();
    let already = reverted.undone.len() - written - held;
    let mut says = Vec::new();
    if written > 0 {
        says.push(format!("{written} reverted"));
    }
    if already > 0 {
        says.push(format!("{already} already reverted"));
    }
    if held > 0 {
        says.push(format!("{held} kept for another owner"));
    }
    if reverted.by_reboot > 0 {
        says.push(format!(
            "{} undone by an earlier reboot",
            reverted.by_reboot
        ));
    }
    if !reverted.not_reverted.is_empty() {
        says.push(format!("{} not reverted", reverted.not_reverted.len()));
    }
    if reverted.unrecorded.is_some() {
        says.push("journal not cleared".to_owned());
    }
    let is_nothing = says.is_empty();
    if is_nothing {
        says.push("nothing to revert".to_owned());
    }
    if !reverted.remaining.is_empty() {
        let others = count(reverted.remaining.len(), "other change", "other changes");
        says.push(format!("{others} still in effect"));
    }
    let mut text = page.headline(&says.join(", "));
    text.push_str(&page.notes(notes));
    if is_nothing {
        return text;
    }
    let sections = rows::by_title(
        reverted
            .undone
            .iter()
            .map(|undone| (undone.part.clone(), undone_row(undone))),
    );
    if !sections.is_empty() {
        text.push('\n');
        text.push_str(&rows::render(page.look, &sections));
    }
    text.push_str(&left(page, &reverted.not_reverted));
    text
}

/// The result of recovering an interrupted run, which precedes everything else.
pub(in super::super) fn recovered(page: &Page, recovered: &Reverted) -> String {
    let mut says = format!(
        "An interrupted run was recovered first: {} reverted",
        count(recovered.undone.len(), "change", "changes")
    );
    if recovered.by_reboot > 0 {
        says.push_str(&format!(
            ", {} undone by an earlier reboot",
            recovered.by_reboot
        ));
    }
    let mut text = format!("\n{}.\n", page.look.paint(Role::Attention, &says));
    text.push_str(&page.notes(&recovered.notes));
    text.push_str(&left(page, &recovered.not_reverted));
    text
}

/// The changes that were not reverted, why, and what to type next.
fn left(page: &Page, left: &[NotReverted]) -> String {
    if left.is_empty() {
        return String::new();
    }
    let section = Section {
        title: "not reverted".to_owned(),
        rows: left.iter().map(left_row).collect(),
    };
    let mut text = format!("\n{}", rows::render(page.look, &[section]));
    let theirs = |left: &NotReverted| matches!(left.reason, NotRevertedReason::Theirs);
    if left.iter().any(theirs) {
        text.push_str(&format!(
            "\n{}\n",
            page.changing(
                "Also revert values that others have changed since",
                "revert --force"
            )
        ));
    }
    let interrupted = |left: &NotReverted| matches!(left.reason, NotRevertedReason::Interrupted);
    if left.iter().any(interrupted) {
        text.push_str(&format!("\n{}\n", page.changing("Continue", "revert")));
    } else if !left.iter().all(theirs) {
        text.push_str(&format!(
            "\nResolve the remaining conflicts, then run: {}\n",
            page.command("revert")
        ));
    }
    text
}

fn left_row(left: &NotReverted) -> Row {
    Row {
        name: left.knob.text.clone(),
        cell: Cell::Is(format!(
            "set to {}, original {}, now {}",
            left.ours,
            left.original,
            left.now()
        )),
        reason: left.reason.to_string(),
        hint: None,
    }
}

fn undone_row(undone: &Undone) -> Row {
    let (cell, reason) = if let Some(owner) = &undone.held_by {
        let original = Cell::Is(format!("original {}", undone.original));
        (original, format!("held by {owner}, which reverts it"))
    } else if undone.already {
        let back = Cell::Is(undone.original.clone());
        (back, "already the original value, or gone".to_owned())
    } else {
        let (replaced, reason) = match &undone.replaced {
            Some(theirs) => (theirs, format!("was set to {} here", undone.ours)),
            None => (&undone.ours, String::new()),
        };
        let back = Cell::Change(replaced.clone(), undone.original.clone());
        (back, reason)
    };
    Row {
        name: undone.knob.text.clone(),
        cell,
        reason,
        hint: None,
    }
}
