//! A list of processors.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Processors by their numbers. Its text is the kernel's list format: `0-3,8`; no processors are an empty
/// text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ProcessorList(BTreeSet<u32>);

/// The error for a text that is no list of processors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAList(String);

impl fmt::Display for NotAList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is not a list of processors: write numbers and ranges, such as 2-7,10",
            self.0.escape_debug()
        )
    }
}

impl std::error::Error for NotAList {}

/// More than any kernel supports (`CONFIG_NR_CPUS` is at most 8192 on x86), so that a mistyped range does
/// not fill the memory.
const MOST: u32 = 65_536;

impl ProcessorList {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The numbers, the lowest first.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied()
    }

    /// The processors that are in both lists.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        self.iter()
            .filter(|number| other.0.contains(number))
            .collect()
    }

    /// The processors that are not in another list.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).copied().collect())
    }

    /// Whether all of them are in another list.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }
}

impl FromIterator<u32> for ProcessorList {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        Self(numbers.into_iter().collect())
    }
}

impl FromStr for ProcessorList {
    type Err = NotAList;

    fn from_str(text: &str) -> Result<Self, NotAList> {
        let wrong = || NotAList(text.chars().take(64).collect());
        let number = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse::<u32>().ok().filter(|number| *number < MOST);
            number.filter(|_| plain).ok_or_else(wrong)
        };
        let mut found = BTreeSet::new();
        if text.trim().is_empty() {
            return Ok(Self(found));
        }
        for range in text.trim().split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(wrong());
            }
            found.extend(first..=last);
        }
        Ok(Self(found))
    }
}

impl TryFrom<String> for ProcessorList {
    type Error = NotAList;

    fn try_from(text: String) -> Result<Self, NotAList> {
        text.parse()
    }
}

impl From<ProcessorList> for String {
    fn from(list: ProcessorList) -> Self {
        list.to_string()
    }
}

impl fmt::Display for ProcessorList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for number in &self.0 {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == *number => *last = *number,
                _ => ranges.push((*number, *number)),
            }
        }
        for (place, (first, last)) in ranges.into_iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}
