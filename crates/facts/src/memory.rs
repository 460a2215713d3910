//! How much memory there is.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::amount::Bytes;
use crate::source::Source;

const FILE: &str = "/proc/meminfo";
const HUGE_PAGES: &str = "/sys/kernel/mm/hugepages";

/// What is read; see [`Facts::sources`](crate::Facts::sources).
pub(crate) const SOURCES: &[&str] = &[FILE, HUGE_PAGES, "/sys/kernel/mm/hugepages/*"];

/// How much memory there is. All are bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// What the kernel can use (`MemTotal`): some less than what is built in.
    pub total_bytes: Option<u64>,
    /// All swap that is on; 0 where none is.
    pub swap_bytes: Option<u64>,
    /// The size of a huge page where nobody says which.
    pub huge_page_bytes: Option<u64>,
    /// The sizes that huge pages can have, ascending.
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

/// `MemTotal:       24684084 kB`, in bytes. The kernel's kB are 1,024 bytes.
fn amount(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kilobytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// `hugepages-2048kB`.
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
