//! What the notes say of the host around the driver: suspend services, and modprobe.d that keeps the
//! driver from being loaded.

use hosttune_core::Tuning;
use hosttune_core::host::FileContent;
use hosttune_core::testing::Memory;
use hosttune_nvidia::{DriverModule, ModuleKind};

use crate::tree::{Driver, bare, machine, session, wanted};

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
