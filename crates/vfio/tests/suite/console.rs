//! The text console on the display that is lent, and the framebuffer of the firmware.

use hosttune_core::Tuning;
use hosttune_core::testing::{Moment, World, laws};
use hosttune_pci::testing::Function;
use hosttune_test_machine::cases;
use hosttune_vfio::testing::Machine;
use hosttune_vfio::{Consent, Lend, Selector};
use proptest::prelude::*;

use crate::support::{assess, at, driver, refused, session};

const DISPLAY: &str = "0000:01:00.0";
const CONSOLES: &str = "/sys/class/vtconsole";

fn display() -> Selector {
    at(DISPLAY, "1234:1111")
}

/// A display whose driver makes a framebuffer on which fbcon draws; fbcon vanishes with it and binds
/// itself when it appears.
fn function(address: &str, number: u8, class: &str) -> Function {
    let fbcon = format!("{CONSOLES}/vtcon{}", number + 1);
    Function::new(address, "1234:1111", class)
        .group(u32::from(number) + 1)
        .while_bound(
            "bochs-drm",
            &format!("graphics/fb{number}/name"),
            "bochs-drmdrmfb",
        )
        .linked_while_bound(
            "bochs-drm",
            &format!("graphics/fb{number}"),
            &format!("/sys/class/graphics/fb{number}"),
        )
        .while_bound(
            "bochs-drm",
            &format!("{fbcon}/name"),
            "(M) frame buffer device",
        )
        .while_bound("bochs-drm", &format!("{fbcon}/bind"), "1")
}

fn machine() -> Machine {
    let machine = Machine::new()
        .with_file(&format!("{CONSOLES}/vtcon0/name"), "(S) dummy device")
        .with_file(&format!("{CONSOLES}/vtcon0/bind"), "0");
    let _ = machine
        .bus()
        .clone()
        .with_driver("bochs-drm", &["1234:1111"]);
    machine.with(function(DISPLAY, 0, "030000").file("boot_vga", "1"))
}

fn lend() -> Lend {
    Lend::new([display()])
        .consent(Consent::OnlyGpu)
        .consent(Consent::Console)
}

fn bind(machine: &Machine, number: u8) -> Option<String> {
    let file = format!("{CONSOLES}/vtcon{number}/bind");
    machine.snapshot().get(&file).map(ToString::to_string)
}

#[test]
fn the_console_is_detached_first_and_attached_last() {
    let machine = machine();
    let before = machine.snapshot();
    let said = refused(&machine, &Lend::new([display()]).consent(Consent::OnlyGpu));
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(
        said[0].contains("the text console is drawn on its framebuffer fb0"),
        "{said:#?}"
    );
    // What is typed replaces what was typed before, so it names all that is needed.
    for given in [
        Lend::new([display()]),
        Lend::new([display()]).consent(Consent::OnlyGpu),
        Lend::new([display()]).consent(Consent::Console),
    ] {
        let error = given.plan(&session(&machine)).unwrap_err();
        assert_eq!(
            error.hint().as_deref(),
            Some(
                "if that is intended, consent to only-gpu and console: --consent only-gpu,console"
            )
        );
    }
    let mut session = session(&machine);
    let plan = lend().plan(&session).unwrap();
    let steps: Vec<&str> = plan
        .steps
        .iter()
        .map(|step| step.knob.text.as_str())
        .filter(|text| !text.starts_with("module"))
        .collect();
    assert_eq!(steps[0], "console driver 'frame buffer device'");
    let _ = lend().apply(&mut session).unwrap();
    assert_eq!(driver(&machine, DISPLAY).as_deref(), Some("vfio-pci"));
    assert!(lend().plan(&session).unwrap().is_empty());
    assert!(lend().verify(&session).unwrap().is_as_wanted());
    let reverted = session.revert().unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
    assert_eq!(
        reverted.notes,
        Vec::<String>::new(),
        "fbcon has bound itself"
    );
    assert_eq!(machine.snapshot(), before);
}

/// A console that the administrator has detached stays so.
#[test]
fn a_detached_console_is_no_reason_to_refuse() {
    let machine = machine();
    machine
        .bus()
        .write(&format!("{CONSOLES}/vtcon1/bind"), "0\n")
        .unwrap();
    let lend = Lend::new([display()]).consent(Consent::OnlyGpu);
    assert_eq!(refused(&machine, &lend), Vec::<String>::new());
}

/// The number of a driver says nothing.
#[test]
fn fbcon_is_known_by_its_name() {
    let machine = Machine::new()
        .with_file(&format!("{CONSOLES}/vtcon1/name"), "(S) VGA+")
        .with_file(&format!("{CONSOLES}/vtcon1/bind"), "1");
    let _ = machine
        .bus()
        .clone()
        .with_driver("bochs-drm", &["1234:1111"]);
    let fbcon = format!("{CONSOLES}/vtcon0");
    let function = Function::new(DISPLAY, "1234:1111", "030000")
        .group(1)
        .while_bound("bochs-drm", "graphics/fb0/name", "bochs-drmdrmfb")
        .linked_while_bound("bochs-drm", "graphics/fb0", "/sys/class/graphics/fb0")
        .while_bound(
            "bochs-drm",
            &format!("{fbcon}/name"),
            "(M) frame buffer device",
        )
        .while_bound("bochs-drm", &format!("{fbcon}/bind"), "1");
    let machine = machine.with(function);
    let before = machine.snapshot();
    let mut session = session(&machine);
    let _ = lend().apply(&mut session).unwrap();
    assert_eq!(
        bind(&machine, 1),
        before
            .get("/sys/class/vtconsole/vtcon1/bind")
            .map(ToString::to_string)
    );
    assert!(session.revert().unwrap().not_reverted.is_empty());
    assert_eq!(machine.snapshot(), before);
}

/// With a second framebuffer the kernel moves the consoles there.
#[test]
fn with_another_framebuffer_fbcon_stays() {
    let machine = machine().with(function("0000:02:00.0", 1, "030000"));
    let assessment = assess(&machine, &Lend::new([display()]));
    assert!(
        assessment
            .refusals
            .iter()
            .all(|refusal| refusal.consent != Some(Consent::Console)),
        "{:#?}",
        assessment.refusals
    );
    assert!(
        assessment
            .notes
            .iter()
            .any(|note| note.contains("consoles on the framebuffer fb0 of 0000:01:00.0 move")),
        "{:#?}",
        assessment.notes
    );
    // Both at once leave none.
    let both = Lend::new([display(), at("0000:02:00.0", "1234:1111")]).consent(Consent::OnlyGpu);
    assert_eq!(refused(&machine, &both).len(), 2);
}

/// The kernel removes it when vfio-pci binds the boot display, and makes none before the next boot.
#[test]
fn the_framebuffer_of_the_firmware_is_one_way() {
    let file = "/sys/bus/platform/devices/simple-framebuffer.0/uevent";
    let machine = machine().with_file(file, "DRIVER=simple-framebuffer");
    let said = refused(&machine, &lend());
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(
        said[0].contains("simple-framebuffer.0") && said[0].contains("only the next boot"),
        "{said:#?}"
    );
    let lend = lend().consent(Consent::FirmwareFramebuffer);
    assert_eq!(refused(&machine, &lend), Vec::<String>::new());

    // vfio-pci leaves it where the class is not VGA, and then the guest cannot use the memory.
    let machine = Machine::new().with_file(file, "DRIVER=simple-framebuffer");
    let machine = machine.with(function(DISPLAY, 0, "038000"));
    let assessment = assess(&machine, &lend);
    assert!(
        assessment
            .notes
            .iter()
            .any(|note| note.contains("does not remove it for a device of class 038000")),
        "{:#?}",
        assessment.notes
    );
}

#[test]
fn nvidias_driver_without_a_console_is_noted() {
    let machine = Machine::new().with_file("/sys/module/nvidia_drm/parameters/fbdev", "N");
    let _ = machine.bus().clone().with_driver("nvidia", &["10de:2684"]);
    let gpu = Function::new(DISPLAY, "10de:2684", "030000").group(1);
    let machine = machine.with(gpu);
    let assessment = assess(&machine, &Lend::new([at(DISPLAY, "10de:2684")]));
    assert!(
        assessment
            .notes
            .iter()
            .any(|note| note.contains("no text console before the next boot")),
        "{:#?}",
        assessment.notes
    );
}

/// A service, a session and logind are named with the command that ends them.
#[test]
fn what_to_end_is_said_for_each_kind_of_holder() {
    for (name, group, hint) in [
        (
            "nvidia-persiste",
            "0::/system.slice/nvidia-persistenced.service",
            "systemctl stop nvidia-persistenced.service",
        ),
        (
            "kwin_wayland",
            "0::/user.slice/user-1000.slice/session-2.scope",
            "loginctl terminate-session 2",
        ),
        (
            "ollama",
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/ollama.service",
            "loginctl terminate-user 1000",
        ),
        (
            "systemd-logind",
            "0::/system.slice/systemd-logind.service",
            "loginctl terminate-session c7",
        ),
        ("x", "0::/", "close that program; it is never killed"),
    ] {
        let machine = Machine::desktop()
            .with_file("/proc/812/cgroup", group)
            .with_file(
                "/run/systemd/sessions/3",
                "UID=1000\nACTIVE=0\nSEAT=seat0\n",
            )
            .with_file(
                "/run/systemd/sessions/c7",
                "UID=1000\nACTIVE=1\nSEAT=seat0\n",
            );
        machine.bus().start_process(812, name, &["/dev/dri/card0"]);
        let assessment = assess(&machine, &crate::support::lend_gpu());
        let hints: Vec<&str> = assessment
            .refusals
            .iter()
            .filter_map(|refusal| refusal.unsupported.hint.as_deref())
            .collect();
        assert!(
            hints.iter().any(|line| line.contains(hint)),
            "{name}: {hints:#?}"
        );
    }
}

fn moment() -> impl Strategy<Value = Moment> {
    prop_oneof![
        Just(Moment::Before),
        Just(Moment::Within),
        Just(Moment::After)
    ]
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn the_console_survives_every_crash(
        deaths in prop::collection::vec((0..40_u64, moment()), 0..4),
        change in 0..20_u64,
        moment in moment(),
    ) {
        let machine = machine();
        laws::apply_then_verify(&machine, &lend())?;
        laws::apply_then_plan(&machine, &lend())?;
        laws::die_anywhere(&machine, &[lend(), lend()], &deaths)?;
        laws::failing_step(&machine, &lend(), change, moment)?;
    }
}
