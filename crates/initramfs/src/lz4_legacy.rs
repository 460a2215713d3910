//! The legacy format of LZ4: a magic number, and blocks that each have their compressed length before them.

use std::io::{self, Read};

use crate::source::Source;

const MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];

/// What a block is at most after decompression, in this format.
const BLOCK: usize = 8 << 20;

/// `LZ4_compressBound` of a block, up to which the kernel accepts a length.
const LONGEST: u32 = (BLOCK + BLOCK / 255 + 16) as u32;

/// One segment, which has no mark at its end: the kernel takes a length of zero for the end, or the end of the image.
pub(crate) struct Lz4Legacy<R> {
    pub(crate) source: Source<R>,
    compressed: Vec<u8>,
    block: Vec<u8>,
    given: usize,
}

impl<R: Read> Lz4Legacy<R> {
    pub(crate) fn new(source: Source<R>) -> Self {
        Self {
            source,
            compressed: Vec::new(),
            block: Vec::new(),
            given: 0,
        }
    }

    /// The next block; false if there is none.
    fn next_block(&mut self) -> io::Result<bool> {
        let length = loop {
            let Some(bytes) = self.source.peek(4)?.first_chunk::<4>().copied() else {
                return Ok(false);
            };
            if bytes == MAGIC {
                self.source.skip(4)?;
                continue;
            }
            break u32::from_le_bytes(bytes);
        };
        if length == 0 {
            return Ok(false);
        }
        if length > LONGEST {
            return Err(malformed(format!(
                "a block has the length {length}, and at most {LONGEST} is possible: if another segment begins here, four zeros must be before it"
            )));
        }
        self.source.skip(4)?;
        // The length is not trusted: memory is taken for what is there.
        self.compressed.clear();
        let read = Read::by_ref(&mut self.source)
            .take(u64::from(length))
            .read_to_end(&mut self.compressed)?;
        if read as u64 != u64::from(length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.block.resize(BLOCK, 0);
        let plain = lz4_flex::block::decompress_into(&self.compressed, &mut self.block)
            .map_err(|error| malformed(error.to_string()))?;
        self.block.truncate(plain);
        self.given = 0;
        Ok(true)
    }
}

fn malformed(detail: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, detail)
}

impl<R: Read> Read for Lz4Legacy<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.given == self.block.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let there = &self.block[self.given..];
        let count = there.len().min(into.len());
        into[..count].copy_from_slice(&there[..count]);
        self.given += count;
        Ok(count)
    }
}
