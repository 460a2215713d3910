//! The identity of a card, whatever its name is now; and what only the initial network namespace
//! shows.

use std::str::FromStr;

use hosttune_core::testing::{CrashPoint, Memory, MemoryStore};
use hosttune_core::{Error, Host, LinuxHost, Session, State, Tuning, UnsupportedKind};
use hosttune_qos::netlink::{TC_H_ROOT, TrafficControl};
use hosttune_qos::testing::Kernel;
use hosttune_qos::{Cake, HardwareAddress, Netlink, Rate, RootState, Shaper};
use hosttune_test_machine::inside_stock_kernels;

use crate::namespace::{backend, enter, tell};

const FIRST: &str = "52:54:00:00:00:01";
const SECOND: &str = "52:54:00:00:00:02";

fn address(text: &str) -> HardwareAddress {
    HardwareAddress::from_str(text).unwrap()
}

fn shaper(device: &str) -> Shaper {
    Shaper::new(device).egress(Cake::default().bandwidth(Rate::mbit(6)))
}

/// Why it cannot be shaped, and what to do about it: an error if the shaper is required, and the
/// same as a finding if it is optional.
fn unsupported(shaper: &Shaper, session: &Session) -> (UnsupportedKind, String, String) {
    let Err(Error::NotApplicable(findings)) = shaper.plan(session) else {
        panic!("it can be planned");
    };
    let plan = shaper.clone().optional().plan(session).unwrap();
    assert!(plan.steps.is_empty());
    assert_eq!(plan.findings[0].state, findings[0].state);
    let State::NotApplicable { unsupported } = &findings[0].state else {
        panic!("{findings:?}");
    };
    (
        unsupported.kind,
        unsupported.why.clone(),
        unsupported.hint.clone().unwrap(),
    )
}

#[test]
fn another_card_of_the_name_is_not_shaped() {
    let kernel = Kernel::new()
        .card("eth0", address(SECOND).as_slice())
        .card("eth1", address(FIRST).as_slice())
        .link("veth0", "veth", 1);
    let host = Host::new(Memory::new().host(&CrashPoint::lives()))
        .with_backend(Netlink::over(kernel.clone()));
    let session = Session::new(host, "router", MemoryStore::new(), "boot").unwrap();
    let mut session = session.with(hosttune_qos::knobs);
    let wanted = shaper("eth0").permanent_address(address(FIRST));
    let (kind, why, hint) = unsupported(&wanted, &session);
    assert_eq!(kind, UnsupportedKind::Other);
    assert_eq!(
        why,
        "eth0 is now a different card: its address is 52:54:00:00:00:02, not 52:54:00:00:00:01"
    );
    assert!(hint.contains("permaddr"), "{hint}");
    assert_eq!(kernel.changes(), 0);

    let (_, why, _) = unsupported(&shaper("veth0").permanent_address(address(FIRST)), &session);
    assert!(why.contains("veth0 has no permanent address"), "{why}");
    let (_, why, hint) = unsupported(&shaper("eth7").permanent_address(address(FIRST)), &session);
    assert_eq!(why, "there is no device eth7");
    assert_eq!(hint, "the card 52:54:00:00:00:01 is now named eth1");
    let nowhere = shaper("eth7").permanent_address(address("52:54:00:00:00:09"));
    let (_, _, hint) = unsupported(&nowhere, &session);
    assert!(
        hint.contains("the card 52:54:00:00:00:09 is missing too"),
        "{hint}"
    );

    let right = shaper("eth1").permanent_address(address(FIRST));
    let _ = right.apply(&mut session).unwrap();
    assert!(right.verify(&session).unwrap().is_as_wanted());
}

#[test]
fn a_shaper_is_the_same_written_and_read() {
    let with = shaper("eth0").permanent_address(address(FIRST));
    let text = serde_json::to_string(&with).unwrap();
    assert!(
        text.contains(r#""permanent-address":"52:54:00:00:00:01""#),
        "{text}"
    );
    assert_eq!(serde_json::from_str::<Shaper>(&text).unwrap(), with);
    // As an earlier version wrote it.
    let without = serde_json::to_string(&shaper("eth0")).unwrap();
    assert!(!without.contains("permanent"), "{without}");
    assert!(serde_json::from_str::<Shaper>(&without.replace("eth0", "eth1")).is_ok());
    let wrong = text.replace(FIRST, "eth0");
    let error = serde_json::from_str::<Shaper>(&wrong).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("'eth0' is not a hardware address"),
        "{error}"
    );
}

/// A journal of an earlier version does not contain `default_qdisc`.
#[test]
fn a_default_root_of_an_earlier_journal_is_still_one() {
    let earlier: RootState = serde_json::from_str(r#"{"default":{"shows":"fq_codel"}}"#).unwrap();
    let shows = Some("fq_codel".to_owned());
    assert_eq!(
        earlier,
        RootState::Default {
            shows,
            default_qdisc: None
        }
    );
}

#[test]
fn a_default_qdisc_that_is_another_by_now_is_said_on_the_way_back() {
    let path = "/proc/sys/net/core/default_qdisc";
    let takes_all = hosttune_core::testing::Behaviour::takes_all();
    let memory = Memory::new().file(path, "fq_codel", takes_all);
    let kernel = Kernel::new();
    kernel.plug_in("wan", "");
    let session = || {
        let host = Host::new(memory.host(&CrashPoint::lives()))
            .with_backend(Netlink::over(kernel.clone()));
        let store = MemoryStore::new();
        let session = Session::new(host, "router", store, "boot").unwrap();
        session.with(hosttune_qos::knobs)
    };
    let mut same = session();
    let _ = shaper("wan").apply(&mut same).unwrap();
    assert_eq!(same.revert().unwrap().notes, Vec::<String>::new());

    // Changed before or after the device was shaped.
    for before in [false, true] {
        let change = || {
            memory.write(path, "pfifo_fast").unwrap();
            kernel.set_default_qdisc("pfifo_fast");
        };
        let mut other = session();
        if before {
            change();
        }
        let _ = shaper("wan").apply(&mut other).unwrap();
        if !before {
            change();
        }
        let reverted = other.revert().unwrap();
        assert_eq!(reverted.not_reverted, []);
        let note = "the kernel attaches another qdisc than fq_codel by default now, so that fq_codel was attached to wan explicitly";
        assert_eq!(reverted.notes, [note]);
        let root = kernel.snapshot()["root wan"].clone();
        assert!(root.starts_with("fq_codel 800"), "{root}");
        assert_eq!(other.revert().unwrap().undone, []);
        // The default again, as after a boot.
        memory.write(path, "fq_codel").unwrap();
        kernel.set_default_qdisc("fq_codel");
        let mut backend = Netlink::over(kernel.clone());
        let link = backend.link("wan").unwrap().unwrap();
        let delete = TrafficControl::delete(&link, TC_H_ROOT, 0);
        backend.change(&delete).unwrap();
    }
}

/// The default was attached to the IFB explicitly, and then the IFB was taken for one that another
/// program uses: it stayed.
#[test]
fn an_ifb_is_deleted_also_if_the_default_qdisc_is_another_by_now() {
    let path = "/proc/sys/net/core/default_qdisc";
    let takes_all = hosttune_core::testing::Behaviour::takes_all();
    let memory = Memory::new().file(path, "fq_codel", takes_all);
    let kernel = Kernel::new();
    kernel.plug_in("wan", "");
    let before = kernel.snapshot();
    let host =
        Host::new(memory.host(&CrashPoint::lives())).with_backend(Netlink::over(kernel.clone()));
    let session = Session::new(host, "router", MemoryStore::new(), "boot").unwrap();
    let mut session = session.with(hosttune_qos::knobs);
    let ingress = Cake::default().bandwidth(Rate::mbit(6));
    let shaped = Shaper::new("wan").ingress(ingress);
    let _ = shaped.apply(&mut session).unwrap();
    memory.write(path, "pfifo_fast").unwrap();
    kernel.set_default_qdisc("pfifo_fast");
    let reverted = session.revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    assert_eq!(reverted.notes, Vec::<String>::new());
    assert_eq!(kernel.snapshot(), before);
}

/// A kind that the kernel does not have any more, and a device with several queues.
#[test]
fn a_default_that_cannot_be_attached_is_said_to_be_another_one() {
    let path = "/proc/sys/net/core/default_qdisc";
    for (queues, shows) in [(1, "pfifo_fast"), (4, "mq")] {
        let takes_all = hosttune_core::testing::Behaviour::takes_all();
        let memory = Memory::new().file(path, "fq_codel", takes_all);
        let kernel = Kernel::new().link("wan", "", queues);
        let mut backend = Netlink::over(kernel.clone());
        let link = backend.link("wan").unwrap().unwrap();
        backend.change(&link.bring(true)).unwrap();
        let host = Host::new(memory.host(&CrashPoint::lives()))
            .with_backend(Netlink::over(kernel.clone()));
        let session = Session::new(host, "router", MemoryStore::new(), "boot").unwrap();
        let mut session = session.with(hosttune_qos::knobs);
        let _ = shaper("wan").apply(&mut session).unwrap();
        memory.write(path, "pfifo_fast").unwrap();
        kernel.set_default_qdisc("pfifo_fast");
        let kernel = kernel.without("fq_codel");
        let reverted = session.revert().unwrap();
        assert_eq!(reverted.not_reverted, []);
        assert_eq!(reverted.notes.len(), 1, "{:?}", reverted.notes);
        assert!(
            reverted.notes[0].contains("pfifo_fast now"),
            "{:?}",
            reverted.notes
        );
        assert_eq!(kernel.snapshot()["root wan"], format!("default {shows}"));
    }
}

#[test]
fn a_link_without_a_carrier_is_shaped_all_the_same() {
    let kernel = Kernel::new();
    kernel.plug_in("wan", "");
    kernel.set_carrier("wan", false);
    let host = Host::new(Memory::new().host(&CrashPoint::lives()))
        .with_backend(Netlink::over(kernel.clone()));
    let session = Session::new(host, "router", MemoryStore::new(), "boot").unwrap();
    let mut session = session.with(hosttune_qos::knobs);
    let applied = shaper("wan").apply(&mut session).unwrap();
    assert_eq!(applied.changed.len(), 1);
    assert_eq!(applied.notes, ["wan has no carrier; it is shaped anyway"]);
}

fn live() -> Session {
    let host = Host::new(LinuxHost::at("/").unwrap()).with_backend(backend());
    let session = Session::new(host, "cards-test", MemoryStore::new(), "boot").unwrap();
    session.with(hosttune_qos::knobs)
}

/// The machine's cards, in the initial network namespace: e1000e and virtio.
fn cards_are_known_by_their_permanent_addresses() {
    tell("modprobe sch_cake");
    let backend = backend();
    let found = |text: &str| backend.link_of_card(&address(text)).unwrap();
    let e1000e = found(FIRST).unwrap();
    assert_eq!(e1000e.bus.as_deref(), Some("pci"));
    assert!(e1000e.bus_address.as_deref().unwrap().starts_with("0000:"));
    let virtio = found(SECOND).unwrap();
    assert_eq!(virtio.bus.as_deref(), Some("virtio"));
    assert_eq!(found("52:54:00:00:00:09"), None);

    // With another name and another address than the permanent one.
    let name = &e1000e.name;
    tell(&format!(
        "ip link set {name} down; ip link set {name} address 02:00:00:00:00:07"
    ));
    tell(&format!("ip link set {name} name wan9"));
    let renamed = found(FIRST).unwrap();
    assert_eq!(
        (renamed.index, renamed.name.as_str()),
        (e1000e.index, "wan9")
    );
    assert_eq!(renamed.address, [2, 0, 0, 0, 0, 7]);

    let mut session = live();
    let meant = |device: &str, card| shaper(device).permanent_address(address(card));
    let (_, _, hint) = unsupported(&meant(name, FIRST), &session);
    assert_eq!(hint, format!("the card {FIRST} is now named wan9"));
    let (kind, why, _) = unsupported(&meant("wan9", SECOND), &session);
    assert_eq!(kind, UnsupportedKind::Other);
    assert_eq!(
        why,
        format!("wan9 is now a different card: its address is {FIRST}, not {SECOND}")
    );
    let right = meant("wan9", FIRST);
    let _ = right.apply(&mut session).unwrap();
    assert!(right.verify(&session).unwrap().is_as_wanted());
    assert_eq!(right.revert(&mut session).unwrap().not_reverted, []);
    tell(&format!(
        "ip link set wan9 address {FIRST}; ip link set wan9 name {name}"
    ));
}

/// `net.core.default_qdisc` is visible only in the initial network namespace, so only there is the
/// kind attached with one message.
fn the_default_of_the_way_back_is_that_of_its_time() {
    tell("modprobe -a sch_cake sch_fq");
    let backend = backend();
    let name = backend
        .link_of_card(&address(SECOND))
        .unwrap()
        .unwrap()
        .name;
    let before = tell("sysctl -n net.core.default_qdisc");
    tell(&format!("ip link set {name} up"));
    let mut session = live();
    let _ = shaper(&name).apply(&mut session).unwrap();
    tell("sysctl -qw net.core.default_qdisc=fq");
    let reverted = session.revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    let note = format!("{} was attached to {name} explicitly", before.trim_end());
    assert_eq!(reverted.notes.len(), 1, "{:?}", reverted.notes);
    assert!(reverted.notes[0].ends_with(&note), "{:?}", reverted.notes);
    let shown = tell(&format!("tc qdisc show dev {name}"));
    let root = format!("qdisc {} 8", before.trim_end());
    assert!(shown.contains(&root), "{shown}");
    assert!(!shown.contains("qdisc fq "), "{shown}");
    tell(&format!(
        "sysctl -qw net.core.default_qdisc={}",
        before.trim_end()
    ));
    // Without a root, the card gets its default again.
    tell(&format!(
        "ip link set {name} down; tc qdisc replace dev {name} root pfifo; tc qdisc del dev {name} root"
    ));
}

/// The other end is down: the device is up and has no carrier.
fn without_a_carrier_it_is_shaped_and_noted() {
    enter();
    tell("ip link add wan type veth peer name peer; ip link set wan up");
    let mut session = live();
    let applied = shaper("wan").apply(&mut session).unwrap();
    assert_eq!(applied.notes, ["wan has no carrier; it is shaped anyway"]);
    assert!(tell("tc qdisc show dev wan").contains("qdisc cake 485"));
    tell("ip link set peer up");
    let plan = shaper("wan").plan(&session).unwrap();
    assert!(plan.is_empty() && plan.notes.is_empty(), "{plan:?}");
    assert_eq!(session.revert().unwrap().not_reverted, []);
}

inside_stock_kernels!(
    cards_are_known_by_their_permanent_addresses,
    the_default_of_the_way_back_is_that_of_its_time,
    without_a_carrier_it_is_shaped_and_noted,
);
