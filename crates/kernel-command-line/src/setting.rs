//! What can be requested of a kernel command line.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::line::{KernelCommandLine, LineError};
use super::parameter;

/// One request for the kernel command line.
///
/// ```
/// # use hosttune_boot::command_line::{CommandLineSetting, KernelCommandLine};
/// let mut line = KernelCommandLine::parse("quiet isolcpus=2,3");
/// let wanted = CommandLineSetting::contains("isolcpus", "4");
/// assert!(!wanted.is_met(&line));
/// wanted.apply(&mut line)?;
/// assert_eq!(line.to_string(), "quiet isolcpus=2,3,4");
/// # Ok::<(), hosttune_boot::command_line::LineError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is", deny_unknown_fields)]
#[non_exhaustive]
pub enum CommandLineSetting {
    /// The parameter occurs, with any value or none: `quiet`.
    Present {
        /// The parameter.
        name: String,
    },
    /// The parameter does not occur.
    Absent {
        /// The parameter.
        name: String,
    },
    /// The last occurrence of the parameter has this value: `mitigations=off`.
    Equals {
        /// The parameter.
        name: String,
        /// The value.
        value: String,
    },
    /// The comma-separated list contains this word: `modprobe.blacklist=nouveau`.
    Contains {
        /// The parameter.
        name: String,
        /// The word.
        word: String,
    },
    /// One of the occurrences has this value: `console=ttyS0`.
    Occurs {
        /// The parameter.
        name: String,
        /// The value.
        value: String,
    },
    /// The pool of huge pages of this size has this many pages: `hugepagesz=1G hugepages=16`. The
    /// kernel applies `hugepages` to the `hugepagesz` before it.
    HugePages {
        /// The size, as the kernel writes it: `2M`, `1G`.
        size: String,
        /// The number of pages.
        pages: u64,
    },
}

impl CommandLineSetting {
    /// The parameter occurs.
    pub fn present(name: impl Into<String>) -> Self {
        Self::Present { name: name.into() }
    }

    /// The parameter does not occur.
    pub fn absent(name: impl Into<String>) -> Self {
        Self::Absent { name: name.into() }
    }

    /// The parameter has this value.
    pub fn equals(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::Equals {
            name: name.into(),
            value: value.into(),
        }
    }

    /// The list contains this word.
    pub fn contains(name: impl Into<String>, word: impl Into<String>) -> Self {
        Self::Contains {
            name: name.into(),
            word: word.into(),
        }
    }

    /// One of the occurrences has this value.
    pub fn occurs(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::Occurs {
            name: name.into(),
            value: value.into(),
        }
    }

    /// The name of the parameter.
    pub fn name(&self) -> &str {
        match self {
            Self::Present { name }
            | Self::Absent { name }
            | Self::Equals { name, .. }
            | Self::Contains { name, .. }
            | Self::Occurs { name, .. } => name,
            Self::HugePages { .. } => "hugepagesz",
        }
    }

    /// Whether the line is as requested.
    pub fn is_met(&self, line: &KernelCommandLine) -> bool {
        match self {
            Self::Present { name } => line.has(name),
            Self::Absent { name } => !line.has(name),
            Self::Equals { name, value } => {
                line.last(name)
                    .and_then(|argument| argument.value())
                    .as_deref()
                    == Some(value)
            }
            Self::Contains { name, word } => {
                let has = |value: Option<_>| {
                    value.is_some_and(|value: Cow<'_, str>| value.split(',').any(|one| one == word))
                };
                if parameter::adds_up(name) {
                    line.all(name).any(|argument| has(argument.value()))
                } else {
                    has(line.last(name).and_then(|argument| argument.value()))
                }
            }
            Self::Occurs { name, value } => line
                .all(name)
                .any(|argument| argument.value().as_deref() == Some(value)),
            Self::HugePages { size, pages } => {
                let count = pool(line, size).and_then(|pool| pool.pages);
                let value = count.and_then(|place| line.at(&place).value().map(Cow::into_owned));
                value.as_deref() == Some(&*pages.to_string())
            }
        }
    }

    /// Changes the line so that it is as requested; everything else in it stays. A line that is as
    /// requested already is unchanged.
    ///
    /// # Errors
    /// If the parameter cannot be written or the line cannot be changed: see [`LineError`]. The
    /// length is not checked here; see [`KernelCommandLine::check_length`].
    pub fn apply(&self, line: &mut KernelCommandLine) -> Result<(), LineError> {
        if self.is_met(line) {
            return Ok(());
        }
        match self {
            Self::Present { name } => line.add(name, None),
            Self::Absent { name } => line.remove(name).map(drop),
            Self::Equals { name, value } => line.set(name, Some(value)),
            Self::Occurs { name, value } => line.add(name, Some(value)),
            Self::Contains { name, word } => {
                if word.is_empty() || word.contains(',') {
                    return Err(LineError::NotWritable {
                        name: name.clone(),
                        value: Some(word.clone()),
                    });
                }
                let place = line.places(name).pop();
                let Some(place) = place else {
                    return line.add(name, Some(word));
                };
                let words = match line.at(&place).value() {
                    Some(list) if !list.is_empty() => format!("{list},{word}"),
                    _ => word.clone(),
                };
                line.replace(place, name, Some(&words))
            }
            Self::HugePages { size, pages } => {
                let pages = pages.to_string();
                match pool(line, size) {
                    None => {
                        line.add("hugepagesz", Some(size))?;
                        line.add("hugepages", Some(&pages))
                    }
                    Some(Pool {
                        pages: Some(place), ..
                    }) => line.replace(place, "hugepages", Some(&pages)),
                    Some(Pool { size, pages: None }) => {
                        line.add_after(&size, "hugepages", Some(&pages))
                    }
                }
            }
        }
    }
}

/// Where a pool of huge pages is written.
struct Pool {
    size: Range<usize>,
    /// The `hugepages` that belongs to it.
    pages: Option<Range<usize>>,
}

/// The pool of this size. The kernel ignores a size that was given before, and a second number of
/// pages for one size (`hugepagesz_setup` and `hugepages_setup` in `mm/hugetlb.c`).
fn pool(line: &KernelCommandLine, size: &str) -> Option<Pool> {
    let sizes = line.places("hugepagesz");
    let at = sizes
        .iter()
        .position(|place| line.at(place).value().as_deref() == Some(size))?;
    let end = sizes
        .get(at + 1)
        .map_or(line.bytes().len(), |next| next.start);
    let pages = line
        .places("hugepages")
        .into_iter()
        .find(|place| place.start > sizes[at].end && place.start < end);
    Some(Pool {
        size: sizes[at].clone(),
        pages,
    })
}

impl fmt::Display for CommandLineSetting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present { name } => write!(formatter, "{name}"),
            Self::Absent { name } => write!(formatter, "no {name}"),
            Self::Equals { name, value } | Self::Occurs { name, value } => {
                write!(formatter, "{name}={value}")
            }
            Self::Contains { name, word } => write!(formatter, "{word} in {name}"),
            Self::HugePages { size, pages } => {
                write!(formatter, "hugepagesz={size} hugepages={pages}")
            }
        }
    }
}
