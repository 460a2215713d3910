//! Other programs that manage the device, the identity of the card, and what netlink does not show.

mod cards;
mod managers;
mod tcx;
