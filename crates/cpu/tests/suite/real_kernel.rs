//! Frequency scaling on stock kernels: acpi-cpufreq with two policies and all governors.

use std::path::{Path, PathBuf};

use hosttune_core::testing::{CrashPoint, MemoryStore, Moment};
use hosttune_core::{
    Error, Host, LinuxHost, NotRevertedReason, Session, State, Tuning, UnsupportedKind,
};
use hosttune_cpu::irqbalance::Irqbalance;
use hosttune_cpu::{EnergyPreference, Frequency, Governor, Policy, Processors};
use hosttune_modules::Modules;
use hosttune_test_machine::{Snapshot, Subtree, inside_stock_kernels, is_one_in, tell, wait_until};

fn get(file: &str) -> String {
    let path = format!("/sys/devices/system/cpu/{file}");
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

/// A limit is shown a moment after it was set, clamped to the range of the processor.
fn set(file: &str, value: &str) {
    std::fs::write(format!("/sys/devices/system/cpu/{file}"), value).unwrap();
    if file.ends_with("_freq") {
        let shown: u32 = value.parse().unwrap();
        let shown = shown.clamp(800_000, 3_600_000).to_string();
        wait_until(&format!("{file} shows {shown}"), || get(file) == shown);
    }
}

fn process(store: &MemoryStore, crash_point: &CrashPoint) -> Session {
    let host = Host::new(LinuxHost::at("/").unwrap());
    let host = host
        .with_backend(Modules::live())
        .gated(crash_point.clone());
    let session = Session::new(host, "cpu-test", store.of(crash_point), "boot").unwrap();
    session.with(hosttune_cpu::knobs)
}

fn snapshot() -> Snapshot {
    Snapshot::of(&[Subtree::Processors, Subtree::Modules])
}

/// The state after boot, whatever an earlier test left.
fn as_booted() {
    for policy in ["policy0", "policy1"] {
        set(&format!("cpufreq/{policy}/scaling_max_freq"), "2147483647");
        set(&format!("cpufreq/{policy}/scaling_min_freq"), "0");
        set(&format!("cpufreq/{policy}/scaling_governor"), "schedutil");
    }
    tell(
        "modprobe -qra cpufreq_ondemand cpufreq_conservative cpufreq_powersave cpufreq_userspace || true",
    );
}

fn every_governor_is_changed_and_taken_back() {
    as_booted();
    let host = Host::new(LinuxHost::at("/").unwrap());
    let policies = Policy::all(&host).unwrap();
    assert_eq!(policies.len(), 2);
    assert_eq!(
        policies[1].frequencies,
        [800_000, 2_000_000, 3_000_000, 3_600_000]
    );
    // The policies differ, and a tunable of the governor is set.
    set("cpufreq/policy1/scaling_governor", "performance");
    set("cpufreq/policy1/scaling_max_freq", "3000000");
    set("cpufreq/schedutil/rate_limit_us", "777");
    let before = snapshot();
    for governor in [
        Governor::Performance,
        Governor::Powersave,
        Governor::Userspace,
        Governor::Ondemand,
        Governor::Conservative,
        Governor::Schedutil,
    ] {
        let store = MemoryStore::new();
        let mut session = process(&store, &CrashPoint::lives());
        let wanted = Processors::new().governor(governor.clone()).required();
        let plan = wanted.plan(&session).unwrap();
        before.is_still(&snapshot(), "planned");
        assert!(!plan.steps.is_empty(), "{governor}");
        let _ = wanted.apply(&mut session).unwrap();
        for policy in ["policy0", "policy1"] {
            assert_eq!(
                get(&format!("cpufreq/{policy}/scaling_governor")),
                governor.word()
            );
        }
        assert!(wanted.verify(&session).unwrap().is_as_wanted());
        assert!(wanted.plan(&session).unwrap().steps.is_empty());
        let reverted = wanted.revert(&mut session).unwrap();
        assert!(
            reverted.not_reverted.is_empty(),
            "{governor}: {:#?}",
            reverted.not_reverted
        );
        before.is_still(&snapshot(), format!("{governor} reverted"));
        assert!(store.is_empty());
    }
    assert_eq!(get("cpufreq/schedutil/rate_limit_us"), "777");
    // Without a revert, the kernel loses it.
    for governor in ["performance", "schedutil"] {
        set("cpufreq/policy0/scaling_governor", governor);
    }
    assert_ne!(get("cpufreq/schedutil/rate_limit_us"), "777");
    as_booted();
}

/// From each pair of limits to each other, as on the fakes.
fn limits_are_rounded_and_taken_back() {
    as_booted();
    let pairs = [(800, 800), (800, 3600), (2000, 2000), (3600, 3600)];
    let files: Vec<PathBuf> = ["policy0", "policy1"]
        .iter()
        .flat_map(|policy| {
            ["min", "max"].map(|bound| {
                format!("/sys/devices/system/cpu/cpufreq/{policy}/scaling_{bound}_freq").into()
            })
        })
        .collect();
    for (low, high) in pairs {
        let limits = |low: u32, high: u32| {
            Processors::new()
                .minimum(Frequency::megahertz(low))
                .maximum(Frequency::megahertz(high))
        };
        let theirs = MemoryStore::new();
        let _ = limits(low, high)
            .apply(&mut process(&theirs, &CrashPoint::lives()))
            .unwrap();
        let before = Snapshot::of_files(&files);
        for (to_low, to_high) in pairs {
            let ours = MemoryStore::new();
            let mut session = process(&ours, &CrashPoint::lives());
            let _ = limits(to_low, to_high).apply(&mut session).unwrap();
            assert_eq!(
                get("cpufreq/policy1/scaling_min_freq"),
                format!("{to_low}000")
            );
            assert_eq!(
                get("cpufreq/policy1/scaling_max_freq"),
                format!("{to_high}000")
            );
            assert!(session.revert().unwrap().not_reverted.is_empty());
            before.is_still(
                &Snapshot::of_files(&files),
                format!("{low}-{high} to {to_low}-{to_high}"),
            );
        }
        assert!(
            process(&theirs, &CrashPoint::lives())
                .revert()
                .unwrap()
                .not_reverted
                .is_empty()
        );
    }
    let store = MemoryStore::new();
    let mut session = process(&store, &CrashPoint::lives());
    let odd = Processors::new()
        .minimum(Frequency::megahertz(900))
        .maximum(Frequency::megahertz(9999));
    let _ = odd.apply(&mut session).unwrap();
    let report = odd.verify(&session).unwrap();
    println!(
        "{:#?}",
        report
            .items
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    );
    assert!(report.items.iter().all(|item| item.state == State::Rounded));
    assert_eq!(get("cpufreq/policy0/scaling_min_freq"), "2000000");
    assert!(session.revert().unwrap().is_complete());
    // The requests, which the kernel does not show, are reverted too: after the maximum is lowered and raised
    // again, the minimum is still the original one.
    set("cpufreq/policy0/scaling_max_freq", "2000000");
    assert_eq!(get("cpufreq/policy0/scaling_min_freq"), "800000");
    set("cpufreq/policy0/scaling_max_freq", "3600000");
    assert_eq!(get("cpufreq/policy0/scaling_min_freq"), "800000");
    as_booted();
}

fn everything() -> Processors {
    Processors::new()
        .governor(Governor::Conservative)
        .minimum(Frequency::megahertz(2000))
        .maximum(Frequency::megahertz(3000))
}

fn looked_at() -> Vec<PathBuf> {
    let of_policy = [
        "scaling_governor",
        "scaling_min_freq",
        "scaling_max_freq",
        "scaling_available_governors",
    ];
    let mut files: Vec<PathBuf> = vec![
        "/sys/devices/system/cpu/cpufreq/schedutil/rate_limit_us".into(),
        "/sys/devices/system/cpu/cpufreq/conservative".into(),
        "/sys/module/cpufreq_conservative/initstate".into(),
    ];
    for policy in ["policy0", "policy1"] {
        let path = |name| format!("/sys/devices/system/cpu/cpufreq/{policy}/{name}").into();
        files.extend(of_policy.map(path));
    }
    files
}

/// A crash after one write leaves the same state as a crash before the next one, so `Before` is tried only
/// for the first write.
///
/// The laws kill at every write over the simulated kernel, which another test compares with the real one. So the
/// check run tries one in three writes here, and `scripts/soak` all of them.
fn killed_before_and_after_every_write() {
    as_booted();
    set("cpufreq/policy1/scaling_governor", "performance");
    set("cpufreq/policy1/scaling_max_freq", "3000000");
    let rate_limit = get("cpufreq/schedutil/rate_limit_us");
    set("cpufreq/schedutil/rate_limit_us", "777");
    let before = snapshot();
    // Everything is compared at the end, and after each crash only what can differ.
    let files = looked_at();
    let narrow = Snapshot::of_files(&files);
    for reverting in [false, true] {
        let first = [(Moment::Before, 0)];
        let after = (0..)
            .filter(|write| is_one_in(3, *write))
            .map(|write| (Moment::After, write));
        for (moment, write) in first.into_iter().chain(after) {
            let when = format!("{moment:?} write {write}, reverting {reverting}");
            let store = MemoryStore::new();
            let crash_point = CrashPoint::dies_at(write, moment);
            if reverting {
                let _ = everything()
                    .apply(&mut process(&store, &CrashPoint::lives()))
                    .unwrap();
                let _ = process(&store, &crash_point).revert();
            } else {
                let _ = everything().apply(&mut process(&store, &crash_point));
            }
            let reverted = process(&store, &CrashPoint::lives()).revert().unwrap();
            assert!(
                reverted.not_reverted.is_empty(),
                "{when}: {:#?}",
                reverted.not_reverted
            );
            narrow.is_still(&Snapshot::of_files(&files), &when);
            assert!(store.is_empty(), "{when}: a journal is left");
            if !crash_point.is_dead() {
                assert!(write > 8, "{when}: only so many writes?");
                break;
            }
        }
    }
    before.is_still(&snapshot(), "killed at every write");
    set("cpufreq/schedutil/rate_limit_us", &rate_limit);
    as_booted();
}

fn a_strangers_change_survives() {
    as_booted();
    let store = MemoryStore::new();
    let _ = everything()
        .apply(&mut process(&store, &CrashPoint::lives()))
        .unwrap();
    set("cpufreq/policy0/scaling_governor", "performance");
    let reverted = process(&store, &CrashPoint::lives()).revert().unwrap();
    println!(
        "{:#?}",
        reverted
            .not_reverted
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    );
    assert_eq!(
        reverted.not_reverted.len(),
        1,
        "{:#?}",
        reverted.not_reverted
    );
    assert_eq!(reverted.not_reverted[0].reason, NotRevertedReason::Theirs);
    assert_eq!(get("cpufreq/policy0/scaling_governor"), "performance");
    assert_eq!(get("cpufreq/policy1/scaling_governor"), "schedutil");
    assert_eq!(get("cpufreq/policy0/scaling_max_freq"), "3600000");
    as_booted();
}

/// While the processors of a policy are offline, the kernel keeps its values but does not show them. They are
/// not lost, and not taken for another process's values when the processors are online again.
fn processors_go_offline_and_come_back() {
    as_booted();
    let before = snapshot();
    let store = MemoryStore::new();
    let wanted = Processors::new()
        .governor(Governor::Performance)
        .maximum(Frequency::megahertz(2000));
    let _ = wanted
        .apply(&mut process(&store, &CrashPoint::lives()))
        .unwrap();
    set("cpu1/online", "0");
    let session = process(&store, &CrashPoint::lives());
    let report = wanted.verify(&session).unwrap();
    assert!(report.is_as_wanted(), "{report:#?}");
    let offline = report
        .items
        .iter()
        .filter(|item| item.seen_text == "offline");
    assert_eq!(offline.count(), 2, "both of policy1: {report:#?}");
    drop(session);
    let reverted = process(&store, &CrashPoint::lives()).revert().unwrap();
    println!(
        "{:#?}",
        reverted
            .not_reverted
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    );
    assert!(reverted.is_complete(), "{reverted:#?}");
    assert_eq!(
        reverted.not_reverted.len(),
        2,
        "both of policy1: {reverted:#?}"
    );
    assert_eq!(get("cpufreq/policy0/scaling_governor"), "schedutil");
    set("cpu1/online", "1");
    assert_eq!(get("cpufreq/policy1/scaling_governor"), "performance");
    assert_eq!(get("cpufreq/policy1/scaling_max_freq"), "2000000");
    let reverted = process(&store, &CrashPoint::lives()).revert().unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
    before.is_still(&snapshot(), "back online and reverted");
    assert!(store.is_empty());
}

/// The driver is unloaded after an apply: the changes are gone with the policies.
fn a_driver_that_is_unloaded_took_everything_with_it() {
    as_booted();
    let before = snapshot();
    let store = MemoryStore::new();
    let _ = Processors::new()
        .governor(Governor::Performance)
        .apply(&mut process(&store, &CrashPoint::lives()))
        .unwrap();
    tell("modprobe -r acpi-cpufreq");
    let nothing = Processors::new().governor(Governor::Performance);
    let plan = nothing
        .plan(&process(&MemoryStore::new(), &CrashPoint::lives()))
        .unwrap();
    assert!(plan.steps.is_empty());
    let State::NotApplicable { unsupported } = &plan.findings[0].state else {
        panic!("{plan:#?}");
    };
    assert_eq!(unsupported.kind, UnsupportedKind::Missing);
    let reverted = process(&store, &CrashPoint::lives()).revert().unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
    assert!(store.is_empty());
    tell("modprobe acpi-cpufreq");
    before.is_still(&snapshot(), "loaded again");
}

fn bad_input_is_an_error_and_everything_is_as_before() {
    as_booted();
    set("cpufreq/policy1/scaling_max_freq", "2000000");
    let before = snapshot();
    for (wanted, why) in [
        (
            Processors::new().governor(Governor::from("interactive")),
            "performance, schedutil",
        ),
        (
            Processors::new().energy_preference(EnergyPreference::Power),
            "acpi-cpufreq has no energy-performance preference",
        ),
        (
            Processors::new().minimum(Frequency::megahertz(3000)),
            "above the maximum of 2000000 kHz",
        ),
        (
            Processors::new()
                .minimum(Frequency::megahertz(3000))
                .maximum(Frequency::megahertz(2000)),
            "above the maximum",
        ),
        (
            Processors::new().policies([5]).boost(true),
            "policy5 does not exist",
        ),
    ] {
        let store = MemoryStore::new();
        let error = wanted
            .required()
            .apply(&mut process(&store, &CrashPoint::lives()))
            .unwrap_err();
        println!("{error} ({:?})", error.hint());
        assert!(error.to_string().contains(why), "{error}");
        assert!(error.hint().is_some(), "{error}");
        assert!(
            !matches!(error, Error::RolledBack { .. }),
            "found out beforehand"
        );
        before.is_still(&snapshot(), why);
        assert!(store.is_empty());
    }
    as_booted();
}

/// A program with this name, and a socket like that of irqbalance.
fn irqbalance_is_found() {
    let host = Host::new(LinuxHost::at("/").unwrap());
    assert_eq!(Irqbalance::running(&host).unwrap(), None);
    tell(
        "mkdir -p /run/irqbalance && cp /usr/bin/sleep /run/irqbalance/irqbalance && { /run/irqbalance/irqbalance 100 >/dev/null 2>&1 & echo $! >/run/irqbalance/pid; }",
    );
    let process: u32 = tell("cat /run/irqbalance/pid").parse().unwrap();
    // Before its exec, the process is still the shell that started it.
    wait_until("irqbalance is started", || {
        tell(&format!("cat /proc/{process}/comm")) == "irqbalance"
    });
    let socket = format!("/run/irqbalance/irqbalance{process}.sock");
    std::fs::write(&socket, "").unwrap();
    let found = Irqbalance::running(&host).unwrap().unwrap();
    assert_eq!((found.process, found.told_by), (process, socket.clone()));
    tell(&format!("kill {process}"));
    wait_until("irqbalance has ended", || {
        !Path::new(&format!("/proc/{process}/stat")).exists()
            || tell(&format!("cat /proc/{process}/stat || true")).contains(") Z ")
    });
    tell("rm -r /run/irqbalance");
    assert_eq!(Irqbalance::running(&host).unwrap(), None);
}

inside_stock_kernels!(
    a_driver_that_is_unloaded_took_everything_with_it,
    a_strangers_change_survives,
    bad_input_is_an_error_and_everything_is_as_before,
    every_governor_is_changed_and_taken_back,
    irqbalance_is_found,
    killed_before_and_after_every_write,
    limits_are_rounded_and_taken_back,
    processors_go_offline_and_come_back,
);
