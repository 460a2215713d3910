//! Other programs that manage the device, recognised by the files that they write.
//!
//! The formats: systemd-networkd's state of a link since version 254 (its own library reads the
//! same keys), with sections as in systemd.network(5); `NetworkManager`'s state of a device in
//! `/run/NetworkManager/devices`, with profiles as in nm-settings-keyfile(5).

use hosttune_core::host::FileContent;
use hosttune_core::testing::{CrashPoint, Memory, MemoryStore};
use hosttune_core::{Error, Host, Session, State, Tuning, UnsupportedKind};
use hosttune_qos::manager::{Manager, Program};
use hosttune_qos::testing::Kernel;
use hosttune_qos::{Cake, Netlink, Rate, Shaper};

/// `cat /run/systemd/netif/links/2`.
const NETWORKD: &str = "\
# This is private data. Do not parse.
ADMIN_STATE=configured
OPER_STATE=routable
CARRIER_STATE=carrier
ADDRESS_STATE=routable
IPV4_ADDRESS_STATE=routable
IPV6_ADDRESS_STATE=degraded
ONLINE_STATE=online
REQUIRED_FOR_ONLINE=yes
REQUIRED_OPER_STATE_FOR_ONLINE=degraded:routable
REQUIRED_FAMILY_FOR_ONLINE=any
ACTIVATION_POLICY=up
NETWORK_FILE=/etc/systemd/network/10-wan.network
NETWORK_FILE_DROPINS=\"/etc/systemd/network/10-wan.network.d/a b.conf:/etc/systemd/network/10-wan.network.d/c\\\\:d.conf:/run/systemd/network/10-wan.network.d/shape.conf\"
DNS=9.9.9.9
LLMNR=yes
MDNS=no
";

const NETWORK_FILE: &str = "/etc/systemd/network/10-wan.network";
const DROP_IN: &str = "/run/systemd/network/10-wan.network.d/shape.conf";

const NETWORK: &str = "\
[Match]
Name=wan

[Network]
DHCP=yes
# [CAKE] is what we once had here
";

/// `cat /run/NetworkManager/devices/2`.
const NETWORK_MANAGER: &str = "\
[device]
managed=true
connection-uuid=8a2d7b1e-6f4c-4d0e-9b51-0d3c5a1f7e42
nm-owned=false
route-metric-default-aspired=100
route-metric-default-effective=100
root-path=
next-server=
";

const PROFILE: &str = "\
[connection]
id=wan
uuid=8a2d7b1e-6f4c-4d0e-9b51-0d3c5a1f7e42
type=ethernet
interface-name=wan

[ethernet]

[ipv4]
method=auto
";

fn file(memory: Memory, path: &str, text: &str) -> Memory {
    memory.content(path, FileContent::new(text))
}

fn memory() -> Memory {
    Memory::new().directory("/sys/module/ifb")
}

fn managers(memory: &Memory) -> Vec<Manager> {
    let host = Host::new(memory.host(&CrashPoint::lives()));
    Manager::all_of(&host, "wan", 2).unwrap()
}

fn one(memory: &Memory) -> Manager {
    let mut all = managers(memory);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

fn session(memory: &Memory) -> Session {
    let kernel = Kernel::new();
    kernel.plug_in("wan", "veth");
    let host = Host::new(memory.host(&CrashPoint::lives())).with_backend(Netlink::over(kernel));
    let session = Session::new(host, "router", MemoryStore::new(), "boot").unwrap();
    session.with(hosttune_qos::knobs)
}

fn shaper() -> Shaper {
    Shaper::new("wan").egress(Cake::default().bandwidth(Rate::mbit(6)))
}

/// Refused with the reason, and shaped with a note if the user consents.
fn is_refused(memory: &Memory, why: &str) {
    let error = shaper().apply(&mut session(memory)).unwrap_err();
    let Error::NotApplicable(findings) = &error else {
        panic!("{error}");
    };
    let State::NotApplicable { unsupported } = &findings[0].state else {
        panic!("{findings:?}");
    };
    assert_eq!(unsupported.kind, UnsupportedKind::Managed);
    assert!(unsupported.why.contains(why), "{}", unsupported.why);
    assert!(
        error.hint().unwrap().contains("remove that setting"),
        "{error}"
    );

    let applied = shaper().discard().apply(&mut session(memory)).unwrap();
    assert_eq!(applied.changed.len(), 1);
    assert!(applied.notes[0].contains(why), "{:?}", applied.notes);
}

fn is_noted(memory: &Memory, note: &str) {
    let applied = shaper().apply(&mut session(memory)).unwrap();
    assert_eq!(applied.changed.len(), 1);
    assert_eq!(applied.notes, [note]);
}

#[test]
fn where_nobody_manages_it_nothing_is_said() {
    assert_eq!(managers(&memory()), []);
    let applied = shaper().apply(&mut session(&memory())).unwrap();
    assert_eq!(applied.notes, Vec::<String>::new());
}

#[test]
fn networkd_without_a_qdisc_is_noted() {
    let memory = file(memory(), "/run/systemd/netif/links/2", NETWORKD);
    let memory = file(memory, NETWORK_FILE, NETWORK);
    let manager = one(&memory);
    assert_eq!(manager.program, Program::Networkd);
    assert_eq!(manager.file, NETWORK_FILE);
    assert_eq!((manager.sets, manager.unread), (None, None));
    is_noted(
        &memory,
        "systemd-networkd manages wan (/etc/systemd/network/10-wan.network) and sets no qdisc",
    );
    // Another link is not managed.
    let host = Host::new(memory.host(&CrashPoint::lives()));
    assert_eq!(Manager::all_of(&host, "wan", 3).unwrap(), []);
}

#[test]
fn networkd_with_any_kind_of_qdisc_is_refused() {
    let with = |path: &str, text: &str| {
        let memory = file(memory(), "/run/systemd/netif/links/2", NETWORKD);
        let memory = file(memory, NETWORK_FILE, NETWORK);
        file(memory, path, text)
    };
    for section in [
        "CAKE",
        "QDisc",
        "TokenBucketFilter",
        "FairQueueingControlledDelay",
        "HierarchyTokenBucket",
        "TrafficControlQueueingDiscipline",
    ] {
        let text = format!("{NETWORK}\n[{section}]\nParent=root\n");
        is_refused(
            &with(NETWORK_FILE, &text),
            &format!("[{section}] in {NETWORK_FILE}"),
        );
    }
    // In a drop-in file. One of them has a space in its name, and one a colon.
    is_refused(
        &with(DROP_IN, "[CAKE]\nBandwidth=20M\n"),
        &format!("[CAKE] in {DROP_IN}"),
    );
    let blank = "/etc/systemd/network/10-wan.network.d/a b.conf";
    is_refused(&with(blank, " [PIE] \n"), &format!("[PIE] in {blank}"));
    let colon = "/etc/systemd/network/10-wan.network.d/c:d.conf";
    is_refused(&with(colon, "[HeavyHitterFilter]"), &format!("in {colon}"));
    // Classes are below a qdisc, and the other sections configure none.
    for section in ["HierarchyTokenBucketClass", "Network", "cake", "CAKE2"] {
        let memory = with(NETWORK_FILE, &format!("[{section}]\n"));
        assert_eq!(one(&memory).sets, None, "{section}");
    }
}

#[test]
fn what_networkd_does_not_manage_is_nobodys() {
    for state in [
        "ADMIN_STATE=unmanaged\n",
        "ADMIN_STATE=unmanaged\nNETWORK_FILE=/etc/systemd/network/10-wan.network\n",
        "ADMIN_STATE=initialized\nNETWORK_FILE=\n",
        "",
        "NETWORK_FILE",
        "XNETWORK_FILE=/a\n\0\u{fffd}=",
    ] {
        let memory = file(memory(), "/run/systemd/netif/links/2", state);
        assert_eq!(managers(&memory), [], "{state:?}");
    }
    // The file no longer exists.
    let memory = file(memory(), "/run/systemd/netif/links/2", NETWORKD);
    assert_eq!(one(&memory).sets, None);
}

#[test]
fn network_manager_is_noted_and_refused_by_its_profile() {
    let device = file(memory(), "/run/NetworkManager/devices/2", NETWORK_MANAGER);
    is_noted(
        &device.fork(),
        "NetworkManager manages wan (/run/NetworkManager/devices/2) and sets no qdisc",
    );
    for directory in ["/etc/NetworkManager", "/run/NetworkManager"] {
        let path = format!("{directory}/system-connections/wan.nmconnection");
        let other = format!("{directory}/system-connections/other.nmconnection");
        let shaped = "[tc]\nqdisc.root=cake\n";
        let memory = file(device.fork(), &path, PROFILE);
        // A setting in another profile does not apply to this device.
        let elsewhere = PROFILE.replace("8a2d", "9a2d") + shaped;
        let memory = file(memory, &other, &elsewhere);
        is_noted(
            &memory,
            &format!("NetworkManager manages wan ({path}) and sets no qdisc"),
        );
        let memory = file(device.fork(), &path, &format!("{PROFILE}\n{shaped}"));
        is_refused(&memory, &format!("qdisc.root in [tc] of {path}"));
        let filter = format!("[tc]\n# qdisc.root=cake\ntfilter.ffff:=matchall\n{PROFILE}");
        let memory = file(device.fork(), &path, &filter);
        is_refused(&memory, &format!("tfilter.ffff: in [tc] of {path}"));
        let memory = file(device.fork(), &path, &format!("{PROFILE}[tc]\n"));
        assert_eq!(one(&memory).sets, None);
    }
}

#[test]
fn what_network_manager_leaves_alone_is_nobodys() {
    for state in [
        &NETWORK_MANAGER.replace("managed=true", "managed=false"),
        &NETWORK_MANAGER.replace("managed=true", "#managed=true"),
        &NETWORK_MANAGER.replace("[device]", "[other]"),
        "",
    ] {
        let memory = file(memory(), "/run/NetworkManager/devices/2", state);
        assert_eq!(managers(&memory), [], "{state}");
    }
}

/// Planning is possible without root.
#[test]
fn profiles_that_only_root_may_read_are_said_to_be_unread() {
    let path = "/etc/NetworkManager/system-connections/wan.nmconnection";
    let memory = file(memory(), "/run/NetworkManager/devices/2", NETWORK_MANAGER);
    let memory = file(memory, path, PROFILE).mode(path, 0o000);
    let manager = one(&memory);
    assert_eq!(manager.unread.as_deref(), Some(path));
    let plan = shaper().plan(&session(&memory)).unwrap();
    assert!(
        plan.notes[0].contains("cannot tell whether it sets qdiscs"),
        "{:?}",
        plan.notes
    );
}

#[test]
fn sqm_scripts_are_noted() {
    for directory in ["/run/sqm", "/tmp/run/sqm"] {
        let memory = file(
            memory(),
            &format!("{directory}/wan.state"),
            "IFACE=\"wan\"\n",
        );
        assert_eq!(one(&memory).program, Program::Sqm);
        is_noted(
            &memory,
            &format!(
                "sqm-scripts already shapes wan ({directory}/wan.state): it replaces or removes these qdiscs when it starts or stops"
            ),
        );
    }
    let other = file(memory(), "/run/sqm/lan.state", "");
    assert_eq!(managers(&other), []);
}
