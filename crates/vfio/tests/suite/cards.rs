//! Which functions belong to a card, and what stays with the host.

use hosttune_core::testing::Memory;
use hosttune_pci::testing::{Bus, Function};
use hosttune_vfio::testing::Machine;
use hosttune_vfio::{Consent, Lend, Role};

use crate::support::{AUDIO, GPU, assess, at, lend_gpu, lent, nic, refused, role};

/// A newer card: display, audio, USB, and a controller of the USB-C port.
#[test]
fn all_functions_of_a_card_are_lent() {
    let of_card = |function: &str, ids: &str, class: &str| {
        Function::new(&format!("0000:01:00.{function}"), ids, class)
            .below(&["0000:00:01.0"])
            .group(1)
    };
    let machine = Machine::desktop()
        .with(of_card("2", "10de:1ad8", "0c0330"))
        .with(of_card("3", "10de:1ad9", "0c8000"));
    let assessment = assess(&machine, &lend_gpu());
    assert_eq!(
        lent(&assessment),
        [
            "0000:01:00.1",
            "0000:01:00.2",
            "0000:01:00.3",
            "0000:01:00.0"
        ]
    );
    assert_eq!(
        role(&assessment, AUDIO).unwrap(),
        (Role::Lent, "it is the same card as 0000:01:00.0".to_owned())
    );
    // The port is in the group and keeps its driver.
    let (port, why) = role(&assessment, "0000:00:01.0").unwrap();
    assert_eq!(port, Role::Stays);
    assert!(why.contains("pcieport"), "{why}");
    let only = assess(&machine, &lend_gpu().without_companions());
    assert_eq!(lent(&only), [GPU]);
    // Then the rest of the card is an obstacle.
    assert_eq!(role(&only, AUDIO).unwrap().0, Role::Obstacle);
}

/// An AMD processor with graphics: display, its audio, the security processor, USB, the board's
/// sound, all in one slot and each in a group of its own.
#[test]
fn of_a_processor_only_display_and_its_audio_are_lent() {
    let function = |number: u32, ids: &str, class: &str| {
        let address = format!("0000:0e:00.{number}");
        Function::new(&address, ids, class)
            .below(&["0000:00:08.1"])
            .group(20 + number)
    };
    let machine = Machine::new()
        .with(function(0, "1002:164e", "030000"))
        .with(function(1, "1002:1640", "040300"))
        .with(function(2, "1022:1649", "108000"))
        .with(function(3, "1022:15b6", "0c0330"))
        .with(function(6, "1022:15e3", "040300"));
    let assessment = assess(&machine, &Lend::new([at("0000:0e:00.0", "1002:164e")]));
    assert_eq!(assessment.refusals, []);
    assert_eq!(lent(&assessment), ["0000:0e:00.1", "0000:0e:00.0"]);
    for stays in ["0000:0e:00.2", "0000:0e:00.3", "0000:0e:00.6"] {
        assert_eq!(role(&assessment, stays).unwrap().0, Role::Stays, "{stays}");
    }
    let notes = assessment.notes.join("\n");
    assert!(notes.contains("cannot be reset with its bus"), "{notes}");
    // The USB controller as well: the audio function has one verdict, by the display.
    let usb = at("0000:0e:00.3", "1022:15b6");
    let assessment = assess(&machine, &Lend::new([usb, at("0000:0e:00.0", "1002:164e")]));
    let of_audio = assessment
        .verdicts
        .iter()
        .filter(|one| one.what.contains("1002:1640"));
    let roles: Vec<Role> = of_audio.map(|one| one.role).collect();
    assert_eq!(roles, [Role::Lent]);
}

#[test]
fn functions_on_the_root_bus_are_no_card() {
    let chipset = |function: u32, ids: &str, class: &str| {
        Function::new(&format!("0000:00:1f.{function}"), ids, class).group(9 + function)
    };
    let machine = Machine::new()
        .with(chipset(3, "8086:7ad0", "040300"))
        .with(chipset(4, "8086:7aa3", "0c0500"));
    let assessment = assess(&machine, &Lend::new([at("0000:00:1f.3", "8086:7ad0")]));
    assert_eq!(lent(&assessment), ["0000:00:1f.3"]);
    assert_eq!(role(&assessment, "0000:00:1f.4").unwrap().0, Role::Stays);
}

#[test]
fn virtual_functions_are_lent_one_by_one() {
    let function = |address: &str, ids: &str| {
        let group = 30 + u32::from(address.as_bytes()[11]);
        Function::new(address, ids, "020000")
            .below(&["0000:00:03.0"])
            .group(group)
    };
    let machine = Machine::new()
        .with(
            function("0000:03:00.0", "8086:10c9")
                .file("sriov_totalvfs", "7")
                .file("sriov_numvfs", "2"),
        )
        .with(function("0000:03:10.0", "8086:10ca"))
        .with(function("0000:03:10.2", "8086:10ca"))
        .with_link(
            "/sys/devices/pci0000:00/0000:00:03.0/0000:03:10.0/physfn",
            "../0000:03:00.0",
        )
        .with_link(
            "/sys/devices/pci0000:00/0000:00:03.0/0000:03:10.2/physfn",
            "../0000:03:00.0",
        );
    let first = at("0000:03:10.0", "8086:10ca");
    let assessment = assess(&machine, &Lend::new([first.clone()]));
    assert_eq!(
        (lent(&assessment), assessment.refusals.len()),
        (vec!["0000:03:10.0".to_owned()], 0)
    );
    let physical = at("0000:03:00.0", "8086:10c9");
    let both = refused(&machine, &Lend::new([first, physical]));
    assert!(
        both.iter()
            .any(|line| line.contains("physical function 0000:03:00.0 is lent as well")),
        "{both:?}"
    );
    assert!(
        both.iter().any(|line| line.contains("2 virtual functions")),
        "{both:?}"
    );
}

/// The rule of older kernels counts bridges as no obstacle, whatever their driver is.
#[test]
fn the_rule_of_the_kernel_decides_about_the_group() {
    let machine = |release: &str, port: &str| {
        let machine = Machine::new()
            .with_file("/proc/sys/kernel/osrelease", release)
            .with_file("/lib/modules/5.10.0/modules.dep", "kernel/vfio-pci.ko:");
        Machine::over(machine.bus().fork())
            .with(
                Function::new("0000:00:01.0", "8086:1901", "060400")
                    .bridge()
                    .group(1),
            )
            .with(
                Function::new("0000:01:00.0", "8086:10d3", "020000")
                    .below(&["0000:00:01.0"])
                    .group(1),
            )
            .bus()
            .fork()
            .with_driver(port, &["8086:1901"])
    };
    let lend = Lend::new([at("0000:01:00.0", "8086:10d3")]);
    let refusals = |bus: Bus| refused(&Machine::over(bus), &lend).len();
    assert_eq!(refusals(machine("5.10.0", "shpchp")), 0);
    assert_eq!(refusals(machine("6.12.0-double", "shpchp")), 1);
    assert_eq!(refusals(machine("6.12.0-double", "pcieport")), 0);
}

/// Two functions behind a bridge without ACS.
#[test]
fn a_busy_member_of_the_group_refuses_the_lend() {
    let bridge = "0000:04:00.0";
    let nic = |device: &str, ids: &str| {
        Function::new(&format!("0000:05:{device}.0"), ids, "020000")
            .below(&[bridge])
            .group(7)
    };
    let machine = Machine::over(
        Bus::new(Memory::new().directory("/proc/sys"))
            .with_iommu()
            .with_driver("e1000", &["8086:100e"])
            .with(nic("01", "8086:100e"))
            .with(nic("02", "8086:100e")),
    );
    let first = at("0000:05:01.0", "8086:100e");
    let second = at("0000:05:02.0", "8086:100e");
    let one = refused(&machine, &Lend::new([first.clone()]));
    assert!(
        one[0].contains("0000:05:02.0: it is in IOMMU group 7"),
        "{one:?}"
    );
    assert!(one[0].contains("with driver e1000"), "{one:?}");
    assert_eq!(refused(&machine, &Lend::new([first, second])), [""; 0]);
}

#[test]
fn a_consent_lifts_one_refusal_and_no_other() {
    let machine = Machine::desktop();
    let all = refused(&machine, &Lend::new([crate::support::gpu(), nic()]));
    assert_eq!(all.len(), 1, "{all:?}");
    let other = Lend::new([crate::support::gpu()]).consent(Consent::DefaultRoute);
    assert_eq!(refused(&machine, &other), all);
    assert_eq!(refused(&machine, &lend_gpu()), [""; 0]);
}
