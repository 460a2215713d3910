//! Beside others: who else manages the device, which card it is, what netlink does not show.

mod cards;
mod managers;
mod tcx;
