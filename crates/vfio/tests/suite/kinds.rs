//! Kinds of devices that QEMU has, really bound to vfio-pci, opened as a virtual machine opens them, and handed
//! back.

use std::collections::BTreeMap;
use std::time::Duration;

use hosttune_core::testing::{CrashPoint, MemoryStore};
use hosttune_core::{Host, LinuxHost, Session, Tuning};
use hosttune_modules::Modules;
use hosttune_pci::{Address, Device, Devices};
use hosttune_test_machine::inside::{self, for_tests, is_inside, test_name};
use hosttune_test_machine::{Builder, Kernel, Snapshot, Stream, Subtree, tell, wait_until};
use hosttune_vfio::{Consent, Lend, Selector};

#[test]
fn kinds_of_devices_are_lent_opened_and_come_back() {
    if is_inside() {
        lend_each();
        return;
    }
    let kernel = Kernel::Newest;
    run_inside(
        kernel,
        for_tests(kernel, "an interface that comes back has another number"),
    );
}

/// Started by a UEFI firmware, without a driver for the screen.
#[test]
fn the_framebuffer_of_a_firmware_does_not_come_back() {
    if is_inside() {
        lend_the_screen_of_the_firmware();
        return;
    }
    let kernel = Kernel::Linux6_12;
    let machine = for_tests(kernel, "a firmware draws on its screen");
    let machine = machine.systemd_boot().without_devices();
    run_inside(kernel, machine.device("VGA,romfile="));
}

/// Runs this test in a machine.
fn run_inside(kernel: Kernel, machine: Builder) {
    let mut machine = machine.boot().unwrap();
    let command = inside::command(&test_name(), kernel);
    let mut show = |_: Stream, _: &[u8]| {};
    let output = machine.shell(&command, Duration::from_secs(1_200), &mut show);
    let output = output.unwrap();
    let said = output.text() + &output.error_text();
    assert_eq!(output.code, 0, "{said}");
    // The first one is behind the name of the test.
    let kinds = said.lines().filter_map(|line| line.split_once("kind: "));
    let kinds: Vec<&str> = kinds.map(|(_, kind)| kind).collect();
    assert!(!kinds.is_empty(), "nothing was lent: {said}");
    println!("{}", kinds.join("\n"));
}

fn host() -> Host {
    Host::new(LinuxHost::live().unwrap())
}

fn session(store: &MemoryStore) -> Session {
    let host = host().with_backend(Modules::live());
    let session = Session::new(host, "kinds", store.of(&CrashPoint::lives()), "boot");
    session.unwrap().with(hosttune_vfio::knobs)
}

fn with_driver(name: &str) -> Device {
    let devices = Devices::read(&host()).unwrap();
    let mut found = devices.iter();
    let device = found.find(|device| device.driver.as_deref() == Some(name));
    device
        .unwrap_or_else(|| panic!("no device has the driver {name}"))
        .clone()
}

fn there() -> Snapshot {
    Snapshot::of(&[Subtree::PciDevices, Subtree::Modules])
}

/// Opens a group as a virtual machine does: a container with the group, its IOMMU, and the device, which is
/// reset. The numbers are those of `include/uapi/linux/vfio.h`; perl, because the call is unsafe in Rust.
fn open_as_a_virtual_machine(device: &Device) {
    let program = format!(
        r#"open C, "+<", "/dev/vfio/vfio" or die "container: $!";
        open G, "+<", "/dev/vfio/{group}" or die "group: $!";
        $status = pack "LL", 8, 0;
        ioctl(G, 0x3b67, $status) or die "status: $!";
        (unpack "LL", $status)[1] & 1 or die "the group is not viable";
        $container = pack "l", fileno C;
        ioctl(G, 0x3b68, $container) or die "set container: $!";
        ioctl(C, 0x3b66, 1) or die "set IOMMU: $!";
        $name = "{address}\0";
        defined(ioctl(G, 0x3b6a, $name)) or die "device: $!";
        print "opened";"#,
        group = device.group.unwrap(),
        address = device.address,
    );
    let output = std::process::Command::new("perl")
        .args(["-e", &program])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "opened", "{}: {error}", device.describe());
}

fn selector(device: &Device) -> Selector {
    Selector::at(device.address, device.ids)
}

/// What sysfs shows of every device, except its memory and its registers: VFIO switches decoding on in the
/// command register when a device is opened, and no driver switches it off that does not use I/O ports.
fn attributes() -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    for device in &Devices::read(&host()).unwrap() {
        let directory = device.address.directory();
        let link = std::fs::read_link(format!("{directory}/driver")).unwrap_or_default();
        seen.insert(format!("{directory}/driver"), link.display().to_string());
        let names = host().list(&directory).unwrap();
        // Numbers of interrupts and states of power change by themselves.
        let is_left_out = |name: &str| {
            matches!(name, "config" | "rom" | "irq" | "power_state")
                || (name.starts_with("resource") && name != "resource")
                || name.starts_with("aer_")
        };
        let names = names.into_iter().filter(|name| !is_left_out(name));
        for name in names.chain(["power/control".to_owned()]) {
            // Directories, and files that can only be written, are no text.
            if let Ok(text) = std::fs::read_to_string(format!("{directory}/{name}")) {
                seen.insert(format!("{directory}/{name}"), text);
            }
        }
    }
    seen
}

/// A device is lent and handed back, and once more with a virtual machine that opens it. `works` waits until
/// it works again.
fn is_lent(kind: &str, device: &Device, works: &dyn Fn()) {
    works();
    let lend = Lend::new([selector(device)]).consent(Consent::NetworkConfiguration);
    for is_opened in [false, true] {
        let (before, shown) = (there(), attributes());
        let store = MemoryStore::new();
        let mut session = session(&store);
        let _ = lend.apply(&mut session).unwrap();
        assert!(lend.verify(&session).unwrap().is_as_wanted(), "{kind}");
        let driver = hosttune_pci::driver(&host(), device.address).unwrap();
        assert_eq!(driver.as_deref(), Some("vfio-pci"), "{kind}");
        if is_opened {
            open_as_a_virtual_machine(device);
        }
        let reverted = session.revert().unwrap();
        assert!(reverted.not_reverted.is_empty(), "{kind}: {reverted:#?}");
        assert!(store.is_empty(), "{kind}: a journal is left");
        works();
        if !is_opened {
            before.is_still(&there(), kind);
        }
        let now = attributes();
        let differs = |key: &&String| shown.get(*key) != now.get(*key);
        let keys = shown.keys().chain(now.keys());
        let changed: Vec<_> = keys
            .filter(differs)
            .map(|key| format!("{key}: was {:?}, is {:?}", shown.get(key), now.get(key)))
            .collect();
        assert_eq!(changed, [""; 0], "{kind}, opened: {is_opened}");
    }
    println!(
        "kind: {kind}: {}: lent, opened, handed back",
        device.describe()
    );
}

fn interface(address: Address) -> Option<String> {
    host()
        .list_if_there(address.file("net"))
        .unwrap()
        .first()
        .cloned()
}

fn lend_each() {
    // They stay, so that each comparison is about the devices alone.
    tell("modprobe -a vfio-pci vfio_iommu_type1");
    let nic = with_driver("e1000e");
    is_lent("network card", &nic, &|| {
        wait_until("the interface is there", || {
            interface(nic.address).is_some()
        });
    });
}

/// The platform devices of the firmware's framebuffer.
fn framebuffers() -> Vec<String> {
    let names = host().list("/sys/bus/platform/devices").unwrap();
    let mut found = names;
    found.retain(|name| name.contains("-framebuffer."));
    found
}

/// vfio-pci removes it, and nothing makes it again: the plan says so and asks for a consent of its own.
fn lend_the_screen_of_the_firmware() {
    let is_there = framebuffers();
    assert_eq!(is_there.len(), 1, "{is_there:?}");
    tell("modprobe -a vfio-pci vfio_iommu_type1");
    let devices = Devices::read(&host()).unwrap();
    let screen = devices.iter().find(|device| device.class.is_vga()).unwrap();
    assert_eq!(screen.driver, None);
    let store = MemoryStore::new();
    let mut session = session(&store);
    let lend = Lend::new([selector(screen)]).consent(Consent::Console);
    let refused = lend.apply(&mut session).unwrap_err();
    let said = format!("{refused}\n{}", refused.hint().unwrap_or_default());
    assert!(said.contains(&is_there[0]), "{said}");
    assert!(said.contains("firmware-framebuffer"), "{said}");
    assert_eq!(framebuffers(), is_there);
    let lend = lend.consent(Consent::FirmwareFramebuffer);
    let _ = lend.apply(&mut session).unwrap();
    assert_eq!(framebuffers(), [""; 0]);
    open_as_a_virtual_machine(screen);
    let reverted = session.revert().unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
    assert!(store.is_empty());
    assert_eq!(hosttune_pci::driver(&host(), screen.address).unwrap(), None);
    assert_eq!(framebuffers(), [""; 0]);
    println!(
        "kind: {}: {} is gone for good",
        screen.describe(),
        is_there[0]
    );
}
