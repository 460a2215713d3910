//! The text output of every command.
//!
//! The first line is a summary, the details follow, and the last lines say what to type next.

mod applied;
mod bus;
mod explained;
mod measured;
mod planned;
mod reverted;
mod rows;
mod runs;
mod standing;
mod verified;
mod who_sets;

pub(super) use applied::applied;
pub(super) use bus::bus;
pub(super) use explained::explained;
pub(super) use measured::measured;
pub(super) use planned::planned;
pub(super) use reverted::{recovered, reverted};
pub(super) use runs::runs;
pub(super) use standing::standing;
pub(super) use verified::verified;
pub(super) use who_sets::who_sets;

use hosttune_core::host::RootKind;
use hosttune_core::{Finding, Host, State};

use super::arguments::Global;
use super::colour::{Look, Role, visible};
use rows::{Cell, Row};

/// The context of every page: program, text style, options and machine.
#[derive(Debug, Clone)]
pub(super) struct Page {
    pub(super) look: Look,
    pub(super) name: &'static str,
    pub(super) global: Global,
    /// `Linux 6.12`, or a description of the root.
    pub(super) machine: String,
    /// Whether this process may change the host.
    pub(super) is_root: bool,
}

impl Page {
    /// The summary line.
    fn headline(&self, says: &str) -> String {
        let title = format!("{} on {}", self.name, visible(&self.machine));
        format!("{}: {says}\n", self.look.paint(Role::Title, &title))
    }

    /// The command line of another command for the same host.
    fn command(&self, command: &str) -> String {
        self.global.invocation(self.name, command)
    }

    /// The same for a command that changes the host, with a label that names the privileges it needs.
    fn changing(&self, label: &str, command: &str) -> String {
        let rights = if self.is_root || self.global.user {
            ""
        } else {
            ", as root"
        };
        format!("{label}{rights}: {}", self.command(command))
    }

    /// The commands to type next, on one line if they fit.
    fn next(&self, commands: &[String]) -> String {
        let line = commands.join("      ");
        let text = if rows::length(&line) <= self.look.width {
            line
        } else {
            commands.join("\n")
        };
        format!("\n{text}\n")
    }

    /// Notes, wrapped, each on its own lines.
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

    /// A text to be read first.
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

/// The notes of a plan that is refused, before the reasons.
pub(super) fn refused(page: &Page, notes: &[String]) -> String {
    match notes {
        [] => String::new(),
        notes => format!("{}\n{}", page.headline("refused"), page.notes(notes)),
    }
}

/// A short description of the system beneath the root.
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

/// Announces the recovery of an unfinished run, which precedes the plan.
pub(super) fn first(page: &Page, open: &str) -> String {
    page.attention(&format!("First: {open}"))
}

/// A number and the noun in singular or plural.
pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The section title of a finding; `None` if it is simply as wanted.
fn title(state: &State) -> Option<&'static str> {
    Some(match state {
        State::Matches => return None,
        State::Drifted => "drifted",
        State::Overridden { .. } => "overridden",
        State::Rounded => "rounded by the kernel",
        State::NotApplicable { .. } => "not applicable",
        State::Pending { .. } => "pending",
        // `State` is non-exhaustive; a state added later is shown as unknown.
        State::Unverifiable { .. } | _ => "unknown",
    })
}

/// A finding as a row: the wanted value, and why it is not in effect.
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
            "rounded by the kernel".to_owned(),
        ),
        State::NotApplicable { unsupported } => (Cell::Is(wanted), unsupported.why.clone()),
        State::Pending { until } => (
            Cell::Change(finding.seen_text.clone(), wanted),
            format!("takes effect after the next {until}"),
        ),
        State::Overridden { by } => (Cell::Is(wanted), format!("set, but overridden by {by}")),
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

/// The findings by section, in a fixed order; findings that are as wanted are omitted.
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

/// The number of rows of each section: `2 not applicable, 1 pending`.
fn tally(sections: &[rows::Section]) -> String {
    let counted: Vec<String> = sections
        .iter()
        .map(|section| format!("{} {}", section.rows.len(), section.title))
        .collect();
    counted.join(", ")
}

/// The number of findings that are as wanted.
fn as_wanted(findings: &[Finding]) -> usize {
    findings
        .iter()
        .filter(|finding| matches!(finding.state, State::Matches | State::Rounded))
        .count()
}
