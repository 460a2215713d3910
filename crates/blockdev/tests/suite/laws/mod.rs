//! Tests that need no real kernel: the laws of the engine on fake disks, the rules themselves, and bad input.

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
