//! Every answer as a person reads it.
//!
//! A page begins with one line that says it all; what follows is for whoever wants to know more,
//! and it ends with what to type next.

mod applied;
mod explained;
mod measured;
mod planned;
mod reverted;
mod rows;
mod standing;
mod verified;
mod who_sets;

pub(super) use applied::applied;
pub(super) use explained::explained;
pub(super) use measured::measured;
pub(super) use planned::planned;
pub(super) use reverted::{recovered, reverted};
pub(super) use standing::standing;
pub(super) use verified::verified;
pub(super) use who_sets::who_sets;

use hosttune_core::host::RootKind;
use hosttune_core::{Finding, Host, State};

use super::arguments::Global;
use super::colour::{Look, Role, visible};
use rows::{Cell, Row};

/// What every page needs to know: who prints, for whom, about which machine.
#[derive(Debug, Clone)]
pub(super) struct Page {
    pub(super) look: Look,
    pub(super) name: &'static str,
    pub(super) global: Global,
    /// `Linux 6.12`, or what else is beneath the root.
    pub(super) machine: String,
    /// Whether this process may change the host.
    pub(super) is_root: bool,
}

impl Page {
    /// The first line.
    fn headline(&self, says: &str) -> String {
        let title = format!("{} on {}", self.name, visible(&self.machine));
        format!("{}: {says}\n", self.look.paint(Role::Title, &title))
    }

    /// Another command on the same host.
    fn command(&self, command: &str) -> String {
        self.global.invocation(self.name, command)
    }

    /// The same with the rights it needs.
    fn changing(&self, label: &str, command: &str) -> String {
        let rights = if self.is_root { "" } else { ", as root" };
        format!("{label}{rights}: {}", self.command(command))
    }

    /// What to type next: on one line where that fits.
    fn next(&self, commands: &[String]) -> String {
        let line = commands.join("      ");
        let text = if rows::length(&line) <= self.look.width {
            line
        } else {
            commands.join("\n")
        };
        format!("\n{text}\n")
    }

    /// Texts of some length, each on lines of its own.
    fn notes(&self, notes: &[String]) -> String {
        let mut text = String::new();
        for note in notes {
            for (number, line) in rows::wrap(&visible(note), self.look.width - 8)
                .into_iter()
                .enumerate()
            {
                text.push_str(if number == 0 { "  note: " } else { "        " });
                text.push_str(&line);
                text.push('\n');
            }
        }
        text
    }

    /// Something that wants to be read first.
    fn attention(&self, says: &str) -> String {
        let mut text = String::new();
        for line in rows::wrap(&visible(says), self.look.width - 2) {
            text.push_str("  ");
            text.push_str(&self.look.paint(Role::Attention, &line));
            text.push('\n');
        }
        text
    }
}

/// What runs beneath the root, in a few words.
pub(super) fn machine(host: &Host, global: &Global) -> String {
    let release = host
        .read_text("/proc/sys/kernel/osrelease")
        .map(|release| format!("Linux {}", release.trim()));
    let root = global.root.as_ref().map(|root| root.display());
    match (host.root_kind(), root, release) {
        (RootKind::Image, Some(root), _) => format!("the image {root}"),
        (RootKind::Captured, Some(root), Ok(release)) => format!("{release} in {root}"),
        (RootKind::Captured, Some(root), Err(_)) => format!("the tree {root}"),
        (_, _, Ok(release)) => release,
        (_, _, Err(_)) => "this host".to_owned(),
    }
}

/// What an earlier run left open, which is put right before a plan is made.
pub(super) fn first(page: &Page, open: &str) -> String {
    page.attention(&format!("First: {open}"))
}

/// A number and what it counts.
pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Under which title a finding stands that is not simply as wanted.
fn title(state: &State) -> Option<&'static str> {
    Some(match state {
        State::Matches => return None,
        State::Drifted => "drifted",
        State::Overridden { .. } => "overridden",
        State::Rounded => "rounded by the kernel",
        State::NotApplicable { .. } => "not applicable",
        State::Pending { .. } => "pending",
        // `State` grows; what this release has no word for is unknown to it as well.
        State::Unverifiable { .. } | _ => "unknown",
    })
}

/// A finding as a row: what is wanted, and what stands against it.
fn finding_row(finding: &Finding) -> Row {
    let wanted = finding.wanted_text.clone();
    let (cell, reason) = match &finding.state {
        State::Matches => (Cell::Is(wanted), finding.why.to_string()),
        State::Drifted => (
            Cell::Is(format!("is {}, wanted {wanted}", finding.seen_text)),
            finding.why.to_string(),
        ),
        State::Rounded => (
            Cell::Is(format!("is {}, wanted {wanted}", finding.seen_text)),
            "as near as the kernel comes".to_owned(),
        ),
        State::NotApplicable { lack } => (Cell::Is(wanted), lack.why.clone()),
        State::Pending { until } => (
            Cell::Turn(finding.seen_text.clone(), wanted),
            format!("after the next {until}"),
        ),
        State::Overridden { by } => (Cell::Is(wanted), format!("set, but beaten by {by}")),
        State::Unverifiable { why } => (Cell::Is(wanted), why.clone()),
        _ => (Cell::Is(wanted), finding.to_string()),
    };
    Row {
        name: finding.name.clone(),
        cell,
        reason,
        hint: finding.hint(),
    }
}

/// The findings under their titles, in a fixed order; what is as wanted is left out.
fn finding_sections<'f>(findings: impl IntoIterator<Item = &'f Finding>) -> Vec<rows::Section> {
    const ORDER: [&str; 6] = [
        "drifted",
        "overridden",
        "pending",
        "rounded by the kernel",
        "not applicable",
        "unknown",
    ];
    let mut sections = rows::by_title(
        findings
            .into_iter()
            .filter_map(|finding| Some((title(&finding.state)?.to_owned(), finding_row(finding)))),
    );
    sections.sort_by_key(|section| ORDER.iter().position(|title| *title == section.title));
    sections
}

/// `2 not applicable, 1 pending`: the titles of the sections, counted.
fn tally(sections: &[rows::Section]) -> String {
    let counted: Vec<String> = sections
        .iter()
        .map(|section| format!("{} {}", section.rows.len(), section.title))
        .collect();
    counted.join(", ")
}

/// How many findings need no word.
fn as_wanted(findings: &[Finding]) -> usize {
    findings
        .iter()
        .filter(|finding| matches!(finding.state, State::Matches | State::Rounded))
        .count()
}
