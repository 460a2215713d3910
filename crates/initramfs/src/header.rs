//! The header of an entry in a cpio archive.

/// The length of a header of the formats `070701` and `070702`.
pub(crate) const LENGTH: usize = 110;

/// The most bytes that a name may have with its final zero; the kernel skips an entry with a longer one.
pub(crate) const LONGEST_NAME: u32 = 4096;

/// What the header of an entry says (`Documentation/driver-api/early-userspace/buffer-format.rst` in the kernel).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The inode number. With the device number it tells which entries are hard links of one file.
    pub inode: u32,
    /// File type and permissions, as `st_mode` of `stat(2)`.
    pub mode: u32,
    /// The number of the owner.
    pub user: u32,
    /// The number of the group.
    pub group: u32,
    /// The number of hard links.
    pub links: u32,
    /// The time of the last change, in seconds since 1970.
    pub modified: u32,
    /// The length of the content in bytes; of a symlink, of its target. A hard link can be 0 here although the
    /// file has content: it is at another of its names.
    pub size: u32,
    /// The device number that the inode number belongs to, major and minor.
    pub device: (u32, u32),
    /// The sum of the bytes of the content, in the format `070702`.
    pub checksum: Option<u32>,
    /// The length of the name with its final zero.
    pub(crate) name_length: u32,
}

/// The type of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EntryType {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symlink; its content is its target.
    Symlink,
    /// A device, a pipe or a socket.
    Special,
}

impl Header {
    /// The header in these bytes; `None` if it is not one.
    pub(crate) fn parse(bytes: &[u8; LENGTH]) -> Option<Self> {
        let has_checksum = match &bytes[..6] {
            b"070701" => false,
            b"070702" => true,
            _ => return None,
        };
        let mut fields = [0_u32; 13];
        for (field, digits) in fields.iter_mut().zip(bytes[6..].chunks_exact(8)) {
            for digit in digits {
                // A sign, which the parser of the standard library takes, is none for the kernel.
                let digit = char::from(*digit).to_digit(16)?;
                *field = *field << 4 | digit;
            }
        }
        Some(Self {
            inode: fields[0],
            mode: fields[1],
            user: fields[2],
            group: fields[3],
            links: fields[4],
            modified: fields[5],
            size: fields[6],
            device: (fields[7], fields[8]),
            checksum: has_checksum.then_some(fields[12]),
            name_length: fields[11],
        })
    }

    /// The type of the entry.
    pub fn entry_type(&self) -> EntryType {
        match self.mode & 0o170_000 {
            0o100_000 => EntryType::File,
            0o040_000 => EntryType::Directory,
            0o120_000 => EntryType::Symlink,
            _ => EntryType::Special,
        }
    }

    /// Whether the kernel passes over the entry without a message (`do_header` in `init/initramfs.c`).
    pub(crate) fn is_skipped_by_the_kernel(&self) -> bool {
        self.name_length == 0
            || self.name_length > LONGEST_NAME
            || match self.entry_type() {
                EntryType::File => false,
                EntryType::Symlink => self.size > LONGEST_NAME,
                EntryType::Directory | EntryType::Special => self.size != 0,
            }
    }
}

/// How many zeros follow a name of this length or a content of this length, so that what follows begins at a
/// multiple of 4.
pub(crate) fn padding_of_name(length: u32) -> u64 {
    (4 - (LENGTH as u64 + u64::from(length)) % 4) % 4
}

pub(crate) fn padding_of_content(length: u32) -> u64 {
    (4 - u64::from(length) % 4) % 4
}
