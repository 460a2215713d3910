//! The wire: what cannot be done by writing a value to a file.

use std::fmt;

use hosttune_core::host::RootKind;
use hosttune_core::{Host, HostError, Lack, LackKind};

use super::live::Kernel;

/// Something that has zram devices: the running kernel, or what stands for it.
pub trait ZramDevices: fmt::Debug + Send {
    /// Makes a device, and gives the number that it has.
    ///
    /// # Errors
    /// Whatever the kernel answers.
    fn add(&mut self) -> Result<u32, HostError>;

    /// How large a page of memory is, in bytes.
    fn page_size(&self) -> usize;

    /// The first page of a device; nothing where it has no size yet.
    ///
    /// # Errors
    /// Whatever the kernel answers; `Missing` where there is no such device.
    fn first_page(&self, number: u32) -> Result<Vec<u8>, HostError>;

    /// Writes the first page of a device, and waits until it is there.
    ///
    /// # Errors
    /// Whatever the kernel answers.
    fn write_first_page(&mut self, number: u32, page: &[u8]) -> Result<(), HostError>;

    /// Makes a device swap, with a priority.
    ///
    /// # Errors
    /// Whatever the kernel answers.
    fn swap_on(&mut self, number: u32, priority: u16) -> Result<(), HostError>;

    /// Takes a device out of use as swap. What is on it goes back into memory, which takes a second
    /// per GiB or so, and is refused where there is not so much.
    ///
    /// # Errors
    /// Whatever the kernel answers.
    fn swap_off(&mut self, number: u32) -> Result<(), HostError>;
}

/// The wire that is plugged into a host.
#[derive(Debug)]
pub struct Zram(Box<dyn ZramDevices>);

impl Zram {
    /// The running kernel.
    #[must_use]
    pub fn live() -> Self {
        Self::over(Kernel)
    }

    /// Any other.
    #[must_use]
    pub fn over(devices: impl ZramDevices + 'static) -> Self {
        Self(Box::new(devices))
    }

    pub(crate) fn devices(&self) -> &dyn ZramDevices {
        &*self.0
    }

    pub(crate) fn devices_mut(&mut self) -> &mut dyn ZramDevices {
        &mut *self.0
    }
}

/// Why nothing of zram can be turned on a host; `None` where it can.
pub(super) fn lacks(host: &Host) -> Option<Lack> {
    host.wire::<Zram>().err().map(|_| match host.root_kind() {
        RootKind::Captured => Lack::new(LackKind::NoWire, "no device can be made in a tree")
            .hint("make swap on the running system"),
        _ => Lack::new(LackKind::NoWire, "nothing here makes zram devices")
            .hint("plug in what does, Zram::live()"),
    })
}

/// A device as errors and people name it.
pub(super) fn node(number: u32) -> String {
    format!("/dev/zram{number}")
}

/// A file of a device.
pub(super) fn file(number: u32, name: &str) -> String {
    format!("/sys/block/zram{number}/{name}")
}
