//! Limits that keep a hostile or damaged image from taking all time or memory.

/// Limits of reading an image. An image over a limit is an error that names the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all segments together after decompression. By default 8 GiB.
    pub unpacked: u64,
    /// Entries of all segments together. By default 400,000; images have some thousands.
    pub entries: u64,
    /// Bytes of memory for the window of a decompressor. By default 128 MiB, the most that the kernel's zstd takes;
    /// images need 1 to 8 MiB with the compression levels that are used for them.
    pub window: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            unpacked: 8 << 30,
            entries: 400_000,
            window: 128 << 20,
        }
    }
}
