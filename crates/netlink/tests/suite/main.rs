//! rtnetlink of the running kernel. Nothing is changed outside a network namespace of the test's own.

#![expect(clippy::print_stdout, reason = "tests say what they could not run")]

mod running_kernel;
