//! What a value does beside what is written: to devices that are there already, to addresses and
//! routes, and after the next boot.

use hosttune_core::testing::{Behaviour, Fate, Machine, Memory, World};
use hosttune_core::{LackKind, Plan, Session, State, Tuning};
use hosttune_sysctl::{SysctlSet, Wanted, testing};

fn machine(memory: Memory) -> Machine {
    Machine::new(memory, hosttune_sysctl::knobs)
}

fn session(machine: &Machine) -> Session {
    machine.session(&Fate::lives()).unwrap()
}

fn path(key: &str) -> String {
    format!("/proc/sys/{key}")
}

/// The notes of the plan, which are those of the report too.
fn notes(memory: Memory, wanted: Wanted) -> Vec<String> {
    let machine = machine(memory);
    let set = SysctlSet::new([wanted]);
    let session = session(&machine);
    let notes = set.plan(&session).unwrap().notes;
    assert_eq!(set.verify(&session).unwrap().notes, notes);
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
    // Without devices there is nothing that it does not reach.
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
    // A key that this namespace does not have reaches nothing, and is said to lack.
    let elsewhere = device(
        testing::in_network_namespace(testing::kernel()),
        "eth0",
        "0x1003",
    );
    assert_eq!(notes(elsewhere, wanted()), Vec::<String>::new());
}

#[test]
fn a_default_names_the_interfaces_that_have_a_value_of_their_own() {
    let with = |keys: &[(&str, &str)]| {
        keys.iter().fold(testing::kernel(), |memory, (key, value)| {
            memory.file(path(key), value, testing::plain_integers())
        })
    };
    // IPv4 copies it to each that nobody has set.
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
            "net.ipv4.conf.default.rp_filter = 2 is for devices that come later; there already, with a value of their own: eth0 (1)"
        ]
    );
    // IPv6 copies it to none.
    let ipv6 = || {
        with(&[
            ("net/ipv6/conf/default/accept_ra", "1"),
            ("net/ipv6/conf/eth0/accept_ra", "1"),
            ("net/ipv6/conf/wlan0/accept_ra", "0"),
        ])
    };
    let told = notes(ipv6(), Wanted::new("net.ipv6.conf.default.accept_ra", 0));
    assert!(told[0].ends_with(": eth0 (1)"), "{told:?}");
    // So is it still when the default is as wanted.
    let told = notes(ipv6(), Wanted::new("net.ipv6.conf.default.accept_ra", 1));
    assert!(told[0].ends_with(": wlan0 (0)"), "{told:?}");
    // Nor does IPv4 its forwarding; neighbours of both families follow.
    let forwarding = Wanted::new("net.ipv4.conf.default.forwarding", 1);
    let told = notes(testing::kernel(), forwarding);
    assert!(told[0].contains("eth0 (0)"), "{told:?}");
    let neighbours = with(&[
        ("net/ipv6/neigh/default/ucast_solicit", "3"),
        ("net/ipv6/neigh/eth0/ucast_solicit", "3"),
        ("net/ipv6/neigh/wlan0/ucast_solicit", "5"),
    ]);
    let told = notes(
        neighbours,
        Wanted::new("net.ipv6.neigh.default.ucast_solicit", 4),
    );
    assert!(told[0].ends_with(": wlan0 (5)"), "{told:?}");
    // A key of one interface, or of all, says nothing of others.
    let own = Wanted::new("net.ipv4.conf.eth0.rp_filter", 2);
    let memory = with(&[("net/ipv4/conf/eth0/rp_filter", "1")]);
    assert_eq!(notes(memory, own), Vec::<String>::new());
}

/// Keys with effects outside of `/proc/sys`, as they come up.
fn with_side_effects() -> Memory {
    [
        ("net/ipv6/conf/all/disable_ipv6", "0"),
        ("net/ipv6/conf/default/disable_ipv6", "0"),
        ("net/ipv6/conf/eth0/disable_ipv6", "0"),
        ("net/ipv6/conf/all/forwarding", "0"),
        ("net/ipv6/conf/eth0/forwarding", "0"),
        ("net/ipv6/conf/all/mtu", "1280"),
        ("net/ipv6/conf/eth0/mtu", "1500"),
        ("net/ipv6/conf/eth0/addr_gen_mode", "0"),
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
        ("net.ipv6.conf.eth0.mtu", "1400"),
        ("net.ipv6.conf.eth0.addr_gen_mode", "3"),
    ] {
        let machine = machine(with_side_effects());
        let was = machine.picture();
        let refused = SysctlSet::new([Wanted::new(key, value), Wanted::new("vm.swappiness", 70)])
            .persisted_as("gaming");
        let applied = refused.apply(&mut session(&machine)).unwrap();
        let lack = applied.findings.iter().find_map(|one| match &one.state {
            State::NotApplicable { lack } => Some(lack),
            _ => None,
        });
        let lack = lack.unwrap_or_else(|| panic!("{key}: {:?}", applied.findings));
        assert_eq!(lack.kind, LackKind::SideEffects, "{key}");
        assert!(lack.hint.as_deref().unwrap().contains("consent"), "{key}");
        // The rest is done, and the next boot does not do it either.
        assert_eq!(machine.memory().get(path("vm/swappiness")).unwrap(), "70");
        let file = machine.memory().get(SysctlSet::file("gaming")).unwrap();
        assert!(
            !file.contains(key) && file.contains("vm.swappiness"),
            "{file}"
        );
        session(&machine).revert().unwrap();
        assert_eq!(machine.picture(), was, "{key}");
        assert!(refused.apply(&mut session(&machine).strict(true)).is_err());

        let consented = SysctlSet::new([Wanted::new(key, value).accept_side_effects()]);
        let plan: Plan = consented.plan(&session(&machine)).unwrap();
        assert!(
            plan.notes
                .iter()
                .any(|note| note.starts_with(key) && note.contains("revert")),
            "{key}: {:?}",
            plan.notes
        );
        consented.apply(&mut session(&machine)).unwrap();
        session(&machine).revert().unwrap();
        assert_eq!(machine.picture(), was, "{key}");
    }
}

#[test]
fn what_changes_nothing_that_is_there_needs_no_consent() {
    for (key, value) in [
        // As it is.
        ("net.ipv6.conf.all.disable_ipv6", "0"),
        ("net.ipv6.conf.eth0.mtu", "1500"),
        // For interfaces that come later.
        ("net.ipv6.conf.default.disable_ipv6", "1"),
        ("net.ipv4.conf.default.forwarding", "1"),
        // Read by nothing.
        ("net.ipv6.conf.all.mtu", "1400"),
    ] {
        let machine = machine(with_side_effects());
        let set = SysctlSet::new([Wanted::new(key, value).required()]);
        set.apply(&mut session(&machine)).unwrap();
        assert!(set.verify(&session(&machine)).unwrap().is_as_wanted());
    }
    // The way back from 1 takes nothing away.
    let machine = machine(with_side_effects());
    machine
        .memory()
        .write(path("net/ipv6/conf/eth0/disable_ipv6"), "1")
        .unwrap();
    let off = Wanted::new("net.ipv6.conf.eth0.disable_ipv6", 0).required();
    SysctlSet::new([off]).apply(&mut session(&machine)).unwrap();
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
    let was = machine.picture();
    let set = SysctlSet::new([
        Wanted::new("net.netfilter.nf_conntrack_max", 1_048_576),
        Wanted::new("net.nf_conntrack_max", 1_048_576).optional(),
        Wanted::new("net.bridge.bridge-nf-call-iptables", 1),
    ])
    .persisted_as("gaming");
    set.apply(&mut session(&machine)).unwrap();
    let file = machine.memory().get(CONNTRACK).unwrap();
    let modules: Vec<&str> = file.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(modules, ["nf_conntrack", "br_netfilter"], "{file}");
    assert!(set.verify(&session(&machine)).unwrap().is_as_wanted());
    assert!(set.plan(&session(&machine)).unwrap().is_empty());
    session(&machine).revert().unwrap();
    assert_eq!(machine.picture(), was);
    // A set that lasts until the next boot needs no module then.
    let set = SysctlSet::new([Wanted::new("net.netfilter.nf_conntrack_max", 1_048_576)]);
    set.apply(&mut session(&machine)).unwrap();
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
            told.contains("does not hold after a reboot") && told.contains(module),
            "{told}"
        );
        set.apply(&mut session(&machine)).unwrap();
        assert_eq!(machine.memory().get(CONNTRACK), None);
    }
    // Nor on an image, where no module is loaded.
    let machine = machine(Memory::new().directory("/etc"));
    let set = SysctlSet::new([Wanted::new("net.netfilter.nf_conntrack_max", 1)]);
    let plan = set.persisted_as("gaming").plan(&session(&machine)).unwrap();
    assert!(plan.notes[0].contains("does not hold"), "{:?}", plan.notes);
}

/// As containers have it: the files keep their mode, and writing is refused.
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
    let was = machine.picture();
    let set = SysctlSet::new([
        Wanted::new("vm.swappiness", 100),
        Wanted::new("vm.dirty_ratio", 10),
        // It is so already.
        Wanted::new("kernel.numa_balancing", 0),
        Wanted::new("net.core.somaxconn", 8192),
        Wanted::new("net.ipv4.tcp_mtu_probing", 1),
    ]);
    let applied = set.apply(&mut session(&machine)).unwrap();
    assert_eq!(applied.turned.len(), 2, "{:?}", applied.turned);
    let lacking: Vec<_> = applied
        .findings
        .iter()
        .filter_map(|one| match &one.state {
            State::NotApplicable { lack } => Some((one.name.as_str(), lack.kind, &lack.why)),
            _ => None,
        })
        .collect();
    assert_eq!(lacking.len(), 2, "{lacking:?}");
    for (name, kind, why) in lacking {
        assert_eq!(kind, LackKind::ReadOnly, "{name}");
        assert!(why.starts_with("/proc/sys is mounted read-only"), "{why}");
    }
    let report = set.verify(&session(&machine)).unwrap();
    assert!(report.is_as_wanted(), "{:?}", report.items);
    assert!(set.apply(&mut session(&machine).strict(true)).is_err());
    session(&machine).revert().unwrap();
    assert_eq!(machine.picture(), was);
}
