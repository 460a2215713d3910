//! `gaming --user` beside private PipeWire daemons: applied, verified, killed and reverted by a user
//! who is not root.
//!
//! The user is one of a user namespace, which is the user that runs the tests outside of it. So the
//! programs can be read wherever the checkout is.

mod bench;
mod stock_kernels;

use hosttune_test_machine::{At, Kills, PipeWire as Stock, Stop, Traced};
use nix::libc::SYS_sendto;
use rustix::process::Signal;
use serde_json::Value;

use crate::command_line::tree::{Ran, not_run};
use bench::Bench;

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_running_daemon_is_set_and_gets_its_values_back() {
    let name = "the_running_daemon_is_set_and_gets_its_values_back";
    for stock in Stock::ALL {
        let Some(bench) = Bench::start(name, stock) else {
            return;
        };
        let was = bench.metadata();
        assert!(was.len() > 5, "{was:?}");
        let plan = bench.gaming(&["plan", "--user"]);
        assert_eq!(plan.exit, 0, "{plan:?}");
        let said = words(&plan.out);
        assert!(said.contains("Apply: gaming --user apply"), "{said}");
        assert!(
            said.contains("clock.max-quantum of the running PipeWire"),
            "{said}"
        );
        assert!(said.contains("750 times a second"), "{said}");
        assert_eq!(bench.metadata(), was, "a plan changes nothing");

        let ran = bench.gaming(&["apply", "--user", "--yes"]);
        assert_eq!(ran.exit, 0, "{stock:?}: {ran:?}");
        let now = bench.metadata().join("\n");
        for key in ["quantum", "min-quantum", "max-quantum"] {
            assert!(
                now.contains(&format!("key:'clock.{key}' value:'64'")),
                "{now}"
            );
        }
        // Nothing plays: accepted, and it is said that this is all that is known.
        let ran = bench.gaming(&["verify", "--user"]);
        assert_eq!(ran.exit, 0, "{stock:?}: {ran:?}");
        assert!(
            words(&ran.out).contains("whether they are in effect is not known"),
            "{ran:?}"
        );
        let again = bench.gaming(&["plan", "--user", "--exit-code"]);
        assert_eq!(again.exit, 0, "{again:?}");
        // The journal is the user's own.
        assert!(bench.at("run/hosttune/gaming.journal").exists());
        let status = bench.gaming(&["status", "--user"]);
        assert!(status.out.contains("clock.quantum"), "{status:?}");

        let ran = bench.gaming(&["revert", "--user", "--yes"]);
        assert_eq!(ran.exit, 0, "{stock:?}: {ran:?}");
        assert_eq!(bench.metadata(), was, "{stock:?}");
        assert!(!bench.at("run/hosttune/gaming.journal").exists());
    }
}

#[test]
fn what_a_device_runs_with_decides_whether_it_is_in_effect() {
    let name = "what_a_device_runs_with_decides_whether_it_is_in_effect";
    let Some(mut bench) = Bench::start(name, Stock::Backports) else {
        return;
    };
    bench.start_session();
    assert_eq!(bench.gaming(&["apply", "--user", "--yes"]).exit, 0);
    // Silence is played for a moment.
    let ran = bench.gaming(&["verify", "--user", "--probe"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    let said = words(&ran.out);
    assert!(
        said.contains("in effect: test-sink runs 64 frames at 48000 Hz (1.33 ms)"),
        "{ran:?}"
    );

    // A program that forces another quantum: accepted, and not in effect.
    bench.play_forcing("128/48000");
    bench.until("the quantum of the player", || {
        let ran = bench.gaming(&["verify", "--user", "--json"]);
        let document = ran.document();
        let states = document["items"].as_array().unwrap().iter();
        let overridden: Vec<&Value> = states
            .filter(|item| item["state"] == "overridden")
            .collect();
        ran.exit == 1 && overridden.len() == 2 && ran.out.contains("test-sink runs 128 frames")
    });
    bench.until("the program that is named", || {
        let ran = bench.gaming(&["verify", "--user"]);
        words(&ran.out).contains("node.force-quantum = 128")
    });
    assert_eq!(bench.gaming(&["revert", "--yes"]).exit, 0);
}

#[test]
fn without_a_daemon_nothing_is_started_and_one_that_has_ended_takes_its_values_along() {
    let name = "without_a_daemon_nothing_is_started_and_one_that_has_ended_takes_its_values_along";
    let Some(mut bench) = Bench::start(name, Stock::Backports) else {
        return;
    };
    assert_eq!(bench.gaming(&["apply", "--user", "--yes"]).exit, 0);
    bench.kill_daemon();
    for typed in [
        &["plan", "--user"][..],
        &["verify", "--user", "--probe"],
        &["apply", "--user", "--yes"],
    ] {
        let ran = bench.gaming(typed);
        assert_eq!(ran.exit, 0, "{ran:?}");
        assert!(
            words(&ran.out).contains("no PipeWire daemon runs for this user"),
            "{ran:?}"
        );
    }
    bench.start_daemon();
    let was = bench.metadata();
    let ran = bench.gaming(&["revert", "--yes"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert_eq!(bench.metadata(), was);
}

#[test]
fn a_users_file_is_pending_until_the_daemon_is_restarted() {
    let name = "a_users_file_is_pending_until_the_daemon_is_restarted";
    let Some(mut bench) = Bench::start(name, Stock::Backports) else {
        return;
    };
    let was = bench.metadata();
    let file = bench.at("home/.config/pipewire/pipewire.conf.d/92-gaming-latency-user.conf");
    let ran = bench.gaming(&["apply", "--user", "--persist", "--yes"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(file.exists());
    let ran = bench.gaming(&["verify", "--user", "--persist"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    let said = words(&ran.out);
    assert!(
        said.contains("default.clock.quantum of the running PipeWire"),
        "{ran:?}"
    );
    assert!(
        said.contains("takes effect after the next reload"),
        "{ran:?}"
    );
    bench.kill_daemon();
    bench.start_daemon();
    let ran = bench.gaming(&["verify", "--user", "--persist"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(!ran.out.contains("takes effect after"), "{ran:?}");
    assert!(
        bench
            .metadata()
            .join("\n")
            .contains("key:'clock.quantum' value:'64'")
    );

    let ran = bench.gaming(&["revert", "--yes"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(!file.exists());
    bench.kill_daemon();
    bench.start_daemon();
    assert_eq!(bench.metadata(), was);
}

#[test]
fn killed_at_any_write_the_daemon_gets_its_values_back() {
    let name = "killed_at_any_write_the_daemon_gets_its_values_back";
    if let Err(reason) = Traced::available() {
        return not_run(name, &reason);
    }
    let Some(bench) = Bench::start(name, Stock::Backports) else {
        return;
    };
    // Only the first run makes the directory of the journal.
    assert_eq!(bench.gaming(&["apply", "--user", "--yes"]).exit, 0);
    assert_eq!(bench.gaming(&["revert", "--yes"]).exit, 0);
    let was = bench.metadata();
    let program = bench.script();
    let kills = Kills {
        program: program.to_str().unwrap(),
        arguments: &["apply", "--user", "--yes"],
        at: At::EveryWrite,
        believable: 20,
        parts: 1,
    };
    let killed = kills.each(
        || {},
        |run| {
            let ran = bench.gaming(&["revert", "--yes"]);
            assert_eq!(ran.exit, 0, "{run}: {ran:?}");
            assert_eq!(bench.metadata(), was, "{run}");
        },
    );
    assert!(killed > 20, "{killed}");
    let kills = Kills {
        arguments: &["revert", "--yes"],
        ..kills
    };
    let killed = kills.each(
        || assert_eq!(bench.gaming(&["apply", "--user", "--yes"]).exit, 0),
        |run| {
            let ran = bench.gaming(&["revert", "--yes"]);
            assert_eq!(ran.exit, 0, "{run}: {ran:?}");
            assert_eq!(bench.metadata(), was, "{run}");
        },
    );
    assert!(killed > 20, "{killed}");
}

#[test]
fn a_daemon_that_ends_or_stops_in_the_middle_is_an_error_and_nothing_is_left() {
    let name = "a_daemon_that_ends_or_stops_in_the_middle_is_an_error_and_nothing_is_left";
    if let Err(reason) = Traced::available() {
        return not_run(name, &reason);
    }
    let Some(mut bench) = Bench::start(name, Stock::Backports) else {
        return;
    };
    let was = bench.metadata();
    let program = bench.script();
    let typed = ["apply", "--user", "--yes"];
    let messages = at_message(program.to_str().unwrap(), &typed, usize::MAX).1;
    assert_eq!(bench.gaming(&["revert", "--yes"]).exit, 0);
    assert!(messages > 5, "{messages}");
    // Before the last of its messages: some values are set, and some are not.
    let (traced, _) = at_message(program.to_str().unwrap(), &typed, messages - 1);
    bench.kill_daemon();
    let mut traced = traced.unwrap();
    let exit = loop {
        if let Stop::Ended(code) = traced.step() {
            break code;
        }
    };
    assert_eq!(
        exit, 3,
        "rolled back: the values have ended with the daemon"
    );
    bench.start_daemon();
    assert_eq!(bench.gaming(&["revert", "--yes"]).exit, 0);
    assert_eq!(bench.metadata(), was);

    // One that is stopped does not answer.
    bench.signal_daemon(Signal::STOP);
    for typed in [&["verify", "--user"][..], &["apply", "--user", "--yes"]] {
        let ran = bench.gaming(typed);
        assert_eq!(ran.exit, 1, "{ran:?}");
        assert!(words(&ran.out).contains("did not answer"), "{ran:?}");
    }
    bench.signal_daemon(Signal::CONT);
    assert_eq!(bench.metadata(), was);
}

/// Runs a program to its message with this number, counted from 1. Returns it, unless it has ended,
/// and how many messages it has sent.
fn at_message(program: &str, typed: &[&str], number: usize) -> (Option<Traced>, usize) {
    let mut traced = Traced::start(program, typed).unwrap();
    let mut messages = 0;
    loop {
        match traced.step() {
            Stop::Enters if traced.call() == SYS_sendto => messages += 1,
            Stop::Ended(code) => {
                assert_eq!(code, 0);
                return (None, messages);
            }
            Stop::Enters | Stop::Leaves => {}
        }
        if messages == number {
            return (Some(traced), messages);
        }
    }
}

#[test]
fn a_hostile_environment_is_refused_and_starts_nothing() {
    let name = "a_hostile_environment_is_refused_and_starts_nothing";
    let Some(bench) = Bench::start(name, Stock::Backports) else {
        return;
    };
    let ran = bench.gaming_with(&[("PIPEWIRE_REMOTE", "@pipewire")], &["plan", "--user"]);
    ran.refused(3, "abstract socket");
    let ran: Ran = bench.gaming_with(
        &[("PIPEWIRE_REMOTE", "/nonexistent/socket")],
        &["plan", "--user"],
    );
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(
        words(&ran.out).contains("no PipeWire daemon runs"),
        "{ran:?}"
    );
}
