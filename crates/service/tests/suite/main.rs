//! Services in a machine in memory: the laws of the engine, and what is said where nothing can be stopped.

#![expect(clippy::unwrap_used, reason = "tests fail where they cannot go on")]

mod laws;
