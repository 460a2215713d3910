//! Black-box tests of `gaming` on captured trees: its output, its changes and its exit codes, and that no
//! input from a host or a user makes it panic or leave a partial change.

mod boot;
mod disks;
mod documents;
mod exits;
mod faults;
mod helped;
mod journals;
mod nvidia;
mod persisted;
mod pipewire;
mod real_update_grub;
mod refusals;
mod regenerate;
mod run;
mod run_elsewhere;
mod run_power_profile;
mod terminals;
pub(crate) mod tree;
mod verbs;
