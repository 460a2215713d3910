//! A machine in memory that behaves as the kernel does, a process that dies at
//! the k-th write, and the laws every knob is held to.
//!
//! A crate that adds a knob describes a [`World`] (what the machine shows before,
//! and how it answers writes), calls the functions of [`laws`] with a proptest
//! strategy over its tunings, and is then held to what the engine promises.
//! [`Memory`] is never kinder than the kernel: it rounds, resets, refuses with half a value
//! landed, and lands late, as its [`Behaviour`]s say.

mod behaviour;
mod fate;
pub mod laws;
mod memory;
mod store;
mod tree;
mod world;

pub use behaviour::Behaviour;
pub use fate::{Failure, Fate, Moment};
pub use memory::{Memory, MemoryHost};
pub use store::MemoryStore;
pub use tree::Tree;
pub use world::{Machine, Picture, World};
