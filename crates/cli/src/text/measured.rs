//! Latency under load as a table, with an explanation.

use hosttune_latency::{Phase, PhaseResult, Verdict};

use super::super::colour::{Look, Role, visible};
use super::super::measure::MeasureDocument;
use super::rows;

/// The titles of the columns after the first.
const TITLES: [&str; 10] = [
    "probes", "lost", "median", "p95", "max", "+mean", "+p95", "grade", "down", "up",
];

/// The result of a measurement.
pub(in super::super) fn measured(look: Look, name: &str, document: &MeasureDocument<'_>) -> String {
    let measurement = document.measurement;
    let says = match worst(&measurement.phases) {
        Some((grade, phase)) if measurement.is_graded() => format!("{grade} at worst ({phase})"),
        Some((grade, phase)) => format!("not all phases have a grade; {grade} at worst ({phase})"),
        None => "no grade".to_owned(),
    };
    let title = format!(
        "{name}: latency under load, to {}",
        visible(&measurement.server)
    );
    let mut text = format!("{}: {says}\n\n", look.paint(Role::Title, &title));
    text.push_str(&table(look, &measurement.phases));
    let about = "\
        Round-trip times in ms; +mean is the increase over the idle mean, +p95 over the idle median, and \
        the grades rate these two; down and up are received rates in Mbit/s.";
    paragraph(&mut text, look, Role::Aside, about);
    let reasons = measurement
        .phases
        .iter()
        .filter_map(|result| match result.verdict.as_ref()? {
            Verdict::Ungraded(reason) => Some(format!("{}: no grade: {reason}", result.phase)),
            Verdict::Graded(_) => None,
        });
    listed(&mut text, look, Role::Attention, reasons);
    if let Some(comparison) = document.comparison {
        text.push('\n');
        let compared = comparison.phases.iter().map(|phase| {
            let p95 = |increase: Option<hosttune_latency::Increase>| {
                increase.map_or("?".to_owned(), |increase| signed(increase.p95_milliseconds))
            };
            let (before, after) = (p95(phase.before), p95(phase.after));
            let times = match phase.p95_times_lower {
                Some(times) if times >= 1.0 => format!("{times:.1} times lower"),
                Some(times) => format!("{:.1} times higher", 1.0 / times.max(1e-6)),
                None => "not compared: both need a grade".to_owned(),
            };
            format!(
                "{}: p95 {before} ms before, {after} ms after: {times}",
                phase.phase
            )
        });
        listed(&mut text, look, Role::Wanted, compared);
    }
    if !document.advice.is_empty() {
        text.push('\n');
        let advice = document
            .advice
            .iter()
            .map(|advice| format!("try: {advice}"));
        listed(&mut text, look, Role::Attention, advice);
    }
    text
}

/// The worst grade of any phase, and the phase.
fn worst(phases: &[PhaseResult]) -> Option<(hosttune_latency::Grade, Phase)> {
    let graded = phases.iter().filter_map(|result| match &result.verdict {
        Some(Verdict::Graded(grades)) => Some((grades.p95.max(grades.mean), result.phase)),
        _ => None,
    });
    graded.max_by_key(|(grade, _)| *grade)
}

fn table(look: Look, phases: &[PhaseResult]) -> String {
    let lines: Vec<Vec<String>> = std::iter::once(TITLES.map(str::to_owned).to_vec())
        .chain(phases.iter().map(cells))
        .collect();
    let width = |column: usize| lines.iter().map(|line| rows::length(&line[column])).max();
    let widths: Vec<usize> = (0..TITLES.len())
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut text = String::new();
    let names =
        std::iter::once(String::new()).chain(phases.iter().map(|result| result.phase.to_string()));
    for (number, (name, line)) in names.zip(&lines).enumerate() {
        let mut row = format!("  {name:<8}");
        for (cell, width) in line.iter().zip(&widths) {
            row.push_str(&format!("  {cell:>width$}"));
        }
        let role = if number == 0 {
            Role::Aside
        } else {
            Role::Title
        };
        text.push_str(&if number == 0 {
            look.paint(role, &row)
        } else {
            row
        });
        text.push('\n');
    }
    text
}

fn cells(result: &PhaseResult) -> Vec<String> {
    let none = || "-".to_owned();
    let took = |of: fn(&hosttune_latency::RoundTripStatistics) -> f64| {
        result
            .round_trip
            .as_ref()
            .map_or_else(none, |took| format!("{:.1}", of(took)))
    };
    let increase = |of: fn(&hosttune_latency::Increase) -> f64| {
        result
            .increase
            .as_ref()
            .map_or_else(none, |increase| signed(of(increase)))
    };
    let rate =
        |rate: Option<u64>| rate.map_or_else(none, |rate| format!("{:.2}", rate as f64 / 1e6));
    vec![
        result.samples.saturating_add(result.lost).to_string(),
        result.lost.to_string(),
        took(|took| took.median_milliseconds),
        took(|took| took.p95_milliseconds),
        took(|took| took.maximum_milliseconds),
        increase(|increase| increase.mean_milliseconds),
        increase(|increase| increase.p95_milliseconds),
        match &result.verdict {
            Some(Verdict::Graded(grades)) => format!("{}, {}", grades.mean, grades.p95),
            Some(Verdict::Ungraded(_)) => "none".to_owned(),
            None => none(),
        },
        rate(result.download_bits_per_second),
        rate(result.upload_bits_per_second),
    ]
}

/// The number with its sign; a zero is always positive.
fn signed(milliseconds: f64) -> String {
    let text = format!("{milliseconds:+.1}");
    if text == "-0.0" {
        "+0.0".to_owned()
    } else {
        text
    }
}

fn paragraph(text: &mut String, look: Look, role: Role, says: &str) {
    for line in rows::wrap(&visible(says), look.width - 2) {
        text.push_str(&format!("  {}\n", look.paint(role, &line)));
    }
}

/// Sentences, each on its own lines.
fn listed(text: &mut String, look: Look, role: Role, sentences: impl Iterator<Item = String>) {
    for sentence in sentences {
        for (number, line) in rows::wrap(&visible(&sentence), look.width - 4)
            .iter()
            .enumerate()
        {
            let indent = if number == 0 { "  " } else { "    " };
            text.push_str(&format!("{indent}{}\n", look.paint(role, line)));
        }
    }
}
