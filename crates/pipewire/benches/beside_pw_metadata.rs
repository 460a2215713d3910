//! Compares the crates with PipeWire's own programs in one run: setting a value of the running daemon with
//! `pw-metadata`, and reading a configuration file and writing it as JSON with `spa-json-dump`.
//!
//! `cargo bench -p hosttune-pipewire --bench beside_pw_metadata`. Both sides are whole processes: this program starts
//! itself for ours. The daemon is a private one, unpacked by `scripts/machine`. The exit code is 1 if a limit is
//! exceeded.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark starts programs, prints its results, and panics on errors"
)]

#[path = "../tests/suite/runtime/bench.rs"]
#[expect(dead_code, reason = "only the tests use all of it")]
mod bench;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use bench::Bench;
use hosttune_pipewire::protocol::{Client, ObjectKind};
use hosttune_spa_json::{Dialect, Reading};
use hosttune_test_machine::PipeWire as Stock;

/// The number of timed pairs, after some that are not counted.
const PAIRS: usize = 200;
const WARM_UP: usize = 10;
/// The limit on the ratio of ours to theirs.
const MOST: f64 = 1.0;
/// The same for one large file. `spa-json-dump` prints each token as it is found; ours builds the tree, with the
/// place of each value, that the crates read.
const MOST_LARGE: f64 = 1.5;
/// How large the array of configuration files is, for which starting a process no longer matters.
const LARGE: usize = 4 << 20;
const KEY: &str = "clock.force-quantum";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["set", socket, value] => {
            set(Path::new(socket), value);
            return ExitCode::SUCCESS;
        }
        ["dump", file] => {
            dump(Path::new(file));
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let mut holds = true;
    for stock in Stock::ALL {
        let Some(bench) = Bench::start("beside_pw_metadata", stock) else {
            return ExitCode::FAILURE;
        };
        println!("PipeWire of {stock:?}, {PAIRS} pairs, in microseconds");
        holds &= setting(&bench);
        holds &= reading(&bench, stock);
    }
    ExitCode::from(u8::from(!holds))
}

/// Our side: one value, as the tuning of the running daemon sets it.
fn set(socket: &Path, value: &str) {
    let mut client = Client::connect(socket, Duration::from_secs(60)).unwrap();
    let is_settings = |name: Option<&str>| name == Some("settings");
    let global = client
        .globals()
        .find(|global| is_settings(global.property("metadata.name")))
        .unwrap()
        .id;
    let object = client.bind(global, ObjectKind::Metadata).unwrap();
    client.sync().unwrap();
    client
        .set_property(object, 0, KEY, None, Some(value))
        .unwrap();
    client.sync().unwrap();
    let now = client.properties(object, 0);
    assert_eq!(now[KEY].value, value.as_bytes());
}

/// Our side: a file as JSON.
fn dump(file: &Path) {
    let text = std::fs::read(file).unwrap();
    let reading = Reading::of(&text, Dialect::Checked);
    println!("{}", reading.value.to_pretty_json());
}

fn ours(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(words);
    command
}

fn timed(mut command: Command) -> f64 {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let begun = Instant::now();
    let status = command.stderr(Stdio::null()).status().unwrap();
    let taken = begun.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    taken.as_secs_f64() * 1e6
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs the two in turn, and tells whether the ratio of the medians is within the limit.
fn beside(
    what: &str,
    (pairs, most): (usize, f64),
    mut ours: impl FnMut(usize) -> Command,
    mut theirs: impl FnMut(usize) -> Command,
) -> bool {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for round in 0..WARM_UP + pairs {
        let (a, b) = (timed(ours(round)), timed(theirs(round)));
        if round >= WARM_UP {
            left.push(a);
            right.push(b);
        }
    }
    let (left, right) = (median(&mut left), median(&mut right));
    let ratio = left / right;
    let verdict = if ratio <= most { "PASS" } else { "FAIL" };
    println!(
        "  {verdict}  {what:<44} ours {left:>9.0}   theirs {right:>9.0}   ratio {ratio:.2}   limit {most:.1}"
    );
    ratio <= most
}

fn setting(bench: &Bench) -> bool {
    let socket = bench.socket("pipewire-0").display().to_string();
    // Another value each time, and never the one that the other program has just set.
    let value = |round: usize, of: usize| ["64", "128", "256", "512"][(2 * round + of) % 4];
    let their = |round: usize| {
        let mut command = bench.command("pw-metadata");
        command.args(["-n", "settings", "0", KEY, value(round, 1)]);
        command
    };
    let held = beside(
        "one value of the running daemon",
        (PAIRS, MOST),
        |round| ours(&["set", &socket, value(round, 0)]),
        their,
    );
    let last = format!("key:'{KEY}' value:'{}'", value(WARM_UP + PAIRS - 1, 1));
    let now = bench.metadata();
    assert!(now.iter().any(|line| line.contains(&last)), "{now:?}");
    held
}

fn configuration_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(configuration_files(&path));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "conf")
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn reading(bench: &Bench, stock: Stock) -> bool {
    let shipped = stock.directory().unwrap().join("usr/share/pipewire");
    let files = configuration_files(&shipped);
    assert!(!files.is_empty());
    let their = |file: &Path| {
        let mut command = bench.command("spa-json-dump");
        command.arg(file);
        command
    };
    let file = |round: usize| files[round % files.len()].as_path();
    let what = format!("each of {} shipped files", files.len());
    let held = beside(
        &what,
        (PAIRS.next_multiple_of(files.len()), MOST),
        |round| ours(&["dump", file(round).to_str().unwrap()]),
        |round| their(file(round)),
    );
    // Starting a process takes most of that time, so the same text once more as one large file.
    let mut text = String::from("[\n");
    while text.len() < LARGE {
        for file in &files {
            text.push_str("{\n");
            text.push_str(&std::fs::read_to_string(file).unwrap());
            text.push_str("\n}\n");
        }
    }
    text.push_str("]\n");
    let large = bench.socket("large.conf");
    std::fs::write(&large, text).unwrap();
    held & beside(
        "the same as one file of 4 MiB",
        (PAIRS / 10, MOST_LARGE),
        |_| ours(&["dump", large.to_str().unwrap()]),
        |_| their(&large),
    )
}
