//! Settings on a device that is to be lent, which a journal holds.

use std::fmt;

use hosttune_core::testing::{CrashPoint, World};
use hosttune_core::{Error, Host, HostError, Knob, Planner, Session, Tuning};
use hosttune_vfio::Lend;
use hosttune_vfio::testing::Machine;
use serde::{Deserialize, Serialize};

use crate::support::{NIC, driver, nic, nvme, session};

/// A setting of an interface or a disk, as another program has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Limit {
    device: String,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limit of {}", self.device)
    }
}

fn file(device: &str) -> String {
    format!("/proc/sys/limit/{device}")
}

impl Knob for Limit {
    const NAME: &'static str = "test-limit";
    type State = String;

    fn read(&self, host: &Host) -> Result<String, HostError> {
        Ok(host.read_text(file(&self.device))?.trim().to_owned())
    }

    fn set(&self, host: &mut Host, to: &String) -> Result<(), HostError> {
        host.write_value(file(&self.device), to.as_bytes())
    }
}

struct Limited(&'static str);

impl Tuning for Limited {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        let device = self.0.to_owned();
        at.want(&Limit { device }, &"7".to_owned());
        Ok(())
    }
}

fn machine() -> Machine {
    let nvme = "0000:00:01.2/0000:03:00.0";
    ["eth0", "eth0.5", "br0", "eth9", "nvme0n1"]
        .into_iter()
        .fold(Machine::desktop(), |machine, device| {
            machine.with_file(&file(device), "1")
        })
        .with_link(
            "/sys/class/block/nvme0n1",
            &format!("../../devices/pci0000:00/{nvme}/nvme/nvme0/nvme0n1"),
        )
}

fn other(machine: &Machine, owner: &str) -> Session {
    let session = machine.session_of(owner, &CrashPoint::lives()).unwrap();
    session.with(hosttune_core::Registry::add::<Limit>)
}

#[track_caller]
fn refused(machine: &Machine, lend: &Lend) -> (String, String) {
    match lend.plan(&session(machine)) {
        Err(error @ Error::NotApplicable(_)) => (error.to_string(), error.hint().unwrap()),
        other => panic!("{other:?}"),
    }
}

/// Another owner's program is named with the part, and the loan goes on once it has reverted.
#[test]
fn what_another_owner_has_set_on_an_interface_keeps_it_from_being_lent() {
    let machine = machine();
    let before = machine.snapshot();
    let mut gaming = other(&machine, "gaming");
    let _ = ("qos", Limited("eth0")).apply(&mut gaming).unwrap();
    let tuned = machine.snapshot();
    let lend = Lend::new([nic()]);
    let (said, hint) = refused(&machine, &lend);
    assert!(said.contains("gaming has tuned it"), "{said}");
    assert!(said.contains("limit of eth0"), "{said}");
    assert!(hint.contains("gaming revert --only qos;"), "{hint}");
    assert!(hint.contains("gaming apply --only qos"), "{hint}");
    assert!(lend.apply(&mut session(&machine)).is_err());
    assert_eq!(machine.snapshot(), tuned, "nothing was changed");
    // Another device is lent.
    let _ = Lend::new([nvme()]).apply(&mut session(&machine)).unwrap();
    assert!(session(&machine).revert().unwrap().not_reverted.is_empty());

    assert!(gaming.revert().unwrap().not_reverted.is_empty());
    let _ = lend.apply(&mut session(&machine)).unwrap();
    // What is set while the device is away, on another device with such a name, is no obstacle.
    let _ = ("qos", Limited("eth0")).apply(&mut gaming).unwrap();
    assert!(lend.verify(&session(&machine)).unwrap().is_as_wanted());
    assert!(gaming.revert().unwrap().not_reverted.is_empty());
    assert!(session(&machine).revert().unwrap().not_reverted.is_empty());
    assert_eq!(driver(&machine, NIC).as_deref(), Some("e1000e"));
    assert_eq!(machine.snapshot(), before);
}

/// Nothing brings a VLAN back when the interface below it returns.
#[test]
fn what_this_owner_has_set_on_a_vlan_keeps_its_interface_from_being_lent() {
    let machine = machine()
        .with_file("/sys/class/net/eth0/upper_eth0.5/flags", "0x1002")
        .with_file("/proc/net/vlan/eth0.5", "");
    let owner = session(&machine).owner().to_owned();
    let mut own = other(&machine, &owner);
    let _ = ("qos", Limited("eth0.5")).apply(&mut own).unwrap();
    let error = Lend::new([nic()]).plan(&own).unwrap_err();
    assert!(
        error.to_string().contains(&format!("{owner} has tuned it")),
        "{error}"
    );
    let hint = error.hint().unwrap();
    assert!(
        hint.contains(&format!("{owner} revert --only qos;")),
        "{hint}"
    );
}

/// A VLAN vanishes with the interface below it, a bridge does not. Another interface is none of it.
#[test]
fn settings_of_other_interfaces_are_no_obstacle() {
    let machine = machine()
        .with_file("/sys/class/net/eth0/upper_eth0.5/flags", "0x1002")
        .with_file("/sys/class/net/eth0/upper_br0/flags", "0x1002")
        .with_file("/proc/net/vlan/eth0.5", "");
    let lend = Lend::new([nic()]);
    for (device, is_lent) in [("eth9", true), ("br0", true), ("eth0.5", false)] {
        let machine = machine.fork();
        let _ = Limited(device)
            .apply(&mut other(&machine, "gaming"))
            .unwrap();
        if is_lent {
            let _ = lend.plan(&session(&machine)).unwrap();
        } else {
            let (said, hint) = refused(&machine, &lend);
            assert!(said.contains("limit of eth0.5"), "{said}");
            assert!(hint.contains("gaming revert;"), "no part: {hint}");
        }
    }
}
