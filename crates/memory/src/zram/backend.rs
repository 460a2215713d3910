//! The backend for operations on zram that are not writes to a file.

use std::fmt;

use hosttune_core::host::RootKind;
use hosttune_core::{Host, HostError, Unsupported, UnsupportedKind};

use super::live::Kernel;

/// A provider of zram devices: the running kernel, or a fake.
pub trait ZramDevices: fmt::Debug + Send {
    /// Creates a device and returns its number.
    ///
    /// # Errors
    /// Returns the kernel's error.
    fn add(&mut self) -> Result<u32, HostError>;

    /// Returns the size of a memory page in bytes.
    fn page_size(&self) -> usize;

    /// Returns the first page of a device; empty if it has no size yet.
    ///
    /// # Errors
    /// Returns the kernel's error; `Missing` if the device does not exist.
    fn first_page(&self, number: u32) -> Result<Vec<u8>, HostError>;

    /// Whether the device has data after its first page where programs look for file systems: in
    /// the first 128 KiB. That of btrfs begins at 64 KiB, and has nothing in front.
    ///
    /// # Errors
    /// Returns the kernel's error.
    fn has_data_after_first_page(&self, number: u32) -> Result<bool, HostError>;

    /// Writes zeros over the first 128 KiB of a device and waits until they are on the device.
    ///
    /// # Errors
    /// As [`write_first_page`](Self::write_first_page).
    fn erase(&mut self, number: u32) -> Result<(), HostError>;

    /// Writes the first page of a device and waits until it is on the device.
    ///
    /// # Errors
    /// Returns the kernel's error; `Busy` if the device is mounted, in use as swap, or part of
    /// another device.
    fn write_first_page(&mut self, number: u32, page: &[u8]) -> Result<(), HostError>;

    /// Makes a device swap with this priority.
    ///
    /// # Errors
    /// Returns the kernel's error.
    fn swap_on(&mut self, number: u32, priority: u16) -> Result<(), HostError>;

    /// Stops using a device as swap. Its pages move back into memory, which takes about a second per GiB
    /// and fails if they do not fit.
    ///
    /// # Errors
    /// Returns the kernel's error.
    fn swap_off(&mut self, number: u32) -> Result<(), HostError>;
}

/// The zram backend of a host.
#[derive(Debug)]
pub struct Zram(Box<dyn ZramDevices>);

impl Zram {
    /// Returns the backend of the running kernel.
    #[must_use]
    pub fn live() -> Self {
        Self::over(Kernel)
    }

    /// Creates a backend from another implementation.
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

/// Returns why zram is unsupported on a host, or `None` if it is supported.
pub(super) fn unsupported(host: &Host) -> Option<Unsupported> {
    host.backend::<Zram>()
        .err()
        .map(|_| match host.root_kind() {
            RootKind::Captured => Unsupported::new(
                UnsupportedKind::NoBackend,
                "devices cannot be created in a captured tree",
            )
            .hint("run this on the live system instead"),
            _ => Unsupported::new(
                UnsupportedKind::NoBackend,
                "this program has no backend that creates zram devices",
            )
            .hint("add the backend Zram::live()"),
        })
}

/// Returns the path of a device, for messages.
pub(super) fn node(number: u32) -> String {
    format!("/dev/zram{number}")
}

/// Returns the path of a device's file in sysfs.
pub(super) fn file(number: u32, name: &str) -> String {
    format!("/sys/block/zram{number}/{name}")
}
