//! How a segment is compressed.

use std::fmt;

/// The compression of a segment, recognized by its first bytes as the kernel does (`lib/decompress.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// A cpio archive as it is.
    None,
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
    /// LZ4 in the legacy format of `lz4 -l`, the only one that the kernel reads.
    Lz4,
    /// bzip2, which is recognized and not read here.
    Bzip2,
    /// LZMA without xz around it, which is recognized and not read here.
    Lzma,
    /// LZO in the format of lzop, which is recognized and not read here.
    Lzo,
}

impl Compression {
    /// The compression that a segment with these first bytes has; `None` if the kernel reads none that begins so.
    /// Two bytes decide, as in the kernel.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        Some(match bytes.get(..2)? {
            b"07" => Self::None,
            [0x1f, 0x8b | 0x9e] => Self::Gzip,
            b"BZ" => Self::Bzip2,
            [0x5d, 0x00] => Self::Lzma,
            [0xfd, 0x37] => Self::Xz,
            [0x89, 0x4c] => Self::Lzo,
            [0x02, 0x21] => Self::Lz4,
            [0x28, 0xb5] => Self::Zstd,
            _ => return None,
        })
    }

    /// The name of the program that makes it; `none` for a plain cpio archive.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Bzip2 => "bzip2",
            Self::Lzma => "lzma",
            Self::Lzo => "lzop",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
