//! `measure`: measures latency under load, or runs the responder for it. It changes nothing.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use hosttune_latency::{
    Comparison, Configured, LatencyTest, MeasureError, Measurement, Progress, Responder, Stage,
    advice, chart,
};
use hosttune_qos::Rate;
use serde::{Deserialize, Serialize};

use super::arguments::Global;
use super::exit::Exit;
use super::failure::Failure;
use super::interruption::Interruption;
use super::report_file::{self, ReportFile};
use super::streams::Streams;
use super::text;

/// The interval between two progress lines.
const TOLD_EVERY: Duration = Duration::from_millis(250);

/// The arguments of `measure`.
#[derive(Debug, Clone, Args)]
pub(super) struct MeasureArguments {
    /// The responder on the other side of the link
    #[arg(
        long,
        value_name = "HOST:PORT",
        required_unless_present = "respond",
        conflicts_with = "respond"
    )]
    server: Option<String>,
    /// Run as the responder until Ctrl-C
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        conflicts_with_all = ["down", "up", "seconds", "flows", "svg", "before", "save"]
    )]
    respond: Option<String>,
    /// Download rate of the link, or the rate it is shaped to, such as 100mbit; needed for a grade
    #[arg(long, value_name = "RATE", value_parser = super::rate::rate)]
    down: Option<Rate>,
    /// Upload rate of the link, or the rate it is shaped to, such as 40mbit; needed for a grade
    #[arg(long, value_name = "RATE", value_parser = super::rate::rate)]
    up: Option<Rate>,
    /// Duration of each of the four phases, 3 to 60 seconds
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u8).range(3..=60))]
    seconds: u8,
    /// Number of TCP connections that make the load in each direction, 1 to 16
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=16))]
    flows: u8,
    /// Draw the measurement as SVG into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Compare with an earlier measurement, which --save wrote
    #[arg(long, value_name = "FILE")]
    before: Option<PathBuf>,
    /// Write the JSON document to this file
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

/// `measure.schema.json`: what `--json` prints and `--save` writes.
#[derive(Debug, Serialize)]
pub(super) struct MeasureDocument<'a> {
    pub(super) measurement: &'a Measurement,
    pub(super) comparison: Option<&'a Comparison>,
    pub(super) advice: Vec<String>,
}

/// The part of the document that `--before` reads.
#[derive(Debug, Deserialize)]
struct Stored {
    measurement: Measurement,
}

/// Measures, or runs the responder.
pub(super) fn measure(
    arguments: &MeasureArguments,
    global: &Global,
    name: &'static str,
    streams: &mut Streams,
) -> Result<Exit, Failure> {
    check(arguments, global)?;
    let interruption = Interruption::noted().map_err(Failure::Signals)?;
    if let Some(address) = &arguments.respond {
        return respond(address, &interruption, name, streams);
    }
    let before = arguments.before.as_deref().map(stored).transpose()?;
    let begin = |path: &Option<PathBuf>| path.as_deref().map(ReportFile::begin).transpose();
    let (svg, save) = (begin(&arguments.svg)?, begin(&arguments.save)?);

    let measurement = measured(arguments, &interruption, streams)?;
    let comparison = before
        .as_ref()
        .map(|before| Comparison::between(before, &measurement));
    let document = MeasureDocument {
        measurement: &measurement,
        comparison: comparison.as_ref(),
        advice: advice(&measurement)
            .iter()
            .map(ToString::to_string)
            .collect(),
    };
    // The result is printed before the files are written, so that a full disk loses only the files.
    if global.json {
        streams.document(&document)?;
    } else {
        let text = text::measured(streams.look, name, &document);
        streams.print(&text);
    }
    if let Some(save) = save {
        save.finish(&format!("{}\n", serde_json::to_string_pretty(&document)?))?;
    }
    if let Some(svg) = svg {
        svg.finish(&chart(before.as_ref(), &measurement))?;
    }
    Ok(if measurement.is_graded() {
        Exit::Done
    } else {
        Exit::Drift
    })
}

/// Checks what clap's grammar cannot express.
fn check(arguments: &MeasureArguments, global: &Global) -> Result<(), Failure> {
    let about_profile = [
        (
            "--root",
            global
                .root
                .as_deref()
                .is_some_and(|root| root != Path::new("/")),
        ),
        ("--only", !global.only.is_empty()),
        ("--with", !global.with.is_empty()),
        ("--strict", global.strict),
        ("--persist", global.persist),
        ("--json", global.json && arguments.respond.is_some()),
    ];
    if let Some(setting) = global.set.keys().next() {
        return Err(Failure::usage(
            format!("--{setting} before measure is an option of the profile"),
            "write measure first and its own options after it",
        ));
    }
    if let Some((option, _)) = about_profile.iter().find(|(_, given)| *given) {
        let command = match arguments.respond {
            Some(_) => "measure --respond",
            None => "measure",
        };
        return Err(Failure::usage(
            format!("{option} does not apply to {command}, which measures the running network"),
            format!("omit {option}"),
        ));
    }
    for address in [&arguments.server, &arguments.respond]
        .into_iter()
        .flatten()
    {
        let port = address
            .rsplit_once(':')
            .map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(_))) {
            return Err(Failure::usage(
                format!("'{address}' has no valid port"),
                "write it like server.example:8585, 192.0.2.1:8585 or [2001:db8::1]:8585",
            ));
        }
    }
    if arguments.svg.is_some() && arguments.svg == arguments.save {
        return Err(Failure::usage(
            "--svg and --save name the same file",
            "give each its own file",
        ));
    }
    Ok(())
}

/// Reads a measurement that `--save` wrote.
fn stored(path: &Path) -> Result<Measurement, Failure> {
    let text = report_file::read(path)?;
    let stored: Stored =
        serde_json::from_str(&text).map_err(|error| report_file::no_report(path, error))?;
    Ok(stored.measurement)
}

fn respond(
    address: &str,
    interruption: &Interruption,
    name: &str,
    streams: &mut Streams,
) -> Result<Exit, Failure> {
    let responder = Responder::bind(address)?;
    let at = responder.address();
    streams.print(&format!(
        "{name}: responding at {at}, TCP and UDP, until Ctrl-C\n  \
         on the other host: {name} measure --server {at} --down RATE --up RATE\n"
    ));
    interruption.wait();
    responder.shutdown();
    Ok(Exit::Done)
}

fn measured(
    arguments: &MeasureArguments,
    interruption: &Interruption,
    streams: &mut Streams,
) -> Result<Measurement, MeasureError> {
    let test = LatencyTest::new(arguments.server.clone().unwrap_or_default())
        .phase(Duration::from_secs(arguments.seconds.into()))
        .flows(arguments.flows)
        .configured(Configured {
            download_bits_per_second: arguments.down.map(Rate::as_bits_per_second),
            upload_bits_per_second: arguments.up.map(Rate::as_bits_per_second),
        });
    let mut told: Option<Instant> = None;
    let measured = test.run(&mut |progress| {
        if streams.shows_progress && told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
            streams.complain(&format!("\r{:<60}", line(progress)));
            told = Some(Instant::now());
        }
        if interruption.has_come() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    if told.is_some() {
        streams.complain(&format!("\r{:60}\r", ""));
    }
    measured
}

/// A progress line of fewer than 60 characters.
fn line(progress: &Progress) -> String {
    let does = match progress.stage {
        Stage::Draining => "waiting for the queues to drain",
        Stage::WarmingUp => "warming up",
        Stage::Measuring => "measuring",
        _ => "waiting for answers",
    };
    let seconds = progress.of.saturating_sub(progress.elapsed).as_secs();
    let latest = progress.round_trip.map_or(String::new(), |took| {
        format!(", {:.1} ms", took.as_secs_f64() * 1e3)
    });
    format!("{}: {does}, {seconds} s{latest}", progress.phase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hosttune_latency::Phase;

    #[test]
    fn progress_fits_a_narrow_terminal() {
        for phase in Phase::ALL {
            for stage in [
                Stage::Draining,
                Stage::WarmingUp,
                Stage::Measuring,
                Stage::Finishing,
            ] {
                let progress = Progress {
                    phase,
                    stage,
                    elapsed: Duration::ZERO,
                    of: Duration::from_secs(60),
                    round_trip: Some(Duration::from_secs(5)),
                };
                let line = line(&progress);
                assert!(line.len() < 60 && line.is_ascii(), "{line}");
            }
        }
    }
}
