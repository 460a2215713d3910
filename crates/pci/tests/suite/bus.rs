//! The fake bus answers as the kernel does. The real answers are compared in `hosttune-vfio`.

use std::time::Duration;

use hosttune_core::Host;
use hosttune_core::testing::{CrashPoint, Memory};
use hosttune_pci::testing::{Bus, Fault, Function};
use hosttune_pci::{Address, driver, driver_override};

const GPU: &str = "0000:01:00.0";
const OVERRIDE: &str = "/sys/bus/pci/devices/0000:01:00.0/driver_override";
const PROBE: &str = "/sys/bus/pci/drivers_probe";
const NO_DEVICE: i32 = 19;

fn address() -> Address {
    GPU.parse().unwrap()
}

fn bus() -> Bus {
    Bus::new(Memory::new())
        .with(
            Function::new(GPU, "10de:2684", "030000")
                .group(1)
                .while_bound("nouveau", "drm/card0/uevent", "DEVNAME=dri/card0"),
        )
        .with_driver("nouveau", &["10de:2684"])
        .with_driver("vfio-pci", &[])
}

fn bound(bus: &Bus) -> Option<String> {
    driver(&Host::new(bus.host(&CrashPoint::lives())), address()).unwrap()
}

fn write(bus: &Bus, file: &str, value: &str) -> Result<(), i32> {
    bus.write(&format!("/sys/bus/pci/drivers/{file}"), value)
}

#[test]
fn an_override_decides_who_binds() {
    let bus = bus();
    assert_eq!(bound(&bus).as_deref(), Some("nouveau"));
    assert_eq!(write(&bus, "vfio-pci/unbind", GPU), Err(NO_DEVICE));
    assert_eq!(write(&bus, "vfio-pci/bind", GPU), Err(NO_DEVICE));
    bus.write(OVERRIDE, "vfio-pci\n").unwrap();
    // Bound all the same.
    assert_eq!(bound(&bus).as_deref(), Some("nouveau"));
    assert_eq!(write(&bus, "vfio-pci/bind", GPU), Err(16));
    write(&bus, "nouveau/unbind", GPU).unwrap();
    assert_eq!(bound(&bus), None);
    assert_eq!(write(&bus, "nouveau/bind", GPU), Err(NO_DEVICE));
    bus.write(PROBE, GPU).unwrap();
    assert_eq!(bound(&bus).as_deref(), Some("vfio-pci"));
    // Nothing is written: the kernel does not see it.
    bus.write(OVERRIDE, "").unwrap();
    let host = Host::new(bus.host(&CrashPoint::lives()));
    assert_eq!(
        driver_override(&host, address()).unwrap().as_deref(),
        Some("vfio-pci")
    );
    bus.write(OVERRIDE, "\n").unwrap();
    assert_eq!(driver_override(&host, address()).unwrap(), None);
    assert_eq!(bus.write(OVERRIDE, &"x".repeat(4095)), Err(22));
}

#[test]
fn a_probe_without_a_driver_succeeds() {
    let bus = bus();
    write(&bus, "nouveau/unbind", GPU).unwrap();
    bus.write(OVERRIDE, "none\n").unwrap();
    assert_eq!(bus.write(PROBE, GPU), Ok(()));
    assert_eq!(bound(&bus), None);
    assert_eq!(bus.write(PROBE, "0000:09:00.0"), Err(NO_DEVICE));
    assert_eq!(write(&bus, "absent/bind", GPU), Err(2));
}

#[test]
fn a_new_id_takes_every_device_and_is_refused_a_second_time() {
    let second = Function::new("0000:02:00.0", "10de:2684", "030000").group(2);
    let bus = bus().with(second);
    for address in [GPU, "0000:02:00.0"] {
        write(&bus, "nouveau/unbind", address).unwrap();
    }
    write(&bus, "vfio-pci/new_id", "10de 2684").unwrap();
    assert_eq!(bound(&bus).as_deref(), Some("vfio-pci"));
    let host = Host::new(bus.host(&CrashPoint::lives()));
    let other: Address = "0000:02:00.0".parse().unwrap();
    assert_eq!(driver(&host, other).unwrap().as_deref(), Some("vfio-pci"));
    assert_eq!(write(&bus, "vfio-pci/new_id", "10de 2684"), Err(17));
    assert_eq!(write(&bus, "vfio-pci/new_id", "rubbish"), Err(22));
}

#[test]
fn vfio_changes_the_power_control_and_a_driver_its_files() {
    let bus = bus();
    let real = "/sys/devices/pci0000:00/0000:01:00.0";
    let get = |name: &str| bus.memory().get(format!("{real}/{name}"));
    assert_eq!(
        get("drm/card0/uevent").as_deref(),
        Some("DEVNAME=dri/card0")
    );
    write(&bus, "nouveau/unbind", GPU).unwrap();
    assert_eq!(get("drm/card0/uevent"), None);
    bus.write(OVERRIDE, "vfio-pci\n").unwrap();
    write(&bus, "vfio-pci/bind", GPU).unwrap();
    assert_eq!(get("power/control").as_deref(), Some("auto"));
    assert_eq!(bus.memory().get("/dev/vfio/1").as_deref(), Some(""));
    write(&bus, "vfio-pci/unbind", GPU).unwrap();
    assert_eq!(get("power/control").as_deref(), Some("on"));
    assert_eq!(bus.memory().get("/dev/vfio/1"), None);
}

#[test]
fn a_group_is_opened_only_if_it_is_viable_and_then_refuses_other_drivers() {
    let audio = "0000:01:00.1";
    let bus = bus()
        .with_driver("snd_hda_intel", &["10de:22ba"])
        .with(Function::new(audio, "10de:22ba", "040300").group(1));
    assert_eq!(bus.open_group(1), Err(2));
    bus.write(OVERRIDE, "vfio-pci\n").unwrap();
    write(&bus, "nouveau/unbind", GPU).unwrap();
    write(&bus, "vfio-pci/bind", GPU).unwrap();
    assert_eq!(bus.open_group(1), Err(1));
    write(&bus, "snd_hda_intel/unbind", audio).unwrap();
    // A member without a driver is no obstacle.
    assert_eq!(bus.open_group(1), Ok(()));
    assert_eq!(write(&bus, "snd_hda_intel/bind", audio), Err(16));
    bus.close_group(1);
    assert_eq!(write(&bus, "snd_hda_intel/bind", audio), Ok(()));
}

#[test]
fn a_bus_fails_as_it_is_told() {
    let bus = bus();
    write(&bus, "nouveau/unbind", GPU).unwrap();
    let (address, driver) = (address(), "nouveau".to_owned());
    bus.fail(Fault::BindRefused {
        address,
        driver: driver.clone(),
        errno: 5,
    });
    assert_eq!(write(&bus, "nouveau/bind", GPU), Err(5));
    bus.repair();
    let delay = Duration::from_millis(300);
    bus.fail(Fault::BindLate {
        address,
        driver,
        delay,
    });
    assert_eq!(write(&bus, "nouveau/bind", GPU), Err(11));
    let host = Host::new(bus.host(&CrashPoint::lives()));
    host.pause(Duration::from_millis(299));
    assert_eq!(bound(&bus), None);
    host.pause(Duration::from_millis(1));
    assert_eq!(bound(&bus).as_deref(), Some("nouveau"));
    bus.fail(Fault::UnbindRefused { address, errno: 19 });
    assert_eq!(write(&bus, "nouveau/unbind", GPU), Err(19));
}

#[test]
fn a_copy_is_independent() {
    let bus = bus();
    let copy = bus.fork();
    write(&copy, "nouveau/unbind", GPU).unwrap();
    assert_eq!(
        (bound(&bus).as_deref(), bound(&copy)),
        (Some("nouveau"), None)
    );
    copy.unplug(address());
    assert_eq!(copy.write(OVERRIDE, "x\n"), Err(2));
    bus.unregister("nouveau");
    assert_eq!(bound(&bus), None);
}
