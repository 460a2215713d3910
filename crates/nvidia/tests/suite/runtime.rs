//! Run-time settings of GPUs, over the fake of NVML.
//!
//! What the fake answers is reconstructed (see `runtime::testing`): no GPU was there to be asked.

use hosttune_core::host::FileContent;
use hosttune_core::testing::{CrashPoint, Memory, MemoryStore, Snapshot, World};
use hosttune_core::{Error, Finding, Host, Report, Session, State, Tuning, UnsupportedKind};
use hosttune_nvidia::runtime::testing::{FakeGpu, MemoryLibrary, POWER, with_gpus};
use hosttune_nvidia::runtime::{
    ClockRange, GpuClock, GpuManagement, GpuSelection, GpuSettings, LibraryError,
    MaximumPerformance, PowerMizerMode,
};

pub(crate) const FIRST: &str = "0000:01:00.0";
pub(crate) const SECOND: &str = "0000:41:00.0";
const UUIDS: [&str; 2] = ["GPU-11111111-aaaa", "GPU-22222222-bbbb"];

pub(crate) struct Desk {
    pub(crate) memory: Memory,
    store: MemoryStore,
    wakes: bool,
    has_library: bool,
}

/// Only the GPUs: the whole tree is too long for a message.
impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let files = self.memory.snapshot();
        f.debug_map()
            .entries(files.iter().filter(|(path, _)| path.contains("/nvml/")))
            .finish()
    }
}

impl Desk {
    fn of(memory: Memory) -> Self {
        Self {
            memory,
            store: MemoryStore::new(),
            wakes: false,
            has_library: true,
        }
    }

    /// Two Ada GPUs that are awake, with a driver of branch 580.
    pub(crate) fn new() -> Self {
        Self::with(580, [false; 2], "active")
    }

    /// The same, with the persistence mode and the power status of each.
    pub(crate) fn with(branch: u16, persistence: [bool; 2], status: &str) -> Self {
        let gpu = |number: usize| FakeGpu {
            address: [FIRST, SECOND][number],
            device: 0x2684,
            status,
            uuid: UUIDS[number],
            persistence_mode: persistence[number],
            is_open: false,
        };
        Self::of(with_gpus(Memory::new(), branch, &[gpu(0), gpu(1)]))
    }

    fn live(&self) -> Session {
        self.session(&CrashPoint::lives()).unwrap()
    }

    pub(crate) fn setting(&self, gpu: &str, name: &str) -> String {
        MemoryLibrary::setting(&self.memory, gpu, name).unwrap()
    }

    fn becomes(&self, name: &str, value: &str) {
        MemoryLibrary::becomes(&self.memory, FIRST, name, value);
    }

    fn put(&self, path: &str, text: &str) {
        let _ = self.memory.clone().content(path, FileContent::new(text));
    }

    /// What a plan says of the settings that it does not make.
    fn refusals(&self, wanted: &GpuSettings) -> Vec<(UnsupportedKind, String)> {
        let plan = wanted.plan(&self.live()).unwrap();
        let refused = |finding: &Finding| match &finding.state {
            State::NotApplicable { unsupported } => {
                assert!(unsupported.hint.is_some(), "{unsupported}");
                (unsupported.kind, unsupported.why.clone())
            }
            other => panic!("{other:?}"),
        };
        assert!(plan.steps.is_empty(), "{plan:?}");
        plan.findings.iter().map(refused).collect()
    }
}

impl World for Desk {
    fn fork(&self) -> Self {
        Self {
            memory: self.memory.fork(),
            store: self.store.fork(),
            ..*self
        }
    }

    fn session_of(&self, owner: &str, crash_point: &CrashPoint) -> Result<Session, Error> {
        let mut host = Host::new(self.memory.host(crash_point)).gated(crash_point.clone());
        if self.has_library {
            let management = GpuManagement::over(MemoryLibrary::new(self.memory.clone()));
            host = host.with_backend(match self.wakes {
                true => management.waking(),
                false => management,
            });
        }
        let session = Session::new(host, owner, self.store.of(crash_point), "boot")?;
        Ok(session.with(hosttune_nvidia::knobs))
    }

    fn snapshot(&self) -> Snapshot {
        self.memory.snapshot()
    }

    fn store(&self) -> &MemoryStore {
        &self.store
    }
}

pub(crate) const RANGE: ClockRange = ClockRange {
    lowest: 1200,
    highest: 1800,
};

fn first() -> GpuSettings {
    GpuSettings::new(GpuSelection::Index(0)).why("a test")
}

/// Every setting that there is.
pub(crate) fn everything(gpus: GpuSelection) -> GpuSettings {
    GpuSettings::new(gpus)
        .persistence_mode()
        .power_limit(250_000)
        .lock_clock(GpuClock::Graphics, RANGE)
        .lock_clock(GpuClock::Memory, RANGE)
        .clock_offset(GpuClock::Graphics, 0, 120)
        .clock_offset(GpuClock::Memory, 2, -200)
        .power_mizer_mode(PowerMizerMode::MaximumPerformance)
        .why("a test")
}

fn state_of<'r>(report: &'r Report, name: &str) -> &'r State {
    let of = |finding: &&Finding| finding.name.contains(name);
    &report.items.iter().find(of).unwrap().state
}

#[test]
fn persistence_mode_is_set_first_and_reverted_last() {
    let desk = Desk::new();
    let before = desk.memory.snapshot();
    // It is requested after the others here, and still comes first.
    let limit = first().power_limit(250_000);
    let both: Vec<Box<dyn Tuning>> = vec![Box::new(limit), Box::new(first().persistence_mode())];
    let plan = both.plan(&desk.live()).unwrap();
    let knobs: Vec<String> = plan
        .steps
        .iter()
        .map(|step| step.knob.text.clone())
        .collect();
    assert_eq!(
        knobs,
        [
            "GPU 0000:01:00.0 persistence mode",
            "GPU 0000:01:00.0 power limit"
        ]
    );
    let applied = both.apply(&mut desk.live()).unwrap();
    assert_eq!(applied.changed.len(), 2, "{applied}");
    assert_eq!(desk.setting(FIRST, "power"), "250000");
    assert!(both.verify(&desk.live()).unwrap().is_as_wanted());
    let reverted = desk.live().revert().unwrap();
    let order: Vec<&str> = reverted
        .undone
        .iter()
        .map(|undone| &*undone.knob.text)
        .collect();
    assert_eq!(order, [&*knobs[1], &*knobs[0]]);
    assert_eq!(desk.memory.snapshot(), before);
}

#[test]
fn without_persistence_mode_the_others_are_not_applicable() {
    let desk = Desk::new();
    for wanted in [
        first().power_limit(250_000),
        first().lock_clock(GpuClock::Graphics, RANGE),
        first().clock_offset(GpuClock::Memory, 0, 100),
        first().power_mizer_mode(PowerMizerMode::Adaptive),
    ] {
        let refusals = desk.refusals(&wanted);
        let [(_, why)] = refusals.as_slice() else {
            panic!("{refusals:?}");
        };
        assert!(
            why.contains("persistence mode of GPU 0000:01:00.0 is off"),
            "{why}"
        );
    }
    // It need not be ours.
    desk.becomes("persistence", "1");
    let applied = first()
        .power_limit(250_000)
        .apply(&mut desk.live())
        .unwrap();
    assert_eq!(applied.changed.len(), 1, "{applied}");
}

/// The driver forgets everything when another program switches persistence mode off; that is drift, and
/// nothing is left to revert but what is still ours.
#[test]
fn what_the_driver_forgot_is_reported() {
    let desk = Desk::new();
    let wanted = first().persistence_mode().power_limit(250_000);
    let _ = wanted.apply(&mut desk.live()).unwrap();
    desk.becomes("persistence", "0");
    desk.becomes("power", &POWER[0].to_string());
    let report = wanted.verify(&desk.live()).unwrap();
    assert_eq!(*state_of(&report, "persistence"), State::Drifted);
    assert_eq!(*state_of(&report, "power limit"), State::Drifted);
    let reverted = desk.live().revert().unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted}");
    assert!(desk.live().status().unwrap().pending.is_empty());
}

/// Switching persistence mode off would make the driver forget what another program has set.
#[test]
fn persistence_mode_stays_while_another_programs_limit_needs_it() {
    let desk = Desk::new();
    let wanted = first()
        .persistence_mode()
        .power_limit(250_000)
        .clock_offset(GpuClock::Graphics, 2, 50);
    let _ = wanted.apply(&mut desk.live()).unwrap();
    desk.becomes("power", "200000");
    let reverted = desk.live().revert().unwrap();
    assert_eq!(reverted.not_reverted.len(), 2, "{reverted}");
    assert_eq!(desk.setting(FIRST, "power"), "200000");
    assert_eq!(desk.setting(FIRST, "persistence"), "1");
    assert_eq!(desk.setting(FIRST, "offset-graphics-2"), "0");
    // The other program takes its limit back.
    desk.becomes("power", &POWER[0].to_string());
    let reverted = desk.live().revert().unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted}");
    assert_eq!(desk.setting(FIRST, "persistence"), "0");
}

#[test]
fn values_out_of_bounds_are_refused_with_the_bounds() {
    let desk = Desk::with(580, [true; 2], "active");
    for (wanted, text) in [
        (first().power_limit(100_000), "150 W to 400 W"),
        (
            first().clock_offset(GpuClock::Graphics, 0, 1500),
            "-1000 to +1000 MHz",
        ),
        (
            first().power_mizer_mode(PowerMizerMode::ConsistentPerformance),
            "adaptive, prefer maximum performance, auto",
        ),
        (
            first().lock_clock(
                GpuClock::Graphics,
                ClockRange {
                    lowest: 1800,
                    highest: 1200,
                },
            ),
            "1800 to 1200 MHz is no range",
        ),
    ] {
        let refusals = desk.refusals(&wanted);
        assert_eq!(refusals[0].0, UnsupportedKind::ValueUnavailable);
        assert!(refusals[0].1.contains(text), "{refusals:?}");
    }
    // A performance state that the GPU does not have.
    let refusals = desk.refusals(&first().clock_offset(GpuClock::Graphics, 7, 10));
    assert!(refusals[0].1.contains("does not offer it"), "{refusals:?}");
}

#[test]
fn locked_clocks_are_reset_and_that_is_said() {
    let desk = Desk::with(580, [true; 2], "active");
    let before = desk.memory.snapshot();
    let wanted = first().lock_clock(GpuClock::Graphics, RANGE);
    let plan = wanted.plan(&desk.live()).unwrap();
    assert!(plan.notes[0].contains("NVML has no getter"), "{plan:?}");
    let _ = wanted.apply(&mut desk.live()).unwrap();
    assert!(desk.setting(FIRST, "lock-graphics").contains("1800"));
    assert!(wanted.verify(&desk.live()).unwrap().is_as_wanted());
    // A suspend resets it: the clock then runs above the range.
    desk.becomes("lock-graphics", "");
    let report = wanted.verify(&desk.live()).unwrap();
    let State::Overridden { by } = state_of(&report, "locked graphics clock") else {
        panic!("{report}");
    };
    assert!(by.contains("2100 MHz"), "{by}");
    let reverted = desk.live().revert().unwrap();
    assert!(
        reverted.notes[0].contains("reset to unlocked"),
        "{reverted:?}"
    );
    assert_eq!(desk.memory.snapshot(), before);
}

#[test]
fn clocks_are_not_locked_where_another_program_locks_them() {
    let wanted = first().lock_clock(GpuClock::Graphics, RANGE);
    for (path, text) in [
        (
            "/etc/lact/config.yaml",
            "gpus:\n  10DE:2684-1:\n    max_core_clock: 1800\n",
        ),
        (
            "/etc/systemd/system/clocks.service",
            "[Service]\nExecStart=/usr/bin/nvidia-smi -i 0 -lgc 1200,1800\n",
        ),
        (
            "/etc/systemd/system/clocks.service",
            "[Service]\nExecStart=/bin/sh -c \"nvidia-smi --lock-memory-clocks=5001\"\n",
        ),
    ] {
        let desk = Desk::with(580, [true; 2], "active");
        desk.put(path, text);
        let refusals = desk.refusals(&wanted);
        assert_eq!(refusals[0].0, UnsupportedKind::Managed);
        assert!(refusals[0].1.starts_with(path), "{refusals:?}");
    }
    for (path, text) in [
        (
            "/etc/lact/config.yaml",
            "gpus:\n  10DE:2684-1:\n    power_cap: 250\n",
        ),
        (
            "/etc/systemd/system/clocks.service",
            "[Service]\nExecStart=/usr/bin/nvidia-smi -pl 250\n# ExecStart=nvidia-smi -lgc 1\n",
        ),
    ] {
        let desk = Desk::with(580, [true; 2], "active");
        desk.put(path, text);
        assert_eq!(wanted.plan(&desk.live()).unwrap().steps.len(), 1, "{text}");
    }
}

#[test]
fn old_gpus_cannot_lock_their_clocks() {
    for (device, clock, text) in [
        (
            0x1b06,
            GpuClock::Graphics,
            "Pascal cannot lock its graphics clock",
        ),
        (
            0x1e07,
            GpuClock::Memory,
            "Turing cannot lock its memory clock",
        ),
    ] {
        let gpu = FakeGpu {
            address: FIRST,
            device,
            status: "active",
            uuid: UUIDS[0],
            persistence_mode: true,
            is_open: false,
        };
        let desk = Desk::of(with_gpus(Memory::new(), 580, &[gpu]));
        let refusals = desk.refusals(&first().lock_clock(clock, RANGE));
        assert!(refusals[0].1.contains(text), "{refusals:?}");
    }
}

#[test]
fn a_sleeping_gpu_is_neither_asked_nor_woken() {
    for status in [
        "suspended",
        "suspending",
        "resuming",
        "unsupported",
        "error",
    ] {
        let desk = Desk::with(580, [true; 2], status);
        let before = desk.memory.snapshot();
        let wanted = everything(GpuSelection::All);
        for (kind, why) in desk.refusals(&wanted) {
            assert_eq!(kind, UnsupportedKind::Busy);
            assert!(why.contains("its settings are unknown"), "{why}");
        }
        let _ = wanted.apply(&mut desk.live()).unwrap();
        let _ = wanted.verify(&desk.live()).unwrap();
        assert_eq!(desk.memory.snapshot(), before, "{status}");
    }
    // With consent it is woken.
    let desk = Desk {
        wakes: true,
        ..Desk::with(580, [true; 2], "suspended")
    };
    let applied = first()
        .power_limit(250_000)
        .apply(&mut desk.live())
        .unwrap();
    assert_eq!(applied.changed.len(), 1, "{applied}");
}

#[test]
fn a_gpu_that_fell_asleep_keeps_its_changes_pending() {
    let desk = Desk::with(580, [true; 2], "active");
    let wanted = first()
        .power_limit(250_000)
        .lock_clock(GpuClock::Graphics, RANGE);
    let _ = wanted.apply(&mut desk.live()).unwrap();
    let status = format!("/sys/bus/pci/devices/{FIRST}/power/runtime_status");
    desk.put(&status, "suspended\n");
    let reverted = desk.live().revert().unwrap();
    assert_eq!(reverted.not_reverted.len(), 2, "{reverted}");
    assert!(
        reverted.to_string().contains("the GPU sleeps"),
        "{reverted}"
    );
    assert_eq!(desk.memory.get(&status).unwrap().trim(), "suspended");
    desk.put(&status, "active\n");
    let reverted = desk.live().revert().unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted}");
    assert_eq!(desk.setting(FIRST, "power"), POWER[0].to_string());
    assert_eq!(desk.setting(FIRST, "lock-graphics"), "");
}

#[test]
fn gpus_are_selected_by_index_uuid_and_address() {
    let desk = Desk::with(580, [true; 2], "active");
    for text in ["1", SECOND, UUIDS[1], "GPU-22222222-BBBB"] {
        let selection: GpuSelection = text.parse().unwrap();
        let plan = GpuSettings::new(selection)
            .power_limit(250_000)
            .plan(&desk.live())
            .unwrap();
        let [step] = plan.steps.as_slice() else {
            panic!("{text}: {plan:?}");
        };
        assert!(
            step.knob.text.contains(SECOND),
            "{text}: {}",
            step.knob.text
        );
    }
    let all = GpuSettings::new("all".parse().unwrap()).power_limit(250_000);
    assert_eq!(all.plan(&desk.live()).unwrap().steps.len(), 2);
    for text in ["2", "0000:02:00.0", "GPU-3"] {
        let selection: GpuSelection = text.parse().unwrap();
        assert_eq!(selection.to_string(), text);
        let refusals = desk.refusals(&GpuSettings::new(selection).power_limit(250_000));
        assert!(refusals[0].1.contains("has no GPU"), "{refusals:?}");
    }
    for text in [
        "",
        "-1",
        "GPU-",
        "GPU-x",
        "0000:01:00",
        "0000:01:00.8",
        "4294967296",
        "1.0",
    ] {
        assert!(text.parse::<GpuSelection>().is_err(), "{text}");
    }
    // Which of two sleeping GPUs has the UUID is not known.
    let desk = Desk::with(580, [true; 2], "suspended");
    let selection = UUIDS[1].parse().unwrap();
    let refusals = desk.refusals(&GpuSettings::new(selection).power_limit(250_000));
    assert!(
        refusals[0].1.contains("of 2 others is not known"),
        "{refusals:?}"
    );
}

#[test]
fn another_gpu_at_the_address_is_not_changed() {
    let desk = Desk::with(580, [true; 2], "active");
    let _ = first()
        .power_limit(250_000)
        .apply(&mut desk.live())
        .unwrap();
    let information = format!("/proc/driver/nvidia/gpus/{FIRST}/information");
    desk.put(&information, "Model: \t other\nGPU UUID: \t GPU-33333333\n");
    let reverted = desk.live().revert().unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted}");
    assert_eq!(desk.setting(FIRST, "power"), "250000");
    assert!(desk.live().status().unwrap().pending.is_empty());
}

#[test]
fn an_unloaded_driver_has_forgotten_everything() {
    let desk = Desk::new();
    let _ = everything(GpuSelection::Index(0))
        .apply(&mut desk.live())
        .unwrap();
    MemoryLibrary::unload(&desk.memory, FIRST);
    let reverted = desk.live().revert().unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted}");
    assert!(desk.live().status().unwrap().pending.is_empty());
    let records = |snapshot: Snapshot| snapshot.keys().any(|path| path.contains("-clock"));
    assert!(!records(desk.memory.snapshot()));
}

#[test]
fn each_answer_of_the_library_is_said() {
    let wanted = first().power_limit(250_000);
    for (error, text) in [
        (LibraryError::NoProgram, "hosttune-nvml is not installed"),
        (LibraryError::LinkedStatically, "linked statically"),
        (
            LibraryError::NotLoaded("no such file".into()),
            "libnvidia-ml.so.1",
        ),
        (LibraryError::NoFunction("symbol".into()), "too old"),
        (LibraryError::VersionMismatch, "different versions"),
        (LibraryError::DriverNotLoaded, "driver is not loaded"),
        (LibraryError::NotFound, "no GPU at this address"),
        (LibraryError::NotSupported, "does not offer it"),
        (LibraryError::NoPermission, "permission denied"),
    ] {
        let desk = Desk::with(580, [true; 2], "active");
        MemoryLibrary::fails_with(&desk.memory, Some(&error));
        let refusals = desk.refusals(&wanted);
        assert!(refusals[0].1.contains(text), "{refusals:?}");
    }
    // These are failures, and not properties of the host.
    for (error, text) in [
        (LibraryError::InvalidArgument, "refuses the value"),
        (LibraryError::GpuIsLost, "fallen off the bus"),
        (LibraryError::ResetRequired, "has to be reset"),
        (LibraryError::Other("unknown".into()), "NVML: unknown"),
    ] {
        let desk = Desk::with(580, [true; 2], "active");
        MemoryLibrary::fails_with(&desk.memory, Some(&error));
        let report = wanted.verify(&desk.live()).unwrap();
        let State::Unverifiable { why } = state_of(&report, "power limit") else {
            panic!("{error:?}: {report:?}");
        };
        assert!(why.contains(text), "{why}");
    }
}

#[test]
fn old_drivers_lack_functions() {
    for (branch, wanted) in [
        (550, first().clock_offset(GpuClock::Graphics, 0, 10)),
        (570, first().power_mizer_mode(PowerMizerMode::Adaptive)),
    ] {
        let desk = Desk::with(branch, [true; 2], "active");
        let refusals = desk.refusals(&wanted);
        assert!(refusals[0].1.contains("too old"), "{refusals:?}");
        // The others work.
        let plan = first().power_limit(250_000).plan(&desk.live()).unwrap();
        assert_eq!(plan.steps.len(), 1);
    }
}

#[test]
fn a_host_without_driver_or_backend_says_so() {
    let bare = Desk::of(with_gpus(Memory::new(), 580, &[]));
    let refusals = bare.refusals(&first().persistence_mode());
    assert!(
        refusals[0].1.contains("no NVIDIA driver is loaded"),
        "{refusals:?}"
    );
    let desk = Desk {
        has_library: false,
        ..Desk::with(580, [true; 2], "active")
    };
    let refusals = desk.refusals(&first().power_limit(250_000));
    assert_eq!(refusals[0].0, UnsupportedKind::NoBackend);
    assert!(
        refusals[0].1.contains("no backend that asks NVML"),
        "{refusals:?}"
    );
}

/// Among them are the kills between the record and the lock, and between the reset and the removal of the
/// record: the record of a lock never outlives its revert.
#[test]
fn everything_is_reverted_after_a_kill_at_each_write() {
    use hosttune_core::testing::Moment;

    let lock = first().lock_clock(GpuClock::Graphics, RANGE);
    for (wanted, persistence) in [(lock, true), (everything(GpuSelection::All), false)] {
        let (mut kills, mut write) = (0, 0);
        loop {
            let mut is_over = true;
            for moment in [Moment::Before, Moment::Within, Moment::After] {
                let desk = Desk::with(580, [persistence; 2], "active");
                let before = desk.memory.snapshot();
                let applying = CrashPoint::dies_at(write, moment);
                let _ = wanted.apply(&mut desk.session(&applying).unwrap());
                let reverting = CrashPoint::dies_at(write, moment);
                let _ = desk.session(&reverting).unwrap().revert();
                kills += usize::from(applying.is_dead()) + usize::from(reverting.is_dead());
                is_over &= !applying.is_dead() && !reverting.is_dead();
                let reverted = desk.live().revert().unwrap();
                assert!(reverted.not_reverted.is_empty(), "{write}: {reverted}");
                assert_eq!(desk.memory.snapshot(), before, "{write} {moment:?}");
            }
            if is_over {
                break;
            }
            write += 1;
        }
        assert!(kills > 20, "{kills}");
    }
}

#[test]
fn a_step_that_the_gpu_refuses_is_reported_and_leaves_no_record() {
    // The driver of this GPU says only when asked to lock it that it cannot: its id is in no known range.
    let gpu = FakeGpu {
        address: FIRST,
        device: 0x1810,
        status: "active",
        uuid: UUIDS[0],
        persistence_mode: true,
        is_open: false,
    };
    let desk = Desk::of(with_gpus(Memory::new(), 580, &[gpu]));
    let before = desk.memory.snapshot();
    let applied = first()
        .lock_clock(GpuClock::Graphics, RANGE)
        .apply(&mut desk.live());
    let applied = applied.unwrap();
    assert!(applied.changed.is_empty(), "{applied}");
    assert_eq!(desk.memory.snapshot(), before);
    assert!(desk.live().status().unwrap().pending.is_empty());
}

#[test]
fn maximum_performance_comes_with_persistence_mode_where_it_is_offered() {
    let wanted = MaximumPerformance::new("a test");
    let desk = Desk::new();
    let before = desk.memory.snapshot();
    let applied = wanted.apply(&mut desk.live()).unwrap();
    assert_eq!(applied.changed.len(), 4, "{applied}");
    assert_eq!(desk.setting(SECOND, "mizer"), "\"maximum-performance\"");
    // A second run finds it as it is.
    assert!(wanted.plan(&desk.live()).unwrap().steps.is_empty());
    assert!(wanted.verify(&desk.live()).unwrap().is_as_wanted());
    let _ = desk.live().revert().unwrap();
    assert_eq!(desk.memory.snapshot(), before);
    // An old driver, a GPU that sleeps, a driver without a GPU: persistence mode is left alone, and nothing
    // fails even under strict.
    let unloaded = Desk::new();
    for gpu in [FIRST, SECOND] {
        MemoryLibrary::unload(&unloaded.memory, gpu);
    }
    for desk in [
        Desk::with(570, [false; 2], "active"),
        Desk::with(580, [false; 2], "suspended"),
        unloaded,
    ] {
        let mut session = desk.live();
        session.strict(true);
        let plan = wanted.plan(&session).unwrap();
        assert!(plan.steps.is_empty(), "{plan:?}");
        assert!(!plan.findings.is_empty());
        assert!(wanted.verify(&session).unwrap().is_as_wanted());
    }
    // Without a card there is nothing to say.
    let plan = wanted
        .plan(&Desk::of(with_gpus(Memory::new(), 580, &[])).live())
        .unwrap();
    assert!(plan.findings.is_empty(), "{plan:?}");
}
