//! Disks on stock kernels: every disk with every scheduler is reverted exactly, killed at every write, or
//! unplugged in between; and the fake is compared with the kernel.

mod beside_the_fake;
mod every_disk;
mod machine;
mod unplugged;
mod zoned;

use hosttune_test_machine::inside_stock_kernels;

use beside_the_fake::{
    attributes_make_of_values_what_is_predicted, the_fake_answers_as_the_kernel,
};
use every_disk::{
    every_disk_with_every_scheduler, killed_before_and_after_every_write, modules_come_and_go,
    the_disks_of_the_machine_are_known, values_that_do_not_fit_stop_nobody,
};
use unplugged::{
    a_disk_is_unplugged_at_every_write, a_disk_that_comes_back_is_another,
    a_strangers_change_survives,
};
use zoned::a_host_managed_disk_keeps_its_scheduler_where_the_order_of_writes_needs_it;

inside_stock_kernels!(
    a_host_managed_disk_keeps_its_scheduler_where_the_order_of_writes_needs_it,
    a_disk_is_unplugged_at_every_write,
    a_disk_that_comes_back_is_another,
    a_strangers_change_survives,
    attributes_make_of_values_what_is_predicted,
    every_disk_with_every_scheduler,
    killed_before_and_after_every_write,
    modules_come_and_go,
    the_disks_of_the_machine_are_known,
    the_fake_answers_as_the_kernel,
    values_that_do_not_fit_stop_nobody,
);
