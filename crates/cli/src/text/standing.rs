//! Active changes and unfinished runs.

use hosttune_core::{PendingRevert, Status};

use super::rows::{self, Cell, Row};
use super::{Page, count};

/// The answer of `status`, also printed by `revert` before it prompts. `held` is the number of changes that
/// commands hold which run tuned.
pub(in super::super) fn standing(
    page: &Page,
    status: &Status,
    notes: &[String],
    held: usize,
) -> String {
    let counted = |wanted: fn(&PendingRevert) -> bool| {
        status
            .pending
            .iter()
            .filter(|pending| wanted(pending))
            .count()
    };
    let (back, theirs) = (counted(is_back), counted(is_theirs));
    let elsewhere = counted(|pending| pending.network_namespace.is_some());
    let absent = counted(|pending| pending.absent.is_some()) - elsewhere;
    let active = counted(|pending| pending.replaced.is_none());
    let mut says = vec![match active {
        0 if held > 0 => "no changes by apply".to_owned(),
        0 => "no changes in effect".to_owned(),
        active => format!("{} active", count(active, "change", "changes")),
    }];
    if held > 0 {
        says.push(format!("{held} by commands that run tuned"));
    }
    if theirs > 0 {
        says.push(format!("{theirs} set by another process since"));
    }
    if elsewhere > 0 {
        says.push(format!("{elsewhere} in another network namespace"));
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
            .pending
            .iter()
            .map(|pending| (pending.part.clone(), pending_row(pending))),
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
    if !status.pending.is_empty() {
        text.push_str(&format!("\n{}\n", page.changing("Revert", "revert")));
    }
    text
}

fn is_back(pending: &PendingRevert) -> bool {
    !pending.is_ours && pending.absent.is_none() && pending.seen == pending.original
}

fn is_theirs(pending: &PendingRevert) -> bool {
    !pending.is_ours && pending.absent.is_none() && pending.seen != pending.original
}

fn pending_row(pending: &PendingRevert) -> Row {
    let reason = if let Some(absent) = &pending.absent {
        absent.clone()
    } else if let Some(theirs) = &pending.replaced {
        format!("another process set {theirs} before the last apply: a revert goes back to that")
    } else if is_back(pending) {
        "already the original value".to_owned()
    } else if is_theirs(pending) {
        let seen = &pending.seen;
        // Of a file only the size is printed.
        let seen = if *seen == pending.ours {
            "other content"
        } else {
            seen
        };
        format!("is {seen} now: another process has set it since")
    } else {
        String::new()
    };
    Row {
        name: pending.knob.text.clone(),
        cell: Cell::Change(pending.original.clone(), pending.ours.clone()),
        reason,
        hint: None,
    }
}
