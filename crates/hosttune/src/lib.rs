//! Host tuning for Linux with an exact way back: the crates in one place.
//!
//! A program that needs one subsystem depends on that crate alone; this one is for the programs
//! that tune a whole host.
//!
//! ```
//! use hosttune::file::{ConfigFile, FileState};
//! use hosttune::{Error, Planner, Session, Tuning};
//!
//! /// What is wanted, as data; `declare` is all that an author writes.
//! struct NoBanner;
//!
//! impl Tuning for NoBanner {
//!     fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
//!         at.want(&ConfigFile::new("/etc/motd")?, &FileState::Absent)
//!             .why("whoever logs in wants a prompt");
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let image = tempfile::tempdir()?;
//! # let image = image.path();
//! # std::fs::create_dir(image.join("etc"))?;
//! std::fs::write(image.join("etc/motd"), "Welcome!\n")?;
//! let mut session = Session::at(image, "quiet")?; // Session::live("quiet") for the running system
//!
//! let plan = NoBanner.plan(&session)?; // needs no root and changes nothing
//! assert_eq!(plan.steps[0].from_text, "1 line, 9 bytes");
//!
//! NoBanner.apply(&mut session)?; // everything or nothing, written down before it is done
//! assert!(NoBanner.verify(&session)?.is_as_wanted());
//!
//! NoBanner.revert(&mut session)?; // byte for byte, also from another process and after kill -9
//! assert_eq!(std::fs::read_to_string(image.join("etc/motd"))?, "Welcome!\n");
//! # Ok(())
//! # }
//! ```
//!
//! # The words
//! * **Knob**: the smallest thing of a host that can be read, turned and turned back
//!   ([`Knob`]); one sysctl, one config file. Absence is a state, not an error.
//! * **Tuning**: what somebody wants, as data ([`Tuning`]). It says what it wants given what the
//!   host shows; the four verbs *plan, apply, verify, revert* come with it.
//! * **Wish**: one knob, wanted so, *because* ([`Wish`], [`Why`]).
//! * **Plan**: ordered steps as data ([`Plan`]). Printing it is the dry run, storing it the review.
//! * **Report**: the same wishes, read ([`Report`]).
//! * **Session**: host, owner, kinds of knob, journal and lock together ([`Session`]).
//! * **Journal**: what will be turned, written before it is turned; **owner**: whose journal it is.
//!
//! # The pieces
//! * The root of this crate is [`hosttune_core`]: host, knobs, plans, sessions, errors.
//! * [`sysctl`]: keys and values, `sysctl.d` files, sets of variables.
//! * [`cli`] (feature `cli`): the command line that every host binary shares.

pub use hosttune_core::*;
pub use hosttune_sysctl as sysctl;

#[cfg(feature = "cli")]
pub mod cli;
