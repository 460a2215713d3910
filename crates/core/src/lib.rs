//! Plan, apply, verify and revert host settings, with an exact way back.
//!
//! ```
//! use hosttune_core::file::{ConfigFile, FileState};
//! use hosttune_core::host::FileContent;
//! use hosttune_core::{Error, Planner, Session, Tuning};
//!
//! /// Wants one file to be there; the four verbs come with it.
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
//! // Session::live("motd") is the running system; this is a tree beneath a directory.
//! let mut session = Session::at(root.path(), "motd")?;
//! assert_eq!(Motd.plan(&session)?.steps.len(), 1); // reads, writes nothing
//! Motd.apply(&mut session)?; // all of it, or nothing
//! assert!(Motd.verify(&session)?.is_as_wanted());
//! Motd.revert(&mut session)?; // what it was, but for what others have set since
//! assert_eq!(Motd.plan(&session)?.steps.len(), 1);
//! # Ok::<(), Error>(())
//! ```
//!
//! # Vocabulary
//! - [`Knob`]: the smallest thing of a host that can be read, turned and turned back. Its
//!   `State` is what it can be turned to; absence is a state.
//! - [`Tuning`]: what somebody wants, as plain data. It declares wishes to a [`Planner`].
//! - [`Wish`]: one knob, wanted so, because. [`Plan`]: ordered steps as data. [`Report`]: the
//!   same wishes, read.
//! - [`journal`]: what will be turned, written before it is turned. An owner is whose journal.
//! - [`Session`]: host, owner, kinds of knob, journal and lock. It is `Send`.
//! - [`Host`]: the machine: its files, the wires plugged into it, and the one gate that every
//!   change passes.
//!
//! # What is promised
//! The whole intent is in the journal before the first turn, so whoever is killed at any point
//! leaves what the next run needs: it first rolls an interrupted apply back, or finishes an
//! interrupted revert. A failed step takes the others back and is an `Err`. A revert is
//! three-way: what is still ours goes to what it was, what somebody else has set since stays and
//! is reported. The [`testing`] feature has these promises as functions, and a machine in memory
//! that is no kinder than the kernel, for the knobs of other crates.

pub mod error;
pub mod file;
pub mod host;
pub mod journal;
mod knob;
mod plan;
mod report;
mod selection;
mod session;
mod stop;
#[cfg(feature = "testing")]
pub mod testing;
mod tuning;

pub use error::{Cause, Error, HostError, HostErrorKind, Operation, StaleStep, StepFailure};
pub use host::{Host, LinuxHost};
pub use knob::{AnyKnob, Knob, Lack, LackKind, Lifetime, Registry};
pub use plan::{Before, Kept, Plan, Planner, Requirement, Step, When, Why, Wish};
pub use report::{Finding, Report, State};
pub use selection::Selection;
pub use session::{
    Applied, Left, LeftBecause, Owed, Reverted, Session, Status, Undone, Unrecorded,
};
pub use stop::Stop;
pub use tuning::{Note, Tuning};
