//! Keeps the device of the default route shaped, whichever device that is.

use hosttune_core::{Error, Host, Session, Stop};

use super::{WatchEvent, Watcher};
use crate::netlink::{Monitor, WaitOutcome};
use crate::route::default_device;

impl Watcher<'_> {
    /// As [`run`](Self::run), for the device of the default route, and for the next one once the
    /// route moves to another device. While there is no default route, it waits for one.
    ///
    /// The monitor must report [routes](crate::netlink::KernelMonitor::with_routes). The device of
    /// the shaper is ignored; `say` gets the name of the device that an event is about.
    ///
    /// # Errors
    /// If changes cannot be monitored.
    pub fn run_on_default_route(
        &self,
        session: &mut Session,
        monitor: &mut impl Monitor,
        stop: &Stop,
        mut say: impl FnMut(&str, WatchEvent),
    ) -> Result<(), Error> {
        while let Some(device) = wait_for_device(session.host(), monitor, stop)? {
            let shaper = self.shaper.for_device(&device);
            let watcher = Watcher {
                shaper: &shaper,
                follows_route: true,
                ..self.clone()
            };
            let mut moved = false;
            watcher.run(session, monitor, stop, |event| {
                moved |= matches!(event, WatchEvent::Moved(_));
                say(&device, event);
            })?;
            if !moved {
                break;
            }
        }
        Ok(())
    }
}

/// The device of the default route, as soon as there is one; `None` if a stop is requested.
fn wait_for_device(
    host: &Host,
    monitor: &mut impl Monitor,
    stop: &Stop,
) -> Result<Option<String>, Error> {
    loop {
        // A routing table that cannot be read now may be readable after the next change.
        if let Ok(Some(device)) = default_device(host) {
            return Ok(Some(device));
        }
        if monitor.wait(stop, None)? == WaitOutcome::Stopped {
            return Ok(None);
        }
    }
}
