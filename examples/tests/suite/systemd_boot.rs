//! Trials and modes started by systemd-boot itself, from a UEFI firmware (OVMF), with a stock kernel: the firmware's
//! variables, the EFI system partition and the restarts are those of a machine, and nobody chooses an entry. Boots are
//! counted there too, by the loader.

use std::time::Duration;

use hosttune::boot::boot_loader::{BootParameters, BootSetting};
use hosttune::boot::boot_once::{BOOT_ONCE, BootMode, EntryState, ModeOnce, Trial, TrialState};
use hosttune::boot::command_line::CommandLineSetting;
use hosttune::{Selection, Session, Tuning};
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

/// The program with a mode.
const WITH_MODE: &str = "modes";

fn guests() -> BootMode {
    let tried = TRIED.split_once('=').unwrap();
    let setting = CommandLineSetting::equals(tried.0, tried.1);
    BootMode::new(WITH_MODE, "guests", [BootSetting::new(setting)])
}

/// What is done with the mode inside of the machine.
fn with_mode(part: &str) {
    let mut session = Session::live(WITH_MODE)
        .unwrap()
        .with(hosttune::boot::knobs);
    let once = (BOOT_ONCE, ModeOnce::new(guests(), "the test"));
    let state = |session: &Session| {
        let state = guests().state(session.host()).unwrap();
        (state.entry, state.is_next, state.is_met)
    };
    let current = |is_next, is_met| (EntryState::Current, Some(is_next), Some(is_met));
    match part {
        "add" => {
            let _ = ("modes", guests()).apply(&mut session).unwrap();
            assert_eq!(state(&session), current(false, false));
        }
        "choose" => {
            assert_eq!(state(&session), current(false, false));
            let _ = once.apply(&mut session).unwrap();
            assert_eq!(state(&session), current(true, false));
        }
        "runs" => assert_eq!(state(&session), current(false, true)),
        "cancel" => {
            session.only(Selection::only([BOOT_ONCE]));
            let reverted = session.revert().unwrap();
            assert!(reverted.is_complete(), "{reverted:?}");
            assert_eq!(state(&session), current(false, false));
        }
        "revert" => {
            let reverted = session.revert().unwrap();
            assert!(reverted.is_complete(), "{reverted:?}");
            assert_eq!(
                state(&session),
                (EntryState::Absent, Some(false), Some(false))
            );
        }
        other => panic!("{other}"),
    }
}

/// A mode is one boot: after a panic in it too, and not at all if the choice is taken back.
#[test]
fn a_mode_is_started_once_and_the_boot_after_it_is_the_normal_one() {
    if is_inside() {
        with_mode(&std::env::var(PART).unwrap());
        return part_ran(&test_name());
    }
    let disk = StateDisk::of_size(256 << 20).unwrap();
    let mut booted = Booted::start(&disk);
    let (before, old) = (booted.shell(FILES), booted.line());
    let part = |booted: &mut Booted, part: &str| {
        run_part(&mut booted.0, &test_name(), &[(PART, part)]);
    };
    part(&mut booted, "add");
    part(&mut booted, "choose");
    part(&mut booted, "cancel");
    assert!(!booted.is_chosen());
    // The new entry is not the default.
    booted.reboot();
    assert_eq!(booted.line(), old);

    // Again if the emulation let the kernel panic before it was up.
    for _ in 0..3 {
        part(&mut booted, "choose");
        assert!(booted.is_chosen());
        let panics = booted.panics("");
        booted.reboot();
        if booted.panics("") == panics {
            break;
        }
    }
    let line = booted.line();
    assert!(line.contains(TRIED), "{line}");
    assert!(!booted.is_chosen());
    part(&mut booted, "runs");
    // As with a power failure, what /etc and /var have of this boot is not needed.
    booted.restart("panicked", "echo c >/proc/sysrq-trigger");
    assert_eq!(booted.line(), old);

    part(&mut booted, "choose");
    part(&mut booted, "cancel");
    assert!(!booted.is_chosen());
    booted.reboot();
    assert_eq!(booted.line(), old);
    part(&mut booted, "revert");
    assert_eq!(booted.shell(FILES), before);
}

/// The directory of the entries, where the firmware has them.
const ENTRIES: &str = "/boot/efi/loader/entries";

impl Booted {
    /// The name of the only entry.
    fn entry(&mut self) -> String {
        let names = self.shell(&format!("ls {ENTRIES}"));
        let names: Vec<&str> = names.lines().collect();
        let [name] = names[..] else {
            panic!("{names:?}");
        };
        name.to_owned()
    }

    /// Renames the only entry, and returns its name without counters.
    fn count(&mut self, counters: &str) -> String {
        let now = self.entry();
        let name = now.trim_end_matches(".conf");
        let name = name
            .split_once('+')
            .map_or(name, |(name, _)| name)
            .to_owned();
        if now != format!("{name}{counters}.conf") {
            let script = format!("cd {ENTRIES} && mv {now} {name}{counters}.conf && sync");
            assert_eq!(self.shell(&script), "");
        }
        name
    }
}

/// systemd-boot renames an entry whose boots are counted at each of them, and systemd-bless-boot takes the counters
/// away once a boot is good. A change of the entry is the same entry's under each name, and so is its revert.
#[test]
fn an_entry_whose_boots_are_counted_is_changed_under_each_of_its_names() {
    const APPLY: [&str; 5] = ["apply", "--persist", "--only", "boot", "--yes"];
    let disk = StateDisk::of_size(256 << 20).unwrap();
    let mut booted = Booted::start(&disk);
    let old = booted.line();
    let text = |booted: &mut Booted| booted.shell(&format!("cat {ENTRIES}/*"));
    let before = text(&mut booted);

    let name = booted.count("+3");
    booted.reboot();
    // An emulated boot that panics is counted too.
    let counted = booted.entry();
    let left = counted.strip_prefix(&format!("{name}+")).unwrap();
    assert!(
        ["2-1.conf", "1-2.conf", "0-3.conf"].contains(&left),
        "{counted}"
    );
    // What systemd-bless-boot renames.
    let told = booted.shell("cat /sys/firmware/efi/efivars/LoaderBootCountPath-* | tr -d '\\0'");
    assert!(told.contains(&counted), "{told:?}");
    booted.gaming(&APPLY, 0);
    assert_eq!(booted.entry(), counted);
    assert!(text(&mut booted).contains(TRIED));

    // As `systemd-bless-boot good` does it.
    booted.count("");
    let plan = booted.gaming(&["plan", "--persist", "--only", "boot"], 0);
    assert!(plan.contains("nothing to do"), "{plan}");
    booted.reboot();
    assert!(booted.line().contains(TRIED));
    assert_eq!(booted.entry(), format!("{name}.conf"));
    booted.gaming(&["verify", "--persist", "--only", "boot"], 0);

    // The last try: the entry is sorted last then, and is the only one.
    booted.count("+1");
    booted.reboot();
    let counted = booted.entry();
    assert_eq!(counted, format!("{name}+0-1.conf"));
    assert!(booted.line().contains(TRIED));
    booted.gaming(&["revert", "--yes"], 0);
    assert_eq!(booted.entry(), counted);
    assert_eq!(text(&mut booted), before);
    booted.gaming(&["status"], 0);
    booted.reboot();
    assert_eq!(booted.line(), old);
    assert_eq!(text(&mut booted), before);
}
