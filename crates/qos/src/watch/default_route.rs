//! The device of the default route kept shaped, whichever device that is.

use hosttune_core::{Error, Host, Session, Stop};

use super::{WatchEvent, Watcher};
use crate::netlink::{Monitor, Noticed};
use crate::route::default_device;

impl Watcher<'_> {
    /// As [`run`](Self::run), of the device that the default route leads out of, and of the next one
    /// once it leads out of another. While there is no default route, it waits for one.
    ///
    /// The monitor has to tell [of routes](crate::netlink::KernelMonitor::with_routes). The device of
    /// the shaper does not matter; `say` is told about which one something is said.
    ///
    /// # Errors
    /// Where changes cannot be listened to.
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

/// The device of the default route, as soon as there is one; `None` where somebody asks to stop.
fn wait_for_device(
    host: &Host,
    monitor: &mut impl Monitor,
    stop: &Stop,
) -> Result<Option<String>, Error> {
    loop {
        // A table that cannot be read can be by the next time.
        if let Ok(Some(device)) = default_device(host) {
            return Ok(Some(device));
        }
        if monitor.wait(stop, None)? == Noticed::Stopped {
            return Ok(None);
        }
    }
}
