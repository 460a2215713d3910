//! Events about hot-plugged disks from the kernel and udev, and deciding which disk to handle.
//!
//! [`Uevents`] receives events; [`Hotplug`] decides, without a clock or a socket. It decides only
//! which disk to look at, because an event may be lost, late, or about a device that has been
//! removed again.
//!
//! ```no_run
//! use hosttune_blockdev::uevent::{Due, WaitOutcome, Hotplug, RetryPolicy, Sender, UeventMonitor, Uevents};
//!
//! // After udev, whose rules may set the same attributes.
//! let mut uevents = Uevents::open(Sender::Udev)?;
//! let mut hotplug = Hotplug::new(RetryPolicy::default());
//! loop {
//!     let now = uevents.now();
//!     match hotplug.due(now) {
//!         Due::Wait(until) => match uevents.wait(&[], until)? {
//!             WaitOutcome::Events(events) => events.iter().for_each(|event| hotplug.on(event, now)),
//!             WaitOutcome::Lost => hotplug.lost(now),
//!             WaitOutcome::Nothing => {}
//!             WaitOutcome::Stopped => break,
//!         },
//!         Due::Disks(disks) => println!("look at {disks:?}"),
//!         Due::Everything => println!("look at all disks"),
//!     }
//! }
//! # Ok::<(), hosttune_core::HostError>(())
//! ```

mod hotplug;
mod message;
mod socket;
#[cfg(any(test, feature = "testing"))]
mod testing;

use std::fmt;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use hosttune_core::HostError;

pub use hotplug::{ComingDisk, Due, Hotplug, RetryPolicy};
pub use message::{Malformed, Uevent, UeventAction};
pub use socket::{Sender, Uevents};
#[cfg(any(test, feature = "testing"))]
pub use testing::{ToldUevents, udev_message};

/// The outcome of waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitOutcome {
    /// These events arrived.
    Events(Vec<Uevent>),
    /// Events were lost, and it is unknown which: handle all disks.
    Lost,
    /// No event arrived in time.
    Nothing,
    /// One of the `stop` descriptors became readable.
    Stopped,
}

/// A source of events: [`Uevents`], or a fake in tests.
pub trait UeventMonitor: fmt::Debug {
    /// The time since the monitor was opened.
    fn now(&self) -> Duration;

    /// Waits until an event arrives, until the time `until`, or until one of `stop` becomes
    /// readable or is hung up.
    ///
    /// # Errors
    /// If the monitor fails.
    fn wait(
        &mut self,
        stop: &[BorrowedFd<'_>],
        until: Option<Duration>,
    ) -> Result<WaitOutcome, HostError>;
}
