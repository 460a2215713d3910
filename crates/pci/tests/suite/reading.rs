//! Devices, groups and the rest, read on a fake bus.

use hosttune_core::Host;
use hosttune_core::testing::{Behaviour, CrashPoint, Memory};
use hosttune_pci::testing::{Bus, Function};
use hosttune_pci::{
    Address, ConfigReading, Device, Devices, Groups, Iommu, NotFound, PowerState, ResetMethod,
    Sriov, ViabilityRule, reserved_regions,
};

const PORT: &str = "0000:00:01.0";
const GPU: &str = "0000:01:00.0";

fn at(text: &str) -> Address {
    text.parse().unwrap()
}

fn bus() -> Bus {
    Bus::new(Memory::new().directory("/proc/sys"))
        .with_iommu()
        .with(Function::new(PORT, "8086:1901", "060400").bridge().group(1))
        .with(
            Function::new(GPU, "10de:2684", "030000")
                .below(&[PORT])
                .subsystem("1043:889d")
                .group(1)
                .file("reset_method", "flr bus"),
        )
        .with_driver("nouveau", &["10de:2684"])
        .with_driver("pcieport", &["8086:1901"])
}

fn host(bus: &Bus) -> Host {
    Host::new(bus.host(&CrashPoint::lives()))
}

#[test]
fn a_device_is_read() {
    let bus = bus();
    let host = host(&bus);
    let device = Device::read(&host, at(GPU)).unwrap().unwrap();
    assert_eq!(device.ids.to_string(), "10de:2684");
    assert_eq!(device.subsystem.unwrap().to_string(), "1043:889d");
    assert_eq!(device.driver.as_deref(), Some("nouveau"));
    assert_eq!(device.driver_override, None);
    assert_eq!(device.group, Some(1));
    assert_eq!(device.parents, [at(PORT)]);
    assert_eq!(device.power, PowerState::D0);
    assert!(!device.has_bus_below);
    assert_eq!(
        device.identity(),
        "pci0000:00/01.0/00.0 10de:2684 subsystem 1043:889d"
    );
    assert_eq!(
        device.describe(),
        "VGA controller [10de:2684] at 0000:01:00.0"
    );
    assert_eq!(
        ResetMethod::of(&host, at(GPU)).unwrap().unwrap(),
        [ResetMethod::Flr, ResetMethod::Bus]
    );
    assert_eq!(ResetMethod::of(&host, at(PORT)).unwrap(), None);
    let port = Device::read(&host, at(PORT)).unwrap().unwrap();
    assert!(port.has_bus_below && port.subsystem.is_none());
    assert_eq!(Device::read(&host, at("0000:02:00.0")).unwrap(), None);
}

/// Counted in calls: not even a read whose result is thrown away.
#[test]
fn a_sleeping_device_is_not_woken() {
    for (state, is_read) in [
        ("D0", true),
        ("D3hot", false),
        ("D3cold", false),
        ("unknown", false),
    ] {
        let function = Function::new(GPU, "10de:2684", "030000")
            .file("power_state", state)
            .file("config", &"\u{1}".repeat(64));
        let bus = Bus::new(Memory::new()).with(function);
        let crash_point = CrashPoint::lives();
        let host = Host::new(bus.host(&crash_point));
        let device = Device::read(&host, at(GPU)).unwrap().unwrap();
        let before = crash_point.calls();
        let reading = device.config_space(&host).unwrap();
        assert_eq!(crash_point.calls() - before, u64::from(is_read), "{state}");
        match reading {
            ConfigReading::Read(space) => assert!(is_read && space.header_type == 1),
            ConfigReading::Asleep(seen) => assert_eq!(seen, PowerState::parse(state)),
            other => panic!("{state}: {other:?}"),
        }
    }
}

#[test]
fn a_dead_device_does_not_answer() {
    let bus = bus();
    let host = host(&bus);
    let device = Device::read(&host, at(GPU)).unwrap().unwrap();
    assert_eq!(
        device.config_space(&host).unwrap(),
        ConfigReading::Unavailable
    );
    let real = "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/config";
    let mut content = hosttune_core::host::FileContent::new(vec![0xff; 64]);
    content.mode = 0o644;
    let _ = bus.memory().clone().content(real, content);
    assert_eq!(device.config_space(&host).unwrap(), ConfigReading::NoAnswer);
}

#[test]
fn a_short_address_is_found_if_it_is_unique() {
    let two = bus().with(Function::new("10000:01:00.0", "144d:a80a", "010802"));
    let devices = Devices::read(&host(&two)).unwrap();
    assert_eq!(devices.find("00:01.0"), Ok(at(PORT)));
    assert_eq!(devices.find(GPU), Ok(at(GPU)));
    assert_eq!(devices.find("10000:01:00.0"), Ok(at("10000:01:00.0")));
    let ambiguous = devices.find("01:00.0").unwrap_err();
    assert!(matches!(ambiguous, NotFound::Ambiguous { .. }));
    let shown = ambiguous.to_string();
    assert!(
        shown.contains(GPU) && shown.contains("10000:01:00.0"),
        "{shown}"
    );
    assert!(matches!(
        devices.find("05:00.0"),
        Err(NotFound::None { .. })
    ));
    assert!(matches!(devices.find("01:00"), Err(NotFound::Text(_))));
}

#[test]
fn groups_and_the_two_rules_of_viability() {
    let bus = bus();
    let devices = Devices::read(&host(&bus)).unwrap();
    let groups = Groups::of(&devices);
    assert_eq!(groups.members(1), [at(PORT), at(GPU)]);
    assert_eq!(groups.members(7), []);
    assert_eq!(groups.iter().count(), 1);
    let admits = |rule: ViabilityRule, device: &Device, driver: Option<&str>| {
        let mut device = device.clone();
        device.driver = driver.map(str::to_owned);
        rule.admits(&device)
    };
    let (port, gpu) = (
        devices.get(at(PORT)).unwrap(),
        devices.get(at(GPU)).unwrap(),
    );
    for (driver, newer, of_bridge, older) in [
        (None, true, true, true),
        (Some("vfio-pci"), true, true, true),
        (Some("pci-stub"), true, true, true),
        (Some("pcieport"), true, true, false),
        (Some("shpchp"), false, true, false),
        (Some("nouveau"), false, true, false),
    ] {
        assert_eq!(
            admits(ViabilityRule::ManagedDma, gpu, driver),
            newer,
            "{driver:?}"
        );
        assert_eq!(
            admits(ViabilityRule::Bridges, port, driver),
            of_bridge,
            "{driver:?}"
        );
        assert_eq!(
            admits(ViabilityRule::Bridges, gpu, driver),
            older,
            "{driver:?}"
        );
    }
    assert_eq!(reserved_regions(&host(&bus), 1).unwrap(), []);
}

#[test]
fn without_an_iommu_the_likely_reason_is_known() {
    let all = Behaviour::takes_all;
    let table = |name: &str| {
        let path = format!("/sys/firmware/acpi/tables/{name}");
        Bus::new(Memory::new().directory("/proc/sys").file(path, "", all()))
    };
    let of = |bus: &Bus| Iommu::of_host(&host(bus)).unwrap();
    assert_eq!(of(&bus()), Iommu::Active);
    assert_eq!(Iommu::Active.hint(), None);
    assert_eq!(of(&table("DMAR")), Iommu::IntelOff);
    assert!(Iommu::IntelOff.hint().unwrap().contains("intel_iommu=on"));
    assert_eq!(of(&table("IVRS")), Iommu::AmdOff);
    assert!(!Iommu::AmdOff.hint().unwrap().contains("amd_iommu=on"));
    assert_eq!(of(&table("FACP")), Iommu::NotInFirmware);
    assert_eq!(of(&Bus::new(Memory::new())), Iommu::Unknown);
    // A tree that was captured without /sys/class/iommu.
    let groups = Memory::new().directory("/sys/kernel/iommu_groups/1");
    assert_eq!(of(&Bus::new(groups)), Iommu::Active);
}

#[test]
fn virtual_functions_name_their_physical_one() {
    let bus = Bus::new(Memory::new())
        .with(
            Function::new("0000:03:00.0", "8086:10c9", "020000")
                .file("sriov_totalvfs", "7")
                .file("sriov_numvfs", "2"),
        )
        .with(Function::new("0000:03:10.0", "8086:10ca", "020000"));
    let files = bus.memory().clone();
    let _ = files.link(
        "/sys/devices/pci0000:00/0000:03:10.0/physfn",
        "../0000:03:00.0",
    );
    let host = host(&bus);
    assert_eq!(
        Sriov::read(&host, at("0000:03:00.0")).unwrap(),
        Sriov::Physical {
            total: 7,
            provided: 2
        }
    );
    assert_eq!(
        Sriov::read(&host, at("0000:03:10.0")).unwrap(),
        Sriov::Virtual {
            of: at("0000:03:00.0")
        }
    );
    let none = Bus::new(Memory::new()).with(Function::new(GPU, "10de:2684", "030000"));
    let host = Host::new(none.host(&CrashPoint::lives()));
    assert_eq!(Sriov::read(&host, at(GPU)).unwrap(), Sriov::None);
}

#[test]
fn what_is_malformed_is_named_and_what_is_absent_is_nothing() {
    let empty = Host::new(Memory::new().host(&CrashPoint::lives()));
    assert_eq!(Devices::read(&empty).unwrap().iter().count(), 0);
    let bus = bus();
    bus.write("/sys/bus/pci/devices/0000:01:00.0/class", "rubbish")
        .unwrap();
    let error = Devices::read(&host(&bus)).unwrap_err().to_string();
    assert!(
        error.contains("0000:01:00.0/class") && error.contains("030000"),
        "{error}"
    );
}
