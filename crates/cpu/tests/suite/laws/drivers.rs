//! What each driver does not support, or resets, and what is reported about it.

use hosttune_core::testing::{Behaviour, CrashPoint, World};
use hosttune_core::{
    Error, Finding, NotRevertedReason, State, Tuning, Unsupported, UnsupportedKind,
};
use hosttune_cpu::testing::{Scaling, with_overwriting_boost};
use hosttune_cpu::{
    EnergyPreference, Frequency, Governor, GovernorTunable, Mode, PolicyNumber, Processors,
};

use super::machine::Machine;

fn findings(machine: &Machine, wanted: &Processors) -> Vec<Finding> {
    let session = machine.session(&CrashPoint::lives()).unwrap();
    wanted.plan(&session).unwrap().findings
}

fn unsupported(machine: &Machine, wanted: &Processors) -> Unsupported {
    match &findings(machine, wanted)[0].state {
        State::NotApplicable { unsupported } => unsupported.clone(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(machine: &Machine, wanted: &Processors) -> String {
    let was = machine.snapshot();
    let mut session = machine.session(&CrashPoint::lives()).unwrap();
    let error = wanted.apply(&mut session).unwrap_err();
    assert!(error.hint().is_some(), "{error}");
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
    error.to_string()
}

fn apply(machine: &Machine, wanted: &Processors) {
    let mut session = machine.session(&CrashPoint::lives()).unwrap();
    let _ = wanted.apply(&mut session).unwrap();
}

fn revert(machine: &Machine) -> hosttune_core::Reverted {
    let mut session = machine.session(&CrashPoint::lives()).unwrap();
    session.revert().unwrap()
}

/// The journal once merged the last two applies. The revert then had to raise the lower limit to 2.48 GHz
/// under an upper limit of 2 GHz, which the kernel refuses.
#[test]
fn limits_set_three_times_are_reverted() {
    let machine = Machine::new(Scaling::IntelPassive, 1);
    let before = machine.snapshot();
    let limits = |minimum, maximum| {
        let limits = Processors::new().minimum(Frequency::Kilohertz(minimum));
        limits.maximum(Frequency::Kilohertz(maximum))
    };
    apply(&machine, &limits(2_481_000, 3_000_000));
    let lower = limits(700_000, 2_481_000);
    apply(&machine, &lower.governor(Governor::Performance));
    apply(&machine, &limits(801_000, 2_000_000));
    let reverted = revert(&machine);
    assert_eq!(reverted.not_reverted, []);
    assert_eq!(machine.snapshot(), before);
}

/// The journal drops what was set between two equal applies, and each revert repeats a path that applies took.
#[test]
fn limits_set_many_times_are_reverted() {
    let machine = Machine::new(Scaling::IntelPassive, 1);
    let before = machine.snapshot();
    for round in 0..40 {
        let (minimum, maximum) = [
            (2_481_000, 3_000_000),
            (800_000, 2_481_000),
            (801_000, 2_000_000),
        ][round % 3];
        let limits = Processors::new().minimum(Frequency::Kilohertz(minimum));
        apply(&machine, &limits.maximum(Frequency::Kilohertz(maximum)));
        let mut session = machine.fork().session(&CrashPoint::lives()).unwrap();
        let reverted = session.revert().unwrap();
        assert_eq!(reverted.not_reverted, [], "after {round}");
    }
    assert_eq!(revert(&machine).not_reverted, []);
    assert_eq!(machine.snapshot(), before);
}

#[test]
fn a_driver_with_governors_of_its_own_has_no_others() {
    for (scaling, name) in [
        (Scaling::IntelActive, "intel_pstate"),
        (Scaling::AmdActive, "amd-pstate-epp"),
    ] {
        let machine = Machine::new(scaling, 1);
        let unsupported = unsupported(&machine, &Processors::new().governor(Governor::Schedutil));
        assert_eq!(unsupported.kind, UnsupportedKind::ValueUnavailable);
        assert!(unsupported.why.contains(name), "{unsupported}");
        assert!(
            unsupported.why.contains("performance, powersave"),
            "{unsupported}"
        );
        assert!(unsupported.hint.unwrap().contains("passive"), "the way out");
        let wanted = Processors::new().governor(Governor::Schedutil).required();
        assert!(refused(&machine, &wanted).contains("schedutil"));
    }
}

/// As in a container, where sysfs is mounted read-only: nothing is attempted.
#[test]
fn what_is_mounted_read_only_is_not_applicable() {
    for scaling in [Scaling::AmdActive, Scaling::Acpi, Scaling::IntelActive] {
        let mut machine = Machine::new(scaling, 2);
        machine.memory = machine.memory.file(
            "/proc/self/mountinfo",
            "1 0 0:1 / / rw - overlay overlay rw\n2 1 0:2 / /sys ro,nosuid - sysfs sysfs rw",
            Behaviour::takes_all(),
        );
        let was = machine.snapshot();
        let wanted = Processors::new()
            .governor(Governor::Performance)
            .boost(false)
            .maximum(Frequency::megahertz(2000));
        let read_only = findings(&machine, &wanted).into_iter().filter(|finding| {
            matches!(&finding.state, State::NotApplicable { unsupported } if unsupported.kind == UnsupportedKind::ReadOnly
                && unsupported.why == "/sys is mounted read-only")
        });
        assert!(read_only.count() >= 3, "{scaling:?}");
        apply(&machine, &wanted);
        assert_eq!(machine.snapshot(), was);
    }
    let mut machine = Machine::new(Scaling::AmdActive, 1);
    machine.memory = machine.memory.file(
        "/proc/self/mountinfo",
        "2 1 0:2 / /sys ro,nosuid - sysfs sysfs rw",
        Behaviour::takes_all(),
    );
    let unsupported = unsupported(&machine, &Processors::new().mode(Mode::Passive));
    assert_eq!(unsupported.kind, UnsupportedKind::ReadOnly);
}

#[test]
fn a_governor_that_is_a_module_is_loaded_before_and_unloaded_after() {
    let machine = Machine::new(Scaling::Acpi, 2);
    let was = machine.snapshot();
    let wanted = Processors::new().governor(Governor::Ondemand);
    let session = machine.session(&CrashPoint::lives()).unwrap();
    let plan = wanted.plan(&session).unwrap();
    let knobs: Vec<_> = plan
        .steps
        .iter()
        .map(|step| step.knob.text.as_str())
        .collect();
    assert_eq!(
        knobs,
        [
            "module cpufreq_ondemand",
            "policy0 scaling_governor",
            "policy1 scaling_governor"
        ]
    );
    drop(session);
    apply(&machine, &wanted);
    assert!(
        machine
            .get("cpufreq/policy0/scaling_available_governors")
            .contains("ondemand")
    );
    // Another process changes it and sets it to our value again, so it is reverted.
    let theirs = "/sys/devices/system/cpu/cpufreq/policy1/scaling_governor";
    machine.memory.write(theirs, "performance").unwrap();
    machine.memory.write(theirs, "ondemand").unwrap();
    let reverted = revert(&machine);
    assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
    assert_eq!(machine.snapshot(), was);
}

#[test]
fn a_module_that_a_stranger_has_come_to_use_stays() {
    let machine = Machine::new(Scaling::Acpi, 2);
    apply(
        &machine,
        &Processors::new().policies([0]).governor(Governor::Ondemand),
    );
    let theirs = "/sys/devices/system/cpu/cpufreq/policy1/scaling_governor";
    machine.memory.write(theirs, "ondemand").unwrap();
    let reverted = revert(&machine);
    assert_eq!(reverted.not_reverted.len(), 1, "{reverted:#?}");
    assert!(matches!(
        reverted.not_reverted[0].reason,
        NotRevertedReason::InUse(_)
    ));
    assert_eq!(machine.get("cpufreq/policy0/scaling_governor"), "schedutil");
    assert_eq!(machine.get("cpufreq/policy1/scaling_governor"), "ondemand");
}

#[test]
fn a_governor_that_nothing_brings_is_named_with_those_that_there_are() {
    let machine = Machine::new(Scaling::Acpi, 1);
    let absent = Processors::new().governor(Governor::from("interactive"));
    let unsupported = unsupported(&machine, &absent);
    assert_eq!(unsupported.kind, UnsupportedKind::ValueUnavailable);
    assert!(
        unsupported.why.contains("performance, schedutil"),
        "{unsupported}"
    );
    assert_eq!(unsupported.module.as_deref(), Some("cpufreq_interactive"));
    for name in ["", "a b", "performance\nx", "averyveryverylongname", "ä"] {
        let wanted = Processors::new().governor(Governor::from(name));
        let unsupported = self::unsupported(&machine, &wanted);
        assert!(
            unsupported.why.contains("is not a governor name"),
            "{name:?}: {unsupported}"
        );
        assert!(unsupported.hint.unwrap().contains("schedutil"));
    }
}

/// `amd_pstate` leaves the preference at performance when another governor is selected.
#[test]
fn the_preference_that_a_governor_moves_comes_back() {
    for scaling in [Scaling::IntelActive, Scaling::AmdActive] {
        let machine = Machine::new(scaling, 2).having(&[
            ("cpufreq/policy0/energy_performance_preference", "power"),
            ("cpufreq/policy1/energy_performance_preference", "77"),
        ]);
        let was = machine.snapshot();
        apply(&machine, &Processors::new().governor(Governor::Performance));
        let preference = "cpufreq/policy1/energy_performance_preference";
        assert_eq!(machine.get(preference), "performance");
        assert!(revert(&machine).not_reverted.is_empty());
        assert_eq!(machine.snapshot(), was, "{scaling:?}");
    }
}

#[test]
fn a_governor_that_holds_the_preference_is_said_and_cured() {
    let held = |scaling| {
        Machine::new(scaling, 1).having(&[("cpufreq/policy0/scaling_governor", "performance")])
    };
    for scaling in [Scaling::IntelActive, Scaling::AmdActive] {
        let machine = held(scaling);
        let power = Processors::new().energy_preference(EnergyPreference::Power);
        let unsupported = unsupported(&machine, &power);
        assert_eq!(unsupported.kind, UnsupportedKind::Managed, "{unsupported}");
        assert!(unsupported.hint.unwrap().contains("powersave"));
        let was = machine.snapshot();
        apply(&machine, &power.governor(Governor::Powersave));
        assert_eq!(
            machine.get("cpufreq/policy0/energy_performance_preference"),
            "power"
        );
        assert!(revert(&machine).not_reverted.is_empty());
        assert_eq!(machine.snapshot(), was, "{scaling:?}");
    }
    let both = Processors::new()
        .governor(Governor::Performance)
        .energy_preference(EnergyPreference::Power);
    let said = refused(&Machine::new(Scaling::IntelActive, 1), &both);
    assert!(said.contains("conflict"), "{said}");
}

#[test]
fn in_passive_mode_amd_pstate_has_no_preference() {
    let wanted = Processors::new().energy_preference(EnergyPreference::Power);
    let amd = unsupported(&Machine::new(Scaling::AmdPassive, 1), &wanted);
    assert_eq!(amd.kind, UnsupportedKind::Missing);
    assert!(amd.hint.unwrap().contains("to active"));
    let acpi = unsupported(&Machine::new(Scaling::Acpi, 1), &wanted);
    assert!(acpi.why.contains("acpi-cpufreq"), "{acpi}");
    // intel_pstate has one in both modes if the processor controls its own frequency (HWP).
    apply(&Machine::new(Scaling::IntelPassive, 1), &wanted);
}

#[test]
fn a_limit_is_rounded_as_the_kernel_does_it_and_that_is_said() {
    let machine = Machine::new(Scaling::Acpi, 1);
    let was = machine.snapshot();
    let wanted = Processors::new()
        .minimum(Frequency::megahertz(900))
        .maximum(Frequency::megahertz(2500));
    apply(&machine, &wanted);
    assert_eq!(machine.get("cpufreq/policy0/scaling_min_freq"), "2000000");
    assert_eq!(machine.get("cpufreq/policy0/scaling_max_freq"), "2000000");
    let session = machine.session(&CrashPoint::lives()).unwrap();
    let report = wanted.verify(&session).unwrap();
    assert!(
        report.items.iter().all(|item| item.state == State::Rounded),
        "{report:#?}"
    );
    drop(session);
    assert!(revert(&machine).is_complete());
    assert_eq!(machine.snapshot(), was);
    apply(
        &machine,
        &Processors::new().maximum(Frequency::megahertz(9000)),
    );
    assert_eq!(machine.get("cpufreq/policy0/scaling_max_freq"), "3600000");
    assert!(revert(&machine).is_complete());
    assert_eq!(
        machine.snapshot(),
        was,
        "and nothing that is out of sight either"
    );
}

#[test]
fn a_minimum_above_the_maximum_is_refused() {
    let machine =
        Machine::new(Scaling::Acpi, 2).having(&[("cpufreq/policy1/scaling_max_freq", "2000000")]);
    let wanted = Processors::new()
        .minimum(Frequency::megahertz(3000))
        .maximum(Frequency::megahertz(2000));
    assert!(refused(&machine, &wanted).contains("above the maximum"));
    // The other limit was set by another process, and only on one policy.
    let wanted = Processors::new().minimum(Frequency::megahertz(3000));
    assert!(refused(&machine, &wanted).contains("2000000 kHz"));
    // The table has no frequency between the two.
    let wanted = Processors::new()
        .minimum(Frequency::megahertz(2100))
        .maximum(Frequency::megahertz(2200));
    assert!(refused(&machine, &wanted).contains("above the maximum"));
}

/// From any limits to any others: the one that is set first never conflicts with the other.
#[test]
fn limits_pass_each_other_in_neither_direction() {
    let table = [800_000, 2_000_000, 3_000_000, 3_600_000];
    let pairs: Vec<(u32, u32)> = table
        .iter()
        .flat_map(|low| table.iter().map(move |high| (*low, *high)))
        .filter(|(low, high)| low <= high)
        .collect();
    for (low, high) in &pairs {
        for (to_low, to_high) in &pairs {
            let machine = Machine::new(Scaling::Acpi, 1);
            let to = Processors::new()
                .minimum(Frequency::Kilohertz(*low))
                .maximum(Frequency::Kilohertz(*high));
            apply(&machine, &to);
            let was = machine.snapshot();
            let next = Processors::new()
                .minimum(Frequency::Kilohertz(*to_low))
                .maximum(Frequency::Kilohertz(*to_high));
            let mut session = machine.session_of("other", &CrashPoint::lives()).unwrap();
            let _ = next.apply(&mut session).unwrap();
            assert_eq!(
                machine.get("cpufreq/policy0/scaling_min_freq"),
                to_low.to_string()
            );
            assert_eq!(
                machine.get("cpufreq/policy0/scaling_max_freq"),
                to_high.to_string()
            );
            let reverted = session.revert().unwrap();
            assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
            assert_eq!(machine.snapshot(), was);
        }
    }
}

#[test]
fn boost_that_overwrites_limits_gives_them_back() {
    let mut machine = Machine::new(Scaling::IntelPassive, 2);
    machine.memory = with_overwriting_boost(machine.memory, 4_000_000, 5_200_000);
    machine.memory.change(|tree| {
        tree.remove("/sys/devices/system/cpu/intel_pstate/no_turbo");
    });
    let machine = machine.having(&[("cpufreq/policy1/scaling_max_freq", "3000000")]);
    let was = machine.snapshot();
    apply(&machine, &Processors::new().boost(false));
    assert_eq!(
        machine.get("cpufreq/policy1/scaling_max_freq"),
        "4000000",
        "overwritten"
    );
    assert!(revert(&machine).not_reverted.is_empty());
    assert_eq!(machine.snapshot(), was);
}

#[test]
fn a_policy_that_had_no_boost_has_none_again() {
    let machine = Machine::new(Scaling::AmdActive, 3).having(&[("cpufreq/policy1/boost", "0")]);
    let was = machine.snapshot();
    apply(&machine, &Processors::new().boost(false));
    assert!(revert(&machine).not_reverted.is_empty());
    assert_eq!(machine.snapshot(), was);
    assert_eq!(machine.get("cpufreq/policy1/boost"), "0");
}

#[test]
fn modes_that_lead_nowhere_are_refused() {
    let guided = Processors::new().mode(Mode::Guided);
    let intel = unsupported(&Machine::new(Scaling::IntelActive, 1), &guided);
    assert!(intel.why.contains("active and passive"), "{intel}");
    let acpi = unsupported(&Machine::new(Scaling::Acpi, 1), &guided);
    assert_eq!(acpi.kind, UnsupportedKind::Missing);
}

#[test]
fn policies_that_are_not_there_are_named() {
    let machine = Machine::new(Scaling::Acpi, 2);
    let wanted = Processors::new()
        .policies([1, 7])
        .governor(Governor::Performance);
    let unsupported = unsupported(&machine, &wanted);
    assert!(unsupported.why.contains("policy7"), "{unsupported}");
    assert_eq!(unsupported.hint.as_deref(), Some("existing policies: 0, 1"));
    apply(&machine, &wanted);
    assert_eq!(machine.get("cpufreq/policy0/scaling_governor"), "schedutil");
    assert_eq!(
        machine.get("cpufreq/policy1/scaling_governor"),
        "performance"
    );
}

#[test]
fn each_policy_gets_back_its_own_governor() {
    let machine = Machine::new(Scaling::Acpi, 3).having(&[
        ("cpufreq/policy0/scaling_governor", "powersave"),
        ("cpufreq/policy1/scaling_governor", "ondemand"),
        ("cpufreq/ondemand/up_threshold", "60"),
    ]);
    let was = machine.snapshot();
    apply(&machine, &Processors::new().governor(Governor::Performance));
    assert!(revert(&machine).not_reverted.is_empty());
    assert_eq!(machine.snapshot(), was);
    assert_eq!(machine.get("cpufreq/ondemand/up_threshold"), "60");
}

/// `powersave` was set under acpi-cpufreq for a host that wants what it is under intel_pstate: all
/// processors stayed at 800 MHz, and verify said that all was as wanted.
#[test]
fn an_own_governor_is_left_where_the_driver_has_none() {
    let wanted = Processors::new().own_governor(Governor::Powersave);
    for scaling in [Scaling::Acpi, Scaling::IntelPassive, Scaling::AmdPassive] {
        let machine = Machine::new(scaling, 2);
        let was = machine.snapshot();
        let found = unsupported(&machine, &wanted);
        assert!(
            found.why.contains("has no governors of its own"),
            "{}",
            found.why
        );
        assert!(
            found.why.contains("always the lowest frequency"),
            "{}",
            found.why
        );
        apply(&machine, &wanted);
        assert_eq!(machine.snapshot(), was);
    }
    for scaling in [Scaling::IntelActive, Scaling::AmdActive] {
        let machine =
            Machine::new(scaling, 2).having(&[("cpufreq/policy0/scaling_governor", "performance")]);
        apply(&machine, &wanted);
        assert_eq!(machine.get("cpufreq/policy0/scaling_governor"), "powersave");
    }
    // The driver gets governors of its own in the same plan.
    let machine = Machine::new(Scaling::IntelPassive, 2);
    apply(&machine, &wanted.clone().mode(Mode::Active));
    assert_eq!(machine.get("cpufreq/policy1/scaling_governor"), "powersave");
}

#[test]
fn the_lowest_frequency_is_named_where_powersave_means_it() {
    let wanted = Processors::new().governor(Governor::Powersave);
    let notes = |scaling| {
        let machine = Machine::new(scaling, 2);
        let session = machine.session(&CrashPoint::lives()).unwrap();
        wanted.plan(&session).unwrap().notes
    };
    let acpi = notes(Scaling::Acpi);
    assert_eq!(acpi.len(), 1, "{acpi:?}");
    assert!(
        acpi[0].contains("under acpi-cpufreq, powersave is always the lowest frequency (800 MHz)"),
        "{acpi:?}"
    );
    assert_eq!(notes(Scaling::IntelActive), Vec::<String>::new());
}

/// A capture of a file that the kernel does not let read (EBUSY) is empty.
#[test]
fn an_empty_governor_is_that_of_an_offline_policy() {
    let path = "/sys/devices/system/cpu/cpufreq/policy1/scaling_governor";
    let machine = Machine::new(Scaling::Acpi, 2)
        .with(|memory| memory.file(path, "", Behaviour::new(|_, _, _| Err(22))));
    let was = machine.snapshot();
    apply(&machine, &Processors::new().governor(Governor::Performance));
    assert_eq!(
        machine.get("cpufreq/policy0/scaling_governor"),
        "performance"
    );
    assert_eq!(machine.get("cpufreq/policy1/scaling_governor"), "");
    assert!(revert(&machine).not_reverted.is_empty());
    assert_eq!(machine.snapshot(), was);
}

#[test]
fn a_name_that_no_governor_has_is_no_directory() {
    let names = ["", ".", "..", "a/b", &"x".repeat(5_000)];
    for name in names {
        let machine = Machine::new(Scaling::Acpi, 1);
        let session = machine.session(&CrashPoint::lives()).unwrap();
        let governor = Governor::from(name);
        let tunables = GovernorTunable::all_of(session.host(), PolicyNumber(0), &governor);
        assert_eq!(tunables.unwrap(), [], "{name}");
    }
}

#[test]
fn an_error_names_what_is_wrong_and_the_way_out() {
    let machine = Machine::new(Scaling::Acpi, 1);
    let wanted = Processors::new()
        .energy_preference(EnergyPreference::Power)
        .required();
    let mut session = machine.session(&CrashPoint::lives()).unwrap();
    let error = wanted.apply(&mut session).unwrap_err();
    assert!(matches!(error, Error::NotApplicable(_)), "{error}");
}
