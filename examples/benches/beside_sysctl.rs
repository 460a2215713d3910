//! Compares `gaming apply --yes` with `sysctl -q -p` for the same keys: time, system calls, memory,
//! child processes and flushes to disk, in one run, with the two programs alternating.
//!
//! The reference is a tool that only writes; `gaming` also reads the original values, writes its
//! journal, reads back and reports. Two subjects are measured: the `gaming` host, which on some kernels
//! includes a key that the kernel refuses, and a profile of the keys that any kernel accepts, linked
//! into this program.
//!
//! `cargo bench --bench beside_sysctl` needs root. `-- --table` prints each system call; `-- --counts`
//! measures neither time nor memory. The exit code is 1 if a count exceeds its limit. Exceeding only
//! the time limit, which means little on a busy machine, is a failure only with `-- --check`.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark starts programs, prints its results, and panics on errors"
)]

#[path = "../tests/suite/real_kernel/machine.rs"]
#[expect(dead_code, reason = "only the real-kernel tests use all of it")]
mod machine;

#[expect(dead_code, reason = "no key is set over netlink")]
mod beside;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use hosttune::cli::{self, HostProfile, Options};
use hosttune::sysctl::{self, SysctlSet, Wanted};
use hosttune::{Error, Registry, Tuning};
use nix::mount::{MsFlags, mount};

use beside::{Asked, Invocation, Judgement, part, table};
use machine::{GAMING, Network, SYSCTLS_ONLY, alone, names, path_of};

const PAIRS: usize = 500;
const WARM_UP: usize = 20;

/// The time limit, relative to `sysctl`.
const WALL: f64 = 1.2;
/// The limit on the resident set size, in KiB.
const RESIDENT: u64 = 5000;

/// Started under this name, this program is the second subject.
const ACCEPTED: &str = "accepted";

/// The keys of `gaming` that any kernel of the last ten years accepts.
struct Accepted;

impl HostProfile for Accepted {
    fn name(&self) -> &'static str {
        ACCEPTED
    }

    fn about(&self) -> &'static str {
        "Sysctls that any kernel accepts"
    }

    fn candidates(&self) -> &'static [&'static str] {
        &[]
    }

    fn register(&self, registry: &mut Registry) {
        sysctl::knobs(registry);
    }

    fn tuning(&self, _: &Options) -> Result<Box<dyn Tuning>, Error> {
        let why = "as in the gaming host";
        let buffers = "4096 1048576 33554432";
        let set = SysctlSet::new(vec![
            Wanted::new("net.core.netdev_max_backlog", 16384).why(why),
            Wanted::new("net.ipv4.tcp_max_syn_backlog", 8192).why(why),
            Wanted::new("net.core.rmem_max", 33_554_432).why(why),
            Wanted::new("net.core.wmem_max", 33_554_432).why(why),
            Wanted::new("net.ipv4.tcp_rmem", buffers).why(why),
            Wanted::new("net.ipv4.tcp_wmem", buffers).why(why),
            Wanted::new("net.ipv4.tcp_mtu_probing", 1).why(why),
            Wanted::new("net.ipv4.tcp_fastopen", 3).why(why),
            Wanted::new("net.ipv4.tcp_slow_start_after_idle", 0).why(why),
            Wanted::new("vm.swappiness", 100).why(why),
            Wanted::new("vm.dirty_ratio", 10).why(why),
            Wanted::new("vm.dirty_background_ratio", 5).why(why),
            Wanted::new("vm.compaction_proactiveness", 0).why(why),
            Wanted::new("kernel.split_lock_mitigate", 0).why(why),
        ]);
        Ok(Box::new(("sysctl", set)))
    }
}

/// Runs the two in turn; returns the median of the pairs' ratios.
fn beside_each_other(
    pairs: usize,
    ours: &Invocation<'_>,
    revert: &Invocation<'_>,
    theirs: &Invocation<'_>,
    put_back: impl Fn(),
) -> f64 {
    let mut taken = (Vec::new(), Vec::new());
    for round in 0..WARM_UP + pairs {
        let a = ours.timed();
        revert.timed();
        let b = theirs.timed();
        put_back();
        if round >= WARM_UP {
            taken.0.push(a.as_secs_f64() * 1e6);
            taken.1.push(b.as_secs_f64() * 1e6);
        }
    }
    let mut ratios: Vec<f64> = taken.0.iter().zip(&taken.1).map(|(a, b)| a / b).collect();
    println!("  {pairs} pairs, in microseconds      min   median      p90");
    for (name, values) in [("ours", &mut taken.0), ("sysctl", &mut taken.1)] {
        let [least, median, most] = [0.0, 0.5, 0.9].map(|of| part(values, of));
        println!("    {name:<24} {least:>8.0} {median:>8.0} {most:>8.0}");
    }
    let of_medians = part(&mut taken.0, 0.5) / part(&mut taken.1, 0.5);
    let of_pairs = part(&mut ratios, 0.5);
    println!("  ratio of medians {of_medians:.3}, median of the pairs' ratios {of_pairs:.3}");
    of_pairs
}

/// Measures one subject. Every value is the original one before and after.
fn measure(subject: &str, directory: &Path, asked: Asked, judgement: &mut Judgement) {
    let output = Command::new(subject)
        .args(["apply", "--yes", "--json", "--only", SYSCTLS_ONLY])
        .output()
        .unwrap();
    let applied = machine::json(&output);
    let keys = names(&applied["changed"], "knob");
    let values = names(&applied["changed"], "to");
    let refused = names(&applied["not_applicable"], "knob");
    let revert = Invocation {
        program: subject,
        arguments: &["revert", "--yes"],
    };
    revert.timed();
    let mut lines = String::new();
    for (key, value) in keys.iter().zip(&values) {
        writeln!(lines, "{key} = {value}").unwrap();
    }
    let file = directory.join("same-keys.conf");
    std::fs::write(&file, lines).unwrap();
    let originals: Vec<(PathBuf, Vec<u8>)> = keys
        .iter()
        .map(|key| (path_of(key), std::fs::read(path_of(key)).unwrap()))
        .collect();
    let put_back = || {
        for (path, value) in &originals {
            std::fs::write(path, value).unwrap();
        }
    };

    let ours = Invocation {
        program: subject,
        arguments: &["apply", "--yes", "--only", SYSCTLS_ONLY],
    };
    let theirs = Invocation {
        program: "sysctl",
        arguments: &["-q", "-p", file.to_str().unwrap()],
    };
    let shown = Path::new(subject).file_name().unwrap().display();
    println!(
        "\n{shown}: {} keys set, {} refused {refused:?}",
        keys.len(),
        refused.len()
    );

    if !asked.counts {
        let ratio = beside_each_other(asked.pairs, &ours, &revert, &theirs, put_back);
        judgement.time_fails |= Judgement::say(
            "wall time, of sysctl's",
            &format!("{ratio:.3}"),
            &format!("{WALL}"),
            ratio <= WALL,
        );
    }

    let counted = ours.counted();
    revert.timed();
    let beside = theirs.counted();
    put_back();
    println!("  resident at most: sysctl {} KiB", beside.resident);
    if asked.table {
        print!("{}", table(&counted, &beside, "sysctl"));
    }
    let (found, limit) = (counted.total(), asked.calls(beside.total()));
    let checks = [
        (
            "system calls",
            found,
            format!("{limit} (sysctl's)"),
            found <= limit,
        ),
        (
            "resident at most, KiB",
            counted.resident,
            RESIDENT.to_string(),
            counted.resident <= RESIDENT,
        ),
        (
            "child processes",
            counted.children(),
            "0".to_owned(),
            counted.children() == 0,
        ),
    ];
    for (what, found, limit, holds) in checks {
        if asked.counts && what.starts_with("resident") {
            continue;
        }
        judgement.counts_fail |= Judgement::say(what, &found.to_string(), &limit, holds);
    }
}

/// Checks that a journal on a disk is flushed exactly once, before the first value is set.
fn flushes_on_disk(directory: &Path, judgement: &mut Judgement) {
    let none = None::<&str>;
    mount(Some(directory), "/run", none, MsFlags::MS_BIND, none).unwrap();
    let counted = Invocation {
        program: GAMING,
        arguments: &["apply", "--yes", "--only", SYSCTLS_ONLY],
    }
    .counted();
    let revert = Invocation {
        program: GAMING,
        arguments: &["revert", "--yes"],
    };
    revert.timed();
    let flushes = counted.flushes();
    println!("\n/run on disk");
    judgement.counts_fail |=
        Judgement::say("flushes", &flushes.to_string(), "exactly 1", flushes == 1);
}

fn main() -> ExitCode {
    let program = std::env::args_os().next().unwrap_or_default();
    if Path::new(&program).ends_with(ACCEPTED) {
        return cli::main(&Accepted);
    }
    let asked = Asked::of_process(PAIRS);
    let mut judgement = Judgement::default();
    alone("beside_sysctl", Network::Machines, |_| {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let accepted = directory.path().join(ACCEPTED);
        std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &accepted).unwrap();
        for subject in [GAMING, accepted.to_str().unwrap()] {
            measure(subject, directory.path(), asked, &mut judgement);
        }
        let run = directory.path().join("run");
        std::fs::create_dir(&run).unwrap();
        flushes_on_disk(&run, &mut judgement);
    });
    if judgement.counts_fail || (asked.check && judgement.time_fails) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
