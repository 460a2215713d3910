//! The entries of an image, one after the other.

use std::io::Read;

use crate::compression::Compression;
use crate::error::{Place, ReadError, ReadErrorKind};
use crate::header::{self, EntryType, Header};
use crate::limits::Limits;
use crate::source::Source;
use crate::stream::Stream;

/// The name of the entry that ends an archive.
const TRAILER: &[u8] = b"TRAILER!!!";

/// What is decompressed at a time where nothing of it is wanted.
const STEP: usize = 64 * 1024;

/// A segment of an image: archives that are compressed together, or one archive that is not compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins, in bytes from the beginning of the image.
    pub offset: u64,
    /// How it is compressed.
    pub compression: Compression,
    /// Entries that have been read so far, without `TRAILER!!!`.
    pub entries: u64,
    /// Bytes after decompression that have been read so far.
    pub unpacked: u64,
}

/// An initramfs image over any reader, in the grammar of the kernel's `init/initramfs.c`: segments one after the
/// other, in any order, each a cpio archive that is compressed or not, with zeros between them.
///
/// The image is read once and never kept: a decompressor's window, 128 KiB of the image and one name are in memory.
/// A later entry replaces an earlier one with the same name; [`Contents`](crate::Contents) works that out.
///
/// ```
/// use hosttune_initramfs::Archive;
///
/// # fn list(file: impl std::io::Read) -> Result<(), hosttune_initramfs::ReadError> {
/// let mut archive = Archive::new(file);
/// while let Some(entry) = archive.next_entry()? {
///     println!("{} {}", entry.name_lossy(), entry.header().size);
/// }
/// # Ok(()) }
/// # assert!(list(&b""[..]).is_ok());
/// ```
pub struct Archive<R: Read> {
    state: State<R>,
    limits: Limits,
    segments: Vec<Segment>,
    entries: u64,
    /// Archives that have ended.
    archives: u64,
    unpacked: u64,
    /// Of the entry that was returned last: what is left of its content, and the zeros behind it.
    content_left: u64,
    padding: u64,
    checksum: Option<(u32, u32)>,
    last_name: Option<String>,
    /// Bytes of the segment that were read already, and are still to be given from `ahead_start` on.
    ahead: Vec<u8>,
    ahead_start: usize,
    scratch: Box<[u8]>,
}

enum State<R: Read> {
    /// Between two segments.
    Between(Source<R>),
    /// In a segment, within an archive.
    Within(Stream<R>),
    /// In a segment, behind the end of an archive.
    Behind(Stream<R>),
    /// At the end, or behind an error.
    Ended,
}

impl<R: Read> std::fmt::Debug for Archive<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive")
            .field("limits", &self.limits)
            .field("segments", &self.segments)
            .finish_non_exhaustive()
    }
}

/// An entry of an image. What is not read of its content is skipped with the next entry.
pub struct Entry<'a, R: Read> {
    archive: &'a mut Archive<R>,
    header: Header,
    name: Vec<u8>,
}

impl<R: Read> std::fmt::Debug for Entry<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("name", &self.name_lossy())
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

impl<R: Read> Archive<R> {
    /// The image that this reader gives, with the default limits. The reader need not be buffered.
    pub fn new(reader: R) -> Self {
        Self::with_limits(reader, Limits::default())
    }

    /// The image that this reader gives.
    pub fn with_limits(reader: R, limits: Limits) -> Self {
        Self {
            state: State::Between(Source::new(reader)),
            limits,
            segments: Vec::new(),
            entries: 0,
            archives: 0,
            unpacked: 0,
            content_left: 0,
            padding: 0,
            checksum: None,
            last_name: None,
            ahead: Vec::new(),
            ahead_start: 0,
            scratch: vec![0; STEP].into(),
        }
    }

    /// The segments that have been begun so far.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The next entry of all segments; `None` at the end, and always behind an error.
    ///
    /// An entry that the kernel passes over (a name of more than 4095 bytes, a directory with content) is passed
    /// over here too.
    ///
    /// # Errors
    /// See [`ReadErrorKind`].
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_, R>>, ReadError> {
        match self.advance() {
            Ok(Some((header, name))) => Ok(Some(Entry {
                archive: self,
                header,
                name,
            })),
            Ok(None) => Ok(None),
            Err(kind) => Err(self.error(kind)),
        }
    }

    /// No entry is read behind an error: the place where the next one begins is not known.
    fn error(&mut self, kind: ReadErrorKind) -> ReadError {
        self.state = State::Ended;
        ReadError {
            kind,
            segment: self.segments.last().map_or(0, |segment| segment.offset),
            place: match self.last_name.take() {
                Some(name) => Place::Behind(name),
                None => Place::Start,
            },
        }
    }

    fn advance(&mut self) -> Result<Option<(Header, Vec<u8>)>, ReadErrorKind> {
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Between(source) => match self.begin(source)? {
                    Some(stream) => self.state = State::Within(stream),
                    None => return Ok(None),
                },
                State::Within(stream) => {
                    self.state = State::Within(stream);
                    self.finish_content()?;
                    let Some(found) = self.read_header()? else {
                        continue;
                    };
                    return Ok(Some(found));
                }
                State::Behind(stream) => self.state = self.behind(stream)?,
                State::Ended => return Ok(None),
            }
        }
    }

    /// Finds the next segment.
    fn begin(&mut self, mut source: Source<R>) -> Result<Option<Stream<R>>, ReadErrorKind> {
        source.skip_zeros().map_err(ReadErrorKind::Io)?;
        let offset = source.offset();
        let magic = source.peek(6).map_err(ReadErrorKind::Io)?;
        if magic.is_empty() {
            return Ok(None);
        }
        let magic = magic[..magic.len().min(6)].to_vec();
        self.last_name = None;
        let compression = Compression::of(&magic);
        self.segments.push(Segment {
            offset,
            compression: compression.unwrap_or(Compression::None),
            entries: 0,
            unpacked: 0,
        });
        let Some(compression) = compression else {
            return Err(match &magic[..] {
                [b'M', b'Z', ..] if offset == 0 => ReadErrorKind::UefiProgram,
                _ if magic.len() < 2 => ReadErrorKind::Truncated,
                _ => ReadErrorKind::UnknownFormat(magic),
            });
        };
        if compression == Compression::None && !offset.is_multiple_of(4) {
            return Err(ReadErrorKind::Unaligned);
        }
        Stream::begin(source, compression, &self.limits).map(Some)
    }

    /// Behind an archive there are zeros; then comes another archive of the same segment, or its end.
    fn behind(&mut self, stream: Stream<R>) -> Result<State<R>, ReadErrorKind> {
        // The kernel looks at every plain archive as a segment of its own.
        if stream.compression() == Compression::None {
            return Ok(State::Between(stream.into_source()));
        }
        self.state = State::Within(stream);
        let mut zeros = 0_u64;
        loop {
            if self.ahead_start == self.ahead.len() && !self.fill_ahead()? {
                return Ok(match std::mem::replace(&mut self.state, State::Ended) {
                    State::Within(stream) => State::Between(stream.into_source()),
                    other => other,
                });
            }
            let there = &self.ahead[self.ahead_start..];
            let in_a_row = there.iter().take_while(|byte| **byte == 0).count();
            let next = there.get(in_a_row).copied();
            zeros += in_a_row as u64;
            self.ahead_start += in_a_row;
            match next {
                None => {}
                Some(b'0') if zeros.is_multiple_of(4) => {
                    return Ok(std::mem::replace(&mut self.state, State::Ended));
                }
                Some(b'0') => return Err(ReadErrorKind::Unaligned),
                Some(_) => return Err(ReadErrorKind::Header),
            }
        }
    }

    /// Reads bytes of the segment that are given by the next reads; false at its end.
    fn fill_ahead(&mut self) -> Result<bool, ReadErrorKind> {
        let mut ahead = std::mem::take(&mut self.ahead);
        self.ahead_start = 0;
        ahead.resize(STEP, 0);
        let count = self.read(&mut ahead)?;
        ahead.truncate(count);
        self.ahead = ahead;
        Ok(count > 0)
    }

    /// Reads once of the segment; 0 at its end.
    fn read(&mut self, into: &mut [u8]) -> Result<usize, ReadErrorKind> {
        let ahead = &self.ahead[self.ahead_start..];
        if !ahead.is_empty() {
            let count = ahead.len().min(into.len());
            into[..count].copy_from_slice(&ahead[..count]);
            self.ahead_start += count;
            return Ok(count);
        }
        let State::Within(stream) = &mut self.state else {
            return Ok(0);
        };
        let count = stream.read(into)?;
        self.unpacked += count as u64;
        if let Some(segment) = self.segments.last_mut() {
            segment.unpacked += count as u64;
        }
        if self.unpacked > self.limits.unpacked {
            return Err(ReadErrorKind::Limit {
                what: "the size after decompression in bytes",
                limit: self.limits.unpacked,
            });
        }
        Ok(count)
    }

    fn read_exact(&mut self, mut into: &mut [u8]) -> Result<(), ReadErrorKind> {
        while !into.is_empty() {
            let count = self.read(into)?;
            if count == 0 {
                return Err(ReadErrorKind::Truncated);
            }
            into = &mut into[count..];
        }
        Ok(())
    }

    fn skip(&mut self, mut count: u64) -> Result<(), ReadErrorKind> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut skipped = Ok(());
        while count > 0 && skipped.is_ok() {
            let step = scratch
                .len()
                .min(usize::try_from(count).unwrap_or(usize::MAX));
            skipped = self.read_exact(&mut scratch[..step]);
            count -= step as u64;
        }
        self.scratch = scratch;
        skipped
    }

    /// Goes behind the content of the last entry, which is still read where it has a checksum.
    fn finish_content(&mut self) -> Result<(), ReadErrorKind> {
        if self.checksum.is_some() {
            let mut scratch = std::mem::take(&mut self.scratch);
            let mut read = Ok(1);
            while matches!(read, Ok(count) if count > 0) {
                read = self.read_content(&mut scratch);
            }
            self.scratch = scratch;
            read?;
        }
        let rest = std::mem::take(&mut self.content_left) + std::mem::take(&mut self.padding);
        self.skip(rest)
    }

    /// Reads once of the content of the last entry; 0 at its end.
    fn read_content(&mut self, into: &mut [u8]) -> Result<usize, ReadErrorKind> {
        let most = usize::try_from(self.content_left).unwrap_or(usize::MAX);
        let step = into.len().min(most);
        if step == 0 {
            if let (0, Some((wanted, seen))) = (self.content_left, self.checksum.take())
                && wanted != seen
            {
                return Err(ReadErrorKind::Checksum { wanted, seen });
            }
            return Ok(0);
        }
        let count = self.read(&mut into[..step])?;
        if count == 0 {
            return Err(ReadErrorKind::Truncated);
        }
        self.content_left -= count as u64;
        if let Some((_, seen)) = &mut self.checksum {
            let bytes = into[..count].iter();
            *seen = bytes.fold(*seen, |sum, byte| sum.wrapping_add(u32::from(*byte)));
        }
        Ok(count)
    }

    /// The next entry of the archive; `None` at its end, and for an entry that the kernel passes over.
    fn read_header(&mut self) -> Result<Option<(Header, Vec<u8>)>, ReadErrorKind> {
        let mut bytes = [0; header::LENGTH];
        self.read_exact(&mut bytes)?;
        let header = Header::parse(&bytes).ok_or(ReadErrorKind::Header)?;
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(ReadErrorKind::Limit {
                what: "the number of entries",
                limit: self.limits.entries,
            });
        }
        let padding = header::padding_of_name(header.name_length);
        self.content_left = u64::from(header.size);
        self.padding = header::padding_of_content(header.size);
        if header.is_skipped_by_the_kernel() {
            self.skip(u64::from(header.name_length) + padding)?;
            return Ok(None);
        }
        let mut name = vec![0; header.name_length as usize];
        self.read_exact(&mut name)?;
        self.skip(padding)?;
        let end = name.iter().position(|byte| *byte == 0);
        name.truncate(end.unwrap_or(name.len()));
        if name == TRAILER {
            self.finish_content()?;
            self.archives += 1;
            if let State::Within(stream) = std::mem::replace(&mut self.state, State::Ended) {
                self.state = State::Behind(stream);
            }
            return Ok(None);
        }
        self.checksum = match header.entry_type() {
            EntryType::File => header.checksum.map(|wanted| (wanted, 0)),
            _ => None,
        };
        self.last_name = Some(String::from_utf8_lossy(&name).into_owned());
        if let Some(segment) = self.segments.last_mut() {
            segment.entries += 1;
        }
        Ok(Some((header, name)))
    }
}

impl<R: Read> Entry<'_, R> {
    /// The name, as in the archive: without a leading `/` in images, and with `.` for the root directory.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The name, with bytes that are not UTF-8 replaced.
    pub fn name_lossy(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.name)
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The segment that contains the entry, counted from 0.
    pub fn segment(&self) -> usize {
        self.archive.segments.len().saturating_sub(1)
    }

    /// How many archives have ended before the one that contains the entry: hard links do not reach beyond one.
    pub(crate) fn archive_number(&self) -> u64 {
        self.archive.archives
    }

    /// The content of a file or the target of a symlink, if it has at most `most` bytes; `None` if it has more.
    /// What was read with [`Read`] before is not in it.
    ///
    /// # Errors
    /// See [`ReadErrorKind`]; no entry can be read behind an error.
    pub fn content(&mut self, most: u32) -> Result<Option<Vec<u8>>, ReadError> {
        if self.header.size > most {
            return Ok(None);
        }
        // The size is not trusted: memory is taken for what is there.
        let mut content = Vec::new();
        let mut part = [0; 4096];
        loop {
            match self.archive.read_content(&mut part) {
                Ok(0) => return Ok(Some(content)),
                Ok(count) => content.extend_from_slice(&part[..count]),
                Err(kind) => return Err(self.archive.error(kind)),
            }
        }
    }
}

impl<R: Read> Read for Entry<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let read = self.archive.read_content(into);
        read.map_err(|kind| std::io::Error::other(self.archive.error(kind)))
    }
}
