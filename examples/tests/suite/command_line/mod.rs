//! The `gaming` binary from outside, on captured trees: what it says, what it changes, how it
//! exits, and that nothing a host or a user can give it makes it panic or change half of it.

mod disks;
mod documents;
mod faults;
mod journals;
mod persisted;
mod refusals;
mod terminals;
mod tree;
mod verbs;
