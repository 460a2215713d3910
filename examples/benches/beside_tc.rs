//! Compares shaping in both directions, set up by hosttune and by the usual shell script: time, system
//! calls, memory and child processes, in one run, with the two programs alternating.
//!
//! The script only sends the messages. Hosttune also reads the original state, plans, writes its
//! journal, reads back and verifies, and can revert everything.
//!
//! `cargo bench --bench beside_tc` needs root. It works in its own network namespace, with CAKE if the
//! kernel has it and a token bucket otherwise, and prints which. In the test machine, run
//! `scripts/vm -- PROGRAM --pairs 10` with the path that `cargo bench --no-run` prints. `-- --table`
//! prints each system call. The exit code is 1 if a count exceeds its limit. Exceeding only the time
//! limit, which means little on a busy machine, is a failure only with `-- --check`.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark starts programs, prints its results, and panics on errors"
)]

#[path = "../tests/suite/real_kernel/machine.rs"]
#[expect(
    dead_code,
    clippy::print_stderr,
    reason = "only the real-kernel tests use all of it"
)]
mod machine;

mod beside;

use std::path::Path;
use std::process::{Command, ExitCode};

use hosttune::cli::{self, HostProfile, Options};
use hosttune::qos::{self, Cake, Netlink, Qdisc, Rate, Shaper};
use hosttune::{Error, Registry, Session, Tuning};

use beside::{Asked, Counted, Invocation, Judgement, part, table};
use machine::{Network, alone};

/// The default of `--pairs`; use fewer on an emulated CPU.
const PAIRS: usize = 100;
const WARM_UP: usize = 3;

/// The time limit, relative to the script.
const WALL: f64 = 1.0 / 3.0;
/// The limit on system calls of one apply.
const CALLS: u64 = 250;

/// The limit on the resident set size, in KiB.
const RESIDENT: u64 = 5000;

/// Started under this name, this program is the host binary that is measured.
const SHAPED: &str = "shaped";

struct Shaped;

impl HostProfile for Shaped {
    fn name(&self) -> &'static str {
        SHAPED
    }

    fn about(&self) -> &'static str {
        "One interface, shaped in both directions"
    }

    fn register(&self, registry: &mut Registry) {
        qos::knobs(registry);
    }

    fn with_backend(&self, session: Session) -> Session {
        session.with_backend(Netlink::on_demand())
    }

    fn tuning(&self, _: &Options) -> Result<Box<dyn Tuning>, Error> {
        let cake = Cake::default().bandwidth(Rate::mbit(950)).diffserv4();
        let (egress, ingress) = if has_cake() {
            let egress = Qdisc::from(cake.clone().ack_filter());
            (egress, Qdisc::from(cake.ingress()))
        } else {
            let bucket = Qdisc::tbf(118_750_000, 200_000, 1_000_000);
            (bucket.clone(), bucket)
        };
        let shaper = Shaper::new("wan").through("ifb7");
        Ok(Box::new(shaper.egress(egress).ingress(ingress)))
    }
}

fn has_cake() -> bool {
    Path::new("/sys/module/sch_cake").exists()
}

/// The lines of the script.
fn script() -> Vec<String> {
    let (up, down, all) = if has_cake() {
        (
            "cake bandwidth 950mbit diffserv4 ack-filter",
            "cake bandwidth 950mbit diffserv4 ingress",
            "matchall",
        )
    } else {
        let bucket = "tbf rate 950mbit burst 200000 limit 1000000";
        // A minimal kernel has this classifier.
        (bucket, bucket, "u32 match u32 0 0")
    };
    vec![
        format!("tc qdisc replace dev wan root {up}"),
        "ip link add ifb7 type ifb".to_owned(),
        "ip link set ifb7 up".to_owned(),
        format!("tc qdisc replace dev ifb7 root {down}"),
        "tc qdisc add dev wan handle ffff: ingress".to_owned(),
        format!(
            "tc filter add dev wan parent ffff: protocol all {all} action mirred egress redirect dev ifb7"
        ),
    ]
}

const TEARDOWN: &str = "tc qdisc del dev wan root; tc qdisc del dev wan ingress; ip link del ifb7";

fn tell(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The qdiscs and filters of the two devices, without the handles and numbers, which differ.
fn shown() -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for device in ["wan", "ifb7"] {
        for line in tell(&format!("tc qdisc show dev {device}")).lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            lines.push(format!("{device} {} {}", words[1], words[3..].join(" ")));
        }
    }
    lines.push(format!(
        "filters {}",
        tell("tc filter show dev wan ingress")
            .matches("mirred")
            .count()
    ));
    lines
}

/// Runs all of them in turn; returns the median ratio of the first to the third.
fn in_turn(pairs: usize, all: [&Invocation<'_>; 4]) -> f64 {
    let mut taken: [Vec<f64>; 4] = Default::default();
    for round in 0..WARM_UP + pairs {
        let found = all.map(Invocation::timed);
        if round >= WARM_UP {
            for (taken, one) in taken.iter_mut().zip(found) {
                taken.push(one.as_secs_f64() * 1e3);
            }
        }
    }
    let mut ratios: Vec<f64> = taken[0].iter().zip(&taken[2]).map(|(a, b)| a / b).collect();
    println!("  {pairs} pairs, in milliseconds      min   median      p90");
    let names = [
        "set up, ours",
        "revert, ours",
        "set up, sh with tc and ip",
        "teardown, sh with tc and ip",
    ];
    for (name, values) in names.into_iter().zip(&mut taken) {
        let [least, median, most] = [0.0, 0.5, 0.9].map(|of| part(values, of));
        println!("    {name:<32} {least:>6.2} {median:>8.2} {most:>8.2}");
    }
    part(&mut ratios, 0.5)
}

fn measure(subject: &str, asked: Asked, judgement: &mut Judgement) {
    let ours = Invocation {
        program: subject,
        arguments: &["apply", "--yes"],
    };
    let revert = Invocation {
        program: subject,
        arguments: &["revert", "--yes"],
    };
    let lines = script();
    let text = lines.join("\n");
    let theirs = Invocation {
        program: "sh",
        arguments: &["-ec", &text],
    };
    let teardown = Invocation {
        program: "sh",
        arguments: &["-ec", TEARDOWN],
    };

    ours.timed();
    let made = shown();
    revert.timed();
    theirs.timed();
    assert_eq!(made, shown(), "the two do not do the same");
    teardown.timed();

    if !asked.counts {
        let ratio = in_turn(asked.pairs, [&ours, &revert, &theirs, &teardown]);
        judgement.time_fails |= Judgement::say(
            "wall time, of the script's",
            &format!("{ratio:.3}"),
            &format!("{WALL:.3}"),
            ratio <= WALL,
        );
    }

    let counted = ours.counted();
    let again = ours.counted();
    revert.timed();
    // The programs of the script are run one by one, without the shell.
    let beside: Vec<Counted> = lines
        .iter()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            Invocation {
                program: words[0],
                arguments: &words[1..],
            }
            .counted()
        })
        .collect();
    teardown.timed();
    let calls: u64 = beside.iter().map(Counted::total).sum();
    println!("  the script's six programs make {calls} system calls, without the shell's own");
    println!(
        "  an apply that finds everything as wanted makes {}",
        again.total()
    );
    if asked.table {
        print!("{}", table(&counted, &again, "again"));
    }
    let checks = [
        ("system calls", counted.total(), asked.calls(CALLS)),
        ("resident at most, KiB", counted.resident, RESIDENT),
        ("child processes", counted.children(), 0),
        ("flushes", counted.flushes(), 1),
        ("messages sent when as wanted", again.changes, 0),
    ];
    for (what, found, limit) in checks {
        if asked.counts && what.starts_with("resident") {
            continue;
        }
        judgement.counts_fail |=
            Judgement::say(what, &found.to_string(), &limit.to_string(), found <= limit);
    }
}

fn main() -> ExitCode {
    let program = std::env::args_os().next().unwrap_or_default();
    if Path::new(&program).ends_with(SHAPED) {
        return cli::main(&Shaped);
    }
    let asked = Asked::of_process(PAIRS);
    let mut judgement = Judgement::default();
    // The modules are loaded before the state of the machine is recorded, which must be the same
    // afterwards: the modules of the script stay loaded. Errors are ignored; has_cake() decides.
    for words in [
        &[
            "-a",
            "sch_cake",
            "sch_ingress",
            "act_mirred",
            "cls_matchall",
            "veth",
        ][..],
        &["ifb", "numifbs=0"],
    ] {
        let _ = Command::new("modprobe").args(words).output();
    }
    alone("beside_tc", Network::New, |_| {
        tell("ip link add wan type veth peer name peer; ip link set wan up; ip link set peer up");
        let directory = tempfile::tempdir().unwrap();
        let subject = directory.path().join(SHAPED);
        std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &subject).unwrap();
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let kind = if has_cake() {
            "cake"
        } else {
            "tbf, because this kernel has no cake"
        };
        println!("\nshaping both ways on Linux {}: {kind}", kernel.trim());
        measure(subject.to_str().unwrap(), asked, &mut judgement);

        tell("ip link del wan");
    });
    if judgement.counts_fail || (asked.check && judgement.time_fails) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
