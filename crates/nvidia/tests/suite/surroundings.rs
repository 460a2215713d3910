//! What the notes say of the host around the driver: suspend services, and modprobe.d that keeps the
//! driver from being loaded.

use hosttune_core::host::FileContent;
use hosttune_core::testing::Memory;
use hosttune_core::{State, Tuning, When};
use hosttune_nvidia::{DriverModule, ModuleKind};

use crate::tree::{Driver, FILE, bare, host, machine, session, wanted};

const NVIDIA: DriverModule = DriverModule::Nvidia;

const NEEDS: &str = "needs nvidia-suspend.service nvidia-hibernate.service nvidia-resume.service";

/// The notes on preserving video memory, with the driver loaded.
fn preserving(memory: Memory, driver: Driver) -> String {
    let preserve = wanted(&[(NVIDIA, "PreserveVideoMemoryAllocations", "1")]);
    let memory = driver.installed(memory);
    driver.load(&memory);
    let machine = machine(memory);
    preserve.plan(&session(&machine)).unwrap().notes.join("\n")
}

fn proprietary() -> Driver {
    Driver::new("580.95.05", ModuleKind::Proprietary)
}

fn suspend() -> Memory {
    bare().content("/proc/driver/nvidia/suspend", FileContent::new(""))
}

/// Installs the units of these services.
fn with_units(memory: Memory, verbs: &[&str]) -> Memory {
    verbs.iter().fold(memory, |memory, verb| {
        let unit = FileContent::new("[Service]\nType=oneshot\n");
        memory.content(
            format!("/usr/lib/systemd/system/nvidia-{verb}.service"),
            unit,
        )
    })
}

/// Enables these services, as systemctl does: with a link.
fn with_wants(memory: Memory, verbs: &[&str]) -> Memory {
    verbs.iter().fold(memory, |memory, verb| {
        let of = if *verb == "hibernate" {
            "hibernate"
        } else {
            "suspend"
        };
        let link = format!("/etc/systemd/system/systemd-{of}.service.wants/nvidia-{verb}.service");
        memory.link(
            link,
            format!("/usr/lib/systemd/system/nvidia-{verb}.service"),
        )
    })
}

const ALL: [&str; 3] = ["suspend", "hibernate", "resume"];

#[test]
fn suspend_needs_services_or_notifiers() {
    let notes = preserving(with_units(suspend(), &ALL), proprietary());
    let enable =
        "systemctl enable nvidia-suspend.service nvidia-hibernate.service nvidia-resume.service";
    assert!(notes.contains(NEEDS) && notes.contains(enable), "{notes}");
    let enabled = with_wants(with_units(suspend(), &ALL), &ALL);
    let notes = preserving(enabled, proprietary());
    assert!(!notes.contains("nvidia-suspend"), "{notes}");
    // Without the file the loaded driver uses notifiers.
    let notes = preserving(bare(), Driver::new("595.45.04", ModuleKind::Open));
    assert!(!notes.contains("nvidia-suspend"), "{notes}");
}

#[test]
fn a_service_that_is_masked_is_not_started() {
    let memory = with_wants(with_units(suspend(), &ALL), &ALL);
    // A captured tree has no /dev/null.
    let memory = memory.link("/etc/systemd/system/nvidia-resume.service", "/dev/null");
    let notes = preserving(memory, proprietary());
    let said = "needs nvidia-resume.service, otherwise suspending fails with EIO: systemctl unmask nvidia-resume.service; systemctl enable nvidia-resume.service";
    assert!(notes.contains(said), "{notes}");
}

#[test]
fn a_service_without_a_unit_file_is_installed_first() {
    // What removing a package leaves: links that lead nowhere.
    let memory = with_wants(with_units(suspend(), &ALL[..1]), &ALL);
    let notes = preserving(memory, proprietary());
    let said = "needs nvidia-hibernate.service nvidia-resume.service, otherwise";
    assert!(notes.contains(said), "{notes}");
    assert!(
        notes.contains("the missing nvidia-hibernate.service nvidia-resume.service (on Debian nvidia-suspend-common)"),
        "{notes}"
    );
    assert!(!notes.contains("systemctl enable"), "{notes}");
    let notes = preserving(suspend(), proprietary());
    assert!(
        notes.contains(NEEDS) && !notes.contains("systemctl enable"),
        "{notes}"
    );
}

/// envycontrol and system76-power write such lines to switch the card of a notebook off.
#[test]
fn a_driver_that_nothing_loads_is_noted() {
    let noted = |text: &str, is_loaded: bool| {
        let memory = proprietary().installed(bare());
        let path = "/etc/modprobe.d/blacklist-nvidia.conf";
        let memory = memory.content(path, FileContent::new(text));
        if is_loaded {
            proprietary().load(&memory);
        }
        let machine = machine(memory);
        let msi = wanted(&[(NVIDIA, "EnableMSI", "0")]);
        msi.plan(&session(&machine)).unwrap().notes.join("\n")
    };
    for (line, said) in [
        (
            "blacklist nvidia\n",
            "blacklist-nvidia.conf:1 blacklists nvidia, and the driver is not loaded",
        ),
        (
            "# off\nalias nvidia off\n",
            "blacklist-nvidia.conf:2 makes nvidia an alias of off",
        ),
    ] {
        let notes = noted(line, false);
        assert!(notes.contains(said), "{notes}");
        let notes = noted(line, true);
        assert!(!notes.contains("is not loaded"), "{notes}");
    }
    for line in ["blacklist nouveau\n", "alias nvidia_x off\n"] {
        let notes = noted(line, false);
        assert!(!notes.contains("is not loaded"), "{line}: {notes}");
    }
}

/// An initramfs with an older copy of modprobe.d: the driver is loaded with the values of before in
/// every boot. A verify that called them pending could never fail.
#[test]
fn a_value_that_a_reboot_did_not_bring_is_no_longer_pending() {
    for references in ["40\n", "0\n"] {
        let driver = proprietary();
        let memory = driver.installed(bare());
        driver.load(&memory);
        let machine = machine(memory);
        let count = FileContent::new(references);
        let refer = || {
            for module in ["nvidia", "nvidia_drm"] {
                let path = format!("/sys/module/{module}/refcnt");
                let _ = machine.memory().clone().content(path, count.clone());
            }
        };
        refer();
        let all = wanted(&[
            (NVIDIA, "EnableMSI", "0"),
            (DriverModule::Drm, "modeset", "1"),
        ]);
        let _ = all.apply(&mut session(&machine)).unwrap();
        let states = || {
            let report = all.verify(&session(&machine)).unwrap();
            let items = report.items.iter().skip(1);
            items.map(|item| item.state.clone()).collect::<Vec<_>>()
        };
        let until = match references {
            "0\n" => When::Reload,
            _ => When::Reboot,
        };
        assert_eq!(states(), vec![State::Pending { until }; 2]);
        machine.power_cut(false);
        // It is loaded without our file, and then the root file system has it.
        let ours = host(machine.memory()).file(FILE).unwrap().unwrap();
        machine.memory().change(|tree| tree.remove(FILE));
        driver.load(machine.memory());
        let _ = machine.memory().clone().content(FILE, ours);
        refer();
        for state in states() {
            assert!(matches!(state, State::Overridden { .. }), "{state:?}");
        }
        // Loaded again, it has them.
        driver.load(machine.memory());
        assert_eq!(states(), vec![State::Matches; 2]);
        let _ = all.revert(&mut session(&machine)).unwrap();
    }
}

/// The security trade stays in the loaded driver after a revert, and a copy in the initramfs keeps it.
#[test]
fn what_the_loaded_driver_still_has_is_told_after_a_revert() {
    let driver = proprietary();
    let memory = driver.installed(bare().directory("/etc/initramfs-tools"));
    driver.load(&memory);
    let machine = machine(memory);
    let all = wanted(&[
        (NVIDIA, "InitializeSystemMemoryAllocations", "0"),
        (DriverModule::Drm, "modeset", "1"),
        // The default, and a choice of the driver's own.
        (NVIDIA, "EnableMSI", "1"),
        (NVIDIA, "UsePageAttributeTable", "1"),
    ]);
    let left = || all.left_in_the_driver(&host(machine.memory())).unwrap();
    assert_eq!(left(), None);
    let _ = all.apply(&mut session(&machine)).unwrap();
    let _ = all.revert(&mut session(&machine)).unwrap();
    // It was never loaded with them.
    assert_eq!(left(), None);
    let _ = all.apply(&mut session(&machine)).unwrap();
    driver.load(machine.memory());
    assert_eq!(left(), None, "the file is there");
    let _ = all.revert(&mut session(&machine)).unwrap();
    let said = left().unwrap();
    assert!(
        said.contains("still has nvidia NVreg_InitializeSystemMemoryAllocations=0, nvidia_drm modeset=1, which no file"),
        "{said}"
    );
    assert!(said.contains("update-initramfs -u -k all"), "{said}");
    // What another file sets is not left of ours.
    let path = "/etc/modprobe.d/local.conf";
    let text =
        "options nvidia_drm modeset=1\noptions nvidia NVreg_InitializeSystemMemoryAllocations=0\n";
    let _ = machine
        .memory()
        .clone()
        .content(path, FileContent::new(text));
    assert_eq!(left(), None);
    machine.memory().change(|tree| tree.remove(path));
    driver.load(machine.memory());
    assert_eq!(left(), None, "loaded again");
}
