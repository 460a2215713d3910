//! `watch`: a device kept shaped while it comes and goes, until somebody ends it.

use hosttune_core::Session;
use hosttune_qos::netlink::KernelMonitor;
use hosttune_qos::{Stop, WatchEvent};
use serde::Serialize;

use super::colour::visible;
use super::exit::Exit;
use super::failure::Failure;
use super::interruption::Interruption;
use super::streams::Streams;
use super::{Watched, json};

/// One thing that happened: `watch.schema.json`, each on a line.
#[derive(Debug, Serialize)]
pub(super) struct Happened<'a> {
    device: &'a str,
    event: &'static str,
    text: String,
}

impl<'a> Happened<'a> {
    pub(super) fn new(device: &'a str, event: &WatchEvent) -> Self {
        Self {
            device,
            event: event.word(),
            text: event.to_string(),
        }
    }
}

/// Watches until a signal asks to end; what it has applied stays.
pub(super) fn watch(
    watched: &Watched,
    session: &mut Session,
    as_json: bool,
    streams: &mut Streams,
) -> Result<Exit, Failure> {
    let interruption = Interruption::noted().map_err(Failure::Signals)?;
    let stop = interruption
        .descriptor()
        .and_then(Stop::on)
        .map_err(Failure::Signals)?;
    let mut monitor = KernelMonitor::open().map_err(hosttune_core::Error::from)?;
    let device = &*watched.shaper.device;
    let mut before = "";
    let say = |event: WatchEvent| {
        let happened = Happened::new(device, &event);
        // It is looked at whenever anything changes; that nothing came of it is said once.
        if happened.event == "as-wanted" && before == happened.event {
            return;
        }
        before = happened.event;
        if as_json {
            // A line that cannot be made is a defect that the next one does not mend.
            if let Ok(line) = json::line(&happened) {
                streams.print(&line);
            }
        } else {
            let text = visible(&happened.text);
            streams.print(&format!("{}: {text}\n", visible(device)));
        }
    };
    let watcher = watched.shaper.watcher().part(watched.part);
    watcher.run(session, &mut monitor, &stop, say)?;
    Ok(Exit::Done)
}
