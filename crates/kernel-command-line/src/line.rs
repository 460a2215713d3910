//! The whole kernel command line, kept byte for byte.

use std::fmt;
use std::ops::Range;

use super::argument::{Argument, is_blank, is_unbalanced, ranges, same_name, written};
use super::parameter;

/// The longest command line in bytes that the kernel reads completely on x86, arm64 and powerpc:
/// `COMMAND_LINE_SIZE` is 2048 with the terminating NUL. What is longer is cut without a message.
pub const LONGEST_LINE: usize = 2047;

/// The file with the command line that the running kernel got.
pub const RUNNING_LINE: &str = "/proc/cmdline";

/// Why a command line cannot be changed as requested.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// The kernel would read something else.
    #[error(
        "the parameter {} cannot be written: use printable ASCII, no quotes, and no blanks in the name",
        shown(.name, .value.as_deref())
    )]
    NotWritable {
        /// The name.
        name: String,
        /// The value, if any.
        value: Option<String>,
    },
    /// A program that reads the line in the initramfs splits it at every blank, also within quotes.
    #[error(
        "the value {value:?} of {name} contains a blank: the initramfs does not know quotes and would read a part of it; use a value without blanks"
    )]
    BlankForInitramfs {
        /// The name.
        name: String,
        /// The value.
        value: String,
    },
    /// Each occurrence of the parameter counts, so there is no single value to replace.
    #[error(
        "each occurrence of {name} counts and their order matters, so it has no single value; request one of its values instead"
    )]
    EachCounts {
        /// The name.
        name: String,
    },
    /// The line ends within a quote, so that an added parameter would become part of it.
    #[error("the line has a quote that is not closed: close it before changing the line")]
    UnclosedQuote,
    /// The line contains a NUL byte or a line feed between parameters.
    #[error("the line contains {what}: remove it before changing the line")]
    NotOneLine {
        /// What it contains.
        what: &'static str,
    },
    /// The line is longer than the kernel reads.
    #[error(
        "the line would have {length} bytes and the kernel reads {LONGEST_LINE}: remove other parameters"
    )]
    TooLong {
        /// The length in bytes.
        length: usize,
    },
    /// Without this parameter the host would not find its root file system.
    #[error("the line would lose {what}: the host would not boot")]
    LosesRoot {
        /// The parameter that is lost.
        what: String,
    },
}

fn shown(name: &str, value: Option<&str>) -> String {
    match value {
        Some(value) => format!("{:?}", format!("{name}={value}")),
        None => format!("{name:?}"),
    }
}

/// The kernel command line as a list of arguments, kept byte for byte: an edit changes its own
/// arguments and leaves everything else, blanks and quotes included, as it is.
///
/// Arguments after `--` belong to init and are neither found nor changed.
///
/// ```
/// # use hosttune_boot::command_line::KernelCommandLine;
/// let mut line = KernelCommandLine::parse("root=/dev/sda1  quiet mitigations=auto -- splash");
/// line.set("mitigations", Some("off"))?;
/// line.add("nmi_watchdog", Some("0"))?;
/// assert_eq!(
///     line.to_string(),
///     "root=/dev/sda1  quiet mitigations=off nmi_watchdog=0 -- splash"
/// );
/// # Ok::<(), hosttune_boot::command_line::LineError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelCommandLine {
    bytes: Vec<u8>,
}

impl KernelCommandLine {
    /// Reads a line. Any bytes are a line; the line feed at the end of `/proc/cmdline` is a blank.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
        }
    }

    /// The bytes; for a line that was not changed, exactly those that were parsed.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The kernel's own arguments in order, without `--` and what follows it.
    pub fn arguments(&self) -> impl Iterator<Item = Argument<'_>> {
        self.kernel_ranges()
            .map(|range| Argument::read(&self.bytes[range]))
    }

    /// The arguments after `--`, which the kernel hands to init.
    pub fn init_arguments(&self) -> impl Iterator<Item = Argument<'_>> {
        ranges(&self.bytes)
            .map(|range| Argument::read(&self.bytes[range]))
            .skip_while(|argument| !argument.is_end())
            .skip(1)
    }

    /// Whether a parameter occurs, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// All occurrences of a parameter, in order.
    pub fn all<'l>(&'l self, name: &'l str) -> impl Iterator<Item = Argument<'l>> {
        self.arguments()
            .filter(move |argument| argument.is_named(name))
    }

    /// The last occurrence of a parameter, which determines its value unless
    /// [each occurrence counts](parameter::each_counts).
    pub fn last(&self, name: &str) -> Option<Argument<'_>> {
        self.arguments()
            .filter(|argument| argument.is_named(name))
            .last()
    }

    /// Adds an argument behind the others, before `--`.
    ///
    /// # Errors
    /// If the kernel would read something else than this name and value, or the line cannot be
    /// changed at all: see [`LineError`]. The line is then unchanged.
    pub fn add(&mut self, name: &str, value: Option<&str>) -> Result<(), LineError> {
        let text = self.checked(name, value)?;
        let at = self
            .kernel_ranges()
            .last()
            .map_or_else(|| self.leading_blanks(), |range| range.end);
        self.insert(at, &text);
        Ok(())
    }

    /// Adds an argument directly behind the first argument with the text of `after`.
    pub(super) fn add_after(
        &mut self,
        after: &Range<usize>,
        name: &str,
        value: Option<&str>,
    ) -> Result<(), LineError> {
        let text = self.checked(name, value)?;
        self.insert(after.end, &text);
        Ok(())
    }

    /// Gives a parameter this value: the last occurrence is replaced in its place and earlier ones
    /// are removed, because some parameters act at each occurrence. Without an occurrence it is
    /// added.
    ///
    /// # Errors
    /// As [`add`](Self::add), and [`LineError::EachCounts`] for a parameter such as `console`.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), LineError> {
        if parameter::each_counts(name) {
            return Err(LineError::EachCounts {
                name: name.to_owned(),
            });
        }
        let text = self.checked(name, value)?;
        let mut places = self.places(name);
        let Some(last) = places.pop() else {
            return self.add(name, value);
        };
        let present = Argument::read(&self.bytes[last.clone()]);
        if present.value().as_deref() != value {
            self.bytes.splice(last, text.into_bytes());
        }
        for place in places.into_iter().rev() {
            self.cut(place);
        }
        Ok(())
    }

    /// Removes all occurrences of a parameter, and returns how many there were.
    ///
    /// # Errors
    /// If the line cannot be changed: see [`LineError`].
    pub fn remove(&mut self, name: &str) -> Result<usize, LineError> {
        self.check_changeable()?;
        let places = self.places(name);
        for place in places.iter().rev() {
            self.cut(place.clone());
        }
        Ok(places.len())
    }

    /// Removes the last occurrence of a parameter with this value; false if there is none.
    ///
    /// # Errors
    /// If the line cannot be changed: see [`LineError`].
    pub fn remove_value(&mut self, name: &str, value: &str) -> Result<bool, LineError> {
        self.check_changeable()?;
        let place = self.places(name).into_iter().rfind(|place| {
            let argument = Argument::read(&self.bytes[place.clone()]);
            argument.value().as_deref() == Some(value)
        });
        let found = place.is_some();
        if let Some(place) = place {
            self.cut(place);
        }
        Ok(found)
    }

    /// Checks that the kernel reads the whole line. This is for the final line, because boot loaders
    /// and generators add to what a file contains.
    ///
    /// # Errors
    /// [`LineError::TooLong`] for more than [`LONGEST_LINE`] bytes, without blanks at the end.
    pub fn check_length(&self) -> Result<(), LineError> {
        let blanks = self.bytes.iter().rev().take_while(|byte| is_blank(**byte));
        let length = self.bytes.len() - blanks.count();
        if length > LONGEST_LINE {
            return Err(LineError::TooLong { length });
        }
        Ok(())
    }

    /// Checks that a line which replaces this one still names the root file system as this one does.
    ///
    /// # Errors
    /// [`LineError::LosesRoot`] if this line has `root=` or another parameter with which it is found,
    /// such as `ostree=` or `rd.luks.uuid=`, and the other has not.
    pub fn check_root(&self, replacement: &Self) -> Result<(), LineError> {
        let lost = self
            .arguments()
            .filter(|argument| parameter::finds_root(&argument.name()))
            .find(|argument| !replacement.has(&argument.name()));
        match lost {
            Some(lost) => Err(LineError::LosesRoot {
                what: String::from_utf8_lossy(lost.text()).into_owned(),
            }),
            None => Ok(()),
        }
    }

    /// Where the occurrences of a parameter are, in order.
    pub(super) fn places(&self, name: &str) -> Vec<Range<usize>> {
        self.kernel_ranges()
            .filter(|range| Argument::read(&self.bytes[range.clone()]).is_named(name))
            .collect()
    }

    /// The argument at a place.
    pub(super) fn at(&self, place: &Range<usize>) -> Argument<'_> {
        Argument::read(&self.bytes[place.clone()])
    }

    /// Replaces the argument at a place.
    pub(super) fn replace(
        &mut self,
        place: Range<usize>,
        name: &str,
        value: Option<&str>,
    ) -> Result<(), LineError> {
        let text = self.checked(name, value)?;
        self.bytes.splice(place, text.into_bytes());
        Ok(())
    }

    fn kernel_ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        ranges(&self.bytes).take_while(|range| !Argument::read(&self.bytes[range.clone()]).is_end())
    }

    fn leading_blanks(&self) -> usize {
        let blanks = self.bytes.iter().take_while(|byte| is_blank(**byte));
        // Blanks at the end, such as a line feed, stay behind what is added to an empty line.
        match blanks.count() {
            all if all == self.bytes.len() => 0,
            some => some,
        }
    }

    /// Inserts an argument and the one blank that separates it.
    fn insert(&mut self, at: usize, text: &str) {
        let before = at > 0 && !is_blank(self.bytes[at - 1]);
        let after = self.bytes.get(at).is_some_and(|byte| !is_blank(*byte));
        let mut added = String::new();
        if before {
            added.push(' ');
        }
        added.push_str(text);
        if after {
            added.push(' ');
        }
        self.bytes.splice(at..at, added.into_bytes());
    }

    /// Removes an argument and one blank beside it, so that this is the inverse of adding it.
    fn cut(&mut self, place: Range<usize>) {
        let Range { mut start, mut end } = place;
        let follows = self.bytes.get(end + 1).is_some_and(|byte| !is_blank(*byte));
        if start > 0 && self.bytes[start - 1] == b' ' {
            start -= 1;
        } else if self.bytes.get(end) == Some(&b' ') && follows {
            end += 1;
        }
        self.bytes.drain(start..end);
    }

    fn check_changeable(&self) -> Result<(), LineError> {
        let trimmed = self.bytes.trim_ascii_end();
        if trimmed.contains(&0) {
            return Err(LineError::NotOneLine { what: "a NUL byte" });
        }
        if trimmed.contains(&b'\n') {
            return Err(LineError::NotOneLine {
                what: "a line feed",
            });
        }
        if is_unbalanced(trimmed) {
            return Err(LineError::UnclosedQuote);
        }
        Ok(())
    }

    /// The text of an argument that can be put into this line.
    fn checked(&self, name: &str, value: Option<&str>) -> Result<String, LineError> {
        self.check_changeable()?;
        let Some(text) = written(name, value).filter(|_| !same_name(name.as_bytes(), b"--")) else {
            return Err(LineError::NotWritable {
                name: name.to_owned(),
                value: value.map(str::to_owned),
            });
        };
        match value {
            Some(value) if value.contains(' ') && parameter::is_read_without_quotes(name) => {
                Err(LineError::BlankForInitramfs {
                    name: name.to_owned(),
                    value: value.to_owned(),
                })
            }
            _ => Ok(text),
        }
    }
}

impl fmt::Display for KernelCommandLine {
    /// Prints the text with U+FFFD for bytes that are not UTF-8; use [`KernelCommandLine::bytes`] to
    /// write it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&String::from_utf8_lossy(&self.bytes))
    }
}
