//! The power profile of a daemon that owns it, held while a command runs.
//!
//! power-profiles-daemon, and the daemons that take its place (tuned-ppd, tlp-pd), own the governor, the energy
//! preference and the platform profile, and set them again at any time. They offer a hold (`HoldProfile`): the
//! profile is in effect until the hold is released, or until its holder ends, however it ends. Where such a daemon
//! runs, a run takes the hold and leaves to the daemon what it owns.
//!
//! No daemon is started: its unit would stop others that do the same (`Conflicts=`). Everything happens in the calling
//! thread, because a runner has one.
//!
//! ```no_run
//! use std::time::{Duration, Instant};
//! use hosttune_run::power_profile::{Hold, Released, system_bus};
//!
//! let until = || Instant::now() + Duration::from_secs(2);
//! if let Some(hold) = Hold::take(&system_bus(None), "performance", "a game runs", until())? {
//!     println!("{} is held at {}", hold.profile(), hold.daemon());
//!     // The command runs.
//!     if let Released::EndedBefore(why) = hold.release(until())? {
//!         println!("it was not held until now: {why}");
//!     }
//! }
//! # Ok::<(), hosttune_run::power_profile::HoldError>(())
//! ```

mod bus;
#[cfg(any(test, feature = "testing"))]
pub mod fake;
mod hold;
mod message;

pub use hold::{Hold, HoldError, Released, holder, system_bus};
