//! Effects of a value beyond its own key: on existing devices, on addresses and routes, and after the next
//! boot.

use std::process::Command;

use hosttune_core::testing::{Behaviour, CrashPoint, Machine, Memory, World};
use hosttune_core::{Plan, Session, State, Tuning, UnsupportedKind, When};
use hosttune_sysctl::{SysctlSet, Wanted, testing};
use hosttune_test_machine::wait_until;

use crate::own_namespace;

fn machine(memory: Memory) -> Machine {
    Machine::new(memory, hosttune_sysctl::knobs)
}

fn session(machine: &Machine) -> Session {
    machine.session(&CrashPoint::lives()).unwrap()
}

fn path(key: &str) -> String {
    format!("/proc/sys/{key}")
}

/// The notes of the plan about what a setting reaches; those about modules that the kernel loads have a
/// test of their own. The report must have the same ones.
fn notes(memory: Memory, wanted: Wanted) -> Vec<String> {
    let machine = machine(memory);
    let set = SysctlSet::new([wanted]);
    let session = session(&machine);
    let mut notes = set.plan(&session).unwrap().notes;
    assert_eq!(set.verify(&session).unwrap().notes, notes);
    notes.retain(|note| !note.contains("loads the module"));
    notes
}

fn device(memory: Memory, name: &str, flags: &str) -> Memory {
    memory.file(
        format!("/sys/class/net/{name}/flags"),
        flags,
        Behaviour::takes_all(),
    )
}

#[test]
fn devices_that_are_up_keep_their_qdisc_and_are_named() {
    let wanted = || Wanted::new("net.core.default_qdisc", "fq");
    // Without devices there is none that keeps its qdisc.
    assert_eq!(notes(testing::kernel(), wanted()), Vec::<String>::new());
    let memory = device(testing::kernel(), "lo", "0x9");
    let memory = device(memory, "eth0", "0x1003");
    let memory = device(memory, "wlan0", "0x1002");
    let memory = device(memory, "eth0.100", "0x1043");
    let told = notes(memory, wanted());
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].ends_with(": eth0, eth0.100"), "{told:?}");
    let many = (0..11).fold(testing::kernel(), |memory, number| {
        device(memory, &format!("veth{number:02}"), "0x1003")
    });
    let told = notes(many, wanted());
    assert!(told[0].ends_with("veth07 and 3 more"), "{told:?}");
    // A key that does not exist in this namespace affects nothing; it is reported as unsupported.
    let elsewhere = device(
        testing::in_network_namespace(testing::kernel()),
        "eth0",
        "0x1003",
    );
    assert_eq!(notes(elsewhere, wanted()), Vec::<String>::new());
}

#[test]
fn hardware_is_named_before_what_is_made() {
    let many = (0..9).fold(testing::kernel(), |memory, number| {
        device(memory, &format!("br{number}"), "0x1003")
    });
    let memory = device(many, "wlan0", "0x1003").directory("/sys/class/net/wlan0/device");
    let told = notes(memory, Wanted::new("net.core.default_qdisc", "fq"));
    assert!(told[0].contains(": wlan0, br0, br1"), "{told:?}");
}

fn with(keys: &[(&str, &str)]) -> Memory {
    keys.iter().fold(testing::kernel(), |memory, (key, value)| {
        memory.file(path(key), value, testing::plain_integers())
    })
}

/// Whether a device follows a new default cannot be read. A device with an address does not.
#[test]
fn a_default_names_the_interfaces_that_show_something_else() {
    let ipv4 = with(&[
        ("net/ipv4/conf/default/rp_filter", "0"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/lo/rp_filter", "1"),
        ("net/ipv4/conf/eth0/rp_filter", "1"),
        ("net/ipv4/conf/wlan0/rp_filter", "0"),
        ("net/ipv4/conf/tun0/rp_filter", "2"),
    ]);
    let told = notes(ipv4, Wanted::new("net.ipv4.conf.default.rp_filter", 2));
    assert_eq!(
        told,
        [
            "net.ipv4.conf.default.rp_filter = 2 applies to devices that are added later; these devices exist already and may keep their value: eth0 (1), wlan0 (0)"
        ]
    );
    let ipv6 = || {
        with(&[
            ("net/ipv6/conf/default/accept_ra", "1"),
            ("net/ipv6/conf/eth0/accept_ra", "1"),
            ("net/ipv6/conf/wlan0/accept_ra", "0"),
        ])
    };
    let told = notes(ipv6(), Wanted::new("net.ipv6.conf.default.accept_ra", 0));
    assert!(told[0].ends_with(": eth0 (1)"), "{told:?}");
    // The note is also there if the default has the value already.
    let told = notes(ipv6(), Wanted::new("net.ipv6.conf.default.accept_ra", 1));
    assert!(told[0].ends_with(": wlan0 (0)"), "{told:?}");
    let forwarding = Wanted::new("net.ipv4.conf.default.forwarding", 1);
    let told = notes(testing::kernel(), forwarding);
    assert!(told[0].contains("eth0 (0)"), "{told:?}");
    let neighbours = with(&[
        ("net/ipv6/neigh/default/ucast_solicit", "3"),
        ("net/ipv6/neigh/eth0/ucast_solicit", "4"),
        ("net/ipv6/neigh/wlan0/ucast_solicit", "5"),
    ]);
    let told = notes(
        neighbours,
        Wanted::new("net.ipv6.neigh.default.ucast_solicit", 4),
    );
    assert!(told[0].ends_with(": wlan0 (5)"), "{told:?}");
    // A key of one interface, or of `all`, has no note about other interfaces.
    let own = Wanted::new("net.ipv4.conf.eth0.rp_filter", 2);
    let memory = with(&[("net/ipv4/conf/eth0/rp_filter", "1")]);
    assert_eq!(notes(memory, own), Vec::<String>::new());
}

/// The side effects that the tests in this file assume, on the running kernel.
#[test]
fn the_kernel_does_what_is_said_of_side_effects() {
    if !own_namespace::inside() {
        return;
    }
    let told = |script: &str| {
        let ran = Command::new("sh").args(["-ec", script]).output().unwrap();
        let error = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{script}: {error}");
        String::from_utf8(ran.stdout).unwrap()
    };
    let shows = |key: &str| told(&format!("cat /proc/sys/net/{key}")).trim().to_owned();
    let set = |key: &str, value: &str| std::fs::write(path(&format!("net/{key}")), value).unwrap();
    told("ip link set eth0 up; ip link set eth0.100 up; ip link set lo up");
    // A device follows the default until it is given an address.
    told("ip address add 192.0.2.1/24 dev eth0");
    let rp_filter = |device: &str| format!("ipv4/conf/{device}/rp_filter");
    set(&rp_filter("default"), "2");
    assert_eq!(shows(&rp_filter("eth0.100")), "2");
    assert_ne!(shows(&rp_filter("eth0")), "2");
    // Changing the IPv6 MTU of an interface leaves its routes unchanged, so it needs no consent.
    told(
        "ip -6 route add 2001:db8::/64 dev eth0 mtu 1300; ip -6 route add 2001:db8:1::/64 dev eth0",
    );
    let routes = || told("ip -6 route show dev eth0 | grep 2001:");
    let before = routes();
    set("ipv6/conf/eth0/mtu", "1400");
    assert_eq!(routes(), before);
    set("ipv6/conf/eth0/mtu", "1500");
    assert_eq!(routes(), before);
    // `all/addr_gen_mode` also sets the mode of each interface, which then gets an address.
    let mode = |device: &str| format!("ipv6/conf/{device}/addr_gen_mode");
    set(&mode("eth0"), "1");
    let addresses = || {
        told("ip -6 -o address show dev eth0 scope link")
            .lines()
            .count()
    };
    let had = addresses();
    set(&mode("all"), "3");
    assert_eq!(
        (shows(&mode("eth0")), shows(&mode("lo"))),
        ("3".into(), "3".into())
    );
    wait_until("an address is made", || addresses() > had);
    set(&mode("all"), "0");
    assert!(addresses() > had, "the address is still there");
    // Disabling IPv6 removes addresses and routes; enabling it restores only a link-local address.
    told("ip -6 address add 2001:db8:2::1/64 dev eth0");
    set("ipv6/conf/eth0/disable_ipv6", "1");
    set("ipv6/conf/eth0/disable_ipv6", "0");
    assert_eq!(told("ip -6 -o address show dev eth0 scope global"), "");
    assert_eq!(told("ip -6 route show dev eth0 | grep 2001: || true"), "");
}

/// Keys with side effects outside of `/proc/sys`, with their values after boot.
fn with_side_effects() -> Memory {
    [
        ("net/ipv6/conf/all/disable_ipv6", "0"),
        ("net/ipv6/conf/default/disable_ipv6", "0"),
        ("net/ipv6/conf/eth0/disable_ipv6", "0"),
        ("net/ipv6/conf/all/forwarding", "0"),
        ("net/ipv6/conf/eth0/forwarding", "0"),
        ("net/ipv6/conf/eth0/mtu", "1500"),
        ("net/ipv6/conf/eth0/addr_gen_mode", "0"),
        ("net/ipv6/conf/all/addr_gen_mode", "0"),
    ]
    .iter()
    .fold(testing::kernel(), |memory, (key, value)| {
        memory.file(path(key), value, testing::plain_integers())
    })
}

#[test]
fn harm_beyond_the_value_needs_consent_by_name() {
    for (key, value) in [
        ("net.ipv6.conf.all.disable_ipv6", "1"),
        ("net.ipv6.conf.eth0.disable_ipv6", "1"),
        ("net.ipv6.conf.all.forwarding", "1"),
        ("net.ipv6.conf.eth0.forwarding", "2"),
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv4.conf.all.forwarding", "1"),
        ("net.ipv4.conf.eth0.forwarding", "1"),
        ("net.ipv6.conf.eth0.addr_gen_mode", "3"),
        ("net.ipv6.conf.all.addr_gen_mode", "2"),
    ] {
        let machine = machine(with_side_effects());
        let was = machine.snapshot();
        let refused = SysctlSet::new([Wanted::new(key, value), Wanted::new("vm.swappiness", 70)])
            .persisted_as("gaming");
        let applied = refused.apply(&mut session(&machine)).unwrap();
        let unsupported = applied.findings.iter().find_map(|one| match &one.state {
            State::NotApplicable { unsupported } => Some(unsupported),
            _ => None,
        });
        let unsupported = unsupported.unwrap_or_else(|| panic!("{key}: {:?}", applied.findings));
        assert_eq!(unsupported.kind, UnsupportedKind::SideEffects, "{key}");
        assert!(
            unsupported.hint.as_deref().unwrap().contains("consent"),
            "{key}"
        );
        // The other setting is applied, and the refused one is not kept for the next boot either.
        assert_eq!(machine.memory().get(path("vm/swappiness")).unwrap(), "70");
        let file = machine.memory().get(SysctlSet::file("gaming")).unwrap();
        assert!(
            !file.contains(key) && file.contains("vm.swappiness"),
            "{file}"
        );
        assert!(session(&machine).revert().unwrap().is_complete());
        assert_eq!(machine.snapshot(), was, "{key}");
        assert!(refused.apply(session(&machine).strict(true)).is_err());

        let consented = SysctlSet::new([Wanted::new(key, value).accept_side_effects()]);
        let plan: Plan = consented.plan(&session(&machine)).unwrap();
        assert!(
            plan.notes
                .iter()
                .any(|note| note.starts_with(key) && note.contains("revert")),
            "{key}: {:?}",
            plan.notes
        );
        let _ = consented.apply(&mut session(&machine)).unwrap();
        assert!(session(&machine).revert().unwrap().is_complete());
        assert_eq!(machine.snapshot(), was, "{key}");
    }
}

#[test]
fn what_changes_nothing_that_is_there_needs_no_consent() {
    for (key, value) in [
        // Already set.
        ("net.ipv6.conf.all.disable_ipv6", "0"),
        ("net.ipv6.conf.eth0.addr_gen_mode", "0"),
        // No address is added or removed, and no route is changed.
        ("net.ipv6.conf.eth0.addr_gen_mode", "1"),
        ("net.ipv6.conf.eth0.mtu", "1400"),
        // Only for interfaces that are added later.
        ("net.ipv6.conf.default.disable_ipv6", "1"),
        ("net.ipv4.conf.default.forwarding", "1"),
    ] {
        let machine = machine(with_side_effects());
        let set = SysctlSet::new([Wanted::new(key, value).required()]);
        let _ = set.apply(&mut session(&machine)).unwrap();
        assert!(set.verify(&session(&machine)).unwrap().is_as_wanted());
    }
    // Changing it from 1 to 0 removes nothing.
    let machine = machine(with_side_effects());
    machine
        .memory()
        .write(path("net/ipv6/conf/eth0/disable_ipv6"), "1")
        .unwrap();
    let off = Wanted::new("net.ipv6.conf.eth0.disable_ipv6", 0).required();
    let _ = SysctlSet::new([off]).apply(&mut session(&machine)).unwrap();
}

#[test]
fn what_is_right_only_beside_another_setting_is_not_kept_without_it() {
    let machine = machine(testing::kernel());
    let set = SysctlSet::new([
        Wanted::new("vm.swappiness", 100).until_reboot("its zram is made by apply"),
        Wanted::new("vm.dirty_ratio", 10),
    ])
    .persisted_as("gaming");
    let applied = set.apply(&mut session(&machine)).unwrap();
    assert_eq!(
        applied.notes,
        ["vm.swappiness = 100 is not kept across reboots: its zram is made by apply"]
    );
    assert_eq!(machine.memory().get(path("vm/swappiness")).unwrap(), "100");
    let file = machine.memory().get(SysctlSet::file("gaming")).unwrap();
    assert!(
        !file.contains("swappiness") && file.contains("dirty_ratio"),
        "{file}"
    );
    assert!(set.verify(&session(&machine)).unwrap().is_as_wanted());
}

const CONNTRACK: &str = "/etc/modules-load.d/60-hosttune-gaming.conf";

fn with_module(memory: Memory, module: &str, key: &str) -> Memory {
    memory
        .file(
            format!("/sys/module/{module}/initstate"),
            "live",
            Behaviour::refuses(13),
        )
        .file(path(key), "0", testing::plain_integers())
}

#[test]
fn a_key_of_a_module_is_kept_with_its_module() {
    let memory = with_module(
        testing::kernel(),
        "nf_conntrack",
        "net/netfilter/nf_conntrack_max",
    );
    let memory = with_module(memory, "br_netfilter", "net/bridge/bridge-nf-call-iptables");
    let machine = machine(memory);
    let was = machine.snapshot();
    let set = SysctlSet::new([
        Wanted::new("net.netfilter.nf_conntrack_max", 1_048_576),
        Wanted::new("net.nf_conntrack_max", 1_048_576).optional(),
        Wanted::new("net.bridge.bridge-nf-call-iptables", 1),
    ])
    .persisted_as("gaming");
    let _ = set.apply(&mut session(&machine)).unwrap();
    let file = machine.memory().get(CONNTRACK).unwrap();
    let modules: Vec<&str> = file.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(modules, ["nf_conntrack", "br_netfilter"], "{file}");
    assert!(set.verify(&session(&machine)).unwrap().is_as_wanted());
    assert!(set.plan(&session(&machine)).unwrap().is_empty());
    assert!(session(&machine).revert().unwrap().is_complete());
    assert_eq!(machine.snapshot(), was);
    // A set that is not persisted needs no module at the next boot.
    let set = SysctlSet::new([Wanted::new("net.netfilter.nf_conntrack_max", 1_048_576)]);
    let _ = set.apply(&mut session(&machine)).unwrap();
    assert_eq!(machine.memory().get(CONNTRACK), None);
}

#[test]
fn a_key_that_is_not_there_is_said_not_to_hold() {
    for (key, module) in [
        ("net.netfilter.nf_conntrack_max", "nf_conntrack"),
        ("net.bridge.bridge-nf-call-ip6tables", "br_netfilter"),
    ] {
        let machine = machine(testing::kernel());
        let set = SysctlSet::new([Wanted::new(key, 1)]).persisted_as("gaming");
        let plan = set.plan(&session(&machine)).unwrap();
        let told = plan.notes.iter().find(|note| note.starts_with(key));
        let told = told.unwrap_or_else(|| panic!("{:?}", plan.notes));
        assert!(
            told.contains("is lost after a reboot") && told.contains(module),
            "{told}"
        );
        let _ = set.apply(&mut session(&machine)).unwrap();
        assert_eq!(machine.memory().get(CONNTRACK), None);
    }
    // No note if a modules-load.d file loads the module at boot. Comments and other suffixes do not count.
    for (file, text, is_told) in [
        ("/etc/modules-load.d/net.conf", "nf-conntrack\n", false),
        (
            "/usr/lib/modules-load.d/net.conf",
            "# x\n\nnf_conntrack\n",
            false,
        ),
        ("/etc/modules-load.d/net.conf", "#nf_conntrack\n", true),
        ("/etc/modules-load.d/net.txt", "nf_conntrack\n", true),
    ] {
        let memory = testing::kernel().file(file, text, Behaviour::takes_all());
        let machine = machine(memory);
        let set = SysctlSet::new([Wanted::new("net.netfilter.nf_conntrack_max", 1)]);
        let plan = set.persisted_as("gaming").plan(&session(&machine)).unwrap();
        let told = plan
            .notes
            .iter()
            .any(|note| note.contains("is lost after a reboot"));
        assert_eq!(told, is_told, "{file} {text:?}: {:?}", plan.notes);
    }
    // On an image no module is loaded, so the value is lost as well.
    let machine = machine(Memory::new().directory("/etc"));
    let set = SysctlSet::new([Wanted::new("net.netfilter.nf_conntrack_max", 1)]);
    let plan = set.persisted_as("gaming").plan(&session(&machine)).unwrap();
    assert!(
        plan.notes[0].contains("is lost after a reboot"),
        "{:?}",
        plan.notes
    );
}

/// Netfilter's core has keys besides those of conntrack. A module is loaded only for keys that are kept.
#[test]
fn no_module_is_loaded_for_what_does_not_need_it() {
    let set = |keys: &[&str]| {
        let wanted = keys.iter().map(|key| Wanted::new(*key, 1));
        SysctlSet::new(wanted).persisted_as("gaming")
    };
    let memory = with(&[
        ("net/netfilter/nf_log_all_netns", "0"),
        ("net/netfilter/nf_conntrack_max", "0"),
    ]);
    let machine = machine(with_module(
        memory,
        "nf_conntrack",
        "net/netfilter/nf_conntrack_buckets",
    ));
    let was = machine.snapshot();
    let _ = set(&["net.netfilter.nf_log_all_netns"])
        .apply(&mut session(&machine))
        .unwrap();
    assert_eq!(machine.memory().get(CONNTRACK), None);
    let _ = set(&["net.netfilter.nf_conntrack_max"])
        .apply(&mut session(&machine))
        .unwrap();
    assert!(machine.memory().get(CONNTRACK).is_some());
    // The module is not loaded now, but our file from an earlier apply loads it at boot and stays.
    let ours = machine.memory().get(CONNTRACK).unwrap();
    let memory = testing::kernel().file(CONNTRACK, &ours, Behaviour::takes_all());
    let unloaded = Machine::new(memory, hosttune_sysctl::knobs);
    let plan = set(&["net.netfilter.nf_conntrack_max"])
        .plan(&session(&unloaded))
        .unwrap();
    assert!(
        !plan
            .notes
            .iter()
            .any(|note| note.contains("is lost after a reboot")),
        "{:?}",
        plan.notes
    );
    assert!(
        plan.steps
            .iter()
            .all(|step| !step.knob.text.contains("modules-load"))
    );
    // A set without such a key stops loading it.
    let _ = set(&["net.netfilter.nf_log_all_netns"])
        .apply(&mut session(&machine))
        .unwrap();
    assert_eq!(machine.memory().get(CONNTRACK), None);
    assert!(session(&machine).revert().unwrap().is_complete());
    assert_eq!(machine.snapshot(), was);
}

/// A deferred setting needs no consent now, because nothing is changed now. Kept, it is set at the next boot.
#[test]
fn what_is_deferred_is_not_kept_without_consent() {
    let machine = machine(with_side_effects());
    let later =
        |wanted: Wanted| SysctlSet::new([wanted.deferred(When::Reboot)]).persisted_as("gaming");
    let key = "net.ipv6.conf.all.disable_ipv6";
    let _ = later(Wanted::new(key, 1))
        .apply(&mut session(&machine))
        .unwrap();
    let kept = || {
        machine
            .memory()
            .get(SysctlSet::file("gaming"))
            .unwrap_or_default()
    };
    assert!(!kept().contains(key), "{}", kept());
    let _ = later(Wanted::new(key, 1).accept_side_effects())
        .apply(&mut session(&machine))
        .unwrap();
    assert!(kept().contains(key), "{}", kept());
}

/// The mounts of a container: the files keep their mode, but writes are refused.
const CONTAINER: &str = "\
700 600 0:50 / / rw,relatime - overlay overlay rw
701 700 0:53 / /proc rw,nosuid - proc proc rw
702 701 0:53 /sys /proc/sys ro,nosuid - proc proc rw
703 702 0:53 /sys/net /proc/sys/net rw,nosuid - proc proc rw";
const EROFS: i32 = 30;

#[test]
fn what_is_mounted_read_only_is_said_and_the_rest_is_done() {
    let keys = ["vm/swappiness", "vm/dirty_ratio", "kernel/numa_balancing"];
    let memory = testing::kernel().file("/proc/self/mountinfo", CONTAINER, Behaviour::takes_all());
    let memory = keys.iter().fold(memory, |memory, key| {
        memory.behaving(path(key), Behaviour::refuses(EROFS))
    });
    let machine = machine(memory);
    let was = machine.snapshot();
    let set = SysctlSet::new([
        Wanted::new("vm.swappiness", 100),
        Wanted::new("vm.dirty_ratio", 10),
        // Already set.
        Wanted::new("kernel.numa_balancing", 0),
        Wanted::new("net.core.somaxconn", 8192),
        Wanted::new("net.ipv4.tcp_mtu_probing", 1),
    ]);
    let applied = set.apply(&mut session(&machine)).unwrap();
    assert_eq!(applied.changed.len(), 2, "{:?}", applied.changed);
    let unsupported: Vec<_> = applied
        .findings
        .iter()
        .filter_map(|one| match &one.state {
            State::NotApplicable { unsupported } => {
                Some((one.name.as_str(), unsupported.kind, &unsupported.why))
            }
            _ => None,
        })
        .collect();
    assert_eq!(unsupported.len(), 2, "{unsupported:?}");
    for (name, kind, why) in unsupported {
        assert_eq!(kind, UnsupportedKind::ReadOnly, "{name}");
        assert!(why.starts_with("/proc/sys is mounted read-only"), "{why}");
    }
    let report = set.verify(&session(&machine)).unwrap();
    assert!(report.is_as_wanted(), "{:?}", report.items);
    assert!(set.apply(session(&machine).strict(true)).is_err());
    assert!(session(&machine).revert().unwrap().is_complete());
    assert_eq!(machine.snapshot(), was);
}

/// A file that cannot be written is reported before anything is changed, and the rest is applied.
#[test]
fn a_file_on_a_read_only_mount_is_not_written() {
    let root = "1 0 0:1 / / ro - overlay overlay ro\n2 1 0:2 / /proc rw - proc proc rw";
    let memory = testing::kernel().file("/proc/self/mountinfo", root, Behaviour::takes_all());
    let machine = machine(memory.directory("/etc/sysctl.d"));
    let set = SysctlSet::new([Wanted::new("vm.dirty_ratio", 10)]).persisted_as("gaming");
    let applied = set.apply(&mut session(&machine)).unwrap();
    let unsupported = applied.findings.iter().find_map(|one| match &one.state {
        State::NotApplicable { unsupported } => Some((one.name.as_str(), unsupported)),
        _ => None,
    });
    let (name, unsupported) = unsupported.unwrap();
    assert!(name.contains("60-hosttune-gaming.conf"), "{name}");
    assert_eq!(unsupported.why, "/ is mounted read-only");
    assert_eq!(machine.memory().get(path("vm/dirty_ratio")).unwrap(), "10");
}
