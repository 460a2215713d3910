//! Tests that run in the test machine: the test program starts itself again in the guest.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::broker::{self, Borrowed};
use crate::clean::{Clean, LEFT_BEHIND};
use crate::kernel::Unpacked;
use crate::shell::{quote, quoted};
use crate::{Kernel, Machine, MachineError, Output, Stream, log};

/// Environment variable that is set in the test machine, to the release of the kernel it was started with.
const INSIDE: &str = "HOSTTUNE_TEST_MACHINE";

/// Watchdog for one test in the machine: ten times the longest observed under load.
const TEST: Duration = Duration::from_secs(900);

/// Environment variable that makes each kernel try all cases, instead of sharing them out.
pub(crate) const EVERY_CASE: &str = "HOSTTUNE_EVERY_CASE";

/// Environment variables that are passed on to a test in the machine.
const PASSED_ON: [&str; 4] = [
    "PROPTEST_CASES",
    "PROPTEST_RNG_SEED",
    "RUST_BACKTRACE",
    EVERY_CASE,
];

/// Returns the name of the test that this thread runs, as for `--exact`.
///
/// # Panics
///
/// Panics in a thread without a name, which is not a test.
#[must_use]
pub fn test_name() -> String {
    let thread = std::thread::current();
    let name = thread.name();
    name.unwrap_or_else(|| panic!("a thread without a name is not a test"))
        .to_owned()
}

/// Whether this process runs in the test machine.
#[must_use]
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Returns the kernel release of the test machine, if this process runs in it.
pub(crate) fn release() -> Option<String> {
    std::env::var(INSIDE).ok()
}

/// Runs the test of this name in the shared machine with this kernel. In the machine, runs `body` and then checks
/// that it left nothing behind.
///
/// [`inside_stock_kernels!`](crate::inside_stock_kernels) makes tests that call this. A machine in which a test
/// failed or left something behind is not used again.
///
/// # Panics
///
/// Panics if the test fails, did not run at all, or left something behind, if no machine is available, and if
/// the machine runs another kernel than expected.
pub fn run(kernel: Kernel, test: &str, body: fn()) {
    be_the_broker_if_asked();
    if let Some(claimed) = std::env::var_os(INSIDE) {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let release = release.trim();
        assert!(
            claimed == release && kernel.is_release(release),
            "expected Linux {kernel}, {}, but this is {release}",
            claimed.display()
        );
        let clean = Clean::before_the_first_test();
        // In a separate thread, because a thread that has entered a namespace does not leave it.
        let thread = std::thread::Builder::new().name(test.to_owned());
        let ended = thread.spawn(body).map(std::thread::JoinHandle::join);
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(error) => panic!("cannot start a thread: {error}"),
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
            // After a failure the state of the machine is unknown, so it is replaced.
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

/// Runs the broker and exits, if this process was started as the broker in the name of a test.
fn be_the_broker_if_asked() {
    if std::env::var_os(broker::BROKER).is_some() {
        let served = broker::serve();
        served
            .unwrap_or_else(|error| panic!("cannot run the broker of the test machines: {error}"));
        std::process::exit(0);
    }
}

/// Returns the command of the broker: this test program with this test, because no other program is certain to
/// be built.
fn same_test_as_broker(test: &str) -> Command {
    let mut command = Command::new(this_program());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command
}

/// Returns the package of this test, because several packages have tests of the same name.
fn package() -> String {
    // Set by cargo and by nextest.
    std::env::var("CARGO_PKG_NAME").unwrap_or_default()
}

/// Borrows a shared machine for a test that runs on the build machine. `test` is the name of the calling test.
///
/// # Panics
///
/// Panics if no machine is available.
#[must_use]
pub fn borrow(kernel: Kernel, test: &str) -> Borrowed {
    be_the_broker_if_asked();
    let borrowed = Borrowed::borrow(kernel, &mut same_test_as_broker(test));
    borrowed.unwrap_or_else(|error| panic!("{test}: {error}"))
}

/// Calls [`run`] for a test that is named after the kernel, in this module.
#[doc(hidden)]
pub fn run_in_module(kernel: Kernel, module: &str, body: fn()) {
    // The test program omits the name of the crate.
    let module = module.split_once("::").map_or(module, |(_, rest)| rest);
    run(kernel, &format!("{module}::{}", kernel.test_name()), body);
}

fn ran(test: &str, release: &str) -> String {
    format!("{test} ran in the machine, on Linux {release}")
}

/// Returns the builder of a machine that sees the workspace and its built programs. The reason says why the test
/// cannot borrow a shared machine.
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

/// Returns the directory with the programs of this build, `target/TARGET/PROFILE`. Test programs are in its
/// subdirectory `deps`.
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

/// Returns the shell command that runs one test of this test program in the machine.
///
/// [`run`] does this for the tests that [`inside_stock_kernels!`](crate::inside_stock_kernels) makes. This
/// function is for a test that runs on the build machine and a part of which runs in the machine; [`is_inside`]
/// tells them apart.
///
/// # Panics
///
/// Panics if the kernel has not been fetched.
#[must_use]
pub fn command(test: &str, kernel: Kernel) -> String {
    let unpacked = Unpacked::find(kernel).unwrap_or_else(|error| panic!("{error}"));
    let directory = std::env::current_dir().unwrap_or_default();
    let passed_on = PASSED_ON
        .iter()
        .filter_map(|name| Some((*name, std::env::var(name).ok()?)));
    let mut text = format!("env --chdir={} ", quote(&directory.to_string_lossy()));
    // Absolute, because shared directories have the same path in the guest.
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

/// Runs the test in the machine. Returns why it failed, if it did.
fn in_machine(machine: &mut Borrowed, test: &str) -> Result<Option<String>, MachineError> {
    let text = command(test, machine.kernel());
    let mut lines = Prefixed::new(machine.kernel());
    let output = machine.shell(&text, TEST, &mut |stream, bytes| lines.show(stream, bytes))?;
    drop(lines);
    Ok(failure(&output, test, machine.release()))
}

/// Runs a part of a test in its own machine: the test program starts itself again there, with these environment
/// variables, which tell it which part. In the machine, the test calls [`part_ran`] when that part has passed.
///
/// # Panics
///
/// Panics if the part fails or did not run, and if the machine ends or hangs.
pub fn run_part(machine: &mut Machine, test: &str, variables: &[(&str, &str)]) {
    let kernel = machine.kernel();
    let set = variables
        .iter()
        .map(|(name, value)| format!("{name}={} ", quote(value)));
    // In front of `env`, whose options come first.
    let text = set.collect::<String>() + &command(test, kernel);
    let mut lines = Prefixed::new(kernel);
    let output = machine.shell(&text, TEST, &mut |stream, bytes| lines.show(stream, bytes));
    drop(lines);
    let output = output.unwrap_or_else(|error| panic!("{test} {variables:?}: {error}"));
    if let Some(failed) = failure(&output, test, machine.release()) {
        panic!("{test} {variables:?}: {failed}");
    }
}

/// Says in the machine that the part of a test has passed that [`run_part`] was called for.
///
/// # Panics
///
/// Panics outside of the machine.
pub fn part_ran(test: &str) {
    let release = release().unwrap_or_else(|| panic!("{test}: this is not the test machine"));
    write_line(&ran(test, &release));
}

/// Returns why a test failed in the machine, if it did.
fn failure(output: &Output, test: &str, release: &str) -> Option<String> {
    let has_run = output.text().contains(&ran(test, release));
    if output.code != 0 && has_run && output.error_text().contains(LEFT_BEHIND) {
        return Some(format!(
            "the test itself passed, but on Linux {release} it left something behind: see above"
        ));
    }
    if output.code != 0 {
        return Some(format!(
            "failed in the machine, on Linux {release} (exit code {}): see above",
            output.code
        ));
    }
    // The test program succeeds if no test has this name.
    if !has_run {
        return Some(format!(
            "did not run at all in the machine, on Linux {release}; is {test} the name of the test?"
        ));
    }
    None
}

/// Prints lines with the kernel as a prefix, as part of the test's output.
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
    reason = "the test harness captures only output of the print macros"
)]
pub(crate) fn write_line(line: &str) {
    println!("{line}");
    let _ = std::io::stdout().flush();
}

/// Makes two tests of each of these functions, which run it in a machine with the oldest and the newest stock
/// kernel: `name::linux_6_1` and `name::newest`.
///
/// All tests of a run on one kernel share a machine and run one after another. A test that leaves anything
/// behind fails, and the machine is replaced.
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

/// Like [`inside_stock_kernels!`](crate::inside_stock_kernels), but also on the kernel in between,
/// `name::linux_6_12`: for tests that are worth half as much time again.
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

/// Makes two tests of each of these functions, which call it on the build machine with the oldest and the newest
/// stock kernel as argument: for tests that need their own machines, because they cut the power or examine
/// how a machine ends.
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
