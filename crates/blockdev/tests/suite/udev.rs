//! udev rules for disks: common mistakes in them, and the generated ones.

mod facts;
#[path = "../../../udev-rules/tests/suite/outcomes.rs"]
mod outcomes;
mod own;

use outcomes::{certain, perhaps, rules, scheduler};
