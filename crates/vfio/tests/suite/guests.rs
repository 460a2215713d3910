//! Devices that vfio-pci has already, and the virtual machine that has them open.

use hosttune_core::host::FileContent;
use hosttune_core::testing::{CrashPoint, World};
use hosttune_core::{Error, Tuning};
use hosttune_vfio::testing::Machine;
use hosttune_vfio::{Consent, Lend, Session};

use crate::support::{AUDIO, GPU, assess, driver, gpu, lend_gpu, refused, session};

/// The desktop with its card on vfio-pci, bound by another program such as driverctl.
fn bound_by_another() -> Machine {
    let machine = Machine::desktop();
    machine.bus().register("vfio-pci", Vec::new());
    for (address, driver) in [(AUDIO, "snd_hda_intel"), (GPU, "nouveau")] {
        let write = |file: String, value: &str| machine.bus().write(&file, value).unwrap();
        write(format!("/sys/bus/pci/drivers/{driver}/unbind"), address);
        let only = format!("/sys/bus/pci/devices/{address}/driver_override");
        write(only, "vfio-pci\n");
        write("/sys/bus/pci/drivers_probe".to_owned(), address);
    }
    machine
}

fn start_guest(machine: &Machine, pid: u32, words: &[&str]) {
    let files = ["/dev/vfio/vfio", "/dev/vfio/1"];
    machine.bus().start_process(pid, "qemu-system-x86", &files);
    let line: Vec<u8> = words
        .iter()
        .flat_map(|word| [word.as_bytes(), b"\0"].concat())
        .collect();
    let file = format!("/proc/{pid}/cmdline");
    let memory = machine.bus().memory().clone();
    let _ = memory.content(file, FileContent::new(line));
}

fn why_not(lend: &Lend, session: &mut Session) -> String {
    let error = lend.apply(session).unwrap_err();
    let Error::NotApplicable(findings) = &error else {
        panic!("{error:?}");
    };
    assert!(!findings.is_empty());
    format!("{error}\n{}", error.hint().unwrap_or_default())
}

/// Its own start would fail with EBUSY, after everything else was prepared.
#[test]
fn a_card_that_another_guest_has_open_is_refused() {
    let machine = bound_by_another();
    // Nobody has it open: it is as wanted already.
    let applied = lend_gpu().apply(&mut session(&machine)).unwrap();
    assert!(applied.changed.is_empty(), "{applied:?}");
    let before = machine.snapshot();
    for (words, says, hint) in [
        (
            &[
                "qemu-system-x86_64",
                "-name",
                "guest=linux,debug-threads=on",
            ][..],
            "qemu-system-x86 (process 4242, guest linux, /dev/vfio/1)",
            "shut the virtual machine linux down",
        ),
        (
            &["qemu-system-x86_64", "-m", "4G"],
            "qemu-system-x86 (process 4242, /dev/vfio/1)",
            "end process 4242",
        ),
    ] {
        start_guest(&machine, 4242, words);
        for lend in [lend_gpu(), lend_gpu().guest("windows11")] {
            let said = why_not(&lend, &mut session(&machine));
            assert!(said.contains(says), "{said}");
            assert!(said.contains(hint), "{said}");
        }
        machine.bus().end_process(4242);
    }
    assert_eq!(machine.snapshot(), before);
    let applied = lend_gpu().apply(&mut session(&machine)).unwrap();
    assert!(applied.changed.is_empty(), "{applied:?}");
}

/// The guest itself may have it: lend is asked again by a hook, or verify while it runs.
#[test]
fn a_card_that_its_own_guest_has_open_is_as_wanted() {
    let machine = bound_by_another();
    let words = ["qemu-system-x86_64", "-name", "guest=windows11"];
    start_guest(&machine, 4242, &words);
    let lend = lend_gpu().guest("windows11");
    assert!(lend.verify(&session(&machine)).unwrap().is_as_wanted());
    let applied = lend.apply(&mut session(&machine)).unwrap();
    assert!(applied.changed.is_empty(), "{applied:?}");
    machine.bus().end_process(4242);

    // Lent by this program: whatever its name is.
    for owner in ["toaster", "toaster.run"] {
        let machine = Machine::desktop();
        let session = || machine.session_of(owner, &CrashPoint::lives()).unwrap();
        let _ = lend_gpu().apply(&mut session()).unwrap();
        start_guest(&machine, 4242, &["qemu-system-x86_64"]);
        assert!(lend_gpu().verify(&session()).unwrap().is_as_wanted());
        assert!(lend_gpu().plan(&session()).unwrap().is_empty());
        // And by another program: it is that one's.
        let mut other = machine.session_of("other", &CrashPoint::lives()).unwrap();
        let said = why_not(&lend_gpu(), &mut other);
        assert!(said.contains("process 4242"), "{said}");
    }
}

/// One function is on vfio-pci already and another guest has it; the rest of the card has its drivers.
#[test]
fn half_a_card_that_another_guest_has_is_refused() {
    let machine = Machine::desktop();
    machine.bus().register("vfio-pci", Vec::new());
    let write = |file: String, value: &str| machine.bus().write(&file, value).unwrap();
    write(
        "/sys/bus/pci/drivers/snd_hda_intel/unbind".to_owned(),
        AUDIO,
    );
    let only = format!("/sys/bus/pci/devices/{AUDIO}/driver_override");
    write(only, "vfio-pci\n");
    write("/sys/bus/pci/drivers_probe".to_owned(), AUDIO);
    start_guest(&machine, 7, &["qemu-system-x86_64", "-name", "linux"]);
    let lend = Lend::new([gpu()])
        .consent(Consent::OnlyGpu)
        .guest("windows11");
    let lines = refused(&machine, &lend);
    assert!(
        lines.len() == 1 && lines[0].contains("process 7, guest linux, /dev/vfio/1"),
        "{lines:?}"
    );
    let said = why_not(&lend, &mut session(&machine));
    assert!(said.contains("guest linux"), "{said}");
    assert_eq!(driver(&machine, GPU).as_deref(), Some("nouveau"));
    assert_eq!(assess(&machine, &lend).lent.len(), 2);
}

/// A guest has left it dead: bound to vfio-pci it looks as wanted, and the next guest would not start.
#[test]
fn a_card_that_a_guest_has_left_dead_is_refused() {
    let machine = bound_by_another();
    let config = format!("/sys/devices/pci0000:00/0000:00:01.0/{GPU}/config");
    let ones = FileContent::new(vec![0xff; 64]);
    let _ = machine.bus().memory().clone().content(config, ones);
    let said = why_not(&lend_gpu(), &mut session(&machine));
    assert!(said.contains("it does not answer"), "{said}");
}
