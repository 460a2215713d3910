//! Frequency scaling on fakes of the kernel's drivers: the laws of the engine, what each driver does not
//! support, and bad input.
//!
//! The number of cases is `PROPTEST_CASES` if that is set, otherwise the number at each test.

mod cores;
mod drivers;
mod irqbalance;
mod kept;
mod kept_free;
mod machine;
mod words;
