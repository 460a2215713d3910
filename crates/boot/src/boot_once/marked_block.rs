//! A block of lines of ours in a file of other programs, as a knob.

use std::fmt;

use hosttune_core::{Host, HostError, Knob, Lifetime, Unsupported};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::file_part::{self, FilePart, Written};

/// What the first line of a block ends with if the line before it had no line feed, which a revert
/// takes away again. A block that follows takes the mark over when this one is taken out.
const ADDED_LINE_FEED: &str = " (the line before had no end)";

/// What the first line of a block ends with if it was the first in a new file. The file is removed with the last
/// block that is left in it: a block of another program that was added later does not know that there was no
/// file, so it takes the mark over when this block is taken out.
const IN_NEW_FILE: &str = " (the file is new)";

/// A block of lines between two comments, in a file in which `#` begins a comment, such as GRUB's
/// `custom.cfg`. It is appended; a revert takes out exactly these lines, whatever was written around
/// them meanwhile. The text is that of whole lines, each with its line feed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarkedBlock {
    /// The file, an absolute path.
    pub file: String,
    /// The name in both comments.
    pub name: String,
}

/// Why a file with blocks cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MarkedBlockError {
    /// The first line of a block is there more than once.
    #[error("line {line} begins the block '{name}' a second time")]
    Twice {
        /// The name of the block.
        name: String,
        /// The line, from 1.
        line: usize,
    },
    /// The last line of a block is missing.
    #[error("the block '{name}' from line {line} on has no end")]
    Unclosed {
        /// The name of the block.
        name: String,
        /// The line, from 1.
        line: usize,
    },
}

/// Where a block is in the bytes of a file.
struct Place {
    /// Where its first comment begins.
    start: usize,
    /// Its text, without both comments.
    text: std::ops::Range<usize>,
    /// Behind its last comment.
    end: usize,
    has_added_line_feed: bool,
    is_in_new_file: bool,
}

impl MarkedBlock {
    fn begin(&self) -> String {
        format!("# BEGIN hosttune {}", self.name)
    }

    fn end(&self) -> String {
        format!("# END hosttune {}", self.name)
    }

    fn place(&self, bytes: &[u8]) -> Result<Option<Place>, MarkedBlockError> {
        let mut offset = 0;
        let mut open: Option<(Place, usize)> = None;
        let mut closed = None;
        for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let start = offset;
            offset += line.len();
            let Ok(text) = std::str::from_utf8(line) else {
                continue;
            };
            let text = text.trim_end_matches(['\r', '\n']);
            let suffix = text.strip_prefix(&self.begin());
            if let Some(suffix @ ("" | ADDED_LINE_FEED | IN_NEW_FILE)) = suffix {
                if open.is_some() || closed.is_some() {
                    return Err(MarkedBlockError::Twice {
                        name: self.name.clone(),
                        line: number + 1,
                    });
                }
                let place = Place {
                    start,
                    text: offset..offset,
                    end: offset,
                    has_added_line_feed: suffix == ADDED_LINE_FEED,
                    is_in_new_file: suffix == IN_NEW_FILE,
                };
                open = Some((place, number + 1));
            } else if text == self.end()
                && let Some((mut place, _)) = open.take()
            {
                place.text.end = start;
                place.end = offset;
                closed = Some(place);
            }
        }
        match open {
            Some((_, line)) => Err(MarkedBlockError::Unclosed {
                name: self.name.clone(),
                line,
            }),
            None => Ok(closed),
        }
    }

    /// The text of the block in these bytes, if it is there.
    ///
    /// # Errors
    /// If its lines are there twice or not all there.
    pub fn find(&self, bytes: &[u8]) -> Result<Option<String>, MarkedBlockError> {
        let place = self.place(bytes)?;
        Ok(place.map(|place| String::from_utf8_lossy(&bytes[place.text]).into_owned()))
    }

    /// The bytes with this text in the block; `None` takes the block out.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn replace(&self, bytes: &[u8], text: Option<&str>) -> Result<Vec<u8>, MarkedBlockError> {
        self.replaced(bytes, text, "")
    }

    /// The same; a new block in a file without bytes has this at the end of its first line.
    fn replaced(
        &self,
        bytes: &[u8],
        text: Option<&str>,
        first: &str,
    ) -> Result<Vec<u8>, MarkedBlockError> {
        let place = self.place(bytes)?;
        Ok(match (place, text) {
            (None, None) => bytes.to_vec(),
            (Some(place), Some(text)) => [
                &bytes[..place.text.start],
                text.as_bytes(),
                &bytes[place.text.end..],
            ]
            .concat(),
            (Some(place), None) => {
                let (before, behind) = (&bytes[..place.start], &bytes[place.end..]);
                match (place.has_added_line_feed, place.is_in_new_file) {
                    (true, _) if behind.is_empty() => {
                        before.strip_suffix(b"\n").unwrap_or(before).to_vec()
                    }
                    // What another program wrote behind the block needs the line feed, and only a block can
                    // take it away later.
                    (true, _) => [before, &marked(behind, ADDED_LINE_FEED, 1)].concat(),
                    (false, true) => marked(&[before, behind].concat(), IN_NEW_FILE, usize::MAX),
                    (false, false) => [before, behind].concat(),
                }
            }
            (None, Some(text)) => {
                let is_whole = bytes.is_empty() || bytes.ends_with(b"\n");
                let (before, suffix) = match is_whole {
                    true if bytes.is_empty() => ("", first),
                    true => ("", ""),
                    false => ("\n", ADDED_LINE_FEED),
                };
                let block = format!("{before}{}{suffix}\n{text}{}\n", self.begin(), self.end());
                [bytes, block.as_bytes()].concat()
            }
        })
    }

    fn malformed(&self, error: &MarkedBlockError) -> HostError {
        HostError::malformed(self.file.clone(), error.to_string())
            .with_hint("remove the lines of the block, or restore those that are missing")
    }
}

/// The bytes with a mark at the first line that begins a block and has no mark, among so many lines.
fn marked(bytes: &[u8], mark: &str, lines: usize) -> Vec<u8> {
    let is_unmarked = |line: &[u8]| {
        line.starts_with(b"# BEGIN hosttune ") && line.ends_with(b"\n") && !line.ends_with(b")\n")
    };
    let mut end = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n').take(lines) {
        end += line.len();
        if is_unmarked(line) {
            return [&bytes[..end - 1], mark.as_bytes(), &bytes[end - 1..]].concat();
        }
    }
    bytes.to_vec()
}

impl fmt::Display for MarkedBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.name, self.file)
    }
}

impl Knob for MarkedBlock {
    const NAME: &'static str = "marked-block";
    const LIFETIME: Lifetime = Lifetime::Disk;
    type State = FilePart;

    fn read(&self, host: &Host) -> Result<FilePart, HostError> {
        file_part::read(host, &self.file, |bytes| {
            self.find(bytes).map_err(|error| self.malformed(&error))
        })
    }

    fn set(&self, host: &mut Host, to: &FilePart) -> Result<(), HostError> {
        file_part::write(host, &self.file, |present| {
            let malformed = |error| self.malformed(&error);
            let first = match present {
                None => IN_NEW_FILE,
                Some(_) => "",
            };
            let present = present.unwrap_or_default();
            let place = self.place(present).map_err(malformed)?;
            let is_in_new_file = place.is_some_and(|place| place.is_in_new_file);
            let bytes = self
                .replaced(present, to.text(), first)
                .map_err(malformed)?;
            Ok(match bytes.is_empty() {
                true if is_in_new_file || *to == FilePart::NoFile => Written::Removed,
                _ => Written::Bytes(bytes),
            })
        })
    }

    fn satisfies(&self, seen: &FilePart, wanted: &FilePart) -> bool {
        seen.satisfies(wanted)
    }

    fn unsupported(&self, host: &Host, _: &FilePart) -> Result<Option<Unsupported>, HostError> {
        file_part::unsupported(host, &self.file)
    }

    fn original(&self, seen: &FilePart) -> Option<FilePart> {
        Some(seen.whole().clone())
    }

    fn is_partial_write(&self, seen: &FilePart, from: &FilePart, to: &FilePart) -> bool {
        seen.is_partial_write(from, to)
    }

    fn out_of_reach(
        &self,
        host: &Host,
        identity: Option<&str>,
        _: &FilePart,
    ) -> Result<Option<String>, HostError> {
        let was = file_part::file_system(identity);
        host.file_out_of_reach(&self.file, was.as_ref())
    }

    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        file_part::identity(host, &self.file)
    }

    /// What is on another file system is out of reach, and not another file.
    fn is_same_thing(_: &str, _: &str) -> bool {
        true
    }

    fn show(&self, state: &FilePart) -> String {
        state.show(|text| match text.lines().count() {
            1 => "1 line".to_owned(),
            lines => format!("{lines} lines"),
        })
    }
}
