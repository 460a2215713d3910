//! Measurements as a chart: a self-contained SVG.

use std::fmt::Write as _;

use super::measurement::{Measurement, PhaseResult, Probe};
use super::phase::Phase;
use super::verdict::Verdict;

const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 520.0;
/// Edges of the plot.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 985.0;
const TOP: f64 = 125.0;
const BOTTOM: f64 = 460.0;
/// Space between two phases.
const GAP: f64 = 14.0;

/// Longer round trips are drawn at the upper edge, because a file may hold any number.
const LONGEST_MILLISECONDS: f64 = 60_000.0;

/// An entry of the legend: a measurement, its name and its colour.
struct Series<'a> {
    measurement: &'a Measurement,
    name: &'static str,
    colour: &'static str,
}

/// Position of a phase on the page, and its length in time.
struct Panel {
    phase: Phase,
    left: f64,
    right: f64,
    seconds: f64,
}

/// Draws the round-trip times of each phase over time, for one measurement or for two side by side.
///
/// The result is an XML document that has no external references and no scripts. Marks at the upper
/// edge are lost probes, and the dashed lines are the 95th percentiles.
pub fn chart(before: Option<&Measurement>, measurement: &Measurement) -> String {
    let mut all = Vec::new();
    if let Some(before) = before {
        all.push(Series {
            measurement: before,
            name: "before",
            colour: "#c2410c",
        });
    }
    all.push(Series {
        measurement,
        name: if before.is_some() {
            "after"
        } else {
            "round trips"
        },
        colour: "#1d4ed8",
    });
    let panels = panels(&all);
    let top = highest(&all);
    let mut svg = String::new();
    head(&mut svg, &all);
    vertical_axis(&mut svg, top);
    for (number, panel) in panels.iter().enumerate() {
        horizontal_axis(&mut svg, panel, number % 2 == 1);
    }
    for panel in &panels {
        for (row, series) in all.iter().enumerate() {
            if let Some(result) = series.measurement.phase(panel.phase) {
                says(&mut svg, panel, series, result, row);
                points(&mut svg, panel, series, result, top);
            }
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn head(svg: &mut String, all: &[Series<'_>]) {
    let server = all.last().map_or("", |series| &series.measurement.server);
    let title = escape(&format!("Latency under load, to {server}"));
    let _ = write!(
        svg,
        r##"<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="13" role="img">
<title>{title}</title>
<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>
<text x="{LEFT}" y="28" font-size="18" font-weight="bold" fill="#111827">{title}</text>
"##
    );
    let mut x = LEFT;
    for series in all {
        let _ = writeln!(
            svg,
            r#"<circle cx="{:.1}" cy="46" r="4" fill="{}"/><text x="{:.1}" y="50" fill="{}">{}</text>"#,
            x + 4.0,
            series.colour,
            x + 13.0,
            series.colour,
            series.name
        );
        x += 30.0 + 8.0 * series.name.len() as f64;
    }
    let _ = writeln!(
        svg,
        r##"<text x="{x:.1}" y="50" fill="#4b5563">dashed: 95th percentile; marks at the upper edge: lost probes</text>"##
    );
    let _ = writeln!(
        svg,
        r##"<text x="{:.1}" y="{:.1}" text-anchor="middle" fill="#111827">seconds in the phase</text>"##,
        (LEFT + RIGHT) / 2.0,
        HEIGHT - 14.0
    );
    let middle = (TOP + BOTTOM) / 2.0;
    let _ = writeln!(
        svg,
        r##"<text x="18" y="{middle:.1}" text-anchor="middle" transform="rotate(-90 18 {middle:.1})" fill="#111827">round trip (ms)</text>"##
    );
}

/// The phases side by side, each as wide as it is long. Both measurements begin at its left edge.
fn panels(all: &[Series<'_>]) -> Vec<Panel> {
    let lasts = |phase: Phase| {
        let results = all
            .iter()
            .filter_map(|series| series.measurement.phase(phase));
        results
            .map(|result| (result.end_milliseconds - result.begin_milliseconds) / 1e3)
            .filter(|seconds| seconds.is_finite() && *seconds > 0.0)
            .reduce(f64::max)
            // At most an hour, because a file may hold any number.
            .map(|seconds| seconds.min(3_600.0))
    };
    let phases: Vec<(Phase, f64)> = Phase::ALL
        .into_iter()
        .filter_map(|phase| Some((phase, lasts(phase)?)))
        .collect();
    let seconds: f64 = phases.iter().map(|(_, seconds)| seconds).sum();
    let gaps = GAP * phases.len().saturating_sub(1) as f64;
    let mut left = LEFT;
    phases
        .into_iter()
        .map(|(phase, lasts)| {
            let right = left + (RIGHT - LEFT - gaps) * lasts / seconds;
            let panel = Panel {
                phase,
                left,
                right,
                seconds: lasts,
            };
            left = right + GAP;
            panel
        })
        .collect()
}

/// The end of the vertical axis in milliseconds: a round number above all round trips.
fn highest(all: &[Series<'_>]) -> f64 {
    let longest = all
        .iter()
        .flat_map(|series| &series.measurement.phases)
        .filter_map(|result| Some(result.round_trip?.maximum_milliseconds))
        .filter(|maximum| maximum.is_finite())
        .fold(10.0, f64::max)
        .min(LONGEST_MILLISECONDS);
    let step = step(longest);
    (longest / step).ceil() * step
}

/// The distance between the ticks of an axis of this length: 1, 2 or 5 times a power of ten, for at
/// most about six ticks.
fn step(length: f64) -> f64 {
    let rough = length / 6.0;
    let power = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough)
        .unwrap_or(10.0 * power)
}

/// The ticks of an axis, both ends included.
fn lines(length: f64) -> impl Iterator<Item = f64> {
    let step = step(length);
    (0..=20)
        .map(move |number| f64::from(number) * step)
        .take_while(move |at| *at <= length * 1.000_1)
}

fn height(milliseconds: f64, top: f64) -> f64 {
    BOTTOM - (BOTTOM - TOP) * (milliseconds / top).clamp(0.0, 1.0)
}

fn vertical_axis(svg: &mut String, top: f64) {
    for at in lines(top) {
        let y = height(at, top);
        let _ = writeln!(
            svg,
            r##"<line x1="{LEFT}" y1="{y:.1}" x2="{RIGHT}" y2="{y:.1}" stroke="#e5e7eb"/><text x="{:.1}" y="{:.1}" text-anchor="end" fill="#4b5563">{at}</text>"##,
            LEFT - 8.0,
            y + 4.5
        );
    }
}

fn horizontal_axis(svg: &mut String, panel: &Panel, is_shaded: bool) {
    let width = panel.right - panel.left;
    let fill = if is_shaded { "#1118270d" } else { "none" };
    let _ = writeln!(
        svg,
        r##"<rect x="{:.1}" y="{TOP}" width="{width:.1}" height="{:.1}" fill="{fill}" stroke="#9ca3af"/><text x="{:.1}" y="76" font-weight="bold" fill="#111827">{}</text>"##,
        panel.left,
        BOTTOM - TOP,
        panel.left + 2.0,
        panel.phase
    );
    for at in lines(panel.seconds) {
        let into = (at / panel.seconds).min(1.0);
        let x = panel.left + width * into;
        // Otherwise the last label of one panel would overlap the first one of the next.
        let anchor = match into {
            0.0 => "start",
            into if into > 0.99 => "end",
            _ => "middle",
        };
        let _ = writeln!(
            svg,
            r##"<line x1="{x:.1}" y1="{BOTTOM}" x2="{x:.1}" y2="{:.1}" stroke="#9ca3af"/><text x="{x:.1}" y="{:.1}" text-anchor="{anchor}" fill="#4b5563">{at}</text>"##,
            BOTTOM + 5.0,
            BOTTOM + 20.0
        );
    }
}

/// The result of a phase, written above it.
fn says(svg: &mut String, panel: &Panel, series: &Series<'_>, result: &PhaseResult, row: usize) {
    let text = match (&result.verdict, result.increase, result.round_trip) {
        (Some(verdict), Some(increase), _) => {
            let grade = match verdict {
                Verdict::Graded(grades) => format!("{}, p95 {}", grades.mean, grades.p95),
                Verdict::Ungraded(_) => "no grade".to_owned(),
            };
            format!("p95 {:+.1} ms: {grade}", increase.p95_milliseconds)
        }
        (None, _, Some(round_trip)) => format!("median {:.1} ms", round_trip.median_milliseconds),
        _ => "no answers".to_owned(),
    };
    let _ = writeln!(
        svg,
        r#"<text x="{:.1}" y="{}" fill="{}">{}</text>"#,
        panel.left + 2.0,
        95 + 17 * row,
        series.colour,
        escape(&text)
    );
}

fn points(svg: &mut String, panel: &Panel, series: &Series<'_>, result: &PhaseResult, top: f64) {
    let (begin, end) = (result.begin_milliseconds, result.end_milliseconds);
    let place = |probe: &Probe| {
        let into = (probe.sent_milliseconds - begin) / 1e3 / panel.seconds;
        panel.left + (panel.right - panel.left) * into.clamp(0.0, 1.0)
    };
    let (mut answered, mut lost) = (String::new(), String::new());
    for probe in &series.measurement.series {
        let at = probe.sent_milliseconds;
        if !at.is_finite() || at < begin || at >= end {
            continue;
        }
        let x = place(probe);
        let _ = match probe.round_trip_milliseconds {
            // A line of length zero with round caps is drawn as a dot.
            Some(took) => write!(answered, "M{x:.1} {:.1}h0", height(took, top)),
            None => write!(lost, "M{x:.1} {TOP}v7"),
        };
    }
    let colour = series.colour;
    for (path, style) in [
        (
            answered,
            r#"stroke-width="3" stroke-linecap="round" stroke-opacity="0.7""#,
        ),
        (lost, r#"stroke-width="1.5""#),
    ] {
        if !path.is_empty() {
            let _ = writeln!(
                svg,
                r#"<path d="{path}" fill="none" stroke="{colour}" {style}/>"#
            );
        }
    }
    if let Some(round_trip) = result.round_trip {
        let y = height(round_trip.p95_milliseconds, top);
        let _ = writeln!(
            svg,
            r#"<line x1="{:.1}" y1="{y:.1}" x2="{:.1}" y2="{y:.1}" stroke="{colour}" stroke-dasharray="6 4"/>"#,
            panel.left, panel.right
        );
    }
}

/// Escapes markup for XML, and replaces characters that no XML document may contain.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push(char::REPLACEMENT_CHARACTER),
            character if character.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
            character => escaped.push(character),
        }
    }
    escaped
}
