//! The bytes of one segment after decompression.

use std::io::{self, Read};

use crate::compression::Compression;
use crate::error::ReadErrorKind;
use crate::limits::Limits;
#[cfg(feature = "lz4")]
use crate::lz4_legacy::Lz4Legacy;
use crate::source::Source;

/// A segment that is being read. It owns the image's bytes and gives them back at its end.
pub(crate) enum Stream<R: Read> {
    Plain(Source<R>),
    #[cfg(feature = "gzip")]
    Gzip(Box<flate2::bufread::GzDecoder<Source<R>>>),
    #[cfg(feature = "xz")]
    Xz(Box<lzma_rust2::XzReader<Source<R>>>),
    #[cfg(feature = "zstd")]
    Zstd(Box<Zstd<R>>),
    #[cfg(feature = "lz4")]
    Lz4(Lz4Legacy<R>),
}

#[cfg(feature = "zstd")]
type Zstd<R> = ruzstd::decoding::StreamingDecoder<Source<R>, ruzstd::decoding::FrameDecoder>;

impl<R: Read> Stream<R> {
    /// Begins a segment. If that is not possible the bytes are lost, and nothing can be read behind it either.
    pub(crate) fn begin(
        source: Source<R>,
        compression: Compression,
        limits: &Limits,
    ) -> Result<Self, ReadErrorKind> {
        // Without a feature it is not used.
        let _ = limits;
        Ok(match compression {
            Compression::None => Self::Plain(source),
            #[cfg(feature = "gzip")]
            Compression::Gzip => Self::Gzip(Box::new(flate2::bufread::GzDecoder::new(source))),
            #[cfg(feature = "xz")]
            Compression::Xz => {
                let kib = u32::try_from(limits.window / 1024).unwrap_or(u32::MAX);
                let reader = lzma_rust2::XzReader::new_mem_limit(source, false, kib);
                Self::Xz(Box::new(reader))
            }
            #[cfg(feature = "zstd")]
            Compression::Zstd => {
                let mut source = source;
                let mut decoder = ruzstd::decoding::FrameDecoder::new();
                decoder.set_max_window_size(limits.window);
                // The decoder would not tell a reader that failed from a frame that is damaged.
                let is_cut = source.peek(18).map_err(ReadErrorKind::Io)?.len() < 6;
                if is_cut {
                    return Err(ReadErrorKind::Truncated);
                }
                let reader = Zstd::new_with_decoder(source, decoder).map_err(|error| {
                    ReadErrorKind::Damaged {
                        compression,
                        detail: error.to_string(),
                    }
                })?;
                Self::Zstd(Box::new(reader))
            }
            #[cfg(feature = "lz4")]
            Compression::Lz4 => Self::Lz4(Lz4Legacy::new(source)),
            other => return Err(ReadErrorKind::NotReadable(other)),
        })
    }

    fn source(&self) -> &Source<R> {
        match self {
            Self::Plain(source) => source,
            #[cfg(feature = "gzip")]
            Self::Gzip(reader) => reader.get_ref(),
            #[cfg(feature = "xz")]
            Self::Xz(reader) => reader.inner(),
            #[cfg(feature = "zstd")]
            Self::Zstd(reader) => reader.get_ref(),
            #[cfg(feature = "lz4")]
            Self::Lz4(reader) => &reader.source,
        }
    }

    pub(crate) fn into_source(self) -> Source<R> {
        match self {
            Self::Plain(source) => source,
            #[cfg(feature = "gzip")]
            Self::Gzip(reader) => reader.into_inner(),
            #[cfg(feature = "xz")]
            Self::Xz(reader) => reader.into_inner(),
            #[cfg(feature = "zstd")]
            Self::Zstd(reader) => reader.into_inner(),
            #[cfg(feature = "lz4")]
            Self::Lz4(reader) => reader.source,
        }
    }

    pub(crate) fn compression(&self) -> Compression {
        match self {
            Self::Plain(_) => Compression::None,
            #[cfg(feature = "gzip")]
            Self::Gzip(_) => Compression::Gzip,
            #[cfg(feature = "xz")]
            Self::Xz(_) => Compression::Xz,
            #[cfg(feature = "zstd")]
            Self::Zstd(_) => Compression::Zstd,
            #[cfg(feature = "lz4")]
            Self::Lz4(_) => Compression::Lz4,
        }
    }

    /// Reads once; 0 at the end of the segment, which a plain one has only at the end of the image.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> Result<usize, ReadErrorKind> {
        let read = match self {
            Self::Plain(source) => source.read(into),
            #[cfg(feature = "gzip")]
            Self::Gzip(reader) => reader.read(into),
            #[cfg(feature = "xz")]
            Self::Xz(reader) => reader.read(into),
            #[cfg(feature = "zstd")]
            Self::Zstd(reader) => reader.read(into),
            #[cfg(feature = "lz4")]
            Self::Lz4(reader) => reader.read(into),
        };
        match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.read(into),
            Err(error) => Err(self.kind_of(error)),
            Ok(count) => Ok(count),
        }
    }

    fn kind_of(&self, error: io::Error) -> ReadErrorKind {
        if self.source().has_failed() {
            return ReadErrorKind::Io(error);
        }
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return ReadErrorKind::Truncated;
        }
        ReadErrorKind::Damaged {
            compression: self.compression(),
            detail: error.to_string(),
        }
    }
}
