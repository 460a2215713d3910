//! A random walk over a whole machine with a stock kernel: sysctls, governors, a disk's scheduler. Owners apply
//! and revert, are refused, lose the end of their journal and die, `gaming` is killed beside them, and other
//! programs set values, take processors offline, remove the disk and unload modules in between.
//!
//! After each act its report is compared with what the kernel shows. At the end every value is as it was or as
//! another program left it, unless the reports name it. `PROPTEST_CASES` is the number of walks; `scripts/soak
//! --walk` runs thousands on two stock kernels.

mod act;
mod machine;
mod program;
mod walked;

use hosttune_test_machine::{cases, inside_stock_kernels};
use proptest::prelude::*;

use machine::Machine;
use walked::{Count, Walked};

/// Walks of a check run, where one takes about two seconds.
const WALKS: u32 = 4;

fn whatever_happens_to_a_machine_nothing_is_lost() {
    let config = ProptestConfig {
        max_shrink_iters: 300,
        // Within the watchdog of a test in the machine.
        max_shrink_time: 240_000,
        // A failing walk becomes a test of its own instead of an entry in a file of failures.
        failure_persistence: None,
        ..cases(WALKS)
    };
    let count = config.cases;
    let machine = Machine::new();
    let counts = std::cell::Cell::new(Count::default());
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let done = runner.run(&act::walk(), |walk| {
        let mut walked = Walked::new(&machine);
        let walked_so_far = walked.walks(&walk);
        machine.as_it_came(&walked.kept);
        counts.set(counts.get().plus(&walked.count));
        walked_so_far
    });
    println!("{count} walks: {:?}", counts.get());
    if let Err(error) = done {
        panic!("{error}");
    }
}

inside_stock_kernels!(whatever_happens_to_a_machine_nothing_is_lost);
