//! Host tuning for Linux with an exact way back: the crates in one place.
//!
//! A program that needs one subsystem depends on that crate alone; this one is for the programs
//! that tune a whole host.
//!
//! ```
//! use hosttune::sysctl::{self, SysctlSet, Wanted};
//! use hosttune::{Session, Tuning};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let tree = tempfile::tempdir()?;
//! # let tree = tree.path();
//! # let swappiness = tree.join("proc/sys/vm/swappiness");
//! # std::fs::create_dir_all(tree.join("proc/sys/vm"))?;
//! # std::fs::create_dir(tree.join("run"))?;
//! # std::fs::write(&swappiness, "60\n")?;
//! let wanted = SysctlSet::new([Wanted::new("vm.swappiness", 100).why("zram is swap here")]);
//!
//! // A captured tree; `Session::live("gaming")` is the running system.
//! let mut session = Session::at(tree, "gaming")?.with(sysctl::knobs);
//!
//! let plan = wanted.plan(&session)?; // needs no root and changes nothing
//! assert_eq!((&*plan.steps[0].from_text, &*plan.steps[0].to_text), ("60", "100"));
//!
//! wanted.apply(&mut session)?; // all of it or nothing, written down before it is done
//! assert!(wanted.verify(&session)?.is_as_wanted());
//! assert_eq!(std::fs::read_to_string(&swappiness)?, "100\n");
//!
//! wanted.revert(&mut session)?; // also from another process, and after a kill -9
//! assert_eq!(std::fs::read_to_string(&swappiness)?, "60\n");
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
//! * [`blockdev`]: disks matched by what they can do, their I/O schedulers and queues.
//! * [`boot`]: the modules of the kernel: which it has, loaded and unloaded.
//! * [`cpu`]: governors, preferences, frequency limits and boost, per policy.
//! * [`facts`]: what the host is made of and what runs on it.
//! * [`memory`]: swap on zram, transparent hugepages, hugepages.
//! * [`sysctl`]: keys and values, `sysctl.d` files, sets of variables.
//! * [`qos`]: CAKE at the root of a device, and through an IFB for what arrives at it; latency under load.
//! * [`cli`] (feature `cli`): the command line that every host binary shares.

mod beside_zram;

pub use beside_zram::BesideZram;
pub use hosttune_blockdev as blockdev;
pub use hosttune_boot as boot;
pub use hosttune_core::*;
pub use hosttune_cpu as cpu;
pub use hosttune_facts as facts;
pub use hosttune_memory as memory;
pub use hosttune_qos as qos;
pub use hosttune_sysctl as sysctl;

#[cfg(feature = "cli")]
pub mod cli;

/// The README's program, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
