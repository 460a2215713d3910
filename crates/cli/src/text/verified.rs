//! The state of every requested setting.

use hosttune_core::{Finding, Knob, Report, State};
use hosttune_sysctl::{Sysctl, SysctlPair};

use super::{Page, as_wanted, finding_sections, rows, tally};

/// The answer of `verify`; `fails` is whether the exit code reports a failure.
pub(in super::super) fn verified(page: &Page, report: &Report, fails: bool) -> String {
    let sections = finding_sections(&report.items);
    let as_wanted = as_wanted(&report.items);
    let all = report.items.len();
    let besides = tally(&sections);
    let besides = if besides.is_empty() {
        String::new()
    } else {
        format!(", {besides}")
    };
    let mut text = page.headline(&match all {
        0 => "no settings to check".to_owned(),
        _ if fails
            && report
                .items
                .iter()
                .all(|item| !item.is_failure() || is_unknown(item)) =>
        {
            format!("CANNOT TELL: {as_wanted} of {all} are as wanted{besides}")
        }
        _ if fails => format!("NOT as wanted: {as_wanted} of {all} are{besides}"),
        _ if as_wanted == all => format!("as wanted: all {all}{besides}"),
        _ => format!("as wanted: {as_wanted} of {all}{besides}"),
    });
    if !sections.is_empty() {
        text.push('\n');
        text.push_str(&rows::render(page.look, &sections));
    }
    if !report.notes.is_empty() {
        text.push('\n');
        text.push_str(&page.notes(&report.notes));
    }
    let drifted = || report.items.iter().filter(|item| item.state.is_drift());
    if drifted().next().is_some() {
        let mut next = vec![page.changing("Apply", "apply")];
        // It knows no other kind of key.
        if drifted().any(is_sysctl) {
            next.push(format!(
                "See what sets a key at boot: {} KEY",
                page.command("who-sets")
            ));
        }
        text.push_str(&page.next(&next));
    }
    text
}

fn is_sysctl(finding: &Finding) -> bool {
    let kind = finding.knob.as_ref().map(|knob| knob.kind.as_str());
    kind.is_some_and(|kind| [Sysctl::NAME, SysctlPair::NAME].contains(&kind))
}

fn is_unknown(finding: &Finding) -> bool {
    matches!(finding.state, State::Unverifiable { .. })
}
