//! Frequency scaling over doubles of the kernel's drivers: the laws of the engine, what each driver
//! does not offer, and bad input.
//!
//! The number of cases is `PROPTEST_CASES` where set, and what stands below where not.

mod drivers;
mod irqbalance;
mod kept;
mod machine;
mod words;
