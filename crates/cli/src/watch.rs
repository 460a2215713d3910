//! `watch`: keeps hot-plugged devices tuned until it is interrupted.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use hosttune_blockdev::uevent::{self, Uevents};
use hosttune_blockdev::{DiskEvent, Rules};
use hosttune_core::{Error, Selection, Session, Stop};
use hosttune_netlink::KernelMonitor;
use hosttune_qos::{Shaper, WatchEvent};
use serde::Serialize;

use super::colour::visible;
use super::exit::Exit;
use super::failure::Failure;
use super::interruption::Interruption;
use super::json;
use super::streams::Streams;

/// A device or a set of devices that may appear at any time, and how `watch` tunes it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Watched {
    /// A network interface, which is shaped again when it reappears.
    Interface {
        /// The part of the host's tuning.
        part: &'static str,
        /// The shaping to keep in place.
        shaper: Shaper,
    },
    /// The network interface of the default route. If the route moves to another interface, that one is
    /// shaped instead.
    DefaultRoute {
        /// The part of the host's tuning.
        part: &'static str,
        /// The shaping to keep in place. Its device is the current one, or empty if there is none.
        shaper: Shaper,
    },
    /// Hot-plugged disks, which are tuned when they appear.
    Disks {
        /// The part of the host's tuning.
        part: &'static str,
        /// The rules that tune them.
        rules: Rules,
    },
}

impl Watched {
    /// The part of the host's tuning.
    pub fn part(&self) -> &'static str {
        match self {
            Self::Interface { part, .. }
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
        // Sending fails only after the receiver is gone, and then all watchers have been stopped.
        match self {
            Self::Interface { part, shaper } => {
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
    /// Formats it for the prompt "Keep … until interrupted?".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DefaultRoute { shaper, .. } if shaper.device.is_empty() => {
                f.write_str("the interface of the default route shaped")
            }
            Self::Interface { shaper, .. } | Self::DefaultRoute { shaper, .. } => {
                write!(f, "{} shaped", shaper.device)
            }
            Self::Disks { rules, .. } => match &rules.only {
                Some(disk) => write!(f, "{} tuned when hot-plugged", disk.display()),
                None => f.write_str("hot-plugged disks tuned"),
            },
        }
    }
}

/// The entries that `--only` selects, by the name of their part or of a part that contains it, as with all
/// verbs.
pub(super) fn chosen(watched: Vec<Watched>, only: &[String]) -> Result<Vec<Watched>, Failure> {
    let mut known: Vec<String> = Vec::new();
    for name in watched.iter().flat_map(|one| one.part().split('/')) {
        if !known.iter().any(|known| known == name) {
            known.push(name.to_owned());
        }
    }
    if let Some(unknown) = only.iter().find(|name| !known.contains(name)) {
        return Err(Failure::unknown("watched part", unknown, &known));
    }
    let selection = Selection::only(only.iter().cloned());
    let meant = |one: &Watched| selection.admits_part(one.part());
    Ok(watched.into_iter().filter(meant).collect())
}

/// One event: `watch.schema.json`, one document per line.
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

/// Watches until a termination signal arrives; applied settings stay in effect. Each entry has its own
/// session and retries while another one holds the lock.
pub(super) fn watch(
    watched: Vec<(Watched, Session)>,
    as_json: bool,
    streams: &mut Streams,
) -> Result<Exit, Failure> {
    // The signals are blocked before the threads start, because threads inherit the mask.
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
                // If one watcher fails, all of them stop, so that `watch` does not seem to be running.
                stop.request();
                outcome
            })
        };
        let threads: Vec<_> = watched.into_iter().map(start).collect();
        drop(tell);
        let mut as_wanted = BTreeSet::new();
        for happened in told {
            let Happened { device, event, .. } = &happened;
            // Devices are checked after every event; "as-wanted" is printed only once in a row.
            if *event != "as-wanted" {
                as_wanted.remove(device);
            } else if !as_wanted.insert(device.clone()) {
                continue;
            }
            if as_json {
                // A failure to serialize a line is a bug of this program; the other lines are still printed.
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
