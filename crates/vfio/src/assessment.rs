//! What a lend takes, what it leaves, and why it is refused: decided without changing anything.

mod console;
mod nvidia;

use std::collections::BTreeSet;
use std::fmt;

use hosttune_core::{Host, HostError, UnsupportedKind};
use hosttune_modules::module::Availability;
use hosttune_pci::{Address, Device, Iommu, Sriov};

use crate::card::{self, Membership};
use crate::lend::Lend;
use crate::refusal::{self, Consent, Refusal};
use crate::running;
use crate::usage::{Holder, Holders, InterfaceUse};
use crate::view::{Used, View, is_lent};

/// What a lend takes, what it leaves to the host, and why it is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Assessment {
    /// The devices to lend, in the order in which they are unbound from their drivers: audio first,
    /// displays last.
    pub lent: Vec<Device>,
    /// Every function that is lent, shares a slot with one or is in its IOMMU group, by address.
    pub verdicts: Vec<Verdict>,
    /// Why the lend is refused; empty if it is not.
    pub refusals: Vec<Refusal>,
    /// What a user should know before consenting to the plan.
    pub notes: Vec<String>,
    /// Whether the text console ends with the devices, so that fbcon is unbound before.
    pub(crate) ends_console: bool,
    /// The processes that have a lent device open which a VFIO driver has already, such as a running
    /// virtual machine. Whether it is the one of this loan is not known here.
    pub(crate) guests: Vec<(Address, Holder)>,
}

/// What happens to one function, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// The function.
    pub address: Address,
    /// Its class, ids and address.
    pub what: String,
    /// What happens to it.
    pub role: Role,
    /// The reason.
    pub why: String,
}

/// What happens to a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// It is bound to vfio-pci.
    Lent,
    /// It stays with the host.
    Stays,
    /// A VFIO driver has it already, so it is not the host's, and this lend does not take it.
    WithVfio,
    /// It keeps the group from being used by a virtual machine.
    Obstacle,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            Role::Lent => "lent",
            Role::Stays => "stays with the host",
            Role::WithVfio => "stays as it is",
            Role::Obstacle => "is an obstacle",
        };
        write!(f, "{} {role}: {}", self.what, self.why)
    }
}

impl Assessment {
    /// Reads the host and decides.
    ///
    /// # Errors
    /// If a file exists and cannot be read or understood.
    pub fn of(host: &Host, lend: &Lend) -> Result<Self, HostError> {
        Ok(decide(&View::read(host, lend)?, lend))
    }
}

/// Decides from what was read.
pub(crate) fn decide(view: &View, lend: &Lend) -> Assessment {
    let mut found = Assessment {
        lent: Vec::new(),
        verdicts: Vec::new(),
        refusals: Vec::new(),
        notes: Vec::new(),
        ends_console: false,
        guests: Vec::new(),
    };
    select(view, lend, &mut found);
    let rank = |device: &Device| (card::unbind_rank(device), device.address);
    found.lent.sort_by_key(rank);
    if !found.lent.is_empty() {
        refuse_without_vfio(view, &mut found);
    }
    for device in found.lent.clone() {
        refuse_impossible(view, &device, &mut found);
        if let Some(used) = view.used.get(&device.address) {
            refuse_used(&device, used, &mut found);
            refuse_network_root(view, &device, used, &mut found);
        }
        if let Some(guests) = view.guests.get(&device.address) {
            note_partial(&device, guests, &mut found);
            let guests = guests.found.iter().cloned();
            let guests = guests.map(|guest| (device.address, guest));
            found.guests.extend(guests);
        }
    }
    judge_groups(view, &mut found);
    refuse_only_gpu(view, &mut found);
    console::refuse(view, &mut found);
    nvidia::refuse(view, &mut found);
    refusal::name_all_consents(&mut found.refusals);
    found.refusals.retain(|refusal| {
        refusal
            .consent
            .is_none_or(|consent| !lend.has_consent(consent))
    });
    found.verdicts.sort_by_key(|verdict| verdict.address);
    let verdicts = found.verdicts.iter().map(ToString::to_string);
    found.notes = verdicts.chain(found.notes.iter().cloned()).collect();
    found
}

/// The selected devices and the rest of their cards.
fn select(view: &View, lend: &Lend, found: &mut Assessment) {
    let mut taken: BTreeSet<Address> = BTreeSet::new();
    let mut selected: Vec<&Device> = Vec::new();
    for selector in lend.selectors() {
        match selector.select(&view.devices) {
            Ok(address) => {
                if !taken.insert(address) {
                    let why = format!("two selectors select {address}");
                    let hint = "remove one of them";
                    let refusal = Refusal::new(selector, UnsupportedKind::Other, why, hint);
                    found.refusals.push(refusal);
                    continue;
                }
                selected.extend(view.devices.get(address));
            }
            Err(unsupported) => found.refusals.push(Refusal {
                subject: selector.to_string(),
                unsupported: *unsupported,
                consent: None,
                is_of_this_boot: false,
            }),
        }
    }
    for device in &selected {
        found.lent.push((*device).clone());
        found
            .verdicts
            .push(verdict(device, Role::Lent, "it is selected"));
    }
    if !lend.takes_companions() {
        return;
    }
    for device in selected {
        let sriov = view.sriov.get(&device.address).unwrap_or(&Sriov::None);
        let mut is_whole = true;
        for (other, membership) in card::others(device, sriov, &view.devices) {
            if !taken.insert(other.address) {
                continue;
            }
            match membership {
                Membership::SameCard => {
                    let why = format!("it is the same card as {}", device.address);
                    // Another selected function may have left it to the host.
                    found
                        .verdicts
                        .retain(|known| known.address != other.address);
                    found.verdicts.push(verdict(other, Role::Lent, why));
                    found.lent.push(other.clone());
                }
                Membership::Separate(why) => {
                    is_whole = false;
                    // It may be selected by a later selector or be judged with its group.
                    taken.remove(&other.address);
                    if !found
                        .verdicts
                        .iter()
                        .any(|known| known.address == other.address)
                    {
                        found.verdicts.push(verdict(other, Role::Stays, why));
                    }
                }
            }
        }
        if !is_whole {
            found.notes.push(format!(
                "{} cannot be reset with its bus, because functions in its slot stay with the host",
                device.address
            ));
        }
    }
}

fn verdict(device: &Device, role: Role, why: impl Into<String>) -> Verdict {
    Verdict {
        address: device.address,
        what: device.describe(),
        role,
        why: why.into(),
    }
}

fn refuse_without_vfio(view: &View, found: &mut Assessment) {
    if view.driver == Availability::Absent {
        found.refusals.push(Refusal::new(
            "vfio-pci",
            UnsupportedKind::ValueUnavailable,
            "this kernel has no driver vfio-pci",
            "install a kernel that has it: CONFIG_VFIO_PCI",
        ));
    }
    if let Some(hint) = view.iommu.hint() {
        let subject = "IOMMU";
        let kind = UnsupportedKind::Missing;
        let why = view.iommu.to_string();
        found.refusals.push(Refusal::new(subject, kind, why, hint));
    }
}

/// What no consent lifts, and what the kernel refuses.
fn refuse_impossible(view: &View, device: &Device, found: &mut Assessment) {
    let address = device.address;
    if device.is_stuck {
        found.refusals.push(Refusal {
            subject: address.to_string(),
            unsupported: running::stuck_reason(address),
            consent: None,
            is_of_this_boot: true,
        });
        return;
    }
    let mut refuse = |kind, why: String, hint: String| {
        let refusal = Refusal::new(address, kind, why, hint);
        found.refusals.push(match kind {
            UnsupportedKind::Busy => refusal.until_reboot(),
            _ => refusal,
        });
    };
    if device.has_bus_below || device.class.is_bridge() {
        refuse(
            UnsupportedKind::ValueUnavailable,
            format!("{} is a bridge", device.describe()),
            "select the device behind it".to_owned(),
        );
    } else if device.group.is_none() && view.iommu == Iommu::Active {
        refuse(
            UnsupportedKind::ValueUnavailable,
            "it is in no IOMMU group".to_owned(),
            "the firmware leaves this device out of the IOMMU: look for an update of it".to_owned(),
        );
    }
    match view.sriov.get(&address) {
        Some(Sriov::Physical { provided, .. }) if *provided > 0 && !is_lent(device) => refuse(
            UnsupportedKind::Busy,
            format!("it provides {provided} virtual functions, which vanish with its driver"),
            format!(
                "lend one of them instead, or remove them: echo 0 > {}",
                address.file("sriov_numvfs")
            ),
        ),
        Some(Sriov::Virtual { of }) if found.lent.iter().any(|lent| lent.address == *of) => {
            found.refusals.push(Refusal::new(
                address,
                UnsupportedKind::Other,
                format!("its physical function {of} is lent as well, and it vanishes with that"),
                "lend one of the two",
            ));
        }
        _ => {}
    }
    if let Some(group) = device.group.filter(|group| view.blocked.contains(group)) {
        let why = format!(
            "firmware uses memory with IOMMU group {group} (a direct reserved region): the kernel gives it to no virtual machine"
        );
        found
            .refusals
            .push(Refusal::unless(address, Consent::ReservedRegion, why));
    }
}

fn note_partial(device: &Device, holders: &Holders, found: &mut Assessment) {
    if holders.is_partial {
        found.notes.push(format!(
            "which programs use {} is only partly known: run it as root to see all processes",
            device.address
        ));
    }
}

/// What uses a device that has to leave its driver.
fn refuse_used(device: &Device, used: &Used, found: &mut Assessment) {
    let address = device.address;
    if used.does_not_answer {
        found.refusals.push(Refusal::new(
            address,
            UnsupportedKind::Other,
            "it does not answer: its configuration space reads as all ones",
            "the device is dead or was unplugged: only switching the machine off and on may bring it back",
        ));
    }
    for holder in &used.holders.found {
        if holder.lets_go {
            found.notes.push(format!(
                "{holder} has {address} open and closes it when the card goes away"
            ));
        } else {
            let why = format!("it is in use by {holder}");
            let hint = holder.runs_in.hint();
            let refusal = Refusal::new(address, UnsupportedKind::Busy, why, hint);
            found.refusals.push(refusal.until_reboot());
        }
    }
    note_partial(device, &used.holders, found);
    for interface in &used.interfaces {
        let InterfaceUse {
            has_default_route, ..
        } = interface;
        if *has_default_route {
            let why = format!("the default route leads through its interface {interface}");
            found
                .refusals
                .push(Refusal::unless(address, Consent::DefaultRoute, why));
        } else {
            let why = format!(
                "its interface {interface} is up: addresses and routes on it are lost, and no revert sets them again"
            );
            found
                .refusals
                .push(Refusal::unless(address, Consent::NetworkConfiguration, why));
        }
    }
    if used.has_hidden_interface {
        let why = "its interface is in another network namespace, such as that of a container, which loses it for good";
        found
            .refusals
            .push(Refusal::unless(address, Consent::NetworkConfiguration, why));
    }
    for disk in &used.disks {
        if disk.is_vital() {
            let why = format!("the running system needs it: {disk}");
            found
                .refusals
                .push(Refusal::unless(address, Consent::VitalDisk, why));
        } else {
            let hint = disk.hint();
            let why = format!("its disk is in use: {disk}");
            found
                .refusals
                .push(Refusal::new(address, UnsupportedKind::Busy, why, hint));
        }
    }
}

/// An interface through which the running system may have its root.
fn refuse_network_root(view: &View, device: &Device, used: &Used, found: &mut Assessment) {
    if let (Some(mount), [interface, ..]) = (&view.over_network, &used.interfaces[..]) {
        let why = format!(
            "the running system needs {mount} over the network, perhaps through its interface {interface}"
        );
        found
            .refusals
            .push(Refusal::unless(device.address, Consent::VitalDisk, why));
    }
}

/// The other members of the groups.
fn judge_groups(view: &View, found: &mut Assessment) {
    let groups: BTreeSet<u32> = found
        .lent
        .iter()
        .filter_map(|device| device.group)
        .collect();
    let lent: BTreeSet<Address> = found.lent.iter().map(|device| device.address).collect();
    for group in groups {
        for address in view.groups.members(group) {
            let Some(member) = view
                .devices
                .get(*address)
                .filter(|_| !lent.contains(address))
            else {
                continue;
            };
            found.verdicts.retain(|known| known.address != *address);
            let driver = match &member.driver {
                Some(driver) => format!("with driver {driver}"),
                None => "without a driver".to_owned(),
            };
            if is_lent(member) {
                let why = format!(
                    "{driver} it is no obstacle in group {group}, which only one virtual machine can have: none may run that has this device"
                );
                found.verdicts.push(verdict(member, Role::WithVfio, why));
                continue;
            }
            if view.rule.admits(member) {
                let why = format!("{driver} it is no obstacle in group {group}");
                found.verdicts.push(verdict(member, Role::Stays, why));
                continue;
            }
            let why = format!("{driver} it keeps group {group} from being used");
            found.verdicts.push(verdict(member, Role::Obstacle, why));
            found.refusals.push(Refusal::new(
                address,
                UnsupportedKind::Busy,
                format!(
                    "it is in IOMMU group {group} with a lent device, and the host uses it {driver}: no virtual machine gets a group of which the host uses a part"
                ),
                format!(
                    "lend it as well: select {}@{address} too; or put the card into another slot",
                    member.ids
                ),
            ));
        }
    }
}

/// A display that the host loses, if it has no other to show anything on.
fn refuse_only_gpu(view: &View, found: &mut Assessment) {
    let leaves =
        |device: &&Device| device.class.is_display() && device.driver.is_some() && !is_lent(device);
    let leaving: Vec<&Device> = found.lent.iter().filter(leaves).collect();
    let Some(first) = leaving.first() else {
        return;
    };
    let is_lent = |address: &Address| found.lent.iter().any(|device| device.address == *address);
    let stay = view
        .connectors
        .iter()
        .filter(|(address, _)| !is_lent(address));
    let (mut outputs, mut monitors) = (0, 0);
    for (_, connectors) in stay {
        outputs += connectors.total;
        monitors += connectors.connected;
    }
    let of = |device: &&Device| {
        view.connectors
            .get(&device.address)
            .copied()
            .unwrap_or_default()
    };
    let loses_monitor = leaving.iter().any(|device| of(device).connected > 0);
    let why = if outputs == 0 {
        "it is the only display controller with a driver: the host has no screen while it is lent, and a framebuffer of the firmware comes back only with the next boot"
    } else if monitors == 0 && loses_monitor {
        "the only monitor is connected to it: the host shows nothing while it is lent"
    } else {
        return;
    };
    let refusal = Refusal::unless(first.address, Consent::OnlyGpu, why);
    found.refusals.push(refusal);
}
