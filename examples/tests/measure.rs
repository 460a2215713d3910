//! `gaming measure` and its responder: over loopback, and over a bottleneck that `gaming apply` shapes.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a black-box test starts the program, looks at what it did, and fails where it cannot"
)]

#[path = "../../crates/latency/tests/suite/bottleneck.rs"]
mod bottleneck;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use std::sync::{Mutex, PoisonError};

use hosttune_test_machine::{Kernel, inside};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use bottleneck::{DOWNLOAD, SERVER, UPLOAD, in_srv, laid, taken_away, told};

/// Held by each test here: they measure time, so neither two tests nor two kernels may run at once.
static TURN: Mutex<()> = Mutex::new(());

/// The maximum number of measurements until one is valid, and until shaping has lowered the round trips as
/// promised. Retrying is sound: other work beside the emulated processor only makes round trips longer.
const TRIES: usize = 4;

/// The factor by which shaping must lower the 95th percentile of the round trips. With both directions loaded
/// it applies to the mean: the one emulated processor then forwards, shapes and loads both directions, and
/// its scheduling determines the 95th percentile.
const TIMES_LOWER: f64 = 10.0;

/// With this much jitter on the idle path, the emulated processor was busy with other work.
const JITTER_MILLISECONDS: f64 = 15.0;

mod what_gaming_shapes_it_measures_ten_times_lower {
    use super::*;

    #[test]
    fn linux_6_1() {
        run(Kernel::Linux6_1);
    }

    #[test]
    fn newest() {
        run(Kernel::Newest);
    }

    fn run(kernel: Kernel) {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let body = what_gaming_shapes_it_measures_ten_times_lower;
        inside::run_in_module(kernel, module_path!(), body);
    }
}

const GAMING: &str = env!("CARGO_BIN_EXE_gaming");

fn gaming(arguments: &[&str]) -> Command {
    let mut command = Command::new(GAMING);
    command.args(arguments).stdin(Stdio::null());
    command
}

fn ran(arguments: &[&str]) -> Output {
    gaming(arguments).output().unwrap()
}

#[track_caller]
fn exits(code: i32, arguments: &[&str]) -> Output {
    let output = ran(arguments);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {}",
        text(&output)
    );
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

/// A responder, killed on drop.
struct Responding {
    child: Child,
    address: String,
}

impl Responding {
    fn at(address: &str) -> Self {
        let mut child = gaming(&["measure", "--respond", address])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.as_mut().unwrap());
        said.read_line(&mut line).unwrap();
        let address = line
            .strip_prefix("gaming: responding at ")
            .and_then(|rest| rest.split_once(','))
            .map(|(address, _)| address.to_owned())
            .unwrap_or_else(|| panic!("{line}"));
        Self { child, address }
    }

    /// SIGINT ends it with exit code 0.
    fn interrupted(mut self) {
        interrupt(&self.child);
        assert_eq!(ended(&mut self.child), Some(0));
    }
}

impl Drop for Responding {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn interrupt(child: &Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
}

/// Waits for the end, at most 5 seconds, and returns the exit code.
#[track_caller]
fn ended(child: &mut Child) -> Option<i32> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it does not end");
}

/// Parses a document and checks it against the schema in `docs/schemas`.
fn document(text: &str) -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/schemas/measure.schema.json"
    );
    let schema = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let document = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let errors: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    document
}

/// By how much the 95th percentile of the round trips on the idle path exceeds the median, in milliseconds.
fn jitter(document: &Value) -> f64 {
    let idle = &document["measurement"]["phases"][0]["round_trip"];
    let of = |field: &str| idle[field].as_f64().unwrap();
    of("p95_milliseconds") - of("median_milliseconds")
}

/// Without the configured rates there are figures but no grade.
#[test]
fn loopback_is_measured_and_gets_no_grade() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let responding = Responding::at("127.0.0.1:0");
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (save, svg) = (path("before.json"), path("before.svg"));
    let measure = ["measure", "--server", &responding.address, "--seconds", "3"];
    let output = exits(
        1,
        &[&measure[..], &["--save", &save, "--svg", &svg]].concat(),
    );
    let said = text(&output);
    assert!(
        said.contains("no grade: not checked against a rate"),
        "{said}"
    );
    assert!(
        output.stderr.is_empty(),
        "progress is for terminals: {said}"
    );
    let saved = std::fs::read_to_string(&save).unwrap();
    let phases = document(&saved)["measurement"]["phases"].clone();
    assert_eq!(phases.as_array().unwrap().len(), 4);
    assert!(phases[1]["download_bits_per_second"].as_u64().unwrap() > 1_000_000);
    assert!(phases[2]["upload_bits_per_second"].as_u64().unwrap() > 1_000_000);
    assert!(std::fs::read_to_string(&svg).unwrap().ends_with("</svg>\n"));

    // If interrupted, it ends at once and leaves the files unchanged.
    let again = [
        &measure[..],
        &["--before", &save, "--save", &save, "--json"],
    ]
    .concat();
    let mut child = gaming(&again)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    interrupt(&child);
    assert_eq!(ended(&mut child), Some(3));
    let said = child.wait_with_output().unwrap();
    let error: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(error["error"]["message"], "interrupted");
    assert_eq!(std::fs::read_to_string(&save).unwrap(), saved);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);

    let address = responding.address.clone();
    responding.interrupted();
    let said = text(&exits(3, &["measure", "--server", &address]));
    assert!(said.contains("--respond"), "{said}");
}

/// The best factor of all measurements, for each phase under load.
#[derive(Debug, Default)]
struct Best(BTreeMap<String, f64>);

impl Best {
    fn of(&mut self, document: &Value) {
        let phases = document["comparison"]["phases"].as_array().unwrap();
        assert_eq!(phases.len(), 3);
        for phase in phases {
            let name = phase["phase"].as_str().unwrap().to_owned();
            let of = match name.as_str() {
                "both" => "mean_times_lower",
                _ => "p95_times_lower",
            };
            let times = phase[of].as_f64().unwrap();
            let best = self.0.entry(name).or_insert(times);
            *best = best.max(times);
        }
        println!("at best, so many times lower: {:?}", self.0);
    }

    fn reaches(&self, times: f64) -> bool {
        self.0.len() == 3 && self.0.values().all(|best| *best >= times)
    }
}

/// The whole procedure: measure, shape, measure again and compare, revert.
fn what_gaming_shapes_it_measures_ten_times_lower() {
    told("modprobe ifb numifbs=0; modprobe -a act_mirred cls_matchall sch_ingress");
    laid();
    let responding = in_srv(|| Responding::at(&format!("{SERVER}:0")))
        .join()
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (before, after, svg) = (path("before.json"), path("after.json"), path("chart.svg"));
    let measure = |saved: &str, more: &[&str]| {
        let measure = ["measure", "--server", &responding.address, "--seconds", "4"];
        let arguments = [&measure[..], &["--save", saved], more].concat();
        let mut busy = 0;
        for _ in 0..TRIES {
            let output = ran(&arguments);
            println!("{}", text(&output));
            let code = output.status.code();
            assert!(matches!(code, Some(0 | 1)), "{code:?}");
            let document = document(&std::fs::read_to_string(saved).unwrap());
            let is_busy = jitter(&document) >= JITTER_MILLISECONDS;
            if code == Some(0) && !is_busy {
                return Some(document);
            }
            busy += usize::from(is_busy);
        }
        // On a busy machine the result says nothing about the program.
        assert!(busy > 0, "not valid {TRIES} times on a quiet path");
        None
    };
    let shaped = ["--up", "2850kbit", "--down", "6800kbit"];
    let compared = ["--before", &before, "--svg", &svg];
    let before_it = measure(&before, &["--down", "8mbit", "--up", "3mbit"]);
    let measured = before_it.and_then(|before_it| {
        let apply = ["apply", "--yes", "--only", "qos"];
        exits(0, &[&apply[..], &shaped].concat());
        let mut best = Best::default();
        let mut after_it = None;
        for _ in 0..TRIES {
            after_it = measure(&after, &[&shaped[..], &compared].concat());
            let Some(after_it) = &after_it else { break };
            best.of(after_it);
            if best.reaches(TIMES_LOWER) {
                break;
            }
        }
        exits(0, &["revert", "--yes"]);
        after_it.map(|_| (before_it, best))
    });
    responding.interrupted();
    taken_away();
    let Some((before_it, best)) = measured else {
        println!(
            "not run: gaming measures its line: this machine is too busy to time anything on it"
        );
        return;
    };

    let line = &before_it["measurement"]["configured"];
    assert_eq!(line["download_bits_per_second"], DOWNLOAD);
    assert_eq!(line["upload_bits_per_second"], UPLOAD);
    assert!(best.reaches(TIMES_LOWER), "{best:?}");
    let chart = std::fs::read_to_string(&svg).unwrap();
    assert!(chart.ends_with("</svg>\n"), "{chart}");
}
