//! The result of an apply, printed after its plan.

use hosttune_core::{Applied, Finding, Plan, State};

use super::{Page, count, finding_sections, recovered, rows};

/// The result of an apply. `shown` is the plan that was printed before.
pub(in super::super) fn applied(page: &Page, applied: &Applied, shown: Option<&Plan>) -> String {
    let mut text = String::new();
    if let Some(first) = &applied.recovered {
        text.push_str(&recovered(page, first));
    }
    if applied.declined {
        text.push_str(match applied.recovered {
            Some(_) => "\nDeclined: nothing else was changed.\n",
            None => "\nDeclined: nothing was changed.\n",
        });
        return text;
    }
    let planned = shown.map_or(0, |plan| plan.steps.len());
    if planned == 0 {
        return text;
    }
    // Findings that were not in the plan: the kernel refused the write.
    let known = |finding: &Finding| shown.is_some_and(|plan| plan.findings.contains(finding));
    let news: Vec<&Finding> = applied
        .findings
        .iter()
        .filter(|found| !known(found))
        .collect();
    let changed = applied.changed.len();
    text.push_str(&format!(
        "\nDone: {} made and read back.\n",
        count(changed, "change", "changes")
    ));
    let refused = news.len();
    if refused > 0 {
        text.push_str(&format!(
            "The kernel refused {refused}; the other changes are in effect:\n"
        ));
        text.push_str(&rows::render(page.look, &finding_sections(news)));
    }
    let settled = planned.saturating_sub(changed + refused);
    if settled > 0 {
        text.push_str(&format!(
            "{} already as wanted before the write.\n",
            count(settled, "more setting was", "more settings were")
        ));
    }
    let unknown = |finding: &&Finding| matches!(finding.state, State::Unverifiable { .. });
    let unknown = applied.findings.iter().filter(unknown).count();
    if unknown > 0 {
        text.push_str(&format!(
            "{} not be read: see 'unknown' above.\n",
            count(unknown, "setting could", "settings could")
        ));
    }
    text.push_str(&format!("Revert at any time: {}\n", page.command("revert")));
    text
}
