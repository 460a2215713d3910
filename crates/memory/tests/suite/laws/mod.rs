//! Memory over doubles of the kernel: the laws of the engine, and bad input.
//!
//! The number of cases is `PROPTEST_CASES` where set, and what stands below where not.

mod hugepages;
mod machine;
mod mkswap;
mod transparent;
mod zram;
