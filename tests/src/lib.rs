//! The harness of tests that change settings of a real kernel: a machine with a stock Debian kernel and tunable
//! hardware, snapshots that show unintended changes, and programs killed at every system call.
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
//! A test that runs in the machine is a plain function, listed once:
//!
//! ```
//! use hosttune_test_machine::{Snapshot, inside_stock_kernels};
//!
//! inside_stock_kernels!(a_plan_changes_nothing);
//!
//! fn a_plan_changes_nothing() {
//!     let before = Snapshot::of_everything();
//!     // The code under test.
//!     before.is_still(&Snapshot::of_everything(), "after a plan");
//! }
//! # fn main() {}
//! ```
//!
//! `cargo test` then runs it twice, with the oldest and with the newest kernel. Each kernel has its own machine,
//! in which the test program starts itself again. It sees the build machine's `/usr` and the workspace, read-only
//! and at the same paths. Everything else belongs to the machine and is lost when it ends.
//!
//! # Vocabulary
//! - [`Machine`]: runs commands, and can lose its power ([`Machine::cut_power`]); [`Builder`] configures and
//!   starts it.
//! - [`Kernel`]: one of the stock kernels, which `scripts/machine` fetches and unpacks.
//! - [`Udev`] and [`Udevd`]: stock udev, for tests in the machine; [`tuned()`]: stock tuned, for benchmarks;
//!   [`PipeWire`]: two stock versions of it with WirePlumber.
//! - [`StateDisk`]: `/etc` and `/var`, passed on from one machine to the next.
//! - [`inside_stock_kernels!`], [`inside_every_kernel!`]: make tests that run in the machine;
//!   [`with_stock_kernels!`]: makes tests that run on the build machine and start machines.
//! - [`Snapshot`] of [`Subtree`]s: the state that the kernel shows, except values that change by themselves.
//! - [`Traced`], [`Kills`]: a program that is stopped, or killed, at every system call, or at every one that
//!   changes something.
//! - [`cases()`]: how many cases a property test runs.
//! - [`Random`]: moments and choices that are the same in each run.
//! - [`is_shared_out`], [`is_one_in`], [`drawn`]: select this kernel's share of many cases.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the test harness: it starts the machine and reads the kernel directly"
)]

pub mod broker;
mod builder;
mod cases;
mod clean;
mod disk;
mod error;
mod grub;
mod hardware;
mod image;
pub mod inside;
mod kernel;
mod kills;
mod log;
mod machine;
mod pipewire;
mod qemu;
mod random;
mod script;
mod serial;
mod share;
mod shell;
mod snapshot;
mod systemd_boot;
mod traced;
mod tuned;
mod udev;
mod udevd;
mod wait;

pub use builder::Builder;
pub use cases::cases;
pub use disk::StateDisk;
pub use error::MachineError;
pub use grub::{GrubDisk, grub, grub_program};
pub use hardware::{DISKS, Disk};
pub use kernel::Kernel;
pub use kills::{At, Kills};
pub use machine::{Machine, Output};
pub use pipewire::{PipeWire, play_again_and_again, write_silence};
pub use random::Random;
pub use script::{ask, tell};
pub use serial::Stream;
pub use share::{drawn, is_one_in, is_shared_out, is_shared_out_to};
pub use snapshot::{Difference, Seen, Snapshot, Subtree};
pub use traced::{Stop, Traced};
pub use tuned::tuned;
pub use udev::Udev;
pub use udevd::Udevd;
pub use wait::wait_until;
