//! A buffered reader that knows how far it has been read.

use std::io::{self, BufRead, Read};

/// Large enough that the system calls cost nothing beside decompressing, and small beside a decompressor's window.
const BUFFER: usize = 128 * 1024;

/// The image's bytes. Decompressors take exactly what belongs to them from it, so that the next segment begins
/// where the last one ended.
pub(crate) struct Source<R> {
    inner: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Of the byte at `start`, from the beginning of the image.
    offset: u64,
    failed: bool,
}

impl<R: Read> Source<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            buffer: vec![0; BUFFER].into(),
            start: 0,
            end: 0,
            offset: 0,
            failed: false,
        }
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the reader beneath failed, so that an error is not one of the image.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// At least `wanted` bytes without consuming them; fewer only at the end. `wanted` is at most 512.
    pub(crate) fn peek(&mut self, wanted: usize) -> io::Result<&[u8]> {
        if self.end - self.start < wanted {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            while self.end < wanted && self.fill()? {}
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// Reads once behind what is there; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        loop {
            match self.inner.read(&mut self.buffer[self.end..]) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed = true;
                    return Err(error);
                }
            }
        }
    }

    /// Skips this many bytes; false if the end comes earlier.
    pub(crate) fn skip(&mut self, mut count: u64) -> io::Result<bool> {
        while count > 0 {
            let there = self.fill_buf()?.len();
            if there == 0 {
                return Ok(false);
            }
            let step = usize::try_from(count).map_or(there, |count| count.min(there));
            self.consume(step);
            count -= step as u64;
        }
        Ok(true)
    }

    /// Skips bytes that are zero.
    pub(crate) fn skip_zeros(&mut self) -> io::Result<()> {
        loop {
            let there = self.fill_buf()?;
            let zeros = there.iter().take_while(|byte| **byte == 0).count();
            let is_end = zeros == 0 || zeros < there.len();
            self.consume(zeros);
            if is_end {
                return Ok(());
            }
        }
    }
}

impl<R: Read> BufRead for Source<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            self.fill()?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, amount: usize) {
        self.start += amount;
        self.offset += amount as u64;
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let count = there.len().min(into.len());
        into[..count].copy_from_slice(&there[..count]);
        self.consume(count);
        Ok(count)
    }
}
