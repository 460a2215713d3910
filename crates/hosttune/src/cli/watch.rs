//! `watch`: what comes and goes kept tuned, until somebody ends it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use hosttune_blockdev::uevent::{self, Uevents};
use hosttune_blockdev::{DiskEvent, Rules};
use hosttune_core::{Error, Selection, Session, Stop};
use hosttune_qos::netlink::KernelMonitor;
use hosttune_qos::{Shaper, WatchEvent};
use serde::Serialize;

use super::colour::visible;
use super::exit::Exit;
use super::failure::Failure;
use super::interruption::Interruption;
use super::json;
use super::streams::Streams;

/// Something that comes and goes, and what `watch` does about it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Watched {
    /// A network device is shaped again when it has come back.
    Line {
        /// The part of the host's tuning that it is.
        part: &'static str,
        /// What is kept in place.
        shaper: Shaper,
    },
    /// The same of the device that the default route leads out of, and of the next one once it leads
    /// out of another.
    DefaultRoute {
        /// The part of the host's tuning that it is.
        part: &'static str,
        /// What is kept in place. Its device is the present one, or empty while there is none.
        shaper: Shaper,
    },
    /// Disks are tuned as they come.
    Disks {
        /// The part of the host's tuning that it is.
        part: &'static str,
        /// By which rules.
        rules: Rules,
    },
}

impl Watched {
    /// The part of the host's tuning that it is.
    pub fn part(&self) -> &'static str {
        match self {
            Self::Line { part, .. }
            | Self::DefaultRoute { part, .. }
            | Self::Disks { part, .. } => part,
        }
    }

    fn run(
        &self,
        session: &mut Session,
        stop: &Stop,
        tell: &Sender<Happened>,
    ) -> Result<(), Error> {
        // Who is told has gone only once everybody was asked to stop.
        match self {
            Self::Line { part, shaper } => {
                let mut monitor = KernelMonitor::open()?;
                let watcher = shaper.watcher().part(*part);
                watcher.run(session, &mut monitor, stop, |event| {
                    let _ = tell.send(Happened::of_line(&shaper.device, &event));
                })
            }
            Self::DefaultRoute { part, shaper } => {
                let mut monitor = KernelMonitor::open()?.with_routes()?;
                let watcher = shaper.watcher().part(*part);
                watcher.run_on_default_route(session, &mut monitor, stop, |device, event| {
                    let _ = tell.send(Happened::of_line(device, &event));
                })
            }
            Self::Disks { part, rules } => {
                let mut uevents = Uevents::open(uevent::Sender::of(session.host())?)?;
                let watcher = rules.watcher().part(*part);
                watcher.run(session, &mut uevents, stop, |disk, event| {
                    let disk = disk.map_or("all disks", |disk| disk.as_str());
                    let _ = tell.send(Happened::of_disk(disk, &event));
                })
            }
        }
    }
}

impl fmt::Display for Watched {
    /// As in "keep … until interrupted".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DefaultRoute { shaper, .. } if shaper.device.is_empty() => {
                f.write_str("the device of the default route shaped")
            }
            Self::Line { shaper, .. } | Self::DefaultRoute { shaper, .. } => {
                write!(f, "{} shaped", shaper.device)
            }
            Self::Disks { rules, .. } => match &rules.only {
                Some(disk) => write!(f, "{} tuned when it comes", disk.display()),
                None => f.write_str("disks tuned as they come"),
            },
        }
    }
}

/// Those of them that `--only` means: by the name of a part or of one that it is in, as with all verbs.
pub(super) fn chosen(watched: Vec<Watched>, only: &[String]) -> Result<Vec<Watched>, Failure> {
    let mut known: Vec<String> = Vec::new();
    for name in watched.iter().flat_map(|one| one.part().split('/')) {
        if !known.iter().any(|known| known == name) {
            known.push(name.to_owned());
        }
    }
    if let Some(unknown) = only.iter().find(|name| !known.contains(name)) {
        return Err(Failure::unknown("part that is watched", unknown, &known));
    }
    let selection = Selection::only(only.iter().cloned());
    let meant = |one: &Watched| selection.admits_part(one.part());
    Ok(watched.into_iter().filter(meant).collect())
}

/// One thing that happened: `watch.schema.json`, each on a line.
#[derive(Debug, Serialize)]
pub(super) struct Happened {
    device: String,
    event: &'static str,
    text: String,
}

impl Happened {
    pub(super) fn of_line(device: &str, event: &WatchEvent) -> Self {
        Self {
            device: device.to_owned(),
            event: event.word(),
            text: event.to_string(),
        }
    }

    pub(super) fn of_disk(disk: &str, event: &DiskEvent) -> Self {
        Self {
            device: disk.to_owned(),
            event: event.word(),
            text: event.to_string(),
        }
    }
}

/// Watches until a signal asks to end; what it has applied stays. Each has a session of its own:
/// whoever finds the journal in use by another tries again.
pub(super) fn watch(
    watched: Vec<(Watched, Session)>,
    as_json: bool,
    streams: &mut Streams,
) -> Result<Exit, Failure> {
    // Before the threads, which inherit that the signals are blocked.
    let interruption = Interruption::noted().map_err(Failure::Signals)?;
    let stop = interruption
        .descriptor()
        .and_then(Stop::on)
        .map_err(Failure::Signals)?;
    let (tell, told) = channel();
    thread::scope(|scope| {
        let start = |(watched, mut session): (Watched, Session)| {
            let (tell, stop) = (tell.clone(), stop.clone());
            scope.spawn(move || {
                let outcome = watched.run(&mut session, &stop, &tell);
                // One that cannot go on must not look as if it did.
                stop.ask();
                outcome
            })
        };
        let threads: Vec<_> = watched.into_iter().map(start).collect();
        drop(tell);
        let mut as_wanted = BTreeSet::new();
        for happened in told {
            let Happened { device, event, .. } = &happened;
            // It is looked at whenever anything changes; that nothing came of it is said once.
            if *event != "as-wanted" {
                as_wanted.remove(device);
            } else if !as_wanted.insert(device.clone()) {
                continue;
            }
            if as_json {
                // A line that cannot be made is a defect that the next one does not mend.
                if let Ok(line) = json::line(&happened) {
                    streams.print(&line);
                }
            } else {
                let (device, text) = (visible(device), visible(&happened.text));
                streams.print(&format!("{device}: {text}\n"));
            }
        }
        let mut failed = Ok(());
        for thread in threads {
            match thread.join() {
                Ok(outcome) => failed = failed.and(outcome),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        failed
    })?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(only: &[&str]) -> Result<Vec<&'static str>, Failure> {
        let disks = |part| Watched::Disks {
            part,
            rules: Rules::new([]),
        };
        let watched = vec![disks("stage-2/blockdev"), disks("spare")];
        let only: Vec<String> = only.iter().map(ToString::to_string).collect();
        Ok(chosen(watched, &only)?.iter().map(Watched::part).collect())
    }

    #[test]
    fn a_part_is_meant_by_its_name_and_by_that_of_one_it_is_in() {
        let cases: [(&[&str], &[&str]); 5] = [
            (&[], &["stage-2/blockdev", "spare"]),
            (&["blockdev"], &["stage-2/blockdev"]),
            (&["stage-2"], &["stage-2/blockdev"]),
            (
                &["spare", "stage-2", "blockdev"],
                &["stage-2/blockdev", "spare"],
            ),
            (&["spare"], &["spare"]),
        ];
        for (only, meant) in cases {
            assert_eq!(parts(only).unwrap(), meant, "{only:?}");
        }
    }

    #[test]
    fn what_is_not_watched_is_an_error_that_names_what_is() {
        for unknown in ["stage-1", "stage-2/blockdev", ""] {
            let error = parts(&["spare", unknown]).unwrap_err();
            assert!(
                error.to_string().contains(&format!("'{unknown}'")),
                "{error}"
            );
            assert_eq!(error.hint().unwrap(), "one of: stage-2, blockdev, spare");
        }
    }
}
