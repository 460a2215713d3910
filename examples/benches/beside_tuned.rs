//! Compares hosttune with tuned 2.20, which set the same sysctls and I/O scheduler: time, memory and
//! system calls, in one run, with the two programs alternating. A second part compares a scheduler
//! switch with the bare write of the scheduler's name.
//!
//! `cargo bench --bench beside_tuned` starts the test machine and runs itself there, with stock tuned
//! (`scripts/machine` installs both). `-- --kernel newest` selects another kernel than 6.12, `--pairs 20`
//! sets the number of pairs, `--table` prints each system call. The exit code is 1 if one of the two
//! did not set everything or a count exceeds its limit. Exceeding only the time limit, which means
//! little on a busy machine, is a failure only with `-- --check`.
//!
//! On an emulated CPU, starting a process is expensive while a wait in the kernel is not. The second
//! part can therefore be run on a real CPU with `-- --here loop7`, given an unused loop device. Its
//! scheduler is switched and reverted; nothing else is touched, and tuned is not involved.
//!
//! tuned runs under favourable conditions: one-shot mode, no dynamic tuning, a named disk, compiled
//! modules, and all of Python in memory, because opening files in the machine's `/usr` is slow. It has
//! no hdparm, which it would start for each disk, no D-Bus, and no log file. Hosttune starts without a
//! journal and keeps it on a disk, to which it is flushed.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark starts programs, prints its results, and panics on errors"
)]

#[expect(dead_code, reason = "no key is set over netlink")]
mod beside;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use hosttune::blockdev::{
    self, Disk, DiskKind, Glob, GlobError, Offered, Rule, Rules, SchedulerName, Transport,
};
use hosttune::cli::{self, HostProfile, Options, Setting};
use hosttune::modules::Modules;
use hosttune::sysctl::{self, SysctlSet, Wanted};
use hosttune::{Error, Host, LinuxHost, Registry, Session, Tuning};
use hosttune_test_machine::inside::{self, is_inside};
use hosttune_test_machine::{Kernel, Stream, tuned};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use beside::{Asked, Invocation, Judgement, part, table};

/// The default of `--pairs`: tuned takes seconds on an emulated CPU.
const PAIRS: usize = 10;
/// The number of scheduler switches per pair: a switch is shorter and varies more.
const SWITCHES: usize = 10;
const LIMIT: Duration = Duration::from_secs(540);

/// The time limit without a scheduler switch, relative to tuned.
const WALL: f64 = 1.0 / 20.0;
/// The time limit with a scheduler switch, relative to the bare write.
///
/// The write waits for the kernel, which takes the same time everywhere. The rest is a process that
/// starts, reads and keeps a journal, which is many times slower on an emulated CPU. A limit that is
/// exceeded in the test machine may therefore hold on a real one, so the added time is printed as well.
const SWITCH: f64 = 1.3;
/// The memory limit is tuned's memory divided by this.
const MEMORY: u64 = 5;

/// Values that differ from those of a freshly booted machine and that every kernel accepts.
const SYSCTLS: [(&str, &str); 15] = [
    ("net.core.netdev_max_backlog", "16384"),
    ("net.core.rmem_max", "33554432"),
    ("net.core.wmem_max", "33554432"),
    ("net.ipv4.tcp_fastopen", "3"),
    ("net.ipv4.tcp_max_syn_backlog", "8192"),
    ("net.ipv4.tcp_mtu_probing", "1"),
    ("net.ipv4.tcp_rmem", "4096 1048576 33554432"),
    ("net.ipv4.tcp_slow_start_after_idle", "0"),
    ("net.ipv4.tcp_wmem", "4096 1048576 33554432"),
    ("vm.compaction_proactiveness", "0"),
    ("vm.dirty_background_ratio", "5"),
    ("vm.dirty_ratio", "10"),
    ("vm.page-cluster", "0"),
    ("vm.swappiness", "100"),
    ("vm.vfs_cache_pressure", "50"),
];

/// Started under this name, this program sets the sysctls and the scheduler of the virtio disk.
const ALL: &str = "all";
/// Started under this name, it sets only the scheduler.
const SCHEDULER: &str = "scheduler";

/// The host of either name.
struct Same(&'static str);

const SETTINGS: &[Setting] = &[
    Setting {
        name: "scheduler",
        value: "NAME",
        help: "The scheduler of the disk",
        check: |name| {
            let parsed = name.parse::<SchedulerName>();
            parsed.map(drop).map_err(|error| error.to_string())
        },
    },
    Setting {
        name: "disk",
        value: "NAME",
        help: "The disk [default: those of virtio]",
        check: |name| {
            let parsed = name.parse::<Glob>();
            parsed.map(drop).map_err(|error| error.to_string())
        },
    },
];

impl HostProfile for Same {
    fn name(&self) -> &'static str {
        self.0
    }

    fn about(&self) -> &'static str {
        "The settings that tuned applies for comparison"
    }

    fn settings(&self) -> &'static [Setting] {
        SETTINGS
    }

    fn register(&self, registry: &mut Registry) {
        sysctl::knobs(registry);
        blockdev::knobs(registry);
    }

    fn with_backend(&self, session: Session) -> Session {
        session.with_backend(Modules::live())
    }

    fn tuning(&self, options: &Options) -> Result<Box<dyn Tuning>, Error> {
        let wrong = |error: String| Error::tuning(error, "name an existing disk");
        let rule = match options.setting("disk") {
            Some(name) => Rule::new("disk")
                .kind(DiskKind::Disk)
                .kind(DiskKind::Loop)
                .kernel_name(
                    name.parse()
                        .map_err(|error: GlobError| wrong(error.to_string()))?,
                ),
            None => Rule::new("virtio").transport(Transport::Virtio),
        };
        let rule = match options.setting("scheduler") {
            Some(name) => rule.scheduler(name.parse().map_err(|error| {
                Error::tuning(format!("{error}"), "name one that the kernel offers")
            })?),
            None => rule,
        };
        let disks = Box::new(("disks", Rules::new([rule])));
        if self.0 == SCHEDULER {
            return Ok(disks);
        }
        let wanted = |(key, value)| Wanted::new(key, value).why("as set by tuned");
        let sysctls = ("sysctl", SysctlSet::new(SYSCTLS.map(wanted)));
        Ok(Box::new(vec![Box::new(sysctls) as Box<dyn Tuning>, disks]))
    }
}

fn tell(script: &str, arguments: &[&Path]) {
    let output = Command::new("sh")
        .args(["-ec", script, "sh"])
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}");
}

fn path_of(key: &str) -> PathBuf {
    Path::new("/proc/sys").join(key.replace('.', "/"))
}

/// A value with single blanks between its numbers.
fn seen(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The settings and their original values.
struct Subject {
    scheduler: PathBuf,
    disk: String,
    active: String,
    other: String,
    sysctls: Vec<(PathBuf, String)>,
}

impl Subject {
    /// The disk of this name, or the virtio disk.
    fn find(name: Option<&str>) -> Self {
        let host = Host::new(LinuxHost::at("/").unwrap());
        let disks = Disk::all(&host).unwrap();
        let mut disks = disks.iter().filter(|disk| match name {
            Some(name) => disk.name.as_str() == name,
            None => disk.transport == Transport::Virtio,
        });
        let (disk, more) = (disks.next().unwrap(), disks.count());
        assert_eq!(more, 0, "the machine has more than one virtio disk");
        let offered = Offered::of(&host, &disk.name).unwrap().unwrap();
        let active = offered.active.unwrap().to_string();
        let other = ["none", "mq-deadline"]
            .into_iter()
            .find(|name| *name != active);
        Self {
            scheduler: format!("/sys/block/{disk}/queue/scheduler").into(),
            disk: disk.to_string(),
            active,
            other: other.unwrap().to_owned(),
            sysctls: SYSCTLS
                .map(|(key, _)| (path_of(key), seen(&path_of(key))))
                .into(),
        }
    }

    fn active(&self) -> String {
        let text = std::fs::read_to_string(&self.scheduler).unwrap();
        Offered::parse(&text).active.unwrap().to_string()
    }

    /// Panics if a value is not the original one.
    fn is_as_it_was(&self, when: &str) {
        for (path, value) in &self.sysctls {
            assert_eq!(seen(path), *value, "{when}: {}", path.display());
        }
        assert_eq!(self.active(), self.active, "{when}");
    }

    /// Panics if a program has not set everything: its time would not be comparable.
    fn is_set(&self, by: &str) {
        for ((path, was), (_, wanted)) in self.sysctls.iter().zip(SYSCTLS) {
            assert_ne!(was, wanted, "{} is already set", path.display());
            assert_eq!(seen(path), wanted, "{by} has not set {}", path.display());
        }
        assert_eq!(self.active(), self.active, "{by} has another scheduler");
    }

    fn put_back(&self) {
        for (path, value) in &self.sysctls {
            std::fs::write(path, value).unwrap();
        }
        self.is_as_it_was("reverted");
    }
}

/// Puts tuned and all of Python into memory, at the paths of an installed system. The arguments are a
/// directory in memory and the directory in which tuned is unpacked.
const INSTALL: &str = r#"
python=$(readlink -f /usr/bin/python3)
version=${python##*/}
mkdir "$1/packages" "$1/none"
cp "$python" "$1/python"
tar -C /usr/lib --exclude='config-*' --exclude=test -c "$version" | tar -C "$1" -x
cp -a /usr/lib/python3/dist-packages/dbus /usr/lib/python3/dist-packages/_dbus* \
    /usr/lib/python3/dist-packages/gi "$2"/usr/lib/python3/dist-packages/* "$1/packages"
cp -a "$2/usr/sbin/tuned" "$1"
cp -a "$2/etc/tuned" /etc
mount --bind "$1/python" "$python"
mount --bind "$1/$version" "/usr/lib/$version"
mount --bind "$1/packages" /usr/lib/python3/dist-packages
# Hides other packages of the host machine, which would be searched at each start.
local=/usr/local/lib/$version/dist-packages
[ ! -d "$local" ] || mount --bind "$1/none" "$local"
# Without this list, Python would use a C compiler to find libudev.
ldconfig -X
sed -i 's/^daemon = 1$/daemon = 0/; s/^dynamic_tuning = 1$/dynamic_tuning = 0/' /etc/tuned/tuned-main.conf
grep -qx 'daemon = 0' /etc/tuned/tuned-main.conf
grep -qx 'dynamic_tuning = 0' /etc/tuned/tuned-main.conf
"#;

fn install(directory: &Path, subject: &Subject) {
    tell(INSTALL, &[directory, &tuned().unwrap()]);
    let mut profile = "[sysctl]\n".to_owned();
    for (key, value) in SYSCTLS {
        writeln!(profile, "{key}={value}").unwrap();
    }
    let Subject { disk, active, .. } = subject;
    writeln!(profile, "[disk]\ndevices={disk}\nelevator={active}").unwrap();
    std::fs::create_dir("/etc/tuned/same").unwrap();
    std::fs::write("/etc/tuned/same/tuned.conf", profile).unwrap();
}

/// Mounts `/run` on a disk: both programs keep their state there.
fn run_on_disk() {
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    let host = Host::new(LinuxHost::at("/").unwrap());
    let disks = Disk::all(&host).unwrap();
    let disk = disks
        .iter()
        .find(|disk| disk.kind == DiskKind::Disk && disk.serial.as_deref() == Some("nvme-a"));
    let device = PathBuf::from(format!("/dev/{}", disk.unwrap()));
    tell(
        "modprobe ext4; mkfs.ext4 -q \"$1\"; mount -t ext4 \"$1\" /run",
        &[&device],
    );
}

fn shown(names: [&str; 2], taken: &mut [Vec<f64>; 2]) {
    println!(
        "  {} pairs, in milliseconds      min   median      p90",
        taken[0].len()
    );
    for (name, values) in names.into_iter().zip(taken) {
        let [least, median, most] = [0.0, 0.5, 0.9].map(|of| part(values, of));
        println!("    {name:<24} {least:>8.2} {median:>8.2} {most:>8.2}");
    }
}

/// The median of the pairs' ratios.
fn ratio(taken: &[Vec<f64>; 2]) -> f64 {
    let pairs = taken[0].iter().zip(&taken[1]);
    part(&mut pairs.map(|(a, b)| a / b).collect::<Vec<_>>(), 0.5)
}

fn milliseconds(taken: Duration) -> f64 {
    taken.as_secs_f64() * 1e3
}

fn beside_tuned(subject: &Subject, directory: &Path, asked: Asked, judgement: &mut Judgement) {
    let program = directory.join(ALL);
    let program = program.to_str().unwrap();
    let ours = Invocation {
        program,
        arguments: &["apply", "--yes", "--scheduler", &subject.active],
    };
    let revert = Invocation {
        program,
        arguments: &["revert", "--yes"],
    };
    let script = directory.join("tuned");
    let theirs = Invocation {
        program: "/usr/bin/python3",
        // As in its first line.
        arguments: &["-Es", script.to_str().unwrap(), "--profile", "same"],
    };
    let put_back = || {
        subject.put_back();
        // At boot this directory does not exist either.
        std::fs::remove_dir_all("/run/tuned").unwrap();
    };

    println!(
        "\n{} sysctls; {} already has {}",
        SYSCTLS.len(),
        subject.disk,
        subject.active
    );
    if !asked.counts {
        let mut taken: [Vec<f64>; 2] = Default::default();
        for round in 0..=asked.pairs {
            let a = ours.timed();
            subject.is_set("hosttune");
            revert.timed();
            subject.is_as_it_was("after revert");
            let b = theirs.timed();
            subject.is_set("tuned");
            put_back();
            if round > 0 {
                taken[0].push(milliseconds(a));
                taken[1].push(milliseconds(b));
            }
        }
        let of_pairs = ratio(&taken);
        shown(["ours", "tuned"], &mut taken);
        judgement.time_fails |= Judgement::say(
            "wall time, of tuned's",
            &format!("1/{:.1}", 1.0 / of_pairs),
            "1/20",
            of_pairs <= WALL,
        );
    }

    let counted = ours.counted();
    subject.is_set("hosttune");
    revert.timed();
    let beside = theirs.counted();
    subject.is_set("tuned");
    put_back();
    if asked.table {
        print!("{}", table(&counted, &beside, "tuned"));
    }
    // tuned's worker thread and its child processes are not counted, so the reference is lower than
    // its real number of calls.
    let [calls, resident] = [beside.total(), beside.resident];
    let checks = [
        (
            "system calls",
            counted.total(),
            calls / 5,
            format!("of tuned's {calls} and more"),
        ),
        (
            "resident at most, KiB",
            counted.resident,
            resident / MEMORY,
            format!("of tuned's {resident}"),
        ),
        (
            "child processes",
            counted.children(),
            0,
            format!("of tuned's {} and more", beside.children()),
        ),
        ("flushes", counted.flushes(), 1, String::new()),
    ];
    for (what, found, limit, of) in checks {
        let limited = format!("{limit} {of}");
        if asked.counts && what.starts_with("resident") {
            continue;
        }
        judgement.counts_fail |=
            Judgement::say(what, &found.to_string(), limited.trim(), found <= limit);
    }
}

/// One write(2), and nothing else.
fn written(path: &Path, text: &str) -> Duration {
    let begun = Instant::now();
    let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    let count = file.write(text.as_bytes()).unwrap();
    drop(file);
    let taken = begun.elapsed();
    assert_eq!(count, text.len());
    taken
}

fn beside_the_write(subject: &Subject, directory: &Path, asked: Asked, judgement: &mut Judgement) {
    let program = directory.join(SCHEDULER);
    let program = program.to_str().unwrap();
    let ours = Invocation {
        program,
        arguments: &[
            "apply",
            "--yes",
            "--disk",
            &subject.disk,
            "--scheduler",
            &subject.other,
        ],
    };
    let revert = Invocation {
        program,
        arguments: &["revert", "--yes"],
    };
    let switched = |by: &str| assert_eq!(subject.active(), subject.other, "switched by {by}");
    let mut taken: [Vec<f64>; 2] = Default::default();
    for round in 0..=asked.pairs * SWITCHES {
        let a = ours.timed();
        switched("hosttune");
        revert.timed();
        subject.is_as_it_was("after revert");
        let b = written(&subject.scheduler, &subject.other);
        switched("the write");
        written(&subject.scheduler, &subject.active);
        subject.is_as_it_was("after the write");
        if round > 0 {
            taken[0].push(milliseconds(a));
            taken[1].push(milliseconds(b));
        }
    }
    println!(
        "\n{} goes from {} to {}",
        subject.disk, subject.active, subject.other
    );
    let of_pairs = ratio(&taken);
    let pairs = taken[0].iter().zip(&taken[1]);
    let mut added: Vec<f64> = pairs.map(|(a, b)| a - b).collect();
    shown(["ours", "the write alone"], &mut taken);
    println!("  added to the write: {:.2} ms", part(&mut added, 0.5));
    judgement.time_fails |= Judgement::say(
        "wall time, of the write's",
        &format!("{of_pairs:.3}"),
        &format!("{SWITCH}"),
        of_pairs <= SWITCH,
    );
}

/// The value of an option on the command line.
fn value(option: &str) -> Option<String> {
    std::env::args()
        .skip_while(|argument| argument != option)
        .nth(1)
}

/// The same command line, for the run in the test machine.
fn same_command_line(asked: Asked) -> String {
    let mut text = format!(" --pairs {}", asked.pairs);
    for (asked, option) in [
        (asked.counts, " --counts"),
        (asked.check, " --check"),
        (asked.table, " --table"),
    ] {
        text.push_str(if asked { option } else { "" });
    }
    text
}

fn in_the_machine(asked: Asked) -> ExitCode {
    let kernel = value("--kernel").map_or(Kernel::Linux6_12, |name| name.parse().unwrap());
    if let Err(error) = tuned() {
        eprintln!("beside_tuned: {error}");
        return ExitCode::FAILURE;
    }
    let mut machine = inside::borrow(kernel, "beside_tuned");
    let command = inside::command("beside_tuned", kernel) + &same_command_line(asked);
    let output = machine.shell(&command, LIMIT, &mut |stream, bytes| {
        let shown = match stream {
            Stream::Out => std::io::stdout().write_all(bytes),
            Stream::Err => std::io::stderr().write_all(bytes),
        };
        shown.unwrap();
    });
    // The machine is not returned to the broker, because tuned stays installed in it.
    drop(machine);
    match output {
        Ok(output) if output.code == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("beside_tuned: {error}");
            ExitCode::FAILURE
        }
    }
}

fn main() -> ExitCode {
    let program = std::env::args_os().next().unwrap_or_default();
    if let Some(name) = [ALL, SCHEDULER]
        .into_iter()
        .find(|name| Path::new(&program).ends_with(name))
    {
        return cli::main(&Same(name));
    }
    let asked = Asked::of_process(PAIRS);
    let mut judgement = Judgement::default();
    if let Some(name) = &value("--here") {
        let directory = tempfile::tempdir().unwrap();
        let subject = Subject::find(Some(name));
        let program = directory.path().join(SCHEDULER);
        std::fs::copy(std::env::current_exe().unwrap(), program).unwrap();
        beside_the_write(&subject, directory.path(), asked, &mut judgement);
        return ExitCode::from(u8::from(asked.check && judgement.time_fails));
    }
    if !is_inside() {
        return in_the_machine(asked);
    }
    // Created before /run is replaced, and in memory, where opening a file is cheap.
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    run_on_disk();
    let subject = Subject::find(None);
    install(directory, &subject);
    for name in [ALL, SCHEDULER] {
        std::fs::copy(std::env::current_exe().unwrap(), directory.join(name)).unwrap();
    }
    println!("on Linux {}", seen(Path::new("/proc/sys/kernel/osrelease")));
    beside_tuned(&subject, directory, asked, &mut judgement);
    if !asked.counts {
        beside_the_write(&subject, directory, asked, &mut judgement);
    }
    if judgement.counts_fail || (asked.check && judgement.time_fails) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
