//! Sets of sysctls applied, verified and reverted on the running kernel, in a network namespace of their own,
//! so that no other process is affected.

use std::path::Path;
use std::process::Command;

use hosttune_core::journal::DirectoryStore;
use hosttune_core::{Error, Host, LinuxHost, Session, State, Tuning, UnsupportedKind};
use hosttune_sysctl::{SysctlSet, Wanted, catalogue};
use hosttune_test_machine::inside::test_name;
use hosttune_test_machine::{Snapshot, Subtree};

use crate::own_namespace;

fn path(key: &str) -> String {
    format!("/proc/sys/{key}")
}

fn get(key: &str) -> String {
    std::fs::read_to_string(path(key))
        .unwrap()
        .trim_end()
        .to_owned()
}

fn put(key: &str, value: &str) {
    std::fs::write(path(key), format!("{value}\n")).unwrap();
}

fn set<const N: usize>(wanted: [(&str, &str); N]) -> SysctlSet {
    SysctlSet::new(wanted.map(|(key, value)| Wanted::new(key, value).accept_side_effects()))
}

/// Every variable under net. The others are shared, and other processes may set them meanwhile.
fn network() -> Snapshot {
    let shown = Snapshot::of(&[Subtree::Sysctls]).only("/proc/sys/net");
    let count = shown.iter().count();
    assert!(count > 100, "only {count} variables");
    shown
}

fn session(state: &Path) -> Session {
    let host = LinuxHost::live().unwrap();
    let store = DirectoryStore::new(&host, state.join("run"), state.join("lib")).unwrap();
    Session::new(Host::new(host), "real", store, "this-boot")
        .unwrap()
        .with(hosttune_sysctl::knobs)
}

/// Applies and verifies in one session per set, and reverts in another one, as after a kill.
fn there_and_back(sets: &[SysctlSet], meanwhile: impl FnOnce()) {
    let state = tempfile::tempdir().unwrap();
    let was = network();
    for set in sets {
        let mut session = session(state.path());
        let before = network();
        let _ = set.plan(&session).unwrap();
        same(&before);
        let applied = set.apply(&mut session).unwrap();
        assert!(!applied.changed.is_empty());
        let report = set.verify(&session).unwrap();
        for item in &report.items {
            // For a key that is not in the catalogue, a tab for a blank counts as rounded by the kernel.
            let described = item
                .name
                .parse()
                .is_ok_and(|key| catalogue::find(&key).is_some());
            assert!(
                item.state == State::Matches || !described && item.state == State::Rounded,
                "{item}"
            );
        }
        assert!(set.plan(&session).unwrap().is_empty());
        // A killed process does not drop its session.
        std::mem::forget(session);
    }
    meanwhile();
    let reverted = session(state.path()).revert().unwrap();
    assert!(
        reverted.not_reverted.is_empty(),
        "{:?}",
        reverted.not_reverted
    );
    same(&was);
}

#[track_caller]
fn same(was: &Snapshot) {
    was.is_still(&network(), "not as it was");
}

#[test]
fn vectors_and_numbers_go_there_and_back() {
    if !own_namespace::inside() {
        return;
    }
    let sets = [set([
        ("net.ipv4.tcp_rmem", "5000 88888 0x1000000"),
        ("net.ipv4.tcp_wmem", "4096 65536 16777216"),
        ("net.ipv4.tcp_fastopen", "03"),
        ("net.ipv4.tcp_mtu_probing", "1"),
        ("net.ipv4.tcp_max_syn_backlog", "8192"),
        ("net.ipv4.tcp_slow_start_after_idle", "0"),
    ])];
    there_and_back(&sets, || {
        assert_eq!(get("net/ipv4/tcp_rmem"), "5000\t88888\t16777216");
    });
}

#[test]
fn forwarding_goes_back_with_everything_that_it_reset() {
    if !own_namespace::inside() {
        return;
    }
    put("net/ipv4/conf/eth0.100/forwarding", "1");
    put("net/ipv4/conf/default/forwarding", "1");
    put("net/ipv4/conf/all/accept_redirects", "0");
    put("net/ipv6/conf/eth0/forwarding", "1");
    there_and_back(
        &[set([
            ("net.ipv4.conf.eth0.forwarding", "0"),
            ("net.ipv4.ip_forward", "1"),
            ("net.ipv4.conf.all.accept_redirects", "1"),
            ("net.ipv6.conf.all.forwarding", "1"),
        ])],
        || {
            assert_eq!(get("net/ipv4/conf/all/accept_redirects"), "1");
            assert_eq!(get("net/ipv4/conf/lo/forwarding"), "1");
        },
    );
    there_and_back(
        &[
            set([("net.ipv4.conf.*.forwarding", "1")]),
            set([
                ("net.ipv4.ip_forward", "0"),
                ("net/ipv4/conf/eth0.100/forwarding", "1"),
            ]),
        ],
        || {
            assert_eq!(get("net/ipv4/conf/eth0/forwarding"), "0");
            assert_eq!(get("net/ipv4/conf/eth0.100/forwarding"), "1");
        },
    );
}

#[test]
fn an_interface_with_a_dot_in_its_name_is_reached() {
    if !own_namespace::inside() {
        return;
    }
    for key in [
        "net/ipv4/conf/eth0.100/rp_filter",
        "net.ipv4.conf.eth0/100.rp_filter",
    ] {
        there_and_back(&[set([(key, "2")])], || {
            assert_eq!(get("net/ipv4/conf/eth0.100/rp_filter"), "2");
            assert_eq!(get("net/ipv4/conf/eth0/rp_filter"), "0");
        });
    }
}

#[test]
fn what_default_copies_to_the_interfaces_goes_back() {
    if !own_namespace::inside() {
        return;
    }
    // After this write eth0 no longer follows `default`; eth0.100 still does.
    put("net/ipv4/conf/eth0/rp_filter", "1");
    there_and_back(&[set([("net.ipv4.conf.default.rp_filter", "2")])], || {
        assert_eq!(get("net/ipv4/conf/eth0/rp_filter"), "1");
        assert_eq!(get("net/ipv4/conf/eth0.100/rp_filter"), "2");
    });
    there_and_back(
        &[
            set([("net.ipv4.conf.default.arp_announce", "2")]),
            set([("net.ipv4.conf.*.arp_announce", "1")]),
            set([("net.ipv4.conf.default.arp_announce", "0")]),
        ],
        || {},
    );
    there_and_back(&[set([("net.ipv4.conf.*.accept_redirects", "0")])], || {});
}

#[test]
fn what_the_kernel_refuses_leaves_everything_as_it_was() {
    if !own_namespace::inside() {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let was = network();
    // Both ports are in range, but in the wrong order, which only the kernel checks.
    let wanted = set([
        ("net.ipv4.tcp_rmem", "5000 88888 99999"),
        ("net.ipv4.ip_local_port_range", "60000 50000"),
    ]);
    let error = wanted.apply(&mut session(state.path())).unwrap_err();
    assert!(matches!(error, Error::RolledBack { .. }), "{error:?}");
    same(&was);
}

#[test]
fn what_this_namespace_lacks_is_said() {
    if !own_namespace::inside() {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let was = network();
    let wanted = set([
        ("net.core.rmem_max", "33554432"),
        ("net.core.netdev_max_backlog", "16384"),
        ("net.core.default_qdisc", "pfifo"),
        ("net.ipv4.route.flush", "1"),
    ]);
    let plan = wanted.plan(&session(state.path())).unwrap();
    assert!(plan.is_empty(), "{:?}", plan.steps);
    let kinds: Vec<Option<UnsupportedKind>> = plan
        .findings
        .iter()
        .map(|finding| match &finding.state {
            State::NotApplicable { unsupported } => Some(unsupported.kind),
            _ => None,
        })
        .collect();
    let elsewhere = Some(UnsupportedKind::NotInThisNamespace);
    assert_eq!(
        kinds,
        [
            elsewhere,
            elsewhere,
            elsewhere,
            Some(UnsupportedKind::WriteOnly)
        ]
    );
    same(&was);
}

/// A container sees /proc/sys mounted read-only. A value that is already set is no failure there.
#[test]
fn an_equal_value_in_a_read_only_tree_is_success() {
    if !own_namespace::inside() {
        return;
    }
    put("net/ipv4/tcp_fastopen", "3");
    for arguments in [
        ["--bind", "/proc/sys", "/proc/sys"].as_slice(),
        &["-o", "remount,bind,ro", "/proc/sys"],
    ] {
        let mounted = Command::new("mount").args(arguments).output().unwrap();
        if !mounted.status.success() {
            let why = String::from_utf8_lossy(&mounted.stderr);
            eprintln!("not run: {}: {why}", test_name());
            return;
        }
    }
    let state = tempfile::tempdir().unwrap();
    let equal = set([("net.ipv4.tcp_fastopen", "0x3")]);
    let _ = equal.apply(session(state.path()).strict(true)).unwrap();
    let other = set([("net.ipv4.tcp_fastopen", "1")]);
    let applied = other.apply(&mut session(state.path())).unwrap();
    let State::NotApplicable { unsupported } = &applied.findings[0].state else {
        panic!("{:?}", applied.findings);
    };
    assert_eq!(
        (unsupported.kind, &*unsupported.why),
        (UnsupportedKind::ReadOnly, "/proc/sys is mounted read-only")
    );
    let strict = &mut session(state.path());
    strict.strict(true);
    assert!(other.apply(strict).is_err());
    assert_eq!(get("net/ipv4/tcp_fastopen"), "3");
}

/// The kernel prints tabs for blanks and decimal for hexadecimal, also for keys that are not in the
/// catalogue.
#[test]
fn keys_that_nobody_has_described_go_there_and_back() {
    if !own_namespace::inside() {
        return;
    }
    there_and_back(
        &[set([("net.ipv4.ping_group_range", "0 2147483647")])],
        || {},
    );
    there_and_back(&[set([("net.ipv4.igmp_max_memberships", "0x10")])], || {
        assert_eq!(get("net/ipv4/igmp_max_memberships"), "16");
    });
}

hosttune_test_machine::inside_every_kernel!(
    vectors_and_numbers_go_there_and_back,
    forwarding_goes_back_with_everything_that_it_reset,
    an_interface_with_a_dot_in_its_name_is_reached,
    what_default_copies_to_the_interfaces_goes_back,
    what_the_kernel_refuses_leaves_everything_as_it_was,
    what_this_namespace_lacks_is_said,
    an_equal_value_in_a_read_only_tree_is_success,
    keys_that_nobody_has_described_go_there_and_back,
);

/// The mounts of a container: `/proc/sys` read-only, `/proc/sys/net` writable.
#[test]
fn a_read_only_proc_sys_with_a_writable_net_is_set_as_far_as_it_goes() {
    if !own_namespace::inside() {
        return;
    }
    for command in [
        "mount --make-rprivate /",
        "mount --bind /proc/sys/net /proc/sys/net",
        "mount --bind /proc/sys /proc/sys",
        "mount -o remount,bind,ro /proc/sys",
        "mount --bind /proc/sys/net /proc/sys/net",
        "mount -o remount,bind,rw /proc/sys/net",
    ] {
        let done = Command::new("sh").args(["-c", command]).status().unwrap();
        assert!(done.success(), "{command}");
    }
    let state = tempfile::tempdir().unwrap();
    let swappiness = get("vm/swappiness");
    let somaxconn = get("net/core/somaxconn");
    let other = if swappiness == "61" { "62" } else { "61" };
    let set = set([("vm.swappiness", other), ("net.core.somaxconn", "4097")]);
    let mut session = session(state.path());
    let applied = set.apply(&mut session).unwrap();
    assert_eq!(applied.changed.len(), 1, "{:?}", applied.changed);
    assert!(
        applied.findings.iter().any(|one| matches!(
            &one.state,
            State::NotApplicable { unsupported } if unsupported.kind == UnsupportedKind::ReadOnly
                && unsupported.why.starts_with("/proc/sys is mounted read-only")
        )),
        "{:?}",
        applied.findings
    );
    assert_eq!(get("net/core/somaxconn"), "4097");
    assert_eq!(get("vm/swappiness"), swappiness);
    assert!(session.revert().unwrap().not_reverted.is_empty());
    assert_eq!(get("net/core/somaxconn"), somaxconn);
}
