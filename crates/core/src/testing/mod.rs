//! A simulated kernel in memory, processes that crash at their k-th write, and the laws that every knob
//! must satisfy.
//!
//! A crate that adds a knob describes a [`World`] (the initial state of the machine and how its files
//! answer writes) and calls the functions of [`laws`] with a proptest strategy over its tunings. They check
//! that the knob keeps the engine's promises. [`Memory`] is never more forgiving than the kernel: as its
//! [`Behaviour`]s say, it rounds values, resets other files, fails after a partial write, and applies
//! values with a delay.

mod behaviour;
mod crash_point;
mod crashing_store;
mod fate;
mod journal_write;
pub mod laws;
mod memory;
mod store;
mod tree;
mod world;

pub use behaviour::Behaviour;
pub use crash_point::{CrashPoint, Failure, Moment};
pub use crashing_store::CrashingStore;
pub use fate::Fate;
pub use memory::{Memory, MemoryHost};
pub use store::MemoryStore;
pub use tree::Tree;
pub use world::{Machine, Snapshot, World};
