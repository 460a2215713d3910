//! Which driver is right for which card, and the facts of cards that are not woken for them.

use hosttune_core::Tuning;
use hosttune_core::host::FileContent;
use hosttune_core::testing::Memory;
use hosttune_nvidia::{Fact, Generation, ModuleKind, Support, gpus, support};

use crate::tree::{Driver, bare, host, machine, session, wanted, with_card};

#[test]
fn ids_are_of_the_generation_that_their_cards_have() {
    for (device, generation) in [
        (0x05e2, Generation::OlderThanFermi), // GTX 260
        (0x06c0, Generation::Fermi),          // GTX 480
        (0x1201, Generation::Fermi),          // GTX 560
        (0x1140, Generation::Fermi),          // 820M
        (0x10c3, Generation::OlderThanFermi), // 8400 GS
        (0x0fc6, Generation::Kepler),         // GTX 650
        (0x1180, Generation::Kepler),         // GTX 680
        (0x1287, Generation::Kepler),         // GT 730
        (0x1401, Generation::Maxwell),        // GTX 960
        (0x17c8, Generation::Maxwell),        // GTX 980 Ti
        (0x1b80, Generation::Pascal),         // GTX 1080
        (0x15f8, Generation::Pascal),         // Tesla P100
        (0x1d81, Generation::Volta),          // Titan V
        (0x1e07, Generation::Turing),         // RTX 2080 Ti
        (0x2184, Generation::Turing),         // GTX 1660
        (0x20b0, Generation::Ampere),         // A100
        (0x2204, Generation::Ampere),         // RTX 3090
        (0x2330, Generation::Hopper),         // H100
        (0x2684, Generation::Ada),            // RTX 4090
        (0x2b85, Generation::Blackwell),      // RTX 5090
        (0x4000, Generation::TuringOrNewer),
    ] {
        assert_eq!(
            Generation::of_device(device),
            Some(generation),
            "{device:04x}"
        );
    }
    assert_eq!(Generation::of_device(0x1440), None);
}

#[test]
fn each_generation_has_its_branches_and_kinds() {
    use Generation::{
        Ada, Ampere, Blackwell, Fermi, Kepler, Maxwell, OlderThanFermi, Pascal, Turing, Volta,
    };
    use ModuleKind::{Open, Proprietary};
    for (generation, branch, kind, is_supported) in [
        (OlderThanFermi, 340, Proprietary, true),
        (OlderThanFermi, 390, Proprietary, false),
        (Fermi, 390, Proprietary, true),
        (Fermi, 470, Proprietary, false),
        (Kepler, 470, Proprietary, true),
        (Kepler, 535, Proprietary, false),
        (Maxwell, 580, Proprietary, true),
        (Maxwell, 590, Proprietary, false),
        (Maxwell, 580, Open, false),
        (Pascal, 595, Proprietary, false),
        (Volta, 580, Proprietary, true),
        (Turing, 580, Open, true),
        (Turing, 595, Proprietary, true),
        (Ampere, 610, Open, true),
        (Ada, 470, Proprietary, false),
        (Blackwell, 570, Open, true),
        (Blackwell, 580, Proprietary, false),
        (Blackwell, 550, Open, false),
    ] {
        let answer = support(generation, branch, kind);
        let as_expected = (answer == Support::Supported) == is_supported;
        assert!(as_expected, "{generation} {branch} {kind}: {answer:?}");
        if let Support::Unsupported { why, hint } = answer {
            assert!(!why.is_empty() && hint.contains("install"), "{why}; {hint}");
        }
    }
}

/// With no usable GPU the module does not load, and `/proc/driver/nvidia` is not there.
#[test]
fn the_owner_of_an_old_card_is_told_what_to_install() {
    let memory = with_card(bare(), "0000:01:00.0", 0x1401, "active");
    let driver = Driver::new("595.45.04", ModuleKind::Open);
    let machine = machine(driver.installed(memory));
    let report = wanted(&[]).verify(&session(&machine)).unwrap();
    assert_eq!(
        report.notes,
        [
            "GPU 0000:01:00.0 [10de:1401] is Maxwell and does not work with driver 595.45.04: drivers after branch 580 do not support Maxwell, and the installed one is of branch 595; install branch 580 (the package is named nvidia-580xx-dkms, nvidia-driver-580, or legacy_580 on NixOS)"
        ]
    );
}

#[test]
fn of_two_cards_only_the_unsupported_one_is_named() {
    let memory = with_card(bare(), "0000:01:00.0", 0x2684, "active");
    let memory = with_card(memory, "0000:02:00.0", 0x1b80, "active");
    let driver = Driver::new("595.45.04", ModuleKind::Proprietary);
    let machine = machine(driver.installed(memory));
    let notes = wanted(&[]).verify(&session(&machine)).unwrap().notes;
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(
        notes[0].starts_with("GPU 0000:02:00.0 [10de:1b80] is Pascal"),
        "{notes:?}"
    );
}

fn told(memory: Memory, information: &str) -> Memory {
    let path = "/proc/driver/nvidia/gpus/0000:01:00.0/information";
    memory.content(path, FileContent::new(information))
}

#[test]
fn facts_are_unknown_where_asking_would_wake_a_card() {
    let open = "Model: \t\t NVIDIA GeForce RTX 4090\nIRQ: \t 120\nGPU UUID: \t GPU-1\nVideo BIOS: \t 95.02.3c.00.01\nGPU Firmware: \t 595.45.04\n";
    let unopened = "Model: \t\t NVIDIA GeForce RTX 4090\nVideo BIOS: \t ??.??.??.??.??\nGPU Firmware: \t N/A\n";
    let card = |status| with_card(bare(), "0000:01:00.0", 0x2684, status);
    let facts = |memory: &Memory| {
        let gpu = gpus(&host(memory)).unwrap().remove(0);
        (gpu.is_asleep, gpu.model, gpu.video_bios, gpu.firmware)
    };
    let known = |text: &str| Fact::Known(text.into());
    assert_eq!(
        facts(&told(card("active"), open)),
        (
            Some(false),
            known("NVIDIA GeForce RTX 4090"),
            known("95.02.3c.00.01"),
            known("595.45.04")
        )
    );
    let (_, model, bios, firmware) = facts(&told(card("active"), unopened));
    assert_eq!(model, known("NVIDIA GeForce RTX 4090"));
    assert_eq!((bios, firmware), (Fact::NotOpenedYet, Fact::NotOpenedYet));
    // `information` has no read permission here: a read would be an error.
    for status in ["suspended", "suspending", "resuming"] {
        let path = "/proc/driver/nvidia/gpus/0000:01:00.0/information";
        let memory = told(card(status), open).mode(path, 0);
        let (asleep, model, ..) = facts(&memory);
        assert_eq!((asleep, model), (Some(true), Fact::Asleep), "{status}");
    }
    let (asleep, model, ..) = facts(&told(card("unsupported"), open));
    assert_eq!((asleep, model), (None, Fact::NotAsked));
    let (_, model, ..) = facts(&card("active"));
    assert_eq!(model, Fact::NoDriver);
}

#[test]
fn only_display_controllers_of_nvidia_are_gpus() {
    let memory = with_card(bare(), "0000:01:00.0", 0x2684, "active");
    let put = |memory: Memory, address: &str, vendor: &str, class: &str| {
        let of = format!("/sys/bus/pci/devices/{address}");
        memory
            .content(
                format!("{of}/vendor"),
                FileContent::new(format!("{vendor}\n")),
            )
            .content(
                format!("{of}/class"),
                FileContent::new(format!("{class}\n")),
            )
            .content(format!("{of}/device"), FileContent::new("0x22ba\n"))
    };
    let memory = put(memory, "0000:01:00.1", "0x10de", "0x040300");
    let memory = put(memory, "0000:02:00.0", "0x1002", "0x030000");
    let memory = put(memory, "0000:03:00.0", "garbage", "0x030000");
    let found = gpus(&host(&memory)).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].name(), "GPU 0000:01:00.0 [10de:2684]");
    assert!(gpus(&host(&Memory::new())).unwrap().is_empty());
}
