//! Swap that is compressed and stays in memory.
//!
//! A device, how it is configured, the header that makes it swap, and its use as swap are a knob
//! each, since the kernel can show each by itself; so whoever is killed in between leaves something
//! that the journal knows. Turned in that order and taken back in its exact reverse, a device is
//! never taken from under its user: swapoff comes first.
//!
//! # Which device is ours
//! One whose swap header has our label and an identifier that is the boot's own, with the device's
//! number at its end. Nobody has to remember anything for that: no file, no session, and it holds
//! across a kill at any write. Before it has a header, a device is ours by its number: the kernel
//! gives the lowest that is free, so a plan knows it, and where somebody else was faster ours is
//! taken away again at once.

mod configuration;
mod device;
mod header;
mod live;
mod others;
mod swap;
mod tuning;
mod wire;

pub use configuration::{Configuration, ConfigurationState};
pub use device::{Device, DeviceState};
pub use header::{Header, HeaderState, SwapHeader};
pub use others::{Other, Program};
pub use swap::{Swap, SwapState};
pub(crate) use tuning::will_be_swap;
pub use tuning::{LARGEST, Size, ZramSwap};
pub use wire::{Zram, ZramDevices};
