//! Beside others: who else manages the device, which card it is, what netlink does not show.

#![cfg(feature = "testing")]
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "what others do is done with the tools that people use"
)]

#[path = "others/cards.rs"]
mod cards;
#[path = "others/managers.rs"]
mod managers;
mod namespace;
#[path = "others/tcx.rs"]
mod tcx;
