//! PipeWire's clock: the quantum and the rate, as requested and as they are in effect.
//!
//! ```
//! use hosttune_pipewire::{ClockDropIn, ClockSettings, Frames, SampleRate, Session, Tuning};
//!
//! let rate = SampleRate(48000);
//! let latency = ClockDropIn::system("gaming")
//!     .clock(ClockSettings::fixed(rate, Frames(64)))
//!     .why("a cycle of 1.33 ms");
//!
//! # let root = tempfile::tempdir().unwrap();
//! # let shipped = root.path().join("usr/share/pipewire");
//! # #[expect(clippy::disallowed_methods, reason = "an example makes the tree it works on")]
//! # let written = std::fs::create_dir_all(&shipped).and_then(|()| {
//! #     std::fs::create_dir(root.path().join("etc"))?;
//! #     std::fs::write(shipped.join("pipewire.conf"), "# for PipeWire version \"1.4.2\" #\ncontext.properties = { }\n")
//! # });
//! # written.unwrap();
//! // Session::live("gaming") is the running system; this is a tree below a directory.
//! let mut session = Session::at(root.path(), "gaming")?.with(hosttune_pipewire::knobs);
//! let plan = latency.plan(&session)?;
//! assert!(plan.notes[0].contains("64 frames at 48 kHz: 1.33 ms"), "{:?}", plan.notes);
//! println!("{}", latency.apply(&mut session)?); // /etc/pipewire/pipewire.conf.d/92-gaming-latency.conf
//! println!("{}", latency.revert(&mut session)?); // gone, with the directories that it needed
//! # Ok::<(), hosttune_pipewire::Error>(())
//! ```
//!
//! # Vocabulary
//! - [`ClockSettings`], [`PulseSettings`]: what is requested, in [`Frames`] and [`SampleRate`]s.
//! - [`Clock`]: what a [`Version`] of PipeWire makes of it, and what a graph then runs with, as one
//!   pure function.
//! - [`merge`]: which file and line sets each property.
//! - [`ClockDropIn`]: the tuning that survives restarts, in a file of its own; [`pending_restart`]:
//!   what a running daemon has loaded and would not load again.
//! - [`runtime`]: the tuning of the running daemon, which ends with it, and what is in effect there.
//! - [`protocol`], [`profiler`], [`daemon`]: how the running daemon is found and asked.
//! - [`users`]: for whom it may run.
//! - [`wireplumber`]: which files of the session manager give devices a period of their own.
//!
//! A quantum is the number of frames that a graph processes in one cycle. It is not the latency of a
//! device, which has buffers of its own.

pub mod daemon;
mod drop_in;
mod effective;
mod frames;
mod judged;
mod loaded;
pub mod merge;
pub mod profiler;
pub mod protocol;
mod restart;
pub mod runtime;
mod settings;
pub mod users;
mod version;
pub mod wireplumber;

pub use drop_in::{ClockDropIn, Place};
pub use effective::{Clock, FLOOR_SINCE, Forced};
pub use frames::{Frames, Period, SampleRate};
pub use loaded::LoadedProperty;
pub use restart::pending_restart;
pub use settings::{
    ClockSettings, MAX_ALLOWED_RATES, NumberError, PulseSettings, QUANTUMS, RATES, SettingError,
};
pub use version::{Version, VersionError};

// One dependency is enough for a program that uses only this crate.
pub use hosttune_core::{Error, Session, Tuning};

/// Registers this crate's knob types.
pub fn knobs(registry: &mut hosttune_core::Registry) {
    registry.add::<LoadedProperty>();
    runtime::knobs(registry);
}
