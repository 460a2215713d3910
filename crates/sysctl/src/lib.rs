//! Kernel variables (sysctls): typed, planned, set, verified, and reverted exactly.
//!
//! ```no_run
//! use hosttune_sysctl::{Session, SysctlSet, Tuning, Wanted};
//!
//! let set = SysctlSet::new([
//!     Wanted::new("vm.swappiness", 100).why("zram is swap here"),
//!     Wanted::new("net.ipv4.tcp_congestion_control", "bbr").why("paces instead of filling queues"),
//! ]);
//! let mut session = Session::live("buildtool")?.with(hosttune_sysctl::knobs);
//! session.recover()?; // if an earlier run was interrupted
//! for step in &set.plan(&session)?.steps {
//!     println!("{}: {} → {}", step.knob, step.from_text, step.to_text);
//! }
//! println!("{}", set.apply(&mut session)?); // all of it, or nothing
//! assert!(set.verify(&session)?.is_as_wanted());
//! println!("{}", set.revert(&mut session)?); // restores the originals, except where others have changed values since
//! # Ok::<(), hosttune_sysctl::Error>(())
//! ```
//!
//! # Vocabulary
//! - [`Key`]: a list of path segments beneath `/proc/sys`; a [`KeyPattern`] may contain globs.
//! - [`Value`]: canonical text; its [`ValueType`] comes from the [`catalogue`].
//! - [`Sysctl`] and [`SysctlPair`]: the knobs. Two variables that exclude each other are one knob.
//! - [`SysctlSet`] of [`Wanted`]: the tuning.
//! - [`Document`]: a sysctl.d file, preserved byte for byte; [`Sources`]: all sysctl.d files of a
//!   host in the loader's order, which tell where a key is set.

pub mod catalogue;
mod conf;
mod consent;
mod glob;
mod key;
mod modules_load;
mod nearest;
mod number;
mod on_host;
mod pair;
mod plain;
mod reach;
mod set;
mod sources;
#[cfg(feature = "testing")]
pub mod testing;
mod value;

pub use conf::{Assignment, Document, EditError, Entry, Problem, ProblemKind, Statement};
pub use key::{Expansion, Key, KeyError, KeyPattern, PROC_SYS};
pub use nearest::{UnknownKey, nearest, unknown};
pub use on_host::OnHost;
pub use pair::{PairState, SysctlPair};
pub use plain::{Sysctl, SysctlState, knob};
pub use set::{SysctlSet, Wanted};
pub use sources::{
    Content, DIRECTORIES, Directories, Loader, Place, SYSCTL_CONF, Setting, SourceFile, Sources,
    SourcesError, Standing,
};
pub use value::{IntegerRange, Unit, Value, ValueError, ValueType};

// One dependency is enough for a program that uses only this crate.
pub use hosttune_core::{Error, Session, Tuning};

/// Registers the knob types of this crate with a session.
pub fn knobs(registry: &mut hosttune_core::Registry) {
    registry.add::<Sysctl>();
    registry.add::<SysctlPair>();
}
