//! A failure is reported in a line that says what to do, and no machine is left running.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use hosttune_test_machine::inside::{borrow, test_name};
use hosttune_test_machine::{Kernel, Machine, MachineError, StateDisk, inside_every_kernel};

inside_every_kernel!(here_is_inside);

const VM: &str = env!("CARGO_BIN_EXE_vm");

/// The IDs of all QEMU processes whose command line contains this.
fn processes_with(text: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let found = entries.filter(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains("qemu") && line.contains(text)
    });
    found
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Fails if a machine with this word on its kernel command line is still running after two minutes.
#[track_caller]
fn nothing_is_left_of(word: &str) {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let left = processes_with(word);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{word}: left behind: {left:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_panic_is_told_with_the_end_of_the_console() {
    let word = "hosttune.test=panic";
    let mut machine = Machine::own(Kernel::Newest, "its kernel panics")
        .without_devices()
        .parameter(word)
        .boot()
        .unwrap();
    assert_eq!(processes_with(word).len(), 1);
    let error = machine
        .run(&["sh", "-c", "echo c >/proc/sysrq-trigger"])
        .unwrap_err();
    let MachineError::Ended { console, .. } = &error else {
        panic!("{error}");
    };
    assert!(console.contains("Kernel panic"), "{console}");
    let text = error.to_string();
    assert!(text.contains("its kernel panicked"), "{text}");
    assert!(text.contains("sysrq-trigger"), "while it ran what? {text}");
    nothing_is_left_of(word);
    // Later commands report it too.
    assert!(matches!(
        machine.run(&["true"]),
        Err(MachineError::Ended { .. })
    ));
}

#[test]
fn a_panic_before_the_first_command_is_told() {
    let word = "rdinit=/nowhere";
    let error = Machine::own(
        Kernel::Linux6_12,
        "its kernel panics before the first command",
    )
    .without_devices()
    .parameter(word)
    .only_once()
    .boot()
    .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("ended while starting"), "{text}");
    assert!(text.contains("its kernel panicked"), "{text}");
    nothing_is_left_of(word);
}

#[test]
fn a_machine_that_does_not_come_up_is_given_up() {
    let word = "hosttune.test=start";
    let limit = Duration::from_secs(1);
    let begun = Instant::now();
    let error = Machine::own(Kernel::Linux6_1, "it does not come up")
        .without_devices()
        .parameter(word)
        .only_once()
        .start_within(limit)
        .boot()
        .unwrap_err();
    assert!(matches!(error, MachineError::Hung { .. }), "{error}");
    assert!(begun.elapsed() < 60 * limit);
    nothing_is_left_of(word);
}

#[test]
fn a_command_that_hangs_is_given_up_with_its_machine() {
    let word = "hosttune.test=hang";
    let mut machine = Machine::own(Kernel::Linux6_12, "a command hangs in it")
        .without_devices()
        .parameter(word)
        .boot()
        .unwrap();
    let error = machine
        .shell(
            "echo begun; sleep 1000",
            Duration::from_secs(1),
            &mut |_, _| {},
        )
        .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, MachineError::Hung { .. }), "{text}");
    assert!(
        text.contains("sleep 1000") && text.contains("within 1 s"),
        "{text}"
    );
    nothing_is_left_of(word);
}

#[test]
fn a_machine_that_is_powered_off_from_inside_is_told_apart_from_a_panic() {
    let mut machine = Machine::own(Kernel::Linux6_1, "it is powered off from inside")
        .without_devices()
        .boot()
        .unwrap();
    let error = machine.run(&["/busybox", "poweroff", "-f"]).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("a program in it powered it off"), "{text}");
}

#[test]
fn exit_codes_and_both_streams_come_through() {
    let test = &test_name();
    let mut machine = borrow(Kernel::Linux6_12, test);
    for (script, code) in [("exit 0", 0), ("exit 42", 42), ("kill -9 $$", 137)] {
        assert_eq!(machine.run(&["sh", "-c", script]).unwrap().code, code);
    }
    let output = machine
        .run(&["sh", "-c", "printf out; printf err >&2"])
        .unwrap();
    assert_eq!(
        (output.text(), output.error_text()),
        ("out".into(), "err".into())
    );
    assert_eq!(machine.run(&["no-such-program"]).unwrap().code, 127);
    // A process left in the background does not keep its command from ending.
    let output = machine.run(&["sh", "-c", "sleep 1000 & echo $!"]).unwrap();
    let left = output.text();
    assert_eq!(machine.run(&["kill", left.trim()]).unwrap().code, 0);
    // The streams are binary, and a megabyte arrives complete.
    let output = machine
        .run(&[
            "sh",
            "-c",
            "head -c 1000000 /dev/zero; printf '\\r\\n\\377'",
        ])
        .unwrap();
    assert_eq!(output.stdout.len(), 1_000_003);
    assert_eq!(&output.stdout[999_999..], b"\0\r\n\xff");
    machine.give_back();
}

/// Runs the program behind `scripts/vm` with one change.
fn vm(change: impl FnOnce(&mut Command) -> &mut Command, arguments: &[&str]) -> Output {
    let mut command = Command::new(VM);
    command.args(arguments).stdin(Stdio::null());
    change(&mut command).output().unwrap()
}

#[track_caller]
fn refused(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(output.stdout.is_empty());
    said
}

#[test]
fn without_qemu_it_is_said_what_to_install() {
    let empty = tempfile::tempdir().unwrap();
    let path = empty.path();
    let said = refused(&vm(|command| command.env("PATH", path), &["--", "true"]));
    assert_eq!(
        said,
        "scripts/vm: qemu-system-x86_64 cannot be started: install qemu-system-x86, or run \
         scripts/machine as root\n"
    );
}

#[test]
fn without_a_kernel_it_is_said_what_to_run() {
    let empty = tempfile::tempdir().unwrap();
    let path = empty.path();
    let said = refused(&vm(
        |command| command.env("HOSTTUNE_MACHINE", path),
        &["--kernel", "6.1", "--", "true"],
    ));
    assert_eq!(
        said,
        format!(
            "scripts/vm: Debian's kernel 6.1 is not in {}/linux-6.1: run scripts/machine\n",
            path.display()
        )
    );
}

#[test]
fn an_unknown_kernel_is_told_with_those_that_there_are() {
    let output = vm(|command| command, &["--kernel", "5.10", "--", "true"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("use one of 6.1, 6.12, newest"), "{said}");
}

/// The directory that `scripts/machine` fills.
fn fetched() -> PathBuf {
    std::env::var_os("HOSTTUNE_MACHINE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/machine"),
        PathBuf::from,
    )
}

#[test]
fn where_the_disk_is_full_it_is_said_so() {
    let test = &test_name();
    let place = tempfile::tempdir().unwrap();
    let fetched = fetched().canonicalize().unwrap();
    // Room for the links, but not for a kernel.
    let script = "mount -t tmpfs -o size=20m,mode=755 tmpfs \"$1\" && \
        mkdir \"$1/linux-6.1\" && ln -s \"$2/cpufreq.aml\" \"$1/\" && \
        for name in release root vmlinuz; do ln -s \"$2/linux-6.1/$name\" \"$1/linux-6.1/\"; done && \
        HOSTTUNE_MACHINE=$1 exec \"$3\" --kernel 6.1 -- true";
    let arguments = [place.path(), &fetched, Path::new(VM)];
    let Some(output) = in_own_mounts(test, script, &arguments) else {
        return;
    };
    let said = refused(&output);
    assert!(said.contains("free some space there"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

const FETCH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/machine");

/// Runs `scripts/machine` with its own directory and a mirror that does not answer.
fn fetching(place: &Path) -> Output {
    Command::new(FETCH)
        .env("HOSTTUNE_MACHINE", place)
        .env("HOSTTUNE_DEBIAN_MIRROR", "http://127.0.0.1:9")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn a_mirror_that_cannot_be_reached_is_told_in_a_line() {
    let place = tempfile::tempdir().unwrap();
    let output = fetching(place.path());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.contains("cannot be fetched from http://127.0.0.1:9"),
        "{said}"
    );
    assert!(said.contains("set HOSTTUNE_DEBIAN_MIRROR"), "{said}");
}

#[test]
fn a_place_without_room_is_told_in_a_line_and_nothing_is_fetched() {
    let test = &test_name();
    let place = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=20m,mode=755 tmpfs \"$1\" && export HOSTTUNE_MACHINE=$1 && \
        { \"$2\"; code=$?; ls \"$1\"; exit $code; }";
    let Some(output) = in_own_mounts(test, script, &[place.path(), Path::new(FETCH)]) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("MB free and 1300 are needed"), "{said}");
    let made = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!made.contains("linux") && !made.contains("apt"), "{made}");
}

/// Runs a shell script in a mount namespace of its own. `None` if that is not permitted; a line says so.
fn in_own_mounts(test: &str, script: &str, arguments: &[&Path]) -> Option<Output> {
    let output = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", script, "sh"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("unshare") {
        println!("not run: {test}: {}", said.trim());
        return None;
    }
    Some(output)
}

#[test]
fn no_machine_outlives_the_program_that_started_it() {
    let word = "hosttune.test=orphan";
    let mut child = Command::new(VM)
        .args(["--parameter", word, "--", "sh", "-c", "echo up; sleep 1000"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    assert_eq!(processes_with(word).len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    nothing_is_left_of(word);
}

/// Runs this program's own test `here_is_inside` for several kernels in a machine with Linux 6.1.
#[test]
fn a_test_in_a_machine_with_another_kernel_fails() {
    let mut machine = borrow(Kernel::Linux6_1, &test_name());
    let program = std::env::current_exe().unwrap();
    let release = machine.release().to_owned();
    let mut run = |claimed: &str, test: &str| {
        let claimed = format!("HOSTTUNE_TEST_MACHINE={claimed}");
        let program = program.to_string_lossy();
        let arguments = ["env", &claimed, &*program, "--exact", "--nocapture", test];
        machine.run(&arguments).unwrap()
    };
    let right = run(&release, "failures::here_is_inside::linux_6_1");
    assert_eq!(right.code, 0, "{}", right.error_text());
    for (claimed, test) in [
        (&*release, "failures::here_is_inside::linux_6_12"),
        (&*release, "failures::here_is_inside::newest"),
        ("6.12.1-amd64", "failures::here_is_inside::linux_6_12"),
        ("6.1.0-1-amd64", "failures::here_is_inside::linux_6_1"),
    ] {
        let wrong = run(claimed, test);
        let said = wrong.error_text() + &wrong.text();
        assert_eq!(wrong.code, 101, "{claimed} {test}: {said}");
        assert!(said.contains(&format!("this is {release}")), "{said}");
    }
    machine.give_back();
}

fn here_is_inside() {
    assert!(hosttune_test_machine::inside::is_inside());
    // The build machine's files are there, read-only.
    assert!(Path::new(VM).exists());
    let refused = fs::write("/usr/hosttune", "").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

#[test]
fn what_the_guest_flushed_survives_a_power_cut_and_what_it_did_not_may_not() {
    let kernel = Kernel::Linux6_12;
    let disk = StateDisk::make().unwrap();
    let start = || {
        Machine::own(kernel, "its power is cut")
            .without_devices()
            .state(&disk)
            .boot()
            .unwrap()
    };
    let mut machine = start();
    let boot = machine
        .run(&["cat", "/proc/sys/kernel/random/boot_id"])
        .unwrap();
    let output = machine.run(&[
        "sh",
        "-c",
        "echo kept >/etc/kept && sync /etc/kept /etc && echo lost >/run/lost && echo lost >/etc/lost",
    ]);
    assert_eq!(output.unwrap().code, 0);
    machine.cut_power();

    let mut machine = start();
    let again = machine
        .run(&["cat", "/proc/sys/kernel/random/boot_id"])
        .unwrap();
    assert_ne!(again.text(), boot.text());
    assert_eq!(machine.run(&["cat", "/etc/kept"]).unwrap().text(), "kept\n");
    assert_ne!(machine.run(&["cat", "/run/lost"]).unwrap().code, 0);
    // The name may have reached the disk with a commit of the ext4 journal; unflushed bytes have not.
    assert_eq!(machine.run(&["cat", "/etc/lost"]).unwrap().text(), "");
    machine
        .run(&["sh", "-c", "echo written >/var/written"])
        .unwrap();
    machine.power_off().unwrap();

    // The last write is on the disk too. A third boot would show no more than the disk itself.
    let read = Command::new("debugfs")
        .args(["-R", "cat /var/written"])
        .arg(disk.path())
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap();
    assert_eq!(read.stdout, b"written\n", "{read:?}");
}
