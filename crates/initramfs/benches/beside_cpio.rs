//! Compares listing an initramfs with the programs that `lsinitramfs` starts for it: a decompressor and `cpio -t`.
//!
//! `cargo bench -p hosttune-initramfs --bench beside_cpio`. The image holds the modules of a stock kernel that
//! `scripts/machine` unpacked, once for each compression whose program is installed. Both sides are processes; this
//! program starts itself for ours. What is compared is processor time: the pipeline runs on two processors at once.
//! The exit code is 1 if a limit is exceeded.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark starts programs, prints its results, and panics on errors"
)]

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use hosttune_initramfs::Archive;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// A stock kernel as `scripts/machine` unpacks it. Its modules are not compressed; those of later ones are, which a
/// decompressor of images only copies.
const MODULES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../target/machine/linux-6.1/root"
);
/// Runs of each; the fastest one counts, because other processes have slowed down the others.
const RUNS: usize = 5;
/// The limit on the peak of resident memory, in KiB.
const RESIDENT: u64 = 32 << 10;

/// A program, how it compresses as initramfs-tools 0.142 has it called, how it decompresses, and the limit on the
/// ratio of ours to theirs. The decoder of zstd is written in Rust and slower than the C library, which static builds
/// do without: `docs/decisions/0340`.
const COMPRESSIONS: [(&str, &str, &str, f64); 4] = [
    ("gzip", "gzip -n", "gzip -c -d", 1.0),
    ("xz", "xz --check=crc32 -T2", "xz -c -d", 1.0),
    ("zstd", "zstd -q -9 -T2", "zstd -q -c -d", 2.0),
    ("lz4", "lz4 -9 -l", "lz4cat", 1.0),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, image] = arguments.as_slice()
        && word == "list"
    {
        list(Path::new(image));
        return ExitCode::SUCCESS;
    }
    let tree = Path::new(MODULES);
    if !tree.is_dir() {
        println!("{MODULES} is missing: run scripts/machine");
        return ExitCode::FAILURE;
    }
    let directory = tempfile::tempdir().unwrap();
    let plain = directory.path().join("plain");
    shell(
        "find . -path '*/kernel/fs/*' -o -path '*/kernel/drivers/[amsu]*' | busybox cpio -o -H newc >$0",
        tree,
        &plain,
    );
    let size = std::fs::metadata(&plain).unwrap().len() >> 20;
    println!(
        "{size} MiB of modules, fastest of {RUNS}, in milliseconds of processor time (elapsed)"
    );
    let mut holds = true;
    for (name, compress, decompress, most) in COMPRESSIONS {
        if Command::new(name).arg("--version").output().is_err() {
            println!("  not run: {name} is not installed");
            continue;
        }
        let image = directory.path().join(name);
        shell(
            &format!("{compress} <{} >$0", plain.display()),
            tree,
            &image,
        );
        let ours = || {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.arg("list").arg(&image);
            command
        };
        let theirs = || {
            let mut command = Command::new("sh");
            let script = format!("{decompress} <\"$0\" | busybox cpio -t");
            command.arg("-c").arg(script).arg(&image);
            command
        };
        let listed = |mut command: Command| {
            let output = command.output().unwrap();
            assert!(output.status.success(), "{output:?}");
            output.stdout
        };
        assert_eq!(listed(ours()), listed(theirs()), "{name}");
        let ((mine, elapsed), (other, their_elapsed)) = (fastest(ours), fastest(theirs));
        let ratio = mine.as_secs_f64() / other.as_secs_f64();
        let verdict = if ratio <= most { "PASS" } else { "FAIL" };
        holds &= ratio <= most;
        println!(
            "  {verdict}  {name:<6} ours {:>6} ({:>6})   theirs {:>6} ({:>6})   ratio {ratio:.2}   limit {most:.1}",
            mine.as_millis(),
            elapsed.as_millis(),
            other.as_millis(),
            their_elapsed.as_millis()
        );
    }
    let resident = resident(&directory.path().join("zstd"));
    println!("  resident, with zstd: {resident} KiB   limit {RESIDENT} KiB");
    holds &= resident <= RESIDENT;
    ExitCode::from(u8::from(!holds))
}

fn list(image: &Path) {
    let mut output = BufWriter::new(std::io::stdout().lock());
    let mut archive = Archive::new(File::open(image).unwrap());
    while let Some(entry) = archive.next_entry().unwrap() {
        output.write_all(entry.name()).unwrap();
        output.write_all(b"\n").unwrap();
    }
    output.flush().unwrap();
}

/// Runs a script in a directory, with a file as `$0`.
fn shell(script: &str, directory: &Path, file: &Path) {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(file);
    let status = command.current_dir(directory).stderr(Stdio::null());
    assert!(status.status().unwrap().success(), "{script}");
}

/// The processor time of all children that have ended.
fn used() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let time = usage.user_time() + usage.system_time();
    Duration::from_micros(time.num_microseconds().try_into().unwrap())
}

/// The least processor time, and the least elapsed time.
fn fastest(command: impl Fn() -> Command) -> (Duration, Duration) {
    let mut least = (Duration::MAX, Duration::MAX);
    for _ in 0..RUNS {
        let (before, begun) = (used(), Instant::now());
        let mut command = command();
        command.stdin(Stdio::null()).stdout(Stdio::null());
        assert!(command.stderr(Stdio::null()).status().unwrap().success());
        least = (least.0.min(used() - before), least.1.min(begun.elapsed()));
    }
    least
}

/// The peak of resident memory of a listing, in KiB.
fn resident(image: &Path) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.arg("list").arg(image).stdout(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut output = child.stdout.take().unwrap();
    let mut most = 0;
    let mut buffer = [0; 4096];
    // It writes as it reads, so its memory is looked at while it runs.
    while std::io::Read::read(&mut output, &mut buffer).unwrap() > 0 {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = line.and_then(|line| line.trim().strip_suffix(" kB"));
        most = most.max(peak.map_or(0, |peak| peak.trim().parse().unwrap()));
    }
    assert!(child.wait().unwrap().success() && most > 0);
    most
}
