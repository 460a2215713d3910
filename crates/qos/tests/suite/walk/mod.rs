//! A random walk over the links of a running kernel, each in a network namespace of its own: owners shape
//! and revert, are refused, lose the end of their journal and die, and another program replaces, deletes,
//! renames and creates qdiscs, filters and links in between.
//!
//! After each act its report is compared with what the kernel shows. At the end every link is as it came or as
//! the other program left it, unless the reports name it, and nothing of ours remains. `PROPTEST_CASES` is the
//! number of walks; `scripts/soak --walk` runs thousands on two stock kernels.

mod act;
mod network;
mod picture;
mod walked;

use std::path::Path;

use hosttune_test_machine::{ask, inside, inside_stock_kernels};
use proptest::prelude::*;

use act::{Walk, walk};
use network::Network;
use walked::Walked;

/// Walks of a check run in the test machine, where one takes about a second.
const IN_THE_MACHINE: u32 = 10;
/// Walks of a check run on the kernel of the build machine.
const HERE: u32 = 8;

/// Runs walks until one fails, which is then shrunk.
fn walks(usual: u32) {
    let config = ProptestConfig {
        max_shrink_iters: 1_000,
        // Within the watchdog of a test in the machine.
        max_shrink_time: 240_000,
        // A failing walk becomes a test of its own instead of an entry in a file of failures.
        failure_persistence: None,
        ..hosttune_test_machine::cases(usual)
    };
    let count = config.cases;
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let mut acts = walked::Counts::default();
    let done = runner.run(&walk(), |walk| {
        acts.lock().unwrap().walks += 1;
        in_a_namespace(&walk, &acts)
    });
    println!("{count} walks: {:?}", acts.get_mut().unwrap());
    if let Err(error) = done {
        panic!("{error}");
    }
}

/// Runs one walk in a thread, because a thread that has entered a namespace does not leave it.
fn in_a_namespace(walk: &Walk, counts: &walked::Counts) -> Result<(), TestCaseError> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let network = Network::new(&walk.origins);
            Walked::new(network, counts).walks(walk)
        });
        let ended = thread.join();
        ended.unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(TestCaseError::fail(said.unwrap_or_default()))
        })
    })
}

fn whatever_happens_to_links_nothing_is_lost() {
    // Before the namespaces, so that the kernel loads no module by itself during a walk.
    for module in [
        "ifb numifbs=0",
        "act_mirred",
        "cls_matchall",
        "cls_u32",
        "sch_ingress",
        "sch_cake",
        "sch_tbf",
    ] {
        let _ = ask(&format!("modprobe -q {module}"));
    }
    assert!(
        Path::new("/sys/module/ifb").exists(),
        "every stock kernel has ifb"
    );
    walks(IN_THE_MACHINE);
}

inside_stock_kernels!(whatever_happens_to_links_nothing_is_lost);

/// On the kernel of the build machine, as far as that can shape: without `ifb` only what is sent.
#[test]
fn whatever_happens_to_links_here_nothing_is_lost() {
    let bucket = "ip link add w0 type veth && tc qdisc add dev w0 root tbf rate 1mbit burst 20k latency 50ms";
    let bucket = "unshare -n sh -c '".to_owned() + bucket + "'";
    let (works, said) = ask(&bucket);
    if !works {
        println!("not run: {}: {said}", inside::test_name());
        return;
    }
    walks(HERE);
}
