//! The tuning that lends devices.

use std::collections::BTreeMap;

use hosttune_core::{AnyKnob, DeviceLink, Error, Planner, Tuning, Why};
use hosttune_modules::module::{self, Availability};
use hosttune_modules::{KernelModule, ModuleState};
use hosttune_pci::{Address, Device};
use serde::{Deserialize, Serialize};

use crate::assessment::Assessment;
use crate::bound_driver::{Binding, BoundDriver};
use crate::console_driver::{ConsoleBinding, ConsoleDriver};
use crate::device_attribute::{AttributeFile, AttributeState, DeviceAttribute};
use crate::driver_override::{DriverOverride, Override};
use crate::guests;
use crate::own_settings;
use crate::refusal::Consent;
use crate::selector::Selector;
use crate::usage;
use crate::view::is_lent;

/// The driver that gives devices to user space.
pub(crate) const VFIO_PCI: &str = "vfio-pci";
/// Its module, and the one for the mappings of memory. The kernel loads the second one by itself
/// when a virtual machine starts, and then the first could not be unloaded by a revert.
const MODULES: [&str; 2] = ["vfio_pci", "vfio_iommu_type1"];

/// Devices that are lent to a virtual machine: bound to vfio-pci until they are reverted.
///
/// A selected device is lent with the rest of its card. If anything speaks against it, nothing is
/// changed and the plan names each reason; reasons that a user may accept name their [`Consent`].
/// No process is killed, no device is reset, and no driver is forced.
///
/// Settings on an interface or a disk of a lent device end with its driver. Those of this owner are
/// set again when the device is returned, by the same revert. Those of another owner keep it from
/// being lent: the plan names owner, settings and the commands that revert them before and apply
/// them after. So do settings on a VLAN, which does not come back with the interface below it.
///
/// # What no revert brings back
/// - Addresses, routes and other settings of a network interface: see
///   [`Consent::NetworkConfiguration`].
/// - A framebuffer of the firmware (efifb, simpledrm) that vfio-pci removes: it comes back with the
///   next boot. See [`Consent::FirmwareFramebuffer`].
/// - The text console, where the device's own driver makes no framebuffer: NVIDIA's with `fbdev=0`.
///   Otherwise fbcon is unbound before the loan and bound after it: see [`Consent::Console`].
/// - Consoles that were mapped to one of several framebuffers: the kernel moves them to another.
/// - The session of a user on the screen, and whatever runs in it.
/// - The decoding of I/O ports in the command register, which VFIO switches on when a virtual machine opens
///   the device, and which a driver that does not use them leaves on.
/// - A device that does not survive its reset. It stays in the journal until it answers.
///
/// # What is not seen
/// - Programs that have a device open by another path than udev's, as in a container's own `/dev`.
/// - Interfaces in other network namespaces, of a device that has one here as well.
/// - Disks that only the kernel uses without a file that says so: exported with nvmet or LIO, further
///   disks of f2fs, the log of JFS. In other mount namespaces: file systems other than ext4, XFS, f2fs
///   and bcachefs, if no process is in the namespace. To open a disk exclusively would tell, and another
///   program that mounts it in that moment would fail.
/// - IPv4 addresses that have no route: an interface counts as used if it is up.
/// - Which disks a ZFS pool uses: all disks count as used if there is a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Lend {
    devices: Vec<Selector>,
    #[serde(default = "yes")]
    companions: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    consents: Vec<Consent>,
    #[serde(default)]
    keep_powered: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    guest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

fn yes() -> bool {
    true
}

impl Lend {
    /// Lends these devices and the rest of their cards.
    pub fn new(devices: impl IntoIterator<Item = Selector>) -> Self {
        Self {
            devices: devices.into_iter().collect(),
            companions: true,
            consents: Vec::new(),
            keep_powered: false,
            guest: None,
            why: None,
        }
    }

    /// Lends exactly the selected functions and not the rest of their cards, such as one port of a
    /// network card. The kernel can then reset them only if they have a reset of their own.
    #[must_use]
    pub fn without_companions(mut self) -> Self {
        self.companions = false;
        self
    }

    /// Accepts a consequence.
    #[must_use]
    pub fn consent(mut self, consent: Consent) -> Self {
        self.consents.push(consent);
        self
    }

    /// Keeps the devices from losing their power while they are idle (`d3cold_allowed` 0), for
    /// those that do not wake up again.
    #[must_use]
    pub fn keep_powered(mut self) -> Self {
        self.keep_powered = true;
        self
    }

    /// Names the virtual machine that the devices are for, as libvirt and QEMU name it. A virtual machine
    /// of this name may have the devices open already; another one may not.
    #[must_use]
    pub fn guest(mut self, name: impl Into<String>) -> Self {
        self.guest = Some(name.into());
        self
    }

    /// Adds the reason, which the plan shows.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    /// The selectors of the devices.
    #[must_use]
    pub fn selectors(&self) -> &[Selector] {
        &self.devices
    }

    pub(crate) fn takes_companions(&self) -> bool {
        self.companions
    }

    pub(crate) fn has_consent(&self, consent: Consent) -> bool {
        self.consents.contains(&consent)
    }

    pub(crate) fn is_for(&self, guest: Option<&str>) -> bool {
        self.guest.is_some() && self.guest.as_deref() == guest
    }

    pub(crate) fn reason(&self) -> Why {
        Why::new(self.why.as_deref().unwrap_or("lent to a virtual machine"))
    }

    /// Requests the modules. Where nothing is to be bound, only those that are loaded: so that a
    /// revert of another owner, who has loaded them, does not unload them.
    fn request_modules(at: &mut Planner<'_>, binds: bool) -> Result<(), Error> {
        for name in MODULES {
            if module::find(at.host(), name)? == Availability::Absent {
                continue;
            }
            for module in KernelModule::new(name).with_dependencies(at.host())? {
                if binds || at.now(&module)? == ModuleState::Loaded {
                    at.intermediate(&module, &ModuleState::Loaded)
                        .why("required by vfio-pci");
                }
            }
        }
        Ok(())
    }
}

/// What is set on each lent device by this owner, and is to be set again.
type Settings = BTreeMap<Address, Vec<(AnyKnob, DeviceLink)>>;

impl Lend {
    /// The settings of this owner on the devices. `None` if there are settings on them that would be
    /// lost: the devices are refused.
    fn settings(&self, at: &mut Planner<'_>, lent: &[Device]) -> Result<Option<Settings>, Error> {
        let changes = at.changes_in_effect();
        let own = changes.iter().filter(|change| change.is_own);
        let own: Vec<AnyKnob> = own
            .map(|change| change.knob.clone())
            .chain(at.requested())
            .collect();
        let mut settings = Settings::new();
        let mut is_refused = false;
        if changes.is_empty() && own.is_empty() {
            return Ok(Some(settings));
        }
        for device in lent.iter().filter(|device| !is_lent(device)) {
            let address = device.address;
            let mut names = usage::interface_names(at.host(), address)?;
            names.extend(usage::disk_names(at.host(), address)?);
            let kept = own_settings::kept(at.host(), address, &names, own.iter().cloned())?;
            for unsupported in own_settings::reasons(address, &names, &kept.lost, changes) {
                is_refused = true;
                at.skip(&address.to_string(), unsupported)
                    .required()
                    .why(self.reason());
            }
            for (knob, _) in &kept.knobs {
                at.note(format!(
                    "{knob} ends with the driver of {address} and is set again when the device is returned"
                ));
            }
            settings.insert(address, kept.knobs);
        }
        Ok((!is_refused).then_some(settings))
    }
}

impl Tuning for Lend {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        let assessment = Assessment::of(at.host(), self)?;
        for note in &assessment.notes {
            at.note(note.clone());
        }
        if !assessment.refusals.is_empty() {
            for refusal in assessment.refusals {
                at.skip(&refusal.subject, refusal.unsupported)
                    .required()
                    .why(self.reason());
            }
            return Ok(());
        }
        if guests::refuse(at, self, &assessment) {
            return Ok(());
        }
        let Some(mut settings) = self.settings(at, &assessment.lent)? else {
            return Ok(());
        };
        let vfio = Binding::driver(VFIO_PCI);
        let mut waiting = Vec::new();
        for device in &assessment.lent {
            let binding = at.now(&BoundDriver(device.address))?;
            if binding != vfio {
                waiting.push((device.address, binding));
            }
        }
        if !assessment.lent.is_empty() {
            Self::request_modules(at, !waiting.is_empty())?;
        }
        if assessment.ends_console {
            // Before any device leaves its driver; so it is undone when all have theirs again.
            at.intermediate(&ConsoleDriver::framebuffer(), &ConsoleBinding::Unbound)
                .why("fbcon holds the driver of the framebuffer on which it draws");
        }
        for (address, binding) in &waiting {
            let Binding::Driver(driver) = binding else {
                continue;
            };
            // An override that was set after the driver was bound would keep the original driver
            // from coming back. As the first step this is undone last, after that.
            if let Override::Only(only) = at.now(&DriverOverride(*address))?
                && only != *driver
            {
                at.intermediate(&DriverOverride(*address), &Override::Only(driver.clone()))
                    .why("the override keeps the original driver from being bound again");
            }
            at.intermediate(&BoundDriver(*address), &Binding::Unbound)
                .why("vfio-pci binds only a device without a driver")
                .takes_away(settings.remove(address).unwrap_or_default());
        }
        // A revert undoes the steps in the opposite order, so the override is lifted before the
        // original driver is bound, which it would keep from binding.
        for (address, _) in &waiting {
            at.intermediate(
                &DriverOverride(*address),
                &Override::Only(VFIO_PCI.to_owned()),
            )
            .why("vfio-pci has no ids of its own");
        }
        if self.keep_powered {
            for device in &assessment.lent {
                let allowed = DeviceAttribute::new(device.address, AttributeFile::D3coldAllowed);
                at.want(&allowed, &AttributeState::Value("0".to_owned()))
                    .why("a device that loses its power while it is idle may not wake up again");
            }
        }
        for device in assessment.lent.iter().rev() {
            at.want(&BoundDriver(device.address), &vfio)
                .required()
                .why(self.reason());
        }
        Ok(())
    }
}
