//! Facts about sysctls that a careful tool must know, one test each (`f`), on the simulated kernel, and
//! mistakes of established tools (`t`).

use hosttune_core::host::FileContent;
use hosttune_core::testing::{Behaviour, CrashPoint, Machine, Memory, World};
use hosttune_core::{
    Error, Finding, NotRevertedReason, Session, State, Tuning, Unsupported, UnsupportedKind, When,
};
use hosttune_sysctl::{SysctlSet, Wanted, testing};

fn machine(memory: Memory) -> Machine {
    Machine::new(memory, hosttune_sysctl::knobs)
}

fn session(machine: &Machine) -> Session {
    machine.session(&CrashPoint::lives()).unwrap()
}

fn path(key: &str) -> String {
    format!("/proc/sys/{key}")
}

fn get(machine: &Machine, key: &str) -> String {
    machine.memory().get(path(key)).unwrap()
}

fn set<const N: usize>(wanted: [(&str, &str); N]) -> SysctlSet {
    // Forwarding, which some tests set, needs this consent.
    SysctlSet::new(wanted.map(|(key, value)| Wanted::new(key, value).accept_side_effects()))
}

fn unsupported<'f>(findings: &'f [Finding], name: &str) -> &'f Unsupported {
    let finding = findings.iter().find(|finding| finding.name == name);
    match finding.map(|finding| &finding.state) {
        Some(State::NotApplicable { unsupported }) => unsupported,
        other => panic!("{name}: {other:?}"),
    }
}

/// The error, its sources and its hint.
fn told(error: &Error) -> String {
    let mut told = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        told = format!("{told}: {cause}");
        source = cause.source();
    }
    format!("{told} [{}]", error.hint().unwrap_or_default())
}

/// Reverts in a new session, as a new process would, and expects the original state.
fn reverts_to(machine: &Machine, was: &hosttune_core::testing::Snapshot) {
    let reverted = session(machine).revert().unwrap();
    assert!(
        reverted.not_reverted.is_empty(),
        "{:?}",
        reverted.not_reverted
    );
    assert_eq!(machine.snapshot(), *was);
    assert!(machine.store().is_empty());
}

#[test]
fn f1_a_refused_vector_write_is_put_back_to_the_exact_value() {
    // A kernel with a smaller limit than the catalogue: it has set two fields when it refuses the third.
    let memory = testing::kernel().file(
        path("net/ipv4/tcp_rmem"),
        "4096\t131072\t6291456",
        Behaviour::new(|tree, path, value| {
            let fields: Vec<&str> = value.split_whitespace().collect();
            if fields.get(2).is_some_and(|field| field.len() > 8) {
                tree.set(path, &format!("{}\t{}\t6291456", fields[0], fields[1]));
                return Err(22);
            }
            tree.set(path, &fields.join("\t"));
            Ok(())
        }),
    );
    let machine = machine(memory);
    let was = machine.snapshot();
    let wanted = set([
        ("vm.swappiness", "100"),
        ("net.ipv4.tcp_rmem", "5000 88888 999999999"),
    ]);
    let error = wanted.apply(&mut session(&machine)).unwrap_err();
    assert!(matches!(error, Error::RolledBack { .. }), "{error:?}");
    assert!(
        told(&error).contains("net.ipv4.tcp_rmem"),
        "{}",
        told(&error)
    );
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

#[test]
fn f1_also_for_a_key_that_nobody_has_described() {
    let memory = testing::kernel().file(
        path("net/x/triple"),
        "10\t20\t30",
        testing::plain_integers(),
    );
    let machine = machine(memory);
    let was = machine.snapshot();
    let wanted = set([("net.x.triple", "11 21 banana")]);
    let error = wanted.apply(&mut session(&machine)).unwrap_err();
    assert!(
        matches!(error, Error::RolledBack { .. }),
        "{}",
        told(&error)
    );
    assert_eq!(machine.snapshot(), was);
}

/// The kernel parses numbers in base 0 and prints them in decimal, and vectors with tabs, also for keys that
/// are not in the catalogue.
#[test]
fn f3_also_for_a_key_that_nobody_has_described() {
    for (shown, wanted, then) in [
        ("10", "0x10", "16"),
        ("10", "010", "8"),
        ("10", " 11 ", "11"),
        ("10\t20\t30", "11 21 31", "11\t21\t31"),
        ("10\t20\t30", "11\t21\t31", "11\t21\t31"),
    ] {
        let memory = testing::kernel().file(path("net/x/key"), shown, testing::plain_integers());
        let machine = machine(memory);
        let was = machine.snapshot();
        let wanted = set([("net.x.key", wanted)]);
        let _ = wanted
            .apply(&mut session(&machine))
            .unwrap_or_else(|error| panic!("{wanted:?}: {}", told(&error)));
        assert_eq!(get(&machine, "net/x/key"), then);
        assert!(wanted.verify(&session(&machine)).unwrap().is_as_wanted());
        assert!(wanted.plan(&session(&machine)).unwrap().is_empty());
        reverts_to(&machine, &was);
    }
}

/// If the kernel accepts a value and applies only a part of it, the exact original is restored.
#[test]
fn f2_also_for_a_key_that_nobody_has_described() {
    for (shown, wanted) in [
        ("10", "5 6"),
        ("10\t20\t30", "11 21"),
        ("10\t20\t30", "11 21 31 41"),
    ] {
        let memory = testing::kernel().file(path("net/x/key"), shown, testing::plain_integers());
        let machine = machine(memory);
        let was = machine.snapshot();
        let error = set([("net.x.key", wanted)])
            .apply(&mut session(&machine))
            .unwrap_err();
        assert!(
            !matches!(error, Error::RollbackIncomplete { .. }),
            "{wanted}: {}",
            told(&error)
        );
        assert_eq!(machine.snapshot(), was);
    }
}

#[test]
fn f2_what_the_kernel_takes_in_silence_is_refused_with_the_key_and_a_way_out() {
    for (key, value, says) in [
        ("net.ipv4.tcp_rmem", "4096 131072", "fields"),
        ("net.ipv4.tcp_rmem", "4096 131072 6291456 7", "fields"),
        ("vm.swappiness", "5 6", "first"),
        ("vm.swappiness", "", "empty"),
        ("vm.swappiness", "  ", "empty"),
        ("vm.swappiness", "5 # five", "comment"),
        (
            "net.ipv4.tcp_congestion_control",
            "cubic # as ever",
            "comment",
        ),
        ("net.ipv4.tcp_congestion_control", "cubic reno", "one word"),
        ("vm.swappiness", "60\n", "line end"),
        ("vm.swappiness", "201", "outside"),
        ("vm.swappiness", "+5", "no `+`"),
        ("vm.dirty_bytes", "4096", "outside"),
        ("vm.dirty_bytes", "0", "outside"),
        ("net.core.no/../../../etc/passwd", "1", "not a sysctl key"),
        ("net/../../etc/passwd", "1", "not a sysctl key"),
        ("/proc/sys/vm/swappiness", "1", "not a sysctl key"),
        ("vm swappiness", "1", "not a sysctl key"),
        ("", "1", "not a sysctl key"),
    ] {
        let machine = machine(testing::kernel());
        let was = machine.snapshot();
        let wanted = set([("vm.compaction_proactiveness", "0"), (key, value)]).persisted_as("x");
        let error = wanted.apply(&mut session(&machine)).unwrap_err();
        let told = told(&error);
        assert!(told.contains(key), "{key} is not named: {told}");
        assert!(told.contains(says), "{key} = {value:?}: {told}");
        assert!(error.hint().is_some(), "no way out: {told}");
        assert_eq!(machine.snapshot(), was);
        assert!(machine.store().is_empty());
    }
}

#[test]
fn f3_another_spelling_of_the_value_that_is_set_plans_nothing() {
    let machine = machine(testing::kernel());
    for (key, value) in [
        ("vm.swappiness", "0x3c"),
        ("vm.swappiness", "074"),
        ("vm/swappiness", " 60 "),
        ("net.ipv4.tcp_rmem", "0x1000 131072\t  6291456"),
        ("net.ipv4.tcp_allowed_congestion_control", "cubic  reno"),
    ] {
        let wanted = set([(key, value)]);
        let plan = wanted.plan(&session(&machine)).unwrap();
        assert!(plan.is_empty(), "{key} = {value}: {:?}", plan.steps);
        let report = wanted.verify(&session(&machine)).unwrap();
        assert_eq!(report.items[0].state, State::Matches);
    }
}

/// The kernel loads it for everyone, and no step of ours unloads it again.
#[test]
fn a_module_that_setting_a_value_loads_is_told_before() {
    let machine = machine(testing::kernel());
    let wanted = set([
        ("net.ipv4.tcp_congestion_control", "bbr"),
        ("vm.swappiness", "100"),
    ]);
    let notes = || wanted.plan(&session(&machine)).unwrap().notes;
    let told: Vec<String> = notes();
    let about = |note: &&String| note.contains("loads the module");
    let found: Vec<&String> = told.iter().filter(about).collect();
    assert_eq!(found.len(), 1, "{told:?}");
    assert!(
        found[0].contains("tcp_bbr") && found[0].contains("after a revert"),
        "{found:?}"
    );
    let _ = wanted.apply(&mut session(&machine)).unwrap();
    assert!(!notes().iter().any(|note| about(&note)));
}

#[test]
fn f4_a_value_without_its_module_is_named_and_the_rest_is_applied() {
    let machine = machine(testing::without_module(testing::kernel(), "tcp_bbr"));
    let was = machine.snapshot();
    let wanted = set([
        ("net.ipv4.tcp_congestion_control", "bbr"),
        ("vm.swappiness", "100"),
    ]);
    let error = wanted.apply(session(&machine).strict(true)).unwrap_err();
    assert!(matches!(error, Error::NotApplicable(_)), "{error:?}");
    assert!(told(&error).contains("tcp_bbr"), "{}", told(&error));
    assert_eq!(machine.snapshot(), was);

    let applied = wanted.apply(&mut session(&machine)).unwrap();
    let unsupported = unsupported(&applied.findings, "net.ipv4.tcp_congestion_control");
    assert_eq!(unsupported.kind, UnsupportedKind::ValueUnavailable);
    assert_eq!(unsupported.module.as_deref(), Some("tcp_bbr"));
    assert!(
        unsupported.why.contains("reno, cubic"),
        "{}",
        unsupported.why
    );
    assert!(unsupported.why.contains("tcp_bbr"), "{}", unsupported.why);
    assert_eq!(get(&machine, "vm/swappiness"), "100");
    assert_eq!(get(&machine, "net/ipv4/tcp_congestion_control"), "cubic");
    assert!(wanted.verify(&session(&machine)).unwrap().is_as_wanted());
    reverts_to(&machine, &was);
}

/// depmod lists the module, but the kernel does not load it.
#[test]
fn f4_a_module_that_will_not_load_is_found_out_while_applying() {
    let machine = machine(testing::kernel());
    machine
        .memory()
        .write(path("kernel/modules_disabled"), "1")
        .unwrap();
    let was = machine.snapshot();
    let wanted = set([
        ("vm.swappiness", "100"),
        ("net.ipv4.tcp_congestion_control", "bbr"),
        ("vm.compaction_proactiveness", "0"),
    ]);
    assert!(matches!(
        wanted.apply(session(&machine).strict(true)),
        Err(Error::RolledBack { .. } | Error::NotApplicable(_))
    ));
    assert_eq!(machine.snapshot(), was);

    let applied = wanted.apply(&mut session(&machine)).unwrap();
    let unsupported = unsupported(&applied.findings, "net.ipv4.tcp_congestion_control");
    assert_eq!(unsupported.module.as_deref(), Some("tcp_bbr"));
    assert_eq!(applied.changed.len(), 2);
    assert!(wanted.plan(&session(&machine)).unwrap().is_empty());
    reverts_to(&machine, &was);
}

#[test]
fn f4_a_word_that_is_set_is_allowed_from_then_on_until_it_is_taken_back() {
    let machine = machine(testing::kernel());
    let allowed = "net/ipv4/tcp_allowed_congestion_control";
    let _ = set([("net.ipv4.tcp_congestion_control", "bbr")])
        .apply(&mut session(&machine))
        .unwrap();
    assert_eq!(get(&machine, allowed), "reno cubic bbr");
    assert!(session(&machine).revert().unwrap().is_complete());
    assert_eq!(get(&machine, "net/ipv4/tcp_congestion_control"), "cubic");
    assert_eq!(get(&machine, allowed), "reno cubic");
}

#[test]
fn f5_the_member_of_a_pair_that_was_in_force_is_in_force_again() {
    for (written, wanted) in [
        (("vm/dirty_bytes", "268435456"), ("vm.dirty_ratio", "10")),
        (("vm/dirty_bytes", "268435456"), ("vm.dirty_ratio", "0")),
        (("vm/dirty_ratio", "0"), ("vm.dirty_bytes", "8192")),
        (("vm/dirty_ratio", "20"), ("vm.dirty_bytes", "8192")),
        (
            ("vm/dirty_background_bytes", "1"),
            ("vm.dirty_background_ratio", "5"),
        ),
        (
            ("vm/dirty_background_ratio", "10"),
            ("vm.dirty_background_bytes", "1"),
        ),
        (("vm/overcommit_kbytes", "5"), ("vm.overcommit_ratio", "80")),
        (("vm/overcommit_ratio", "50"), ("vm.overcommit_kbytes", "5")),
        (("vm/overcommit_ratio", "0"), ("vm.overcommit_kbytes", "5")),
    ] {
        let machine = machine(testing::kernel());
        machine.memory().write(path(written.0), written.1).unwrap();
        let was = machine.snapshot();
        let wanted = set([wanted]);
        let applied = wanted.apply(&mut session(&machine)).unwrap();
        assert_eq!(applied.changed.len(), 1, "{wanted:?}");
        assert!(wanted.verify(&session(&machine)).unwrap().is_as_wanted());
        assert_ne!(machine.snapshot(), was);
        reverts_to(&machine, &was);
    }
}

#[test]
fn f5_wanting_both_of_a_pair_is_a_conflict_that_names_both() {
    let machine = machine(testing::kernel());
    let was = machine.snapshot();
    let wanted = set([("vm.dirty_ratio", "10"), ("vm.dirty_bytes", "8192")]);
    let error = wanted.apply(&mut session(&machine)).unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
    let told = told(&error);
    assert!(told.contains("10") && told.contains("8192"), "{told}");
    assert_eq!(machine.snapshot(), was);
}

/// The kernel accepts `overcommit_kbytes = 0`, and then neither of the two is in force.
#[test]
fn f5_both_of_the_overcommit_pair_can_be_zero() {
    let machine = machine(testing::kernel());
    let was = machine.snapshot();
    let wanted = set([("vm.overcommit_kbytes", "0"), ("vm.swappiness", "100")]);
    match wanted.apply(&mut session(&machine)) {
        Ok(_) => {
            assert!(wanted.verify(&session(&machine)).unwrap().is_as_wanted());
            assert!(wanted.plan(&session(&machine)).unwrap().is_empty());
            reverts_to(&machine, &was);
        }
        // Or it is refused before anything is changed, and the error names the key.
        Err(error) => {
            assert!(matches!(error, Error::Tuning { .. }), "{}", told(&error));
            assert!(told(&error).contains("vm.overcommit_kbytes"));
            assert_eq!(machine.snapshot(), was);
        }
    }
}

#[test]
fn f6_what_another_network_namespace_lacks_is_said_and_the_rest_applied() {
    f6(testing::in_network_namespace(testing::kernel()));
    f6(testing::in_network_namespace_of_old(testing::kernel()));
}

fn f6(kernel: Memory) {
    let machine = machine(kernel);
    let was = machine.snapshot();
    let wanted = set([
        ("net.core.rmem_max", "16777216"),
        ("net.core.wmem_max", "16777216"),
        ("net.core.default_qdisc", "fq"),
        ("net.core.netdev_max_backlog", "16384"),
        ("net.ipv4.tcp_mem", "1 2 3"),
        ("net.ipv4.tcp_rmem", "4096 131072 33554432"),
    ]);
    let applied = wanted.apply(&mut session(&machine)).unwrap();
    for key in [
        "net.core.rmem_max",
        "net.core.wmem_max",
        "net.core.default_qdisc",
        "net.core.netdev_max_backlog",
        "net.ipv4.tcp_mem",
    ] {
        let unsupported = unsupported(&applied.findings, key);
        assert_eq!(
            unsupported.kind,
            UnsupportedKind::NotInThisNamespace,
            "{key}: {unsupported}"
        );
        assert!(unsupported.hint.is_some(), "{key}");
    }
    assert_eq!(applied.changed.len(), 1);
    assert!(wanted.verify(&session(&machine)).unwrap().is_as_wanted());
    reverts_to(&machine, &was);
}

/// A word that is available but that only the initial namespace may set (EPERM).
#[test]
fn f6_a_word_that_is_not_allowed_in_this_namespace_is_said_and_the_rest_applied() {
    let memory = testing::in_network_namespace(testing::kernel());
    memory.change(|tree| tree.set(path("net/ipv4/tcp_allowed_congestion_control"), "reno"));
    memory.change(|tree| tree.set(path("net/ipv4/tcp_congestion_control"), "reno"));
    let machine = machine(memory);
    let was = machine.snapshot();
    let wanted = set([
        ("net.ipv4.tcp_congestion_control", "cubic"),
        ("net.ipv4.tcp_fastopen", "3"),
    ]);
    let applied = wanted
        .apply(&mut session(&machine))
        .unwrap_or_else(|error| panic!("{}", told(&error)));
    let unsupported = unsupported(&applied.findings, "net.ipv4.tcp_congestion_control");
    assert!(unsupported.why.contains("reno"), "{unsupported}");
    assert_eq!(get(&machine, "net/ipv4/tcp_fastopen"), "3");
    reverts_to(&machine, &was);
}

#[test]
fn f7_write_only_keys_are_never_planned_kept_or_verified() {
    for key in ["vm.drop_caches", "net.ipv4.route.flush"] {
        let machine = machine(testing::kernel());
        let wanted = set([(key, "1")]);
        let plan = wanted.plan(&session(&machine)).unwrap();
        assert!(plan.is_empty(), "{:?}", plan.steps);
        assert_eq!(
            unsupported(&plan.findings, key).kind,
            UnsupportedKind::WriteOnly
        );
        assert!(wanted.verify(&session(&machine)).unwrap().is_as_wanted());
        assert!(wanted.plan(session(&machine).strict(true)).is_err());
    }
    // Nor is a key that is not in the catalogue and whose mode does not allow reading.
    let memory = testing::kernel().file(path("vm/press_me"), "", Behaviour::takes_all());
    let machine = machine(memory.mode(path("vm/press_me"), 0o200));
    let plan = set([("vm.press_me", "1")])
        .plan(&session(&machine))
        .unwrap();
    assert_eq!(
        unsupported(&plan.findings, "vm.press_me").kind,
        UnsupportedKind::WriteOnly
    );
}

#[test]
fn f8_an_interface_with_a_dot_in_its_name_is_reached_in_every_spelling() {
    for key in [
        "net/ipv4/conf/eth0.100/forwarding",
        "net.ipv4.conf.eth0/100.forwarding",
    ] {
        let machine = machine(testing::kernel());
        let was = machine.snapshot();
        let wanted = set([(key, "1")]);
        let applied = wanted.apply(&mut session(&machine)).unwrap();
        assert_eq!(applied.changed.len(), 1);
        assert_eq!(get(&machine, "net/ipv4/conf/eth0.100/forwarding"), "1");
        assert_eq!(get(&machine, "net/ipv4/conf/eth0/forwarding"), "0");
        reverts_to(&machine, &was);
    }
    // With dots alone it names a directory that does not exist, which is reported.
    let machine = machine(testing::kernel());
    let wanted = set([("net.ipv4.conf.eth0.100.forwarding", "1")]);
    let applied = wanted.apply(&mut session(&machine)).unwrap();
    let unsupported = unsupported(&applied.findings, "net.ipv4.conf.eth0.100.forwarding");
    assert_eq!(unsupported.kind, UnsupportedKind::Missing);
}

#[test]
fn f9_a_missing_key_is_said_and_is_an_error_where_it_is_required() {
    let machine = machine(testing::kernel());
    let was = machine.snapshot();
    let wanted = set([("vm.laptop_mode", "1"), ("vm.swappiness", "100")]);
    let applied = wanted.apply(&mut session(&machine)).unwrap();
    let unsupported = unsupported(&applied.findings, "vm.laptop_mode");
    assert_eq!(unsupported.kind, UnsupportedKind::Missing);
    assert!(unsupported.why.contains("no such key"), "{unsupported:?}");
    reverts_to(&machine, &was);

    let required = SysctlSet::new([
        Wanted::new("vm.swappiness", 100),
        Wanted::new("vm.laptop_mode", 1).required(),
    ]);
    for result in [
        required.apply(&mut session(&machine)),
        wanted.apply(session(&machine).strict(true)),
    ] {
        let error = result.unwrap_err();
        assert!(told(&error).contains("vm.laptop_mode"), "{}", told(&error));
        assert_eq!(machine.snapshot(), was);
    }
    let optional = SysctlSet::new([Wanted::new("vm.laptop_mode", 1).optional()]);
    let _ = optional.apply(&mut session(&machine)).unwrap();
}

#[test]
fn f14_a_glob_becomes_the_keys_that_it_stands_for() {
    let machine = machine(testing::kernel());
    let was = machine.snapshot();
    let wanted = set([("vm.vfs_cache_press*", "150")]);
    let plan = wanted.plan(&session(&machine)).unwrap();
    let names: Vec<&str> = plan
        .steps
        .iter()
        .map(|step| step.knob.text.as_str())
        .collect();
    assert_eq!(
        names,
        ["vm.vfs_cache_pressure", "vm.vfs_cache_pressure_denom"]
    );
    let _ = wanted.apply(&mut session(&machine)).unwrap();
    reverts_to(&machine, &was);

    let wanted = set([("net.ipv4.conf.*.accept_redirects", "0")]);
    let applied = wanted.apply(&mut session(&machine)).unwrap();
    assert!(applied.changed.len() >= 3, "{:?}", applied.changed);
    for interface in ["all", "default", "lo", "eth0", "eth0.100"] {
        let key = format!("net/ipv4/conf/{interface}/accept_redirects");
        assert_eq!(get(&machine, &key), "0", "{key}");
    }
    reverts_to(&machine, &was);

    let wanted = set([("net.ipv4.conf.wlan*.forwarding", "1")]);
    let plan = wanted.plan(&session(&machine)).unwrap();
    assert_eq!(
        unsupported(&plan.findings, "net.ipv4.conf.wlan*.forwarding").kind,
        UnsupportedKind::Missing
    );
}

#[test]
fn forwarding_goes_back_with_everything_that_it_reset() {
    let machine = machine(testing::kernel());
    let memory = machine.memory();
    memory
        .write(path("net/ipv4/conf/eth0.100/forwarding"), "1")
        .unwrap();
    memory
        .write(path("net/ipv4/conf/all/accept_redirects"), "0")
        .unwrap();
    let was = machine.snapshot();
    let wanted = set([
        ("net.ipv4.conf.eth0.forwarding", "0"),
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv4.conf.all.accept_redirects", "1"),
    ]);
    let _ = wanted.apply(&mut session(&machine)).unwrap();
    // In whatever order they are requested, a key that another one resets is set after it.
    assert_eq!(get(&machine, "net/ipv4/conf/eth0/forwarding"), "0");
    assert_eq!(get(&machine, "net/ipv4/conf/all/accept_redirects"), "1");
    assert_eq!(get(&machine, "net/ipv4/conf/eth0.100/forwarding"), "1");
    assert!(wanted.verify(&session(&machine)).unwrap().is_as_wanted());
    reverts_to(&machine, &was);
}

#[test]
fn two_names_of_one_key_are_one_wish() {
    let machine = machine(testing::kernel());
    let both = set([
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv4.conf.all.forwarding", "0"),
    ]);
    assert!(matches!(
        both.plan(&session(&machine)),
        Err(Error::Conflict { .. })
    ));
}

#[test]
fn a_value_is_one_write() {
    let machine = machine(testing::kernel());
    for (key, value) in [
        ("vm.swappiness", "100"),
        ("net.ipv4.tcp_rmem", "1 2 3"),
        ("vm.dirty_bytes", "8192"),
        ("net.ipv4.tcp_congestion_control", "reno"),
    ] {
        let crash_point = CrashPoint::lives();
        let mut session = machine.session(&crash_point).unwrap();
        let _ = set([(key, value)]).apply(&mut session).unwrap();
        assert_eq!(crash_point.changes(), 1, "{key}");
    }
}

#[test]
fn an_equal_value_on_a_read_only_key_is_success_and_another_is_said() {
    let memory = testing::kernel().mode(path("vm/swappiness"), 0o444);
    let machine = machine(memory);
    let crash_point = CrashPoint::lives();
    let equal = set([("vm.swappiness", "60")]);
    let _ = equal
        .apply(machine.session(&crash_point).unwrap().strict(true))
        .unwrap();
    assert_eq!(crash_point.writes(), 0);
    let other = set([("vm.swappiness", "100")]);
    let applied = other.apply(&mut session(&machine)).unwrap();
    assert_eq!(
        unsupported(&applied.findings, "vm.swappiness").kind,
        UnsupportedKind::ReadOnly
    );
}

#[test]
fn a_value_without_a_way_back_needs_consent() {
    for (key, value) in [
        ("kernel.yama.ptrace_scope", "3"),
        ("kernel.modules_disabled", "1"),
    ] {
        let machine = machine(testing::kernel());
        let was = machine.snapshot();
        let refused = set([(key, value)]);
        let applied = refused.apply(&mut session(&machine)).unwrap();
        let unsupported = unsupported(&applied.findings, key);
        assert_eq!(unsupported.kind, UnsupportedKind::OneWay);
        assert!(unsupported.hint.as_deref().unwrap().contains("consent"));
        assert_eq!(machine.snapshot(), was);
        assert!(refused.apply(session(&machine).strict(true)).is_err());

        let consented = SysctlSet::new([Wanted::new(key, value).one_way()]);
        let _ = consented.apply(&mut session(&machine)).unwrap();
        assert_eq!(get(&machine, &key.replace('.', "/")), value);
        // The kernel keeps the value, and the revert reports that.
        let reverted = session(&machine).revert().unwrap();
        assert!(!reverted.is_complete());
        assert!(matches!(
            reverted.not_reverted[0].reason,
            NotRevertedReason::Refused(_)
        ));
        // A value that is already set needs no consent, and nothing is written.
        let crash_point = CrashPoint::lives();
        let _ = refused
            .apply(machine.session(&crash_point).unwrap().strict(true))
            .unwrap();
        assert_eq!(crash_point.changes(), 0);
        // A reboot resets it, and then nothing is pending.
        machine.power_cut(false);
        let reverted = session(&machine).revert().unwrap();
        assert!(reverted.not_reverted.is_empty());
        assert_eq!(machine.snapshot(), was);
    }
}

#[test]
fn what_is_deferred_is_pending_and_not_changed() {
    let machine = machine(testing::kernel());
    let was = machine.snapshot();
    let wanted = SysctlSet::new([Wanted::new("vm.swappiness", 100).deferred(When::Reboot)]);
    let applied = wanted.apply(&mut session(&machine)).unwrap();
    assert!(matches!(applied.findings[0].state, State::Pending { .. }));
    assert_eq!(machine.snapshot(), was);
}

#[test]
fn a_file_keeps_the_values_and_says_who_wins_over_it() {
    let theirs = "# theirs\r\nvm.swappiness=31";
    let before = FileContent {
        mode: 0o640,
        ..FileContent::new("vm.swappiness = 1\r\n; no line end")
    };
    let memory = testing::kernel()
        .content("/etc/sysctl.d/99-theirs.conf", FileContent::new(theirs))
        .content(SysctlSet::file("gaming"), before);
    let machine = machine(memory);
    let was = machine.snapshot();
    let wanted =
        set([("vm.swappiness", "100"), ("vm.dirty_bytes", "268435456")]).persisted_as("gaming");
    let applied = wanted.apply(&mut session(&machine)).unwrap();
    assert!(
        applied
            .notes
            .iter()
            .any(|note| note.contains("99-theirs.conf:2")),
        "{:?}",
        applied.notes
    );
    let text = machine.memory().get(SysctlSet::file("gaming")).unwrap();
    assert!(text.contains("vm.swappiness = 100"), "{text}");
    assert!(text.contains("vm.dirty_bytes = 268435456"), "{text}");
    let report = wanted.verify(&session(&machine)).unwrap();
    assert!(report.items.iter().any(
        |item| matches!(&item.state, State::Overridden { by } if by.contains("vm.swappiness = 31"))
    ));
    machine.power_cut(true);
    reverts_to(&machine, &was);
}

#[test]
fn on_an_image_only_the_file_is_written() {
    let machine = machine(Memory::new().directory("/etc"));
    let was = machine.snapshot();
    let wanted = set([("vm.swappiness", "100")]).persisted_as("gaming");
    let _ = wanted.apply(&mut session(&machine)).unwrap();
    assert!(machine.memory().get(SysctlSet::file("gaming")).is_some());
    assert!(!machine.snapshot().contains_key("/proc/sys"));
    reverts_to(&machine, &was);
}

#[test]
fn t1_killed_after_apply_the_originals_come_back() {
    let machine = machine(testing::kernel());
    let was = machine.snapshot();
    let wanted = set([
        ("vm.swappiness", "100"),
        ("vm.dirty_bytes", "268435456"),
        ("net.ipv4.tcp_rmem", "4096 1048576 33554432"),
    ]);
    // Three processes that are killed: their sessions are never dropped.
    for _ in 0..3 {
        std::mem::forget({
            let mut session = session(&machine);
            let _ = wanted.apply(&mut session).unwrap();
            session
        });
    }
    reverts_to(&machine, &was);
}

#[test]
fn t2_a_rollback_leaves_no_bytes_behind() {
    let machine = machine(testing::kernel());
    let was = machine.snapshot();
    let _ = set([("vm.dirty_bytes", "268435456")])
        .apply(&mut session(&machine))
        .unwrap();
    reverts_to(&machine, &was);
    assert_eq!(get(&machine, "vm/dirty_bytes"), "0");
    assert_eq!(get(&machine, "vm/dirty_ratio"), "20");
}

#[test]
fn t3_a_bad_value_a_missing_key_and_a_missing_module_are_never_plain_success() {
    let machine = machine(testing::without_module(testing::kernel(), "tcp_bbr"));
    let was = machine.snapshot();
    let all = set([
        ("vm.swappiness", "banana"),
        ("vm.laptop_mode", "1"),
        ("net.ipv4.tcp_congestion_control", "bbr"),
    ]);
    let error = all.apply(&mut session(&machine)).unwrap_err();
    assert!(told(&error).contains("vm.swappiness"), "{}", told(&error));
    assert!(told(&error).contains("banana"));
    assert_eq!(machine.snapshot(), was);

    let rest = set([
        ("vm.laptop_mode", "1"),
        ("net.ipv4.tcp_congestion_control", "bbr"),
    ]);
    let applied = rest.apply(&mut session(&machine)).unwrap();
    assert!(applied.changed.is_empty());
    assert_eq!(applied.findings.len(), 2);
    for finding in &applied.findings {
        assert!(matches!(finding.state, State::NotApplicable { .. }));
    }
    let error = rest.apply(session(&machine).strict(true)).unwrap_err();
    let told = told(&error);
    assert!(
        told.contains("vm.laptop_mode") && told.contains("tcp_bbr"),
        "{told}"
    );
    assert_eq!(machine.snapshot(), was);
}

#[test]
fn t4_what_somebody_else_has_set_since_survives_and_is_said() {
    let machine = machine(testing::kernel());
    let _ = set([("vm.swappiness", "100"), ("vm.dirty_bytes", "268435456")])
        .apply(&mut session(&machine))
        .unwrap();
    machine.memory().write(path("vm/swappiness"), "77").unwrap();
    let reverted = session(&machine).revert().unwrap();
    assert_eq!(get(&machine, "vm/swappiness"), "77");
    assert_eq!(get(&machine, "vm/dirty_bytes"), "0");
    assert_eq!(get(&machine, "vm/dirty_ratio"), "20");
    assert_eq!(reverted.not_reverted.len(), 1);
    let left = &reverted.not_reverted[0];
    assert_eq!(left.reason, NotRevertedReason::Theirs);
    assert_eq!(
        (
            left.ours.as_str(),
            left.original.as_str(),
            left.seen.as_str()
        ),
        ("100", "60", "77")
    );
}

#[test]
fn t6_a_key_that_this_kernel_lacks_does_not_fail_verify() {
    let machine = machine(testing::kernel());
    machine
        .memory()
        .change(|tree| tree.remove(path("kernel/split_lock_mitigate")));
    let wanted = set([("kernel.split_lock_mitigate", "0"), ("vm.swappiness", "60")]);
    let report = wanted.verify(&session(&machine)).unwrap();
    assert!(report.is_as_wanted());
    let unsupported = unsupported(&report.items, "kernel.split_lock_mitigate");
    assert!(unsupported.why.contains("6.2"), "{unsupported:?}");
}
