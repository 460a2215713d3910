//! Tests that run inside of the machine: the test program starts itself again in there.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::broker::{self, Borrowed};
use crate::clean::{Clean, LEFT_BEHIND};
use crate::kernel::Unpacked;
use crate::shell::{quote, quoted};
use crate::{Kernel, Machine, MachineError, Stream, log};

/// Set inside of the machine, to the release of the kernel that it was started with.
const INSIDE: &str = "HOSTTUNE_TEST_MACHINE";

/// How long one test may take in there, as a watchdog: ten times the longest that was seen beside a load.
const TEST: Duration = Duration::from_secs(900);

/// Set where no case is left to another kernel.
pub(crate) const EVERY_CASE: &str = "HOSTTUNE_EVERY_CASE";

/// Of these a test inside sees what the test program was started with.
const PASSED_ON: [&str; 3] = ["PROPTEST_CASES", "RUST_BACKTRACE", EVERY_CASE];

/// The name of the test that this thread runs, as `--exact` takes it.
///
/// # Panics
///
/// In a thread without a name, which runs no test.
#[must_use]
pub fn test_name() -> String {
    let thread = std::thread::current();
    let name = thread.name();
    name.unwrap_or_else(|| panic!("a thread without a name runs no test"))
        .to_owned()
}

/// Whether this process runs inside of the test machine.
#[must_use]
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// The release of the kernel in there, where this process runs inside.
pub(crate) fn release() -> Option<String> {
    std::env::var(INSIDE).ok()
}

/// Runs the test of this name in the shared machine with this kernel; in there, runs `body` and then has it
/// proven that nothing is left of it.
///
/// What [`inside_stock_kernels!`](crate::inside_stock_kernels) makes of a test. A machine in which
/// a test failed, or left something, is not used again.
///
/// # Panics
///
/// Where the test fails, where it did not run at all, where it left something behind, where there is no
/// machine, and where the kernel in there is not the one that is said to be there.
pub fn run(kernel: Kernel, test: &str, body: fn()) {
    be_the_broker_if_asked();
    if let Some(claimed) = std::env::var_os(INSIDE) {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let release = release.trim();
        assert!(
            claimed == release && kernel.is_release(release),
            "this is to be Linux {kernel}, {}, and it is {release}",
            claimed.display()
        );
        let clean = Clean::before_the_first_test();
        // In a thread of its own, since a thread that has entered a namespace does not come back.
        let thread = std::thread::Builder::new().name(test.to_owned());
        let ended = thread.spawn(body).map(std::thread::JoinHandle::join);
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(error) => panic!("no thread can be started: {error}"),
        }
        write_line(&ran(test, release));
        if let Some(clean) = clean {
            clean.is_clean_again();
        }
        return;
    }
    let name = format!("{} {test}", package());
    let outcome =
        Borrowed::borrow(kernel, &mut same_test_as_broker(test)).and_then(|mut machine| {
            let begun = Instant::now();
            let failed = in_machine(&mut machine, test)?;
            log::tested(kernel, begun.elapsed(), &name);
            // After a failure it is not known what the machine is like: then it is replaced.
            if failed.is_none() {
                machine.give_back();
            }
            Ok(failed)
        });
    match outcome {
        Ok(None) => {}
        Ok(Some(failed)) => panic!("{test}: {failed}"),
        Err(error) => panic!("{test}: {error}"),
    }
}

/// Does not return in a process that was started to lend machines, in the name of a test that wants one.
fn be_the_broker_if_asked() {
    if std::env::var_os(broker::BROKER).is_some() {
        let served = broker::serve();
        served.unwrap_or_else(|error| panic!("no machine can be lent: {error}"));
        std::process::exit(0);
    }
}

/// This test program, running this test, is what can be the broker: no other program is sure to be built.
fn same_test_as_broker(test: &str) -> Command {
    let mut command = Command::new(this_program());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command
}

/// The package whose test this is: several have a test of the same name.
fn package() -> String {
    // Set by cargo, and by nextest too.
    std::env::var("CARGO_PKG_NAME").unwrap_or_default()
}

/// A shared machine for a test that stays out here: the test says by its name which it is.
///
/// # Panics
///
/// Where there is none.
#[must_use]
pub fn borrow(kernel: Kernel, test: &str) -> Borrowed {
    be_the_broker_if_asked();
    let borrowed = Borrowed::borrow(kernel, &mut same_test_as_broker(test));
    borrowed.unwrap_or_else(|error| panic!("{test}: {error}"))
}

/// [`run`] for a test that is named after the kernel, in this module.
#[doc(hidden)]
pub fn run_in_module(kernel: Kernel, module: &str, body: fn()) {
    // As the test program names it: without the crate.
    let module = module.split_once("::").map_or(module, |(_, rest)| rest);
    run(kernel, &format!("{module}::{}", kernel.test_name()), body);
}

fn ran(test: &str, release: &str) -> String {
    format!("{test} ran inside, on Linux {release}")
}

/// A machine to be that sees the workspace and the programs that were built in it. The reason says why a
/// test cannot borrow a shared one.
#[must_use]
pub fn for_tests(kernel: Kernel, reason: &'static str) -> crate::Builder {
    let mut machine =
        Machine::own(kernel, reason).share(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    for unpacked in [crate::udev::all(), crate::tuned::directory()] {
        if unpacked.exists() {
            machine = machine.share(unpacked);
        }
    }
    machine.programs(programs_directory())
}

/// Where the programs of this build lie: `target/TARGET/PROFILE`. Test programs lie in `deps` below it.
pub(crate) fn programs_directory() -> PathBuf {
    let program = this_program();
    let directory = program.parent().unwrap_or(Path::new("/"));
    match directory.parent() {
        Some(above) if directory.ends_with("deps") => above.to_owned(),
        _ => directory.to_owned(),
    }
}

fn this_program() -> PathBuf {
    std::env::current_exe().unwrap_or_default()
}

/// What a shell in the machine runs one test of this test program by.
///
/// [`run`] does it with the tests that [`inside_stock_kernels!`](crate::inside_stock_kernels) makes; this is
/// for a test that stays out here and has a part of itself run inside, where [`is_inside`] tells.
///
/// # Panics
///
/// Where the kernel is not there, and so no machine with it can be either.
#[must_use]
pub fn command(test: &str, kernel: Kernel) -> String {
    let unpacked = Unpacked::find(kernel).unwrap_or_else(|error| panic!("{error}"));
    let directory = std::env::current_dir().unwrap_or_default();
    let passed_on = PASSED_ON
        .iter()
        .filter_map(|name| Some((*name, std::env::var(name).ok()?)));
    let mut text = format!("env --chdir={} ", quote(&directory.to_string_lossy()));
    // Absolute, as what is shared has the same path in there.
    let things = crate::kernel::directory();
    let things = things.canonicalize().unwrap_or(things);
    let things = ("HOSTTUNE_MACHINE", things.to_string_lossy().into_owned());
    for (name, value) in [(INSIDE, unpacked.release), things]
        .into_iter()
        .chain(passed_on)
    {
        text += &format!("{name}={} ", quote(&value));
    }
    let program = this_program();
    text + &quoted(&[
        &*program.to_string_lossy(),
        "--exact",
        test,
        "--nocapture",
        "--test-threads=1",
    ])
}

/// What went wrong, if anything.
fn in_machine(machine: &mut Borrowed, test: &str) -> Result<Option<String>, MachineError> {
    let text = command(test, machine.kernel());
    let mut lines = Prefixed::new(machine.kernel());
    let output = machine.shell(&text, TEST, &mut |stream, bytes| lines.show(stream, bytes))?;
    drop(lines);
    let has_run = output.text().contains(&ran(test, machine.release()));
    if output.code != 0 && has_run && output.error_text().contains(LEFT_BEHIND) {
        return Ok(Some(format!(
            "what it tests holds, but on Linux {} it left something behind: see above",
            machine.release()
        )));
    }
    if output.code != 0 {
        return Ok(Some(format!(
            "failed inside, on Linux {} (exit code {}): see above",
            machine.release(),
            output.code
        )));
    }
    // A name that no test has is no failure to the test program.
    if !has_run {
        return Ok(Some(format!(
            "did not run at all inside, on Linux {}; is {} the test's name?",
            machine.release(),
            Path::new(test).display()
        )));
    }
    Ok(None)
}

/// Shows lines behind the kernel they come from, for the test's own output.
struct Prefixed {
    kernel: Kernel,
    begun: [Vec<u8>; 2],
}

impl Prefixed {
    fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            begun: [Vec::new(), Vec::new()],
        }
    }

    fn show(&mut self, stream: Stream, bytes: &[u8]) {
        let begun = &mut self.begun[stream as usize];
        begun.extend_from_slice(bytes);
        while let Some(end) = begun.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = begun.drain(..=end).collect();
            write_line(&format!(
                "{:>6}| {}",
                self.kernel,
                String::from_utf8_lossy(&line[..end])
            ));
        }
    }
}

impl Drop for Prefixed {
    fn drop(&mut self) {
        for stream in [Stream::Out, Stream::Err] {
            if !self.begun[stream as usize].is_empty() {
                self.show(stream, b"\n");
            }
        }
    }
}

#[expect(
    clippy::print_stdout,
    reason = "only what is printed so is kept for the test that it belongs to"
)]
pub(crate) fn write_line(line: &str) {
    println!("{line}");
    let _ = std::io::stdout().flush();
}

/// Has each of these functions run inside of a machine with the oldest and one with the newest stock
/// kernel, as a test each: `name::linux_6_1` and `name::newest`.
///
/// All tests of a run that run inside of one kernel share a machine and take turns. A test that leaves
/// anything behind fails, and the machine is replaced.
///
/// ```
/// fn swappiness_is_there() {
///     assert!(std::path::Path::new("/proc/sys/vm/swappiness").exists());
/// }
///
/// hosttune_test_machine::inside_stock_kernels!(swappiness_is_there);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! inside_stock_kernels {
    ($($test:ident),+ $(,)?) => { $(
        mod $test {
            #[test]
            fn linux_6_1() { run($crate::Kernel::Linux6_1); }
            #[test]
            fn newest() { run($crate::Kernel::Newest); }

            fn run(kernel: $crate::Kernel) {
                $crate::inside::run_in_module(kernel, module_path!(), super::$test);
            }
        }
    )+ };
}

/// The same on every stock kernel, `name::linux_6_12` too: for what is worth half as much time again.
#[macro_export]
macro_rules! inside_every_kernel {
    ($($test:ident),+ $(,)?) => { $(
        mod $test {
            #[test]
            fn linux_6_1() { run($crate::Kernel::Linux6_1); }
            #[test]
            fn linux_6_12() { run($crate::Kernel::Linux6_12); }
            #[test]
            fn newest() { run($crate::Kernel::Newest); }

            fn run(kernel: $crate::Kernel) {
                $crate::inside::run_in_module(kernel, module_path!(), super::$test);
            }
        }
    )+ };
}

/// Has each of these functions run out here, with the oldest and with the newest stock kernel as
/// its argument, as a test each: for tests that must have machines of their own, since they cut their
/// power or look at how they end.
#[macro_export]
macro_rules! with_stock_kernels {
    ($($test:ident),+ $(,)?) => { $(
        mod $test {
            #[test]
            fn linux_6_1() { super::$test($crate::Kernel::Linux6_1); }
            #[test]
            fn newest() { super::$test($crate::Kernel::Newest); }
        }
    )+ };
}
