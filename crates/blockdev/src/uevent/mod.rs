//! Disks that come: what the kernel and udev tell, and which disk to look at then.
//!
//! [`Uevents`] listens; [`Hotplug`] decides, without a clock or a socket. What is decided is only
//! which disk to look at: an event may be lost, late, or about something that is gone again.
//!
//! ```no_run
//! use hosttune_blockdev::uevent::{Due, Heard, Hotplug, Pace, Sender, UeventMonitor, Uevents};
//!
//! // Behind udev, whose rules may set what is wanted otherwise.
//! let mut uevents = Uevents::open(Sender::Udev)?;
//! let mut hotplug = Hotplug::new(Pace::default());
//! loop {
//!     let now = uevents.now();
//!     match hotplug.due(now) {
//!         Due::Wait(until) => match uevents.wait(&[], until)? {
//!             Heard::Events(events) => events.iter().for_each(|event| hotplug.on(event, now)),
//!             Heard::Lost => hotplug.lost(now),
//!             Heard::Nothing => {}
//!             Heard::Stopped => break,
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

pub use hotplug::{ComingDisk, Due, Hotplug, Pace};
pub use message::{Malformed, Uevent, UeventAction};
pub use socket::{Sender, Uevents};
#[cfg(any(test, feature = "testing"))]
pub use testing::{ToldUevents, udev_message};

/// How waiting ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// These were told.
    Events(Vec<Uevent>),
    /// More was told than there was room for, and nobody knows what: look at everything.
    Lost,
    /// Nothing was told until the time came.
    Nothing,
    /// One of the descriptors became readable.
    Stopped,
}

/// Something that tells of devices: [`Uevents`], or what stands for it in tests.
pub trait UeventMonitor: fmt::Debug {
    /// The time since it was opened.
    fn now(&self) -> Duration;

    /// Waits until something is told, until it is `until`, or until one of `stop` becomes readable
    /// or is hung up.
    ///
    /// # Errors
    /// Where it cannot be listened to.
    fn wait(
        &mut self,
        stop: &[BorrowedFd<'_>],
        until: Option<Duration>,
    ) -> Result<Heard, HostError>;
}
