//! Compares a program with another one that does the same: run time, system calls and memory.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hosttune_test_machine::{Stop, Traced};
use nix::libc;

/// One program with its arguments.
pub(crate) struct Invocation<'a> {
    pub(crate) program: &'a str,
    pub(crate) arguments: &'a [&'a str],
}

impl Invocation<'_> {
    /// The run time of the program.
    pub(crate) fn timed(&self) -> Duration {
        let begun = Instant::now();
        let status = Command::new(self.program)
            .args(self.arguments)
            // The locale is UTF-8, as in the units and shells of an installed system; without one,
            // `sysctl` makes some seventy system calls fewer. With the LD_LIBRARY_PATH that Cargo sets,
            // the loader would search for libraries in each of Cargo's directories.
            .env_remove("LC_ALL")
            .env("LANG", "C.UTF-8")
            .env_remove("LD_LIBRARY_PATH")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        let taken = begun.elapsed();
        assert!(status.success(), "{}: {status}", self.program);
        taken
    }

    /// Runs the program traced and counts its system calls.
    pub(crate) fn counted(&self) -> Counted {
        let mut traced = Traced::start(self.program, self.arguments).unwrap();
        // The trace begins after the first call, which is execve.
        let mut calls = BTreeMap::from([(libc::SYS_execve, 1)]);
        let mut changes = 0;
        loop {
            match traced.step() {
                // Release builds do not make this call, and the limits apply to release builds.
                Stop::Enters if traced.looks_at_a_descriptor() => {}
                Stop::Enters => {
                    *calls.entry(traced.call()).or_insert(0) += 1;
                    changes += u64::from(traced.sends_a_change());
                }
                Stop::Leaves => {}
                Stop::Ended(code) => {
                    assert_eq!(code, 0, "{}", self.program);
                    break;
                }
            }
        }
        Counted {
            calls,
            changes,
            resident: traced.largest.unwrap(),
        }
    }
}

/// The system calls and the memory of one run.
#[derive(Debug)]
pub(crate) struct Counted {
    calls: BTreeMap<i64, u64>,
    /// The number of rtnetlink messages that change something.
    pub(crate) changes: u64,
    /// The maximum resident set size, in KiB.
    pub(crate) resident: u64,
}

impl Counted {
    pub(crate) fn total(&self) -> u64 {
        self.calls.values().sum()
    }

    pub(crate) fn of(&self, numbers: &[i64]) -> u64 {
        let count = |number| self.calls.get(number).copied().unwrap_or(0);
        numbers.iter().map(count).sum()
    }

    pub(crate) fn children(&self) -> u64 {
        self.of(&[
            libc::SYS_clone,
            libc::SYS_clone3,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_fork,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_vfork,
        ])
    }

    pub(crate) fn flushes(&self) -> u64 {
        self.of(&[
            libc::SYS_fsync,
            libc::SYS_fdatasync,
            libc::SYS_sync,
            libc::SYS_syncfs,
            libc::SYS_sync_file_range,
            libc::SYS_msync,
        ])
    }
}

/// The name of a system call, if it is one that either program is known to make.
fn name_of(number: i64) -> String {
    const NAMES: &[(i64, &str)] = &[
        (libc::SYS_brk, "brk"),
        (libc::SYS_close, "close"),
        (libc::SYS_execve, "execve"),
        (libc::SYS_exit_group, "exit_group"),
        (libc::SYS_faccessat, "faccessat"),
        (libc::SYS_fcntl, "fcntl"),
        (libc::SYS_fdatasync, "fdatasync"),
        (libc::SYS_flock, "flock"),
        (libc::SYS_fstat, "fstat"),
        (libc::SYS_fsync, "fsync"),
        (libc::SYS_ftruncate, "ftruncate"),
        (libc::SYS_futex, "futex"),
        (libc::SYS_geteuid, "geteuid"),
        (libc::SYS_getpid, "getpid"),
        (libc::SYS_getrandom, "getrandom"),
        (libc::SYS_gettid, "gettid"),
        (libc::SYS_ioctl, "ioctl"),
        (libc::SYS_lseek, "lseek"),
        (libc::SYS_mkdirat, "mkdirat"),
        (libc::SYS_mmap, "mmap"),
        (libc::SYS_mprotect, "mprotect"),
        (libc::SYS_munmap, "munmap"),
        (libc::SYS_newfstatat, "newfstatat"),
        (libc::SYS_openat, "openat"),
        (libc::SYS_openat2, "openat2"),
        (libc::SYS_ppoll, "ppoll"),
        (libc::SYS_pread64, "pread64"),
        (libc::SYS_prlimit64, "prlimit64"),
        (libc::SYS_pwrite64, "pwrite64"),
        (libc::SYS_read, "read"),
        (libc::SYS_readlinkat, "readlinkat"),
        (libc::SYS_rseq, "rseq"),
        (libc::SYS_rt_sigaction, "rt_sigaction"),
        (libc::SYS_rt_sigprocmask, "rt_sigprocmask"),
        (libc::SYS_sched_getaffinity, "sched_getaffinity"),
        (libc::SYS_set_robust_list, "set_robust_list"),
        (libc::SYS_set_tid_address, "set_tid_address"),
        (libc::SYS_sigaltstack, "sigaltstack"),
        (libc::SYS_statx, "statx"),
        (libc::SYS_uname, "uname"),
        (libc::SYS_unlinkat, "unlinkat"),
        (libc::SYS_write, "write"),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_access, "access"),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_arch_prctl, "arch_prctl"),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_open, "open"),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_poll, "poll"),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_readlink, "readlink"),
    ];
    let known = NAMES.iter().find(|(known, _)| *known == number);
    known.map_or_else(
        || format!("number {number}"),
        |(_, name)| (*name).to_owned(),
    )
}

/// A table of the system calls of both programs, by name.
pub(crate) fn table(ours: &Counted, theirs: &Counted, their_name: &str) -> String {
    let mut numbers: Vec<i64> = ours
        .calls
        .keys()
        .chain(theirs.calls.keys())
        .copied()
        .collect();
    numbers.sort_unstable_by_key(|number| (std::cmp::Reverse(ours.of(&[*number])), *number));
    numbers.dedup();
    let mut text = format!("    {:<20} {:>6} {:>6}\n", "", "ours", their_name);
    for number in numbers {
        let (name, ours, theirs) = (name_of(number), ours.of(&[number]), theirs.of(&[number]));
        writeln!(text, "    {name:<20} {ours:>6} {theirs:>6}").unwrap();
    }
    text
}

/// The quantile `of` of the values, from 0 to 1.
pub(crate) fn part(values: &mut [f64], of: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "an index into a list of some hundred values"
    )]
    let place = ((values.len() - 1) as f64 * of).round() as usize;
    values[place]
}

/// The command line of a benchmark.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// Measure only counts: neither time nor memory, whose limit applies to the release build.
    pub(crate) counts: bool,
    /// Exceeding the time limit is a failure.
    pub(crate) check: bool,
    /// Print each system call.
    pub(crate) table: bool,
    /// The number of timed pairs.
    pub(crate) pairs: usize,
}

impl Asked {
    /// A limit on system calls. It applies to the release build; a build that is only counted allocates memory
    /// a few times more often.
    pub(crate) fn calls(&self, limit: u64) -> u64 {
        if self.counts {
            limit + limit / 10
        } else {
            limit
        }
    }

    /// Parses the command line of this process; `pairs` is the default number of pairs.
    pub(crate) fn of_process(pairs: usize) -> Self {
        let has = |option: &str| std::env::args().any(|argument| argument == option);
        let mut arguments = std::env::args().skip_while(|argument| argument != "--pairs");
        let named = arguments.nth(1).map(|number| number.parse().unwrap());
        let counts = has("--counts");
        Self {
            counts,
            check: has("--check"),
            table: has("--table"),
            pairs: if counts { 0 } else { named.unwrap_or(pairs) },
        }
    }
}

/// Whether any limit was exceeded.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    pub(crate) counts_fail: bool,
    pub(crate) time_fails: bool,
}

impl Judgement {
    pub(crate) fn say(what: &str, found: &str, limit: &str, holds: bool) -> bool {
        let verdict = if holds { "PASS" } else { "FAIL" };
        println!("  {verdict}  {what:<28} {found:>12}   limit {limit}");
        !holds
    }
}
