//! A command that runs while the host is tuned, and what reverts the host when it ends.
//!
//! The engine applies and reverts; this crate has what a run needs besides, and every decision in it is a
//! function of values:
//!
//! - [`membership`]: several runs of one owner share one tuning, and the last one to end reverts it.
//!   [`RunFile`] holds their [`RunRecord`]s beside the journal, under a lock of its own.
//! - [`ProcessId`]: a process that is not confused with a later one of the same number; [`liveness`]: whether it
//!   runs, also if it is in another PID namespace.
//! - [`starter`]: the process that becomes the command. It is ready before the host is tuned.
//! - [`supervision`]: signals, stops and the end of the command.
//! - [`watchdog`]: a process that outlives a killed runner and reverts at once.
//! - [`priority`]: whether a nice value has an effect against the rest of the host.
//! - [`weight`]: the weight of the command's control group, if it has one to itself.
//! - [`power_profile`]: the profile of a daemon that owns governor and energy preference, held while the command runs.
//! - [`account`]: as whom the command runs.
//! - [`units`]: what tunes the host at boot; [`helper_units`]: what tunes it for users without root.
//!
//! ```
//! use hosttune_run::supervision::{Action, ChildChange, Event, Supervisor};
//!
//! // Ctrl-C in a terminal reaches the command without us; a signal that a process sent to us does not.
//! let mut supervisor = Supervisor::default();
//! let (interrupt, terminate) = (2, 15);
//! assert!(supervisor.on(Event::Signal { number: interrupt, from_process: false }).is_empty());
//! assert_eq!(
//!     supervisor.on(Event::Signal { number: terminate, from_process: true }),
//!     [Action::Forward(terminate)]
//! );
//! assert_eq!(supervisor.on(Event::Child(ChildChange::Exited(3))), [Action::End(hosttune_run::Ended::Exited(3))]);
//! ```

pub mod account;
pub mod cgroup;
mod ended;
pub mod helper_units;
pub mod liveness;
pub mod membership;
pub mod power_profile;
pub mod priority;
mod process;
mod record;
mod run_file;
pub mod signals;
pub mod starter;
pub mod supervision;
pub mod units;
pub mod watchdog;
pub mod weight;

pub use ended::Ended;
pub use process::{ProcessId, boot_id};
pub use record::{RunRecord, RunRecords, UnreadableRecords};
pub use run_file::{RunFile, RunFileError};
