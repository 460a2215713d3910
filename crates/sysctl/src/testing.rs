//! A double of the kernel's answers.
