//! Memory: transparent hugepages, hugepages, and swap that is compressed and stays in memory (zram).
//!
//! ```no_run
//! use hosttune_memory::{Modules, Session, Tuning};
//! use hosttune_memory::transparent::{Enabled, TransparentHugepages};
//! use hosttune_memory::zram::{Size, Zram, ZramSwap};
//!
//! let swap = ZramSwap::new(Size::Percent(50)).algorithm("zstd").why("half the memory, at a third of its size");
//! let pages = TransparentHugepages::new().enabled(Enabled::Madvise);
//!
//! let mut session = Session::live("gaming")?
//!     .with(hosttune_memory::knobs)
//!     .with_backend(Modules::live()) // zram is a module
//!     .with_backend(Zram::live());
//! println!("{}", swap.apply(&mut session)?); // device, algorithm, size, header, swapon
//! println!("{}", pages.apply(&mut session)?);
//! println!("{}", swap.revert(&mut session)?); // swapoff first; nothing is left behind
//! # Ok::<(), hosttune_memory::Error>(())
//! ```
//!
//! # Vocabulary
//! - [`transparent`]: pages of 2 MiB that programs get without a request. [`transparent::Setting`] is
//!   the knob, [`transparent::TransparentHugepages`] the tuning.
//! - [`hugepages`]: pools of pages that programs request: [`hugepages::Pool`], [`hugepages::Hugepages`].
//! - [`zram`]: a device, its configuration, its swap header and its use as swap are four knobs, set in
//!   that order and reverted in the opposite one; [`zram::ZramSwap`] is the tuning.
//! - [`swap`]: the active swap areas.
//!
//! # First kernel version
//! | Feature | Linux |
//! | --- | --- |
//! | hugepage pools, transparent hugepages | 2.6.38 |
//! | zram as a stable driver | 3.14 |
//! | zram devices added and removed one at a time (`/sys/class/zram-control`) | 4.2 |
//! | transparent hugepages of other sizes than 2 MiB | 6.8 |
//! | zram compresses itself; before, the crypto API and its modules do | 6.12 |

mod beside_zram;
pub mod hugepages;
pub mod swap;
#[cfg(feature = "testing")]
pub mod testing;
mod total;
pub mod transparent;
pub mod zram;

pub use beside_zram::BesideZram;

// One dependency is enough for a program that uses only this crate.
pub use hosttune_core::{Error, Session, Tuning};
pub use hosttune_modules::Modules;

/// Registers this crate's knob types, the kernel module knob for zram, and the sysctl knob for the keys
/// that change with transparent hugepages.
pub fn knobs(registry: &mut hosttune_core::Registry) {
    hosttune_modules::knobs(registry);
    hosttune_sysctl::knobs(registry);
    registry.add::<transparent::Setting>();
    registry.add::<hugepages::Pool>();
    registry.add::<hugepages::Overcommit>();
    registry.add::<zram::Device>();
    registry.add::<zram::Configuration>();
    registry.add::<zram::Header>();
    registry.add::<zram::Swap>();
}
