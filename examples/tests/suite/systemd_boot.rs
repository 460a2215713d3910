//! Trials of kernel parameters started by systemd-boot itself, from a UEFI firmware (OVMF), with a stock kernel: the
//! firmware's variables, the EFI system partition and the restarts are those of a machine, and nobody chooses an entry.

use std::time::Duration;

use hosttune::boot::boot_loader::{BootParameters, BootSetting};
use hosttune::boot::boot_once::{Trial, TrialState};
use hosttune::boot::command_line::CommandLineSetting;
use hosttune::{Session, Tuning};
use hosttune_test_machine::inside::{for_tests, is_inside, part_ran, run_part, test_name};
use hosttune_test_machine::{Kernel, Machine, StateDisk};

/// The environment variable that says which part of a test runs in the machine.
const PART: &str = "HOSTTUNE_TEST_PART";

/// The program of the trial that cannot find its root file system.
const NAME: &str = "rootless";

/// The variable with which systemd-boot is told what to start once.
const ONE_SHOT: &str =
    "/sys/firmware/efi/efivars/LoaderEntryOneShot-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// What of the machine must be as before after a revert: the files of the EFI system partition and of `/etc`, and
/// whether an entry is chosen.
const FILES: &str = "cd / && find boot/efi etc -type f -exec sha256sum {} + | sort -k 2 && \
                     ls /sys/firmware/efi/efivars | grep -c LoaderEntryOneShot; \
                     find boot/efi | sort";

/// What is tried is in `/proc/cmdline` of the trial and of nothing else.
const TRIED: &str = "nmi_watchdog=0";

const TRY: [&str; 6] = [
    "apply",
    "--persist",
    "--try-boot",
    "--only",
    "boot",
    "--yes",
];

/// As a shutdown does it, without services to stop.
const REBOOT: &str = "sync; umount /boot/efi; exec /busybox reboot -f";

/// Why the kernel panics that does not find its root file system.
const NO_ROOT: &str = "VFS: Unable to mount root fs";

struct Booted(Machine);

impl Booted {
    fn start(disk: &StateDisk) -> Self {
        let machine = for_tests(Kernel::Linux6_1, "a firmware starts it")
            .without_devices()
            .systemd_boot()
            .state(disk)
            .boot()
            .unwrap();
        let mut booted = Self(machine);
        booted.tell("started");
        let loader = booted.shell("cat /sys/firmware/efi/efivars/LoaderInfo-* | tr -d '\\0'");
        assert!(loader.contains("systemd-boot 252"), "{loader:?}");
        booted
    }

    fn shell(&mut self, script: &str) -> String {
        let limit = Duration::from_secs(300);
        let output = self.0.shell(script, limit, &mut |_, _| {}).unwrap();
        output.text()
    }

    /// The output of `gaming`, which must exit with this code.
    #[track_caller]
    fn gaming(&mut self, arguments: &[&str], code: i32) -> String {
        let all: Vec<&str> = ["gaming"].iter().chain(arguments).copied().collect();
        let output = self.0.run(&all).unwrap();
        let text = output.text() + &output.error_text();
        assert_eq!(output.code, code, "{arguments:?}: {text}");
        text
    }

    /// What `gaming status` says of the trial.
    #[track_caller]
    fn status(&mut self, wanted: &str) {
        let text = self.gaming(&["status"], 0);
        // Without the line breaks of a terminal.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(wanted), "{text}");
    }

    fn line(&mut self) -> String {
        self.shell("cat /proc/cmdline").trim().to_owned()
    }

    /// How often a kernel of this machine panicked for this reason.
    fn panics(&self, reason: &str) -> usize {
        let panic = format!("Kernel panic - not syncing: {reason}");
        self.0.console_text().matches(&panic).count()
    }

    /// Makes a trial and boots it. The emulation lets about one start of a hundred panic; then the trial is over, and is
    /// made again.
    fn boot_trial(&mut self) {
        for _ in 0..3 {
            self.gaming(&TRY, 0);
            assert!(self.is_chosen());
            self.status("not booted yet");
            let panics = self.panics("");
            self.reboot();
            if self.panics("") == panics {
                return;
            }
            println!("the kernel of the trial panicked in the emulation: once more");
        }
    }

    fn is_chosen(&mut self) -> bool {
        self.shell(&format!("[ ! -e {ONE_SHOT} ] || echo yes")) == "yes\n"
    }

    /// Restarts the machine in this way, and waits for the boot after it that comes up.
    fn restart(&mut self, what: &str, script: &str) {
        self.0.restart(script).unwrap();
        self.tell(what);
    }

    fn reboot(&mut self) {
        self.restart("restarted", REBOOT);
    }

    fn tell(&mut self, what: &str) {
        let took = self.0.start_took().as_secs_f64();
        let up = self.shell("cut -d ' ' -f 1 /proc/uptime");
        println!(
            "{what}: {took:.1} s, the kernel has run for {} s",
            up.trim()
        );
    }
}

/// A trial that crashes the kernel, one that is kept, and its revert.
#[test]
fn a_trial_that_panics_is_over_and_one_that_is_confirmed_is_kept() {
    let disk = StateDisk::of_size(256 << 20).unwrap();
    let mut booted = Booted::start(&disk);
    let (before, old) = (booted.shell(FILES), booted.line());
    assert!(!old.contains(TRIED), "{old}");
    assert!(before.contains("BOOTX64.EFI"), "{before}");

    booted.boot_trial();
    let tried = booted.line();
    for part in [TRIED, "panic=10", "hosttune.trial="] {
        assert!(tried.contains(part), "{tried}");
    }
    assert!(!booted.is_chosen());
    booted.status("it runs");
    booted.restart("panicked", "echo c >/proc/sysrq-trigger");
    assert_eq!(booted.line(), old);
    booted.status("it failed");
    booted.gaming(&["revert", "--yes"], 0);
    assert_eq!(booted.shell(FILES), before);

    booted.boot_trial();
    assert!(booted.line().contains("hosttune.trial="));
    booted.gaming(&["confirm", "--yes"], 0);
    booted.reboot();
    let kept = booted.line();
    assert!(
        kept.contains(TRIED) && !kept.contains("hosttune.trial=") && !kept.contains("panic=10"),
        "{kept}"
    );
    booted.gaming(&["verify", "--persist", "--only", "boot"], 0);
    booted.gaming(&["revert", "--yes"], 0);
    assert_eq!(booted.shell(FILES), before);
    booted.reboot();
    assert_eq!(booted.line(), old);
    assert_eq!(booted.shell(FILES), before);
    assert_eq!(booted.panics("sysrq triggered crash"), 1);
}

/// A trial whose kernel looks for a root file system that is not there, and panics before anything runs.
#[test]
fn a_trial_with_a_wrong_root_is_followed_by_the_old_line() {
    if is_inside() {
        let session = || Session::live(NAME).unwrap().with(hosttune::boot::knobs);
        let state = || {
            Trial::of(session().host(), NAME)
                .unwrap()
                .map(|trial| trial.state)
        };
        match std::env::var(PART).unwrap().as_str() {
            "try" => {
                let settings = [
                    // Without an init in the initramfs the kernel itself looks for the root file system.
                    ("rdinit", "/missing"),
                    ("root", "PARTUUID=6a3d1c0b-7e11-4bb3-9f7e-0a3e1f525a0c"),
                ];
                let settings = settings
                    .map(|(name, value)| BootSetting::new(CommandLineSetting::equals(name, value)));
                let parameters = BootParameters::new(NAME, settings).trial(true);
                let _ = parameters.apply(&mut session()).unwrap();
                assert_eq!(state(), Some(TrialState::Waiting));
            }
            "failed" => {
                assert_eq!(state(), Some(TrialState::Failed));
                assert!(session().revert().unwrap().is_complete());
                assert_eq!(state(), None);
            }
            other => panic!("{other}"),
        }
        return part_ran(&test_name());
    }
    let disk = StateDisk::of_size(256 << 20).unwrap();
    let mut booted = Booted::start(&disk);
    let (before, old) = (booted.shell(FILES), booted.line());
    // Again if the emulation let the kernel panic before it looked for the root file system.
    for _ in 0..3 {
        run_part(&mut booted.0, &test_name(), &[(PART, "try")]);
        assert!(booted.is_chosen());
        let panics = booted.panics("");
        booted.restart("panicked and restarted", REBOOT);
        assert!(booted.panics("") > panics);
        if booted.panics(NO_ROOT) > 0 {
            break;
        }
    }
    assert_eq!(booted.line(), old);
    run_part(&mut booted.0, &test_name(), &[(PART, "failed")]);
    assert_eq!(booted.shell(FILES), before);
    assert_eq!(booted.panics(NO_ROOT), 1);
}
