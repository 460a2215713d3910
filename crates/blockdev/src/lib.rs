//! Block devices: identifying disks, and setting their I/O scheduler and queue attributes by what a
//! disk can do; every change can be reverted exactly.
//!
//! ```no_run
//! use hosttune_blockdev::{Attribute, Modules, Rule, Rules, Session, Transport, Tuning};
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
//!     .with_backend(Modules::live());
//! let plan = rules.plan(&session)?;
//! for note in &plan.notes {
//!     println!("{note}"); // which disk matches which rule, and near misses
//! }
//! println!("{}", rules.apply(&mut session)?); // writes only what differs
//! println!("{}", rules.revert(&mut session)?); // also restores what switching the scheduler had reset
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The contents of disks and partitions are out of scope: only whole disks have a request queue.
//!
//! # Vocabulary
//! - [`Disk`]: what the kernel reports about a disk: [`DiskKind`], [`Transport`], model, size,
//!   identity.
//! - [`Rules`] of [`Rule`]: the tuning. [`Conditions`] select disks, [`Settings`] are the requested
//!   values; [`Standing`] is the match result of a rule.
//! - [`Scheduler`], [`QueueAttribute`], [`SchedulerTunable`]: the knobs, one per sysfs file.
//! - [`Attribute`]: a queue attribute's unit and range, and how the kernel rounds a value.
//! - [`device::find`]: resolves a path in `/dev` to a disk.
//! - [`DiskWatcher`]: tunes disks as they are hot-plugged.
//! - [`udev`]: evaluates udev rules and writes [`Rules`] as udev rules; [`uevent`]: receives events
//!   about hot-plugged disks.
//!
//! # First kernel version
//! | Feature | Linux |
//! | --- | --- |
//! | [`Attribute::WbtLatUsec`] | 4.10 |
//! | mq-deadline | 4.11 |
//! | bfq, kyber | 4.12 |
//! | only multi-queue schedulers: `cfq` and `deadline` are gone | 5.0 |
//! | the sequence number of a disk, by which another of the same name is told apart | 5.15 |
//! | a value above the limit of a device is clamped and no longer refused | 6.9 |
//! | zoned disks keep the order of writes with every scheduler | 6.10 |
//! | [`Attribute::AsyncDepth`]; before, a tunable of the scheduler | 7.0 |

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

// One dependency is enough for a program that uses only this crate.
pub use hosttune_core::{Error, Session, Tuning};
pub use hosttune_modules::Modules;

/// Registers this crate's knobs with a session, and the kernel module knob that a scheduler may
/// need.
pub fn knobs(registry: &mut hosttune_core::Registry) {
    hosttune_modules::knobs(registry);
    registry.add::<Scheduler>();
    registry.add::<QueueAttribute>();
    registry.add::<SchedulerTunable>();
}
