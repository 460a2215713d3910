//! Compressed swap in memory.
//!
//! A device, its configuration, the header that makes it swap, and its use as swap are four knobs, because
//! the kernel shows each of them separately. A process killed in between therefore leaves only state that
//! the journal knows. They are set in that order and reverted in the exact opposite one, so a device is
//! never removed while it is in use: swapoff comes first.
//!
//! # Which device is ours
//! A device is ours if its swap header has our label and a UUID made of the boot id and the device's
//! number. That needs no stored state, neither a file nor a session, and survives a kill at any write.
//! Before it has a header, a device is ours by its number: the kernel assigns the lowest free one, so a
//! plan knows it. If another process took that number first, our device is removed again at once.

mod backend;
mod configuration;
mod device;
mod header;
mod live;
mod others;
mod swap;
mod tuning;

pub use backend::{Zram, ZramDevices};
pub use configuration::{Configuration, ConfigurationState};
pub use device::{Device, DeviceState};
pub use header::{Header, HeaderState, SwapHeader};
pub use others::{Other, Program};
pub use swap::{Swap, SwapState};
pub(crate) use tuning::will_be_swap;
pub use tuning::{LARGEST, Size, ZramSwap};
