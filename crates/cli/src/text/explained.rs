//! Everything known about one knob, one fact per line.

use hosttune_core::{Lifetime, Requirement, State};

use super::super::colour::{Role, visible};
use super::super::explain::{Explanation, Request};
use super::{Page, rows};

/// The column at which the facts begin.
const COLUMN: usize = 22;

/// The answer of `explain`.
pub(in super::super) fn explained(page: &Page, explanation: &Explanation) -> String {
    let mut text = format!(
        "{}\n",
        page.look.paint(Role::Title, &visible(&explanation.knob))
    );
    if let Some(entry) = &explanation.catalogue {
        text.push_str(&format!("  {}\n", visible(&entry.meaning)));
    }
    for request in &explanation.requests {
        text.push('\n');
        text.push_str(&facts(page, request_facts(request)));
    }
    let mut standing = Vec::new();
    for pending in &explanation.pending {
        let now = if pending.is_ours {
            "still in effect"
        } else {
            "no longer in effect"
        };
        standing.push((
            "recorded change",
            format!(
                "{} {} {}, {now}",
                pending.original,
                page.look.arrow(),
                pending.ours
            ),
        ));
    }
    if let Some(unread) = &explanation.journal_unread {
        standing.push(("recorded change", format!("unknown: {unread}")));
    }
    if let Some(entry) = &explanation.catalogue {
        standing.extend([
            ("accepts", entry.takes.clone()),
            ("scope", entry.scope.clone()),
        ]);
        let optional = [
            ("the kernel adjusts", &entry.adjusts),
            ("security", &entry.security),
            ("not reverted", &entry.caution),
            ("documentation", &entry.documentation),
        ];
        for (label, fact) in optional {
            standing.extend(fact.clone().map(|fact| (label, fact)));
        }
    }
    if !standing.is_empty() {
        text.push('\n');
        text.push_str(&facts(page, standing));
    }
    if explanation.is_sysctl {
        text.push_str(&format!(
            "\nSee what sets it at boot: {} {}\n",
            page.command("who-sets"),
            visible(&explanation.knob)
        ));
    }
    text
}

fn request_facts(request: &Request) -> Vec<(&'static str, String)> {
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let mut facts = vec![("wanted", or_unknown(&request.wanted))];
    facts.push(("seen", or_unknown(&request.seen)));
    if let Some(state) = &request.state {
        facts.push(("state", state_in_words(state)));
    }
    if !request.part.is_empty() {
        facts.push(("part", request.part.clone()));
    }
    match &request.why.looks_wrong {
        Some(looks_wrong) => {
            facts.push(("may look wrong", looks_wrong.clone()));
            facts.push(("intentional because", request.why.text.clone()));
        }
        None if !request.why.text.is_empty() => facts.push(("why", request.why.text.clone())),
        None => {}
    }
    facts.extend(request.why.source.clone().map(|source| ("source", source)));
    facts.extend(request.why.risk.clone().map(|risk| ("risk", risk)));
    if let Some(lifetime) = request.lifetime {
        let lasts = match lifetime {
            Lifetime::Boot => "until the next boot or revert",
            Lifetime::Disk => "on disk, until revert",
        };
        facts.push(("lasts", lasts.to_owned()));
    }
    if request.means {
        facts.push(("role", "intermediate step for another setting".to_owned()));
    }
    let if_unsupported = match request.requirement {
        Requirement::Plain => None,
        Requirement::Required => Some("an error"),
        Requirement::Optional => Some("not an error"),
    };
    facts.extend(if_unsupported.map(|fact| ("if not applicable", fact.to_owned())));
    facts.extend(request.hint.clone().map(|hint| ("try", hint)));
    facts
}

fn state_in_words(state: &State) -> String {
    match state {
        State::Matches => "as wanted".to_owned(),
        State::Drifted => "not as wanted".to_owned(),
        State::Rounded => "as wanted, rounded by the kernel".to_owned(),
        State::NotApplicable { unsupported } => format!("not applicable: {unsupported}"),
        State::Pending { until } => format!("pending: takes effect after the next {until}"),
        State::Overridden { by } => format!("set, but overridden by {by}"),
        State::Unverifiable { why } => format!("unknown: {why}"),
        other => other.name().to_owned(),
    }
}

fn facts(page: &Page, facts: Vec<(&'static str, String)>) -> String {
    let mut text = String::new();
    for (label, fact) in facts {
        let room = page.look.width.saturating_sub(COLUMN);
        for (number, line) in rows::wrap(&visible(&fact), room).into_iter().enumerate() {
            let label = if number == 0 { label } else { "" };
            let padding = COLUMN - 2 - rows::length(label);
            text.push_str("  ");
            text.push_str(&page.look.paint(Role::Aside, label));
            text.push_str(&" ".repeat(padding));
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}
