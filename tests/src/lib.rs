//! What tests need that turn a real kernel's knobs: a machine of their own with a stock Debian
//! kernel and the hardware that people tune, snapshots in which collateral changes show, and programs
//! killed at every system call.
//!
//! ```no_run
//! use hosttune_test_machine::{Kernel, Machine};
//!
//! let mut machine = Machine::own(Kernel::Linux6_12, "its power is cut").boot()?;
//! let output = machine.run(&["modprobe", "sch_cake"])?;
//! assert_eq!(output.code, 0, "{}", output.error_text());
//! machine.cut_power();
//! # Ok::<(), hosttune_test_machine::MachineError>(())
//! ```
//!
//! A test that is to run in there is a plain function, named once:
//!
//! ```
//! use hosttune_test_machine::{Snapshot, inside_stock_kernels};
//!
//! inside_stock_kernels!(a_plan_changes_nothing);
//!
//! fn a_plan_changes_nothing() {
//!     let before = Snapshot::of_everything();
//!     // What is tested.
//!     before.is_still(&Snapshot::of_everything(), "after a plan");
//! }
//! # fn main() {}
//! ```
//!
//! `cargo test` then has it twice, with the oldest and with the newest kernel, each in a machine of its
//! own, where the test program starts itself again. It sees the build machine's `/usr` and the workspace,
//! read-only and at the same paths; everything else is its own, and gone afterwards.
//!
//! # Vocabulary
//! - [`Machine`]: runs commands and ends, by [`Machine::cut_power`] if need be; [`Builder`] is one to be.
//! - [`Kernel`]: which stock kernel. `scripts/machine` unpacks them; nothing is fetched here.
//! - [`Udev`] and [`Udevd`]: stock udev, for tests in there; [`tuned()`]: stock tuned, to be measured beside.
//! - [`StateDisk`]: what machines leave to those after them: `/etc` and `/var`.
//! - [`inside_stock_kernels!`], [`inside_every_kernel!`]: tests in there; [`with_stock_kernels!`]: tests
//!   out here that start machines.
//! - [`Snapshot`] of [`Subtree`]s: what the kernel shows, but for what moves by itself.
//! - [`Traced`], [`Kills`]: a program stopped, and killed, at every system call, or at every one that
//!   changes something.
//! - [`is_shared_out`], [`is_one_in`], [`drawn`]: which of many cases this kernel has.
#![expect(
    clippy::disallowed_methods,
    reason = "this is what the crates are tested with: it starts the machine and reads the kernel by itself"
)]

pub mod broker;
mod builder;
mod clean;
mod disk;
mod error;
mod hardware;
mod image;
pub mod inside;
mod kernel;
mod kills;
mod log;
mod machine;
mod qemu;
mod script;
mod serial;
mod share;
mod shell;
mod snapshot;
mod traced;
mod tuned;
mod udev;
mod udevd;
mod wait;

pub use builder::Builder;
pub use disk::StateDisk;
pub use error::MachineError;
pub use hardware::{DISKS, Disk};
pub use kernel::Kernel;
pub use kills::{At, Kills};
pub use machine::{Machine, Output};
pub use script::{ask, tell};
pub use serial::Stream;
pub use share::{drawn, is_one_in, is_shared_out, is_shared_out_to};
pub use snapshot::{Difference, Seen, Snapshot, Subtree};
pub use traced::{Stop, Traced};
pub use tuned::tuned;
pub use udev::Udev;
pub use udevd::Udevd;
pub use wait::wait_until;
