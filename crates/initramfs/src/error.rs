//! Why an image is not read further.

use std::io;

use thiserror::Error;

use crate::compression::Compression;

/// An image cannot be read further than to some place. What came before it is known, and nothing of what follows;
/// the kernel stops at the same place, unless the kind is one of this reader's own limits.
#[derive(Debug, Error)]
#[error("{kind}, in the segment at byte {segment} of the image ({place})")]
pub struct ReadError {
    /// What is wrong.
    #[source]
    pub kind: ReadErrorKind,
    /// Where the segment begins, in bytes from the beginning of the image.
    pub segment: u64,
    /// Where in the segment.
    pub place: Place,
}

/// A place in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// Where it begins.
    Start,
    /// Behind an entry with this name, or in it; bytes that are not UTF-8 are replaced.
    Behind(String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Start => f.write_str("before its first entry"),
            Self::Behind(name) => write!(f, "at or behind the entry {name:?}"),
        }
    }
}

/// What is wrong with an image.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadErrorKind {
    /// The bytes of the image could not be read.
    #[error("the image cannot be read: {0}")]
    Io(io::Error),
    /// The image ends within an entry, or a segment without `TRAILER!!!`.
    #[error("the image ends too early: it is truncated, or still being written")]
    Truncated,
    /// The bytes begin no segment that the kernel reads.
    #[error("no cpio archive and no compression that the kernel reads begins with the bytes {}", bytes(.0))]
    UnknownFormat(Vec<u8>),
    /// A cpio archive begins at an offset at which the kernel does not look for one.
    #[error(
        "a cpio archive begins at an offset that is not a multiple of 4, where the kernel does not read it"
    )]
    Unaligned,
    /// It is a program for UEFI: a unified kernel image, which has the initramfs in a section.
    #[error(
        "this is a UEFI program (a unified kernel image has its initramfs inside), not an initramfs image"
    )]
    UefiProgram,
    /// The segment is compressed in a way that is not read here.
    #[error("{0} is not readable here")]
    NotReadable(Compression),
    /// The compressed data is damaged, or needs more memory than is allowed.
    #[error("the {compression} data cannot be decompressed: {detail}")]
    Damaged {
        /// The compression of the segment.
        compression: Compression,
        /// What the decompressor says.
        detail: String,
    },
    /// The header of an entry is not one of the formats `070701` and `070702`, or has a character that is no
    /// hexadecimal digit.
    #[error("no cpio header (070701 or 070702 and hexadecimal digits) is where one must be")]
    Header,
    /// The content of an entry of the format `070702` does not have the sum of its header.
    #[error("the content does not have the checksum {wanted:08x} of its header, but {seen:08x}")]
    Checksum {
        /// The sum in the header.
        wanted: u32,
        /// The sum of the content.
        seen: u32,
    },
    /// A limit of [`Limits`](crate::Limits).
    #[error("{what} is more than the limit of {limit}")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// The limit, in bytes or entries.
        limit: u64,
    },
}

fn bytes(bytes: &[u8]) -> String {
    let shown: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    shown.join(" ")
}
