//! Archives for the tests, written byte by byte.

/// One entry.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) name: String,
    pub(crate) mode: u32,
    pub(crate) inode: u32,
    pub(crate) links: u32,
    pub(crate) content: Vec<u8>,
}

pub(crate) fn file(name: &str, content: impl AsRef<[u8]>) -> Written {
    Written {
        name: name.to_owned(),
        mode: 0o100_644,
        inode: 0,
        links: 1,
        content: content.as_ref().to_vec(),
    }
}

pub(crate) fn directory(name: &str) -> Written {
    Written {
        mode: 0o040_755,
        links: 2,
        ..file(name, "")
    }
}

pub(crate) fn link(name: &str, target: &str) -> Written {
    Written {
        mode: 0o120_777,
        ..file(name, target)
    }
}

/// A name of a file with several names.
pub(crate) fn hard_link(name: &str, inode: u32, content: &str) -> Written {
    Written {
        inode,
        links: 2,
        ..file(name, content)
    }
}

/// Every directory on the way to the entries, and the entries.
pub(crate) fn with_directories(entries: impl IntoIterator<Item = Written>) -> Vec<Written> {
    let mut all: Vec<Written> = Vec::new();
    for entry in entries {
        for (at, _) in entry.name.match_indices('/') {
            let name = &entry.name[..at];
            if !all.iter().any(|known| known.name == name) {
                all.push(directory(name));
            }
        }
        all.push(entry);
    }
    all
}

pub(crate) fn entry_bytes(entry: &Written, has_checksum: bool) -> Vec<u8> {
    let magic = if has_checksum { "070702" } else { "070701" };
    let sum = entry
        .content
        .iter()
        .fold(0_u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    let check = if has_checksum { sum } else { 0 };
    let mut bytes = format!(
        "{magic}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08X}{:08x}{:08x}{:08x}{:08x}{:08x}{check:08x}",
        entry.inode,
        entry.mode,
        1,
        2,
        entry.links,
        3,
        entry.content.len(),
        8,
        1,
        0,
        0,
        entry.name.len() + 1,
    )
    .into_bytes();
    bytes.extend_from_slice(entry.name.as_bytes());
    bytes.push(0);
    pad(&mut bytes, 4);
    bytes.extend_from_slice(&entry.content);
    pad(&mut bytes, 4);
    bytes
}

pub(crate) fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

/// An archive with its trailer.
pub(crate) fn archive<'a>(entries: impl IntoIterator<Item = &'a Written>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend(entry_bytes(entry, false));
    }
    bytes.extend(entry_bytes(&file("TRAILER!!!", ""), false));
    bytes
}

/// A frame of zstd with one block that is not compressed: for tests without a program.
pub(crate) fn zstd_stored(content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58];
    let mut blocks = content.chunks(100_000).peekable();
    while let Some(block) = blocks.next() {
        let header = u32::try_from(block.len()).unwrap() << 3 | u32::from(blocks.peek().is_none());
        bytes.extend_from_slice(&header.to_le_bytes()[..3]);
        bytes.extend_from_slice(block);
    }
    bytes
}

/// A segment in the legacy format of LZ4 with blocks of literals.
pub(crate) fn lz4_stored(content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x02, 0x21, 0x4c, 0x18];
    for part in content.chunks(1 << 20) {
        let mut block = vec![0xf0];
        let mut left = part.len().checked_sub(15).expect("a longer content");
        while left >= 255 {
            block.push(255);
            left -= 255;
        }
        block.push(u8::try_from(left).unwrap());
        block.extend_from_slice(part);
        bytes.extend_from_slice(&u32::try_from(block.len()).unwrap().to_le_bytes());
        bytes.extend(block);
    }
    bytes
}

pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}
