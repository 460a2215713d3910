//! The amount of memory.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::amount::Bytes;
use crate::source::Source;

const FILE: &str = "/proc/meminfo";
const HUGE_PAGES: &str = "/sys/kernel/mm/hugepages";

/// The files that are read; see [`Facts::sources`](crate::Facts::sources).
pub(crate) const SOURCES: &[&str] = &[FILE, HUGE_PAGES, "/sys/kernel/mm/hugepages/*"];

/// The amount of memory. All sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Memory {
    /// Memory that the kernel can use (`MemTotal`), which is less than the installed memory.
    pub total_bytes: Option<u64>,
    /// All active swap; 0 if there is none.
    pub swap_bytes: Option<u64>,
    /// The default size of a huge page.
    pub huge_page_bytes: Option<u64>,
    /// The supported sizes of huge pages, ascending.
    pub huge_page_sizes: Option<Vec<u64>>,
}

impl Memory {
    pub(crate) fn of(source: Source<'_>) -> Self {
        let text = source.lines(FILE).unwrap_or_default();
        let sizes = source.names(HUGE_PAGES).map(|names| {
            let mut sizes: Vec<u64> = names.iter().filter_map(|name| size_of_name(name)).collect();
            sizes.sort_unstable();
            sizes
        });
        Self {
            total_bytes: amount(&text, "MemTotal"),
            swap_bytes: amount(&text, "SwapTotal"),
            huge_page_bytes: amount(&text, "Hugepagesize"),
            huge_page_sizes: sizes,
        }
    }
}

/// Parses `MemTotal:       24684084 kB` into bytes. The kernel's kB is 1,024 bytes.
fn amount(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kilobytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// Parses `hugepages-2048kB` into bytes.
fn size_of_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("hugepages-")?.strip_suffix("kB")?;
    digits.parse::<u64>().ok()?.checked_mul(1024)
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.total_bytes {
            Some(bytes) => write!(f, "{}", Bytes(bytes))?,
            None => f.write_str("unknown")?,
        }
        match self.swap_bytes {
            Some(0) => f.write_str(", no swap")?,
            Some(bytes) => write!(f, ", {} of swap", Bytes(bytes))?,
            None => {}
        }
        if let Some(sizes) = self
            .huge_page_sizes
            .as_ref()
            .filter(|sizes| !sizes.is_empty())
        {
            let sizes: Vec<String> = sizes.iter().map(|size| Bytes(*size).to_string()).collect();
            write!(f, ", huge pages of {}", sizes.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_that_of_the_whole_name() {
        let text =
            "MemTotal:       983624 kB\nMemTotalX: 1 kB\nSwapTotal:  0 kB\nHugePages_Total:  5\n";
        assert_eq!(amount(text, "MemTotal"), Some(983_624 * 1024));
        assert_eq!(amount(text, "SwapTotal"), Some(0));
        assert_eq!(amount(text, "HugePages_Total"), None);
        assert_eq!(
            amount("MemTotal: 18446744073709551615 kB", "MemTotal"),
            None
        );
        assert_eq!(amount("MemTotal: -1 kB", "MemTotal"), None);
    }
}
