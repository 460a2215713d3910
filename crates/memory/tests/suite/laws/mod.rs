//! Memory settings on a fake kernel: the laws of the engine, and bad input.
//!
//! The number of cases is `PROPTEST_CASES` if that is set, otherwise the number at each test.

mod hugepages;
mod machine;
mod mkswap;
mod strangers;
mod transparent;
mod zram;
