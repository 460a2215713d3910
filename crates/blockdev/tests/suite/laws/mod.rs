//! What needs no real kernel: the laws of the engine over rules of disks on the double of the kernel,
//! the rules themselves, and bad input.

mod disks;
mod engine;
mod fights;
mod matching;
mod persisted;
mod refused;
mod rendered;
mod support;
mod vanishing;
mod watching;
