//! Block devices: which disk it is, its I/O scheduler and the attributes of its queue, matched by
//! what the disk can do, and put back exactly.
//!
//! ```no_run
//! use hosttune_blockdev::{Attribute, Rule, Rules, Transport};
//! use hosttune_boot::Modules;
//! use hosttune_core::{Session, Tuning};
//!
//! let rules = Rules::new([
//!     Rule::new("nvme")
//!         .transport(Transport::Nvme)
//!         .scheduler("none".parse()?)
//!         .why("it has queues of its own"),
//!     Rule::new("solid-state")
//!         .transport(Transport::Sata)
//!         .rotational(false)
//!         .scheduler("mq-deadline".parse()?)
//!         .queue(Attribute::ReadAheadKb, 128),
//! ]);
//! let mut session = Session::live("storage")?
//!     .with(hosttune_blockdev::knobs)
//!     .plug(Modules::live());
//! let plan = rules.plan(&session)?;
//! for note in &plan.notes {
//!     println!("{note}"); // which disk met which rule, and which one nearly did
//! }
//! rules.apply(&mut session)?; // nothing is written where nothing changes
//! rules.revert(&mut session)?; // and what the switch of a scheduler had reset
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It is not about what is on a disk, nor about partitions: only whole disks have a queue.
//!
//! # Vocabulary
//! - [`Disk`]: what the kernel shows of one: [`DiskKind`], [`Transport`], model, size, identity.
//! - [`Rules`] of [`Rule`]: the tuning. [`Conditions`] say which disks, [`Settings`] what is wanted
//!   of them; [`Standing`] is how a disk stands to a rule.
//! - [`Scheduler`], [`QueueAttribute`], [`SchedulerTunable`]: the knobs, one for each file.
//! - [`Attribute`]: an attribute's unit, range, and what the kernel makes of what it is given.
//! - [`device::find`]: from a path in `/dev` to the disk.
//! - [`DiskWatcher`]: disks that are tuned as they come.
//! - [`udev`]: what udev's rules do to a disk, and ours as such rules; [`uevent`]: who tells of disks
//!   that come.

mod attribute;
pub mod device;
mod disk;
mod name;
mod persisted;
mod place;
mod queue_attribute;
mod rule;
mod rules;
mod scheduler;
#[cfg(feature = "testing")]
pub mod testing;
mod tunable;
pub mod udev;
pub mod uevent;
mod watch;
mod write;
mod zoned;

pub use attribute::{Attribute, Refused};
pub use device::DeviceError;
pub use disk::{Disk, DiskKind, Facts};
pub use name::{DiskName, DiskNameError};
pub use queue_attribute::{AttributeState, QueueAttribute, QueueAttributeError};
pub use rule::{Condition, Conditions, Glob, GlobError, Rule, Settings, Standing};
pub use rules::Rules;
pub use scheduler::{Offered, Scheduler, SchedulerName, SchedulerNameError, SchedulerState};
pub use tunable::{SchedulerTunable, SchedulerTunableError, TunableState};
pub use watch::{DiskEvent, DiskWatcher};

#[doc(inline)]
pub use hosttune_facts::Transport;

/// Makes this crate's kinds of knob known to a session, and the module that a scheduler may need.
pub fn knobs(registry: &mut hosttune_core::Registry) {
    hosttune_boot::knobs(registry);
    registry.add::<Scheduler>();
    registry.add::<QueueAttribute>();
    registry.add::<SchedulerTunable>();
}
