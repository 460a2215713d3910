//! Plan, apply, verify and revert host settings, with exact undo.
//!
//! ```
//! use hosttune_core::file::{ConfigFile, FileState};
//! use hosttune_core::host::FileContent;
//! use hosttune_core::{Error, Planner, Session, Tuning};
//!
//! /// Requests one file; plan, apply, verify and revert are provided.
//! struct Motd;
//!
//! impl Tuning for Motd {
//!     fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
//!         let wanted = FileState::Present(FileContent::new("tuned\n"));
//!         at.want(&ConfigFile::new("/etc/motd")?, &wanted).why("says that the host is tuned");
//!         Ok(())
//!     }
//! }
//!
//! # let root = tempfile::tempdir().unwrap();
//! # #[expect(clippy::disallowed_methods, reason = "an example makes the tree it works on")]
//! # std::fs::create_dir(root.path().join("etc")).unwrap();
//! // Session::live("motd") is the running system; this is a tree below a directory.
//! let mut session = Session::at(root.path(), "motd")?;
//! assert_eq!(Motd.plan(&session)?.steps.len(), 1); // reads, writes nothing
//! println!("{}", Motd.apply(&mut session)?); // all of it, or nothing
//! assert!(Motd.verify(&session)?.is_as_wanted());
//! println!("{}", Motd.revert(&mut session)?); // the original values, except where others have changed them since
//! assert_eq!(Motd.plan(&session)?.steps.len(), 1);
//! # Ok::<(), Error>(())
//! ```
//!
//! # Vocabulary
//! - [`Knob`]: the smallest unit of host state that can be read, set and reverted. Its `State` is
//!   the set of values it can take; absence is a state.
//! - [`Tuning`]: a set of requests, as plain data. It declares them to a [`Planner`].
//! - [`Request`]: one knob, the requested state, and why. [`Plan`]: ordered steps, as data.
//!   [`Report`]: the result of checking the same requests.
//! - [`journal`]: the changes to be made, written before they are made. Each owner has a journal.
//! - [`Session`]: host, owner, knob types, journal and lock. It is `Send`.
//! - [`Host`]: the machine: its files, its backends, and the gate that every change passes.
//!
//! # Guarantees
//! The whole intent is in the journal before the first change. Whenever the process is killed, the
//! next run finds there what it needs, and first rolls an interrupted apply back or finishes an
//! interrupted revert. If a step fails, the earlier steps are undone and the result is an `Err`. A
//! revert is three-way: what still has our value gets its original value back, and what another
//! process has changed since is kept and reported. The feature `testing` has these guarantees as
//! functions, and a fake machine in memory that is as strict as the kernel, for the knobs of other
//! crates.
//!
//! # First kernel version
//! | Feature | Linux |
//! | --- | --- |
//! | `pidfd_open`, for waiting for the child that makes a write which can hang | 5.3 |
//! | every file is opened by `openat2`, which cannot leave the root | 5.6 |

mod any_knob;
pub mod attribute;
pub mod child;
pub mod child_guard;
pub mod error;
pub mod file;
pub mod fnmatch;
pub mod host;
pub mod journal;
mod knob;
mod knob_kind;
mod plan;
mod registry;
mod report;
mod selection;
mod session;
mod stop;
#[cfg(feature = "testing")]
pub mod testing;
mod tuning;
mod unsupported;

pub use any_knob::AnyKnob;
pub use error::{Cause, Error, StaleStep, StepFailure};
pub use host::{Host, HostError, HostErrorKind, LinuxHost, Operation};
pub use knob::{Knob, Lifetime};
pub use plan::{
    Before, DeviceLink, OwnedChange, Plan, Planner, Request, Requirement, SavedState, Step, When,
    Why,
};
pub use registry::Registry;
pub use report::{Finding, Report, State};
pub use selection::Selection;
pub use session::{
    Applied, NotReverted, NotRevertedReason, PendingRevert, Reverted, Session, Status, Undone,
    Unrecorded,
};
pub use stop::Stop;
pub use tuning::{Note, Tuning};
pub use unsupported::{Unsupported, UnsupportedKind};
