//! Every file and line that sets a sysctl, in the order in which they are loaded.

use hosttune_sysctl::Standing;

use super::super::colour::{Role, visible};
use super::super::who_sets::WhoSets;
use super::{Page, rows};

/// The answer of `who-sets`.
pub(in super::super) fn who_sets(page: &Page, answer: &WhoSets) -> String {
    let look = page.look;
    let mut text = format!("{}\n", look.paint(Role::Title, &visible(&answer.key)));
    let now = match &answer.seen {
        Some(seen) => format!("is {}", visible(seen)),
        None => "cannot be read here".to_owned(),
    };
    text.push_str(&format!("  now: {now}\n"));
    if answer.settings.is_empty() && !answer.others.is_empty() {
        text.push_str("  at boot: no sysctl.d file sets it\n");
    } else if answer.settings.is_empty() {
        text.push_str("  at boot: no file sets it; the kernel's default applies\n");
    } else {
        text.push('\n');
    }
    let places: Vec<String> = answer
        .settings
        .iter()
        .map(|setting| format!("{}:{}", visible(&setting.place.file), setting.place.line))
        .collect();
    let width = places.iter().map(|place| rows::length(place)).max();
    for (place, setting) in places.iter().zip(&answer.settings) {
        let padding = width.unwrap_or(0) - rows::length(place);
        let pattern = visible(&setting.pattern.to_string());
        let says = match &setting.value {
            Some(value) => format!("{pattern} = {}", visible(value)),
            None => format!("-{pattern}"),
        };
        let becomes = match &setting.standing {
            Standing::Wins => look.paint(Role::Wanted, "wins"),
            Standing::Overridden { by } => {
                format!("overridden by {}:{}", visible(&by.file), by.line)
            }
            Standing::BeatenByName { by } => format!(
                "a glob, overridden by the exact name in {}:{}",
                visible(&by.file),
                by.line
            ),
            Standing::Excluded { by } => format!("excluded by {}:{}", visible(&by.file), by.line),
            Standing::Excludes => "an exclusion".to_owned(),
            Standing::Masked { by } => format!("its file is masked by {}", visible(by)),
            other => format!("{other:?}"),
        };
        text.push_str(&format!(
            "    {place}{}  {says}  {becomes}\n",
            " ".repeat(padding)
        ));
    }
    if answer.winner().is_none() && !answer.settings.is_empty() {
        text.push_str("\n  None of them takes effect; the kernel's default applies.\n");
    }
    if let Some(place) = &answer.procps_winner
        && answer.winner() != Some(place)
    {
        text.push_str(&format!(
            "\n  With `sysctl --system` of procps, {}:{} wins.\n",
            visible(&place.file),
            place.line
        ));
    }
    if !answer.others.is_empty() {
        text.push_str("\n  also set by other programs, after these files:\n");
    }
    for other in &answer.others {
        text.push_str(&format!(
            "    {}:{}  {} writes {} {}\n",
            visible(&other.place.file),
            other.place.line,
            other.program,
            visible(&other.value),
            visible(&other.when)
        ));
    }
    text
}
