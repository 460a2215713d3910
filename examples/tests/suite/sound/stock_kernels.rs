//! The same in the test machine: what the daemon's data thread has, and what a device runs with, as a
//! stock kernel shows it.

use hosttune_test_machine::{PipeWire as Stock, inside_stock_kernels};

use super::bench::Bench;
use super::{at_message, words};

inside_stock_kernels!(
    a_quantum_is_in_effect_and_a_killed_apply_is_reverted,
    an_older_daemon_is_set_and_gets_its_values_back,
);

const APPLY: [&str; 3] = ["apply", "--user", "--yes"];

fn a_quantum_is_in_effect_and_a_killed_apply_is_reverted() {
    let name = "a_quantum_is_in_effect_and_a_killed_apply_is_reverted";
    let mut bench = Bench::start_limited(name, Stock::Backports, Some(95)).unwrap();
    let was = bench.metadata();
    killed_in_mid_apply(&bench, &was);
    bench.start_session();
    bench.play();
    assert_eq!(bench.gaming(&APPLY).exit, 0);
    bench.until("a device that runs", || {
        let ran = bench.gaming(&["verify", "--user"]);
        words(&ran.out).contains("in effect: test-sink runs 64 frames at 48000 Hz (1.33 ms)")
    });
    verify_says(
        &bench,
        "data-loop.0 has the real-time priority 88 (SCHED_FIFO",
    );
    let ran = bench.gaming(&["revert", "--yes"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert_eq!(bench.metadata(), was);

    // A user whose limits allow none, and no rtkit.
    bench.kill_daemon();
    bench.limit(0);
    bench.start_daemon();
    verify_says(&bench, "data-loop.0 has no real-time priority");
}

fn an_older_daemon_is_set_and_gets_its_values_back() {
    let name = "an_older_daemon_is_set_and_gets_its_values_back";
    let mut bench = Bench::start(name, Stock::Bookworm).unwrap();
    let was = bench.metadata();
    killed_in_mid_apply(&bench, &was);

    // In a file, and after a restart.
    let ran = bench.gaming(&["apply", "--user", "--persist", "--yes"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    bench.kill_daemon();
    bench.start_daemon();
    let ran = bench.gaming(&["verify", "--user", "--persist"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    let ran = bench.gaming(&["revert", "--yes"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    bench.kill_daemon();
    bench.start_daemon();
    assert_eq!(bench.metadata(), was);
}

fn verify_says(bench: &Bench, text: &str) {
    bench.until(text, || {
        let ran = bench.gaming(&["verify", "--user"]);
        words(&ran.out).contains(text)
    });
}

/// Kills an apply between its messages to the daemon, and reverts.
fn killed_in_mid_apply(bench: &Bench, was: &[String]) {
    let program = bench.script();
    let program = program.to_str().unwrap();
    let messages = at_message(program, &APPLY, usize::MAX).1;
    assert_eq!(bench.gaming(&["revert", "--yes"]).exit, 0);
    assert_eq!(bench.metadata(), was);
    // Before the last of its messages: some values are set, and some are not.
    let (traced, _) = at_message(program, &APPLY, messages - 1);
    traced.unwrap().kill();
    assert_ne!(bench.metadata(), was, "some values are set");
    let ran = bench.gaming(&["revert", "--yes"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert_eq!(bench.metadata(), was);
}
