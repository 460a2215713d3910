//! The kernel's side of the fake bus: matching, probing, unbinding.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use hosttune_core::testing::{Behaviour, Memory};

use super::fault::Fault;
use super::function::Function;
use crate::address::Address;
use crate::group::is_vfio_driver;
use crate::id::Ids;

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EAGAIN: i32 = 11;
const EBUSY: i32 = 16;
const EEXIST: i32 = 17;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;
/// Not an answer: the kernel does not return.
pub(super) const HANGS: i32 = i32::MIN;
/// `driver_set_override` refuses this length and more.
const LONGEST_OVERRIDE: usize = 4096 - 1;

#[derive(Debug, Clone, Default)]
pub(super) struct Kernel {
    functions: BTreeMap<Address, Function>,
    drivers: BTreeMap<String, Vec<Ids>>,
    /// The bound drivers, which the links show.
    bound: BTreeMap<Address, String>,
    pub(super) faults: Vec<Fault>,
    pub(super) owned: BTreeSet<u32>,
    /// The functions whose lock is held by a change that does not return.
    pub(super) hanging: BTreeMap<Address, Hanging>,
    late: Vec<(Duration, Address, String)>,
    /// How often a driver was bound.
    instances: u64,
    now: Duration,
}

/// A change that does not return.
#[derive(Debug, Clone)]
pub(super) enum Hanging {
    /// `really_probe`, after it has made the links.
    Bind(String),
    /// `__device_release_driver`, after it has removed the links.
    Unbind(String),
}

fn real_directory(function: &Function) -> String {
    let mut path = format!("/sys/devices/pci{:04x}:00", function.address.domain());
    for address in function.above.iter().chain([&function.address]) {
        path.push_str(&format!("/{address}"));
    }
    path
}

/// The paths of a file and of the directories between it and the function's own.
fn with_directories(base: &str, name: &str) -> Vec<String> {
    let mut path = base.to_owned();
    let parts = name.split('/').map(|part| {
        path.push_str(&format!("/{part}"));
        path.clone()
    });
    parts.collect()
}

/// The path of a file of a function: its own, or one elsewhere.
fn place(base: &str, name: &str) -> String {
    match name.starts_with('/') {
        true => name.to_owned(),
        false => format!("{base}/{name}"),
    }
}

fn remove(memory: &Memory, paths: impl IntoIterator<Item = String>) {
    memory.change(|tree| {
        for path in paths {
            tree.remove(path);
        }
    });
}

impl Kernel {
    pub(super) fn plug(&mut self, memory: &Memory, function: Function) {
        let base = real_directory(&function);
        let address = function.address;
        let target = format!("../../../{}", base.trim_start_matches("/sys/"));
        let all = Behaviour::takes_all;
        let mut memory = memory
            .clone()
            .file(
                format!("{base}/vendor"),
                &format!("0x{}", function.ids.vendor),
                all(),
            )
            .file(
                format!("{base}/device"),
                &format!("0x{}", function.ids.device),
                all(),
            )
            .file(format!("{base}/class"), &function.class, all())
            .file(format!("{base}/driver_override"), "(null)", all())
            .file(format!("{base}/power_state"), "D0", all())
            .file(
                format!("{base}/d3cold_allowed"),
                "1",
                Behaviour::integer(0..=1),
            )
            .file(
                format!("{base}/power/control"),
                "on",
                Behaviour::one_of(["on", "auto"]),
            )
            .link(address.directory(), target);
        let subsystem = function.subsystem;
        for (name, id) in [
            ("subsystem_vendor", subsystem.map(|ids| ids.vendor)),
            ("subsystem_device", subsystem.map(|ids| ids.device)),
        ] {
            let id = id.map_or_else(|| "0x0000".to_owned(), |id| format!("0x{id}"));
            memory = memory.file(format!("{base}/{name}"), &id, all());
        }
        if function.is_bridge {
            memory = memory.file(format!("{base}/secondary_bus_number"), "1", all());
        }
        for (name, value) in &function.files {
            memory = memory.file(format!("{base}/{name}"), value, all());
        }
        if let Some(group) = function.group {
            let directory = format!("/sys/kernel/iommu_groups/{group}");
            memory = memory
                .link(format!("{base}/iommu_group"), &directory)
                .link(format!("{directory}/devices/{address}"), &base);
            let file = format!("{directory}/type");
            if memory.get(&file).is_none() {
                memory = memory.file(file, "DMA", all());
            }
        }
        self.functions.insert(address, function);
        self.attach(&memory, address);
    }

    pub(super) fn unplug(&mut self, memory: &Memory, address: Address) {
        let Some(function) = self.functions.get(&address).cloned() else {
            return;
        };
        if let Some(driver) = self.driver_of(address) {
            self.detach(memory, address, &driver);
        }
        let base = real_directory(&function);
        let below = format!("{base}/");
        let mut paths: Vec<String> = memory.snapshot().into_keys().collect();
        paths.retain(|path| *path == base || path.starts_with(&below));
        paths.push(address.directory());
        if let Some(group) = function.group {
            paths.push(format!(
                "/sys/kernel/iommu_groups/{group}/devices/{address}"
            ));
        }
        remove(memory, paths);
        self.functions.remove(&address);
    }

    pub(super) fn register(&mut self, memory: &Memory, name: &str, ids: Vec<Ids>) {
        let directory = format!("/sys/bus/pci/drivers/{name}");
        let mut files = memory.clone();
        for file in ["bind", "unbind", "new_id", "remove_id"] {
            let path = format!("{directory}/{file}");
            files = files
                .file(&path, "", Behaviour::takes_all())
                .mode(path, 0o200);
        }
        self.drivers.insert(name.to_owned(), ids);
        self.attach_driver(memory, name);
    }

    pub(super) fn unregister(&mut self, memory: &Memory, name: &str) {
        let addresses: Vec<Address> = self.functions.keys().copied().collect();
        for address in addresses {
            if self.driver_of(address).as_deref() == Some(name) {
                self.detach(memory, address, name);
            }
        }
        self.drivers.remove(name);
        let directory = format!("/sys/bus/pci/drivers/{name}");
        let files = ["bind", "unbind", "new_id", "remove_id"];
        let files = files.map(|file| format!("{directory}/{file}"));
        remove(memory, files.into_iter().chain([directory]));
    }

    /// The driver that is bound to a function.
    fn driver_of(&self, address: Address) -> Option<String> {
        self.bound.get(&address).cloned()
    }

    fn override_of(&self, memory: &Memory, address: Address) -> Option<String> {
        let function = self.functions.get(&address)?;
        let shown = memory.get(format!("{}/driver_override", real_directory(function)))?;
        (shown != "(null)").then_some(shown)
    }

    /// `pci_match_device`.
    fn matches(&self, memory: &Memory, address: Address, driver: &str) -> bool {
        match self.override_of(memory, address) {
            Some(only) => only == driver,
            None => {
                let ids = self.functions.get(&address).map(|function| function.ids);
                let known = self.drivers.get(driver);
                known.is_some_and(|known| ids.is_some_and(|ids| known.contains(&ids)))
            }
        }
    }

    /// Offers an unbound function to all drivers, as `device_attach` does. Without a driver that
    /// claims it, that is no error.
    fn attach(&mut self, memory: &Memory, address: Address) {
        let drivers: Vec<String> = self.drivers.keys().cloned().collect();
        for driver in drivers {
            if self.driver_of(address).is_none() && self.matches(memory, address, &driver) {
                let _ = self.probe(memory, address, &driver);
            }
        }
    }

    /// Offers all unbound functions to one driver, as `driver_attach` does.
    fn attach_driver(&mut self, memory: &Memory, driver: &str) {
        let addresses: Vec<Address> = self.functions.keys().copied().collect();
        for address in addresses {
            if self.driver_of(address).is_none() && self.matches(memory, address, driver) {
                let _ = self.probe(memory, address, driver);
            }
        }
    }

    /// `really_probe`.
    fn probe(&mut self, memory: &Memory, address: Address, driver: &str) -> Result<(), i32> {
        let Some(function) = self.functions.get(&address).cloned() else {
            return Err(ENODEV);
        };
        for fault in &self.faults {
            match fault {
                Fault::BindRefused {
                    address: at,
                    driver: by,
                    errno,
                } if *at == address && by == driver => return Err(*errno),
                Fault::BindLate {
                    address: at,
                    driver: by,
                    delay,
                } if *at == address && by == driver => {
                    self.late
                        .push((self.now + *delay, address, driver.to_owned()));
                    return Err(EAGAIN);
                }
                Fault::BindHangs {
                    address: at,
                    driver: by,
                } if *at == address && by == driver => {
                    let hanging = Hanging::Bind(driver.to_owned());
                    self.hanging.insert(address, hanging);
                    self.link(memory, &function, driver);
                    return Err(HANGS);
                }
                _ => {}
            }
        }
        let is_vfio = is_vfio_driver(driver);
        if is_vfio && (function.is_bridge || function.group.is_none()) {
            return Err(EINVAL);
        }
        if !is_vfio
            && function
                .group
                .is_some_and(|group| self.owned.contains(&group))
        {
            return Err(EBUSY);
        }
        self.make_bound(memory, &function, driver);
        Ok(())
    }

    /// `driver_sysfs_add`.
    fn link(&mut self, memory: &Memory, function: &Function, driver: &str) {
        self.bound.insert(function.address, driver.to_owned());
        let base = real_directory(function);
        let of_driver = format!("/sys/bus/pci/drivers/{driver}");
        let _ = memory
            .clone()
            .link(format!("{base}/driver"), &of_driver)
            .link(format!("{of_driver}/{}", function.address), &base);
    }

    fn make_bound(&mut self, memory: &Memory, function: &Function, driver: &str) {
        self.link(memory, function, driver);
        let base = real_directory(function);
        let mut files = memory.clone();
        self.instances += 1;
        let instance = self.instances.to_string();
        for (_, name, value) in function.of_driver.iter().filter(|(by, ..)| by == driver) {
            let value = value.replace("{instance}", &instance);
            files = files.file(place(&base, name), &value, Behaviour::takes_all());
        }
        for (_, directory, link) in function.links.iter().filter(|(by, ..)| by == driver) {
            let target = format!("../..{}/{directory}", base.trim_start_matches("/sys"));
            files = files.link(link, target);
        }
        if is_vfio_driver(driver) {
            // vfio_pci_core_register_device: pm_runtime_allow.
            let _ = files.write(format!("{base}/power/control"), "auto");
            if let Some(group) = function.group {
                let _ = files.file(format!("/dev/vfio/{group}"), "", Behaviour::takes_all());
            }
        }
    }

    /// `driver_sysfs_remove`.
    fn unlink(&self, memory: &Memory, address: Address, driver: &str) {
        if let Some(function) = self.functions.get(&address) {
            let base = real_directory(function);
            let of_driver = format!("/sys/bus/pci/drivers/{driver}/{address}");
            remove(memory, [format!("{base}/driver"), of_driver]);
        }
    }

    /// Lets a change return that hangs.
    pub(super) fn release(&mut self, memory: &Memory, address: Address) {
        match self.hanging.remove(&address) {
            Some(Hanging::Unbind(driver)) => self.detach(memory, address, &driver),
            Some(Hanging::Bind(driver)) => {
                if let Some(function) = self.functions.get(&address).cloned() {
                    self.make_bound(memory, &function, &driver);
                }
            }
            None => {}
        }
    }

    /// Whether a write needs the lock of a function that is held.
    fn waits_for_lock(&self, parts: &[&str], value: &str) -> bool {
        let address = match parts {
            ["sys", "bus", "pci", "devices", address, ..] => address.parse().ok(),
            ["sys", "bus", "pci", "drivers_probe"]
            | ["sys", "bus", "pci", "drivers", _, "bind" | "unbind"] => value.parse().ok(),
            _ => None,
        };
        address.is_some_and(|address| self.hanging.contains_key(&address))
    }

    /// `device_driver_detach`.
    fn detach(&mut self, memory: &Memory, address: Address, driver: &str) {
        let Some(function) = self.functions.get(&address) else {
            return;
        };
        self.bound.remove(&address);
        let base = real_directory(function);
        let of_driver = format!("/sys/bus/pci/drivers/{driver}");
        let mut paths = vec![format!("{base}/driver"), format!("{of_driver}/{address}")];
        for (_, name, _) in function.of_driver.iter().filter(|(by, ..)| by == driver) {
            match name.starts_with('/') {
                true => paths.push(name.clone()),
                false => paths.extend(with_directories(&base, name)),
            }
        }
        let links = function.links.iter().filter(|(by, ..)| by == driver);
        paths.extend(links.map(|(_, _, link)| link.clone()));
        remove(memory, paths);
        if is_vfio_driver(driver) {
            // vfio_pci_core_unregister_device: pm_runtime_forbid.
            let _ = memory.write(format!("{base}/power/control"), "on");
            if let Some(group) = function.group {
                assert!(
                    !self.owned.contains(&group),
                    "the kernel would wait for ever: group {group} is open while {address} is unbound"
                );
                let others = self
                    .functions
                    .values()
                    .filter(|other| other.group == Some(group));
                let mut others = others.map(|other| self.driver_of(other.address));
                if !others.any(|driver| driver.is_some_and(|name| is_vfio_driver(&name))) {
                    remove(memory, [format!("/dev/vfio/{group}")]);
                }
            }
        }
    }

    pub(super) fn write(&mut self, memory: &Memory, path: &str, bytes: &str) -> Result<(), i32> {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let value = bytes.strip_suffix('\n').unwrap_or(bytes);
        if self.waits_for_lock(&parts, value) {
            return Err(HANGS);
        }
        match parts[..] {
            ["sys", "bus", "pci", "drivers_probe"] => {
                let address = self.known(value)?;
                self.attach(memory, address);
                Ok(())
            }
            ["sys", "bus", "pci", "drivers", driver, file] => {
                if !self.drivers.contains_key(driver) {
                    return Err(ENOENT);
                }
                self.of_driver(memory, driver, file, value)
            }
            ["sys", "bus", "pci", "devices", address, "driver", "unbind"] => {
                let address = address.parse().map_err(|_| ENOENT)?;
                let driver = self.driver_of(address).ok_or(ENOENT)?;
                self.of_driver(memory, &driver, "unbind", value)
            }
            ["sys", "bus", "pci", "devices", address, "driver_override"] => {
                let address = address.parse().map_err(|_| ENOENT)?;
                let function = self.functions.get(&address).ok_or(ENOENT)?;
                if bytes.len() >= LONGEST_OVERRIDE {
                    return Err(EINVAL);
                }
                let name = value.split('\n').next().unwrap_or_default();
                let shown = if name.is_empty() { "(null)" } else { name };
                let file = format!("{}/driver_override", real_directory(function));
                memory.change(|tree| tree.set(file, shown));
                Ok(())
            }
            _ => memory.write(Path::new(path), value),
        }
    }

    fn known(&self, value: &str) -> Result<Address, i32> {
        let address: Address = value.parse().map_err(|_| ENODEV)?;
        let is_known = self.functions.contains_key(&address);
        is_known.then_some(address).ok_or(ENODEV)
    }

    fn of_driver(
        &mut self,
        memory: &Memory,
        driver: &str,
        file: &str,
        value: &str,
    ) -> Result<(), i32> {
        match file {
            "bind" => {
                let address = self.known(value)?;
                if !self.matches(memory, address, driver) {
                    return Err(ENODEV);
                }
                if self.driver_of(address).is_some() {
                    return Err(EBUSY);
                }
                self.probe(memory, address, driver)
            }
            "unbind" => {
                let address = self.known(value)?;
                if self.driver_of(address).as_deref() != Some(driver) {
                    return Err(ENODEV);
                }
                for fault in &self.faults {
                    match fault {
                        Fault::UnbindRefused { address: at, errno } if *at == address => {
                            return Err(*errno);
                        }
                        Fault::UnbindHangs { address: at } if *at == address => {
                            let hanging = Hanging::Unbind(driver.to_owned());
                            self.hanging.insert(address, hanging);
                            self.unlink(memory, address, driver);
                            return Err(HANGS);
                        }
                        _ => {}
                    }
                }
                self.detach(memory, address, driver);
                Ok(())
            }
            "new_id" => {
                let mut words = value.split_whitespace();
                let mut id = || words.next()?.parse().ok();
                let ids = id()
                    .zip(id())
                    .map(|(vendor, device)| Ids { vendor, device });
                let ids = ids.ok_or(EINVAL)?;
                let known = self.drivers.entry(driver.to_owned()).or_default();
                if known.contains(&ids) {
                    return Err(EEXIST);
                }
                known.push(ids);
                self.attach_driver(memory, driver);
                Ok(())
            }
            _ => Err(EINVAL),
        }
    }

    pub(super) fn open(&mut self, group: u32) -> Result<(), i32> {
        let members = self
            .functions
            .values()
            .filter(|one| one.group == Some(group));
        let drivers: Vec<_> = members
            .filter_map(|one| self.driver_of(one.address))
            .collect();
        if !drivers.iter().any(|driver| is_vfio_driver(driver)) {
            return Err(ENOENT);
        }
        let managed = |driver: &String| {
            is_vfio_driver(driver) || driver == "pci-stub" || driver == "pcieport"
        };
        if !drivers.iter().all(managed) {
            return Err(EPERM);
        }
        self.owned.insert(group);
        Ok(())
    }

    pub(super) fn pass_time(&mut self, memory: &Memory, time: Duration) {
        self.now += time;
        let now = self.now;
        let due: Vec<_> = self
            .late
            .iter()
            .filter(|late| late.0 <= now)
            .cloned()
            .collect();
        self.late.retain(|late| late.0 > now);
        for (_, address, driver) in due {
            let unbound = self.driver_of(address).is_none();
            if unbound
                && self.matches(memory, address, &driver)
                && let Some(function) = self.functions.get(&address).cloned()
            {
                self.make_bound(memory, &function, &driver);
            }
        }
    }
}
