//! What was put back, and what was left and why.

use hosttune_core::{Left, LeftBecause, Reverted, Undone};

use super::super::colour::Role;
use super::rows::{self, Cell, Row, Section};
use super::{Page, count};

/// What a revert did.
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
        says.push(format!("{written} put back"));
    }
    if already > 0 {
        says.push(format!("{already} back already"));
    }
    if held > 0 {
        says.push(format!("{held} kept for another owner"));
    }
    if reverted.by_reboot > 0 {
        says.push(format!(
            "{} taken back by a reboot before",
            reverted.by_reboot
        ));
    }
    if !reverted.left.is_empty() {
        says.push(format!("{} left", reverted.left.len()));
    }
    if reverted.unrecorded.is_some() {
        says.push("journal not cleared".to_owned());
    }
    if says.is_empty() {
        let mut text = page.headline(&format!(
            "nothing to put back, {} has changed nothing that is not back",
            page.name
        ));
        text.push_str(&page.notes(notes));
        return text;
    }
    let mut text = page.headline(&says.join(", "));
    text.push_str(&page.notes(notes));
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
    text.push_str(&left(page, &reverted.left));
    text
}

/// What was put right before anything else, because an earlier run was interrupted.
pub(in super::super) fn recovered(page: &Page, recovered: &Reverted) -> String {
    let mut says = format!(
        "An interrupted run was put right first: {} put back",
        count(recovered.undone.len(), "change", "changes")
    );
    if recovered.by_reboot > 0 {
        says.push_str(&format!(
            ", {} taken back by a reboot before",
            recovered.by_reboot
        ));
    }
    let mut text = format!("\n{}.\n", page.look.paint(Role::Attention, &says));
    text.push_str(&page.notes(&recovered.notes));
    text.push_str(&left(page, &recovered.left));
    text
}

/// What was left, why, and what to do.
fn left(page: &Page, left: &[Left]) -> String {
    if left.is_empty() {
        return String::new();
    }
    let section = Section {
        title: "left as it is".to_owned(),
        rows: left.iter().map(left_row).collect(),
    };
    let mut text = format!("\n{}", rows::render(page.look, &[section]));
    let theirs = |left: &Left| matches!(left.because, LeftBecause::Theirs);
    if left.iter().any(theirs) {
        text.push_str(&format!(
            "\n{}\n",
            page.changing("Take also what somebody else has set", "revert --force")
        ));
    }
    let interrupted = |left: &Left| matches!(left.because, LeftBecause::Interrupted);
    if left.iter().any(interrupted) {
        text.push_str(&format!("\n{}\n", page.changing("Go on", "revert")));
    } else if !left.iter().all(theirs) {
        text.push_str(&format!(
            "\nMend what keeps the rest, then again: {}\n",
            page.command("revert")
        ));
    }
    text
}

fn left_row(left: &Left) -> Row {
    Row {
        name: left.knob.text.clone(),
        cell: Cell::Is(format!(
            "ours {}, original {}, is {}",
            left.ours, left.original, left.seen
        )),
        reason: left.because.to_string(),
        hint: None,
    }
}

fn undone_row(undone: &Undone) -> Row {
    let (cell, reason) = if let Some(owner) = &undone.held_by {
        let original = Cell::Is(format!("original {}", undone.original));
        (original, format!("held by {owner}, which puts it back"))
    } else if undone.already {
        let back = Cell::Is(undone.original.clone());
        (back, "so already, or gone".to_owned())
    } else {
        let back = Cell::Turn(undone.ours.clone(), undone.original.clone());
        (back, String::new())
    };
    Row {
        name: undone.knob.text.clone(),
        cell,
        reason,
        hint: None,
    }
}
