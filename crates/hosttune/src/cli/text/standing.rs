//! Active changes and unfinished runs.

use hosttune_core::{Owed, Status};

use super::rows::{self, Cell, Row};
use super::{Page, count};

/// The answer of `status`, also printed by `revert` before it prompts.
pub(in super::super) fn standing(page: &Page, status: &Status, notes: &[String]) -> String {
    let counted =
        |wanted: fn(&Owed) -> bool| status.owed.iter().filter(|owed| wanted(owed)).count();
    let (back, theirs) = (counted(is_back), counted(is_theirs));
    let absent = counted(|owed| owed.absent.is_some());
    let mut says = vec![match status.owed.len() {
        0 => "no changes in effect".to_owned(),
        owed => format!("{} active", count(owed, "change", "changes")),
    }];
    if theirs > 0 {
        says.push(format!("{theirs} set by another process since"));
    }
    if absent > 0 {
        says.push(format!("{absent} gone or unreadable"));
    }
    if back > 0 {
        says.push(format!("{back} already reverted"));
    }
    if status.by_reboot > 0 {
        says.push(format!("{} undone by a reboot", status.by_reboot));
    }
    let mut text = page.headline(&says.join(", "));
    if let Some(open) = &status.open {
        text.push_str(&page.attention(open));
    }
    let sections = rows::by_title(
        status
            .owed
            .iter()
            .map(|owed| (owed.part.clone(), owed_row(owed))),
    );
    if !sections.is_empty() {
        text.push('\n');
        text.push_str(&rows::render(page.look, &sections));
    }
    if !status.refused.is_empty() {
        text.push_str("\n  refused by this kernel, not tried again until the next boot\n");
        for refused in &status.refused {
            text.push_str(&format!("    {}\n", super::visible(refused)));
        }
    }
    text.push_str(&page.notes(notes));
    if !status.owed.is_empty() {
        text.push_str(&format!("\n{}\n", page.changing("Revert", "revert")));
    }
    text
}

fn is_back(owed: &Owed) -> bool {
    !owed.is_ours && owed.absent.is_none() && owed.seen == owed.original
}

fn is_theirs(owed: &Owed) -> bool {
    !owed.is_ours && owed.absent.is_none() && owed.seen != owed.original
}

fn owed_row(owed: &Owed) -> Row {
    let reason = if let Some(absent) = &owed.absent {
        absent.clone()
    } else if is_back(owed) {
        "already the original value".to_owned()
    } else if is_theirs(owed) {
        format!("is {} now: another process has set it since", owed.seen)
    } else {
        String::new()
    };
    Row {
        name: owed.knob.text.clone(),
        cell: Cell::Turn(owed.original.clone(), owed.ours.clone()),
        reason,
        hint: None,
    }
}
