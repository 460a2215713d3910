//! Tests that run inside of the machine: the test program starts itself again in there.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::kernel::Unpacked;
use crate::shell::{quote, quoted};
use crate::{Kernel, Machine, MachineError, Stream};

/// Set inside of the machine, to the release of the kernel that it was started with.
const INSIDE: &str = "HOSTTUNE_TEST_MACHINE";

/// How long one test may take in there.
const TEST: Duration = Duration::from_secs(540);

/// Set where no case is left to another kernel.
pub(crate) const EVERY_CASE: &str = "HOSTTUNE_EVERY_CASE";

/// Of these a test inside sees what the test program was started with.
const PASSED_ON: [&str; 3] = ["PROPTEST_CASES", "RUST_BACKTRACE", EVERY_CASE];

/// One machine per kernel for all tests of a test program that run inside: a start costs more than
/// most of them. They take turns with it.
static MACHINES: [Mutex<Option<Machine>>; Kernel::ALL.len()] =
    [const { Mutex::new(None) }; Kernel::ALL.len()];

/// Whether this process runs inside of the test machine.
#[must_use]
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// The release of the kernel in there, where this process runs inside.
pub(crate) fn release() -> Option<String> {
    std::env::var(INSIDE).ok()
}

/// Runs the test of this name in a machine with this kernel; in there, runs `body`.
///
/// What [`inside_stock_kernels!`](crate::inside_stock_kernels) makes of a test. A machine in which
/// a test failed is not used again.
///
/// # Panics
///
/// Where the test fails, where it did not run at all, where there is no machine, and where the kernel
/// in there is not the one that is said to be there.
pub fn run(kernel: Kernel, test: &str, body: fn()) {
    if let Some(claimed) = std::env::var_os(INSIDE) {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let release = release.trim();
        assert!(
            claimed == release && kernel.is_release(release),
            "this is to be Linux {kernel}, {}, and it is {release}",
            claimed.display()
        );
        body();
        write_line(&ran(test, release));
        return;
    }
    let mut place = MACHINES[kernel as usize]
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let outcome = start(&mut place, kernel).and_then(|machine| in_machine(machine, test));
    let failed = match outcome {
        Ok(None) => return,
        Ok(Some(failed)) => failed,
        Err(error) => error.to_string(),
    };
    // The lock is given back before the panic, or it would be poisoned for nothing.
    *place = None;
    drop(place);
    panic!("{test}: {failed}");
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

fn start(place: &mut Option<Machine>, kernel: Kernel) -> Result<&mut Machine, MachineError> {
    Ok(match place {
        Some(machine) => machine,
        None => place.insert(for_tests(kernel).boot()?),
    })
}

/// A machine to be that sees the workspace and the programs that were built in it.
#[must_use]
pub fn for_tests(kernel: Kernel) -> crate::Builder {
    let mut machine = Machine::with(kernel).share(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let udev = crate::udev::all();
    if udev.exists() {
        machine = machine.share(udev);
    }
    // The test program lies in a directory below that of the host binaries.
    if let Some(programs) = this_program().ancestors().nth(2) {
        machine = machine.programs(programs);
    }
    machine
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
fn in_machine(machine: &mut Machine, test: &str) -> Result<Option<String>, MachineError> {
    let text = command(test, machine.kernel());
    let mut lines = Prefixed::new(machine.kernel());
    let output = machine.shell(&text, TEST, &mut |stream, bytes| lines.show(stream, bytes))?;
    drop(lines);
    if output.code != 0 {
        return Ok(Some(format!(
            "failed inside, on Linux {} (exit code {}): see above",
            machine.release(),
            output.code
        )));
    }
    // A name that no test has is no failure to the test program.
    if !output.text().contains(&ran(test, machine.release())) {
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
/// All that one test program has run inside of one kernel share a machine and take turns; they
/// leave it as they found it, or the next one sees it.
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
/// its argument, as a test each: for tests that start machines, cut their power, or look at how
/// they end.
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
