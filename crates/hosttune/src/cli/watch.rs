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

/// One thing that happened, as one line of JSON.
#[derive(Debug, Serialize)]
struct Happened<'a> {
    device: &'a str,
    event: &'static str,
    text: String,
}

/// The word for a program.
fn word(event: &WatchEvent) -> &'static str {
    match event {
        WatchEvent::Applied(_) => "applied",
        WatchEvent::AsWanted => "as-wanted",
        WatchEvent::NoDevice => "no-device",
        WatchEvent::StoodBack(_) => "left",
        WatchEvent::Failed(_) => "failed",
        _ => "other",
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
        let event_word = word(&event);
        // It is looked at whenever anything changes; that nothing came of it is said once.
        if event_word == "as-wanted" && before == event_word {
            return;
        }
        before = event_word;
        let text = event.to_string();
        if as_json {
            let happened = Happened {
                device,
                event: event_word,
                text,
            };
            // A line that cannot be made is a defect that the next one does not mend.
            if let Ok(line) = json::line(&happened) {
                streams.print(&line);
            }
        } else {
            streams.print(&format!("{}: {}\n", visible(device), visible(&text)));
        }
    };
    let watcher = watched.shaper.watcher().part(watched.part);
    watcher.run(session, &mut monitor, &stop, say)?;
    Ok(Exit::Done)
}
