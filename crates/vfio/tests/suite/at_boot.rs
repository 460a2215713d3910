//! The udev rule that lends devices from boot on.

use hosttune_core::{Error, Tuning};
use hosttune_udev_rules::Document;
use hosttune_vfio::testing::Machine;
use hosttune_vfio::{Lend, LendAtBoot};

use crate::support::{gpu, host, lend_gpu, refused, session};

const FILE: &str = "/etc/udev/rules.d/61-hosttune-test.rules";

/// A desktop whose drivers are modules.
fn desktop() -> Machine {
    ["nouveau", "snd_hda_intel"]
        .iter()
        .fold(Machine::desktop(), |machine, driver| {
            machine.with_file(&format!("/sys/bus/pci/drivers/{driver}/module/refcnt"), "1")
        })
}

fn at_boot() -> LendAtBoot {
    LendAtBoot::new(lend_gpu(), "test")
}

#[test]
fn a_rule_matches_by_slot_and_ids() {
    let machine = desktop();
    let mut session = session(&machine);
    let _ = at_boot().apply(&mut session).unwrap();
    assert!(at_boot().verify(&session).unwrap().is_as_wanted());
    let text = host(&machine).read_text(FILE).unwrap();
    let audio = r#"ACTION=="add", DEVPATH=="/devices/pci0000:00/0000:00:01.0/0000:??:00.1", SUBSYSTEM=="pci", ATTR{vendor}=="0x10de", ATTR{device}=="0x22ba", ATTR{subsystem_vendor}=="0x1043", ATTR{subsystem_device}=="0x889d""#;
    let wanted = format!(
        "\
# Written by hosttune for test: binds devices to vfio-pci at boot. Reverted by the same program.
# audio device [10de:22ba] at 0000:01:00.1
{audio}, ATTR{{driver_override}}=\"vfio-pci\"
{audio}, ATTR{{subsystem/drivers_probe}}=\"$kernel\"
{audio}, RUN{{builtin}}+=\"kmod load vfio-pci\"
# VGA controller [10de:2684] at 0000:01:00.0
"
    );
    assert!(text.starts_with(&wanted), "{text}");
    assert_eq!(text.lines().count(), 9, "{text}");
    // udevd would ignore none of it.
    let document = Document::parse(text.as_bytes());
    assert!(document.problems().is_empty(), "{:?}", document.problems());
    let _ = session.revert().unwrap();
    assert!(!host(&machine).exists(FILE).unwrap());
    assert!(!host(&machine).exists("/etc/udev").unwrap());
}

#[test]
fn a_refused_lend_is_not_persisted_either() {
    let machine = desktop();
    let mut session = session(&machine);
    let refused = LendAtBoot::new(Lend::new([gpu()]), "test").apply(&mut session);
    let refused = refused.unwrap_err();
    assert!(matches!(refused, Error::NotApplicable(_)), "{refused:?}");
    // Each reason, and what is typed against it.
    let said = format!("{refused} {}", refused.hint().unwrap_or_default());
    assert!(
        said.contains("the only monitor is connected to it"),
        "{said}"
    );
    assert!(said.contains("--consent only-gpu"), "{said}");
    assert!(!host(&machine).exists(FILE).unwrap());
}

/// That a card is in use now is why it is bound at the next boot.
#[test]
fn the_card_need_not_be_free_before_the_reboot() {
    let machine = desktop();
    machine
        .bus()
        .start_process(812, "Xorg", &["/dev/dri/card0"]);
    assert_eq!(refused(&machine, &lend_gpu()).len(), 1);
    let mut session = session(&machine);
    let notes = at_boot().plan(&session).unwrap().notes.join("\n");
    assert!(
        notes.contains("0000:01:00.1 lent: it is the same card"),
        "{notes}"
    );
    let _ = at_boot().apply(&mut session).unwrap();
    assert!(host(&machine).exists(FILE).unwrap());
}

#[test]
fn a_rule_is_too_late_for_a_built_in_driver() {
    let machine = Machine::desktop();
    let mut session = session(&machine);
    let refused = at_boot().apply(&mut session).unwrap_err();
    let said = format!("{refused} {}", refused.hint().unwrap_or_default());
    assert!(said.contains("is built into the kernel"), "{said}");
    assert!(said.contains("vfio-pci.ids=10de:22ba"), "{said}");
}

#[test]
fn the_initramfs_is_not_looked_at_and_the_plan_says_so() {
    let machine = desktop().with_file("/etc/initramfs-tools/initramfs.conf", "MODULES=most\n");
    let notes = at_boot().plan(&session(&machine)).unwrap().notes;
    let notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
    let notes = notes.join("\n");
    assert!(notes.contains("update-initramfs -u -k all"), "{notes}");
    assert!(notes.contains("verify after the reboot"), "{notes}");
}

#[test]
fn the_name_of_the_file_is_plain() {
    let machine = desktop();
    for name in ["", "../a", "A", "a b"] {
        let tuning = LendAtBoot::new(lend_gpu(), name);
        let error = tuning.plan(&session(&machine)).unwrap_err();
        assert!(matches!(error, Error::Tuning { .. }), "{error:?}");
    }
}
