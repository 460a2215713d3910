//! The `gaming` binary from outside, on captured trees: what it says, what it changes, how it
//! exits, and that nothing a host or a user can give it makes it panic or change half of it.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a black-box test makes trees and starts the program, and fails where it cannot"
)]

mod disks;
mod documents;
mod faults;
mod journals;
mod refusals;
mod terminals;
mod tree;
mod verbs;
