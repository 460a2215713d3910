//! Stock udev on stock kernels: what rules really set, and which events are sent about hot-plugged disks.

mod generated;
mod listening;
mod ours;

use hosttune_core::{Host, LinuxHost};
use hosttune_test_machine::{ask, tell};

use generated::what_is_judged_is_what_udevd_does;
use listening::{disks_that_come_are_told_of, what_is_lost_or_forged_is_known};
use ours::{udevadm_finds_nothing_wrong_with_ours, udevd_sets_what_ours_say};

hosttune_test_machine::inside_stock_kernels!(
    disks_that_come_are_told_of,
    udevadm_finds_nothing_wrong_with_ours,
    udevd_sets_what_ours_say,
    what_is_judged_is_what_udevd_does,
    what_is_lost_or_forged_is_known,
);

fn live() -> Host {
    Host::new(LinuxHost::at("/").unwrap())
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{path}: {error}"))
        .trim()
        .to_owned()
}
