//! Captures that lack files, and captures of guests that report a wrong processor.

use hosttune_core::Host;
use hosttune_core::testing::{Behaviour, CrashPoint, Memory};
use hosttune_facts::{Facts, Firmware, Microarchitecture};

const GUEST: &str = "\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 134
flags\t\t: fpu cx8 cmov mmx fxsr sse sse2 syscall lm cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3 avx avx2 bmi1 bmi2 f16c fma abm movbe xsave avx512f avx512bw avx512cd avx512dq avx512vl hypervisor

processor\t: 1
vendor_id\t: GenuineIntel
";

const BANNER: &str = "Linux version 6.1.0-56-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld 2.40) #1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2";

fn facts(files: &[(&str, &str)]) -> Facts {
    let memory = files.iter().fold(Memory::new(), |memory, (path, text)| {
        memory.file(path, text, Behaviour::takes_all())
    });
    Facts::of(&Host::new(memory.host(&CrashPoint::lives())))
}

#[test]
fn the_banner_and_the_list_of_processors_are_used_where_nothing_else_is() {
    let found = facts(&[("/proc/version", BANNER), ("/proc/cpuinfo", GUEST)]);
    assert_eq!(found.kernel.release.as_deref(), Some("6.1.0-56-amd64"));
    let version = found.kernel.version.unwrap_or_default();
    assert_eq!(version, "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2");
    assert_eq!(found.cpu.threads, Some(2));
    assert_eq!(found.cpu.cores, None);
    // A better source takes precedence.
    let found = facts(&[
        ("/proc/version", BANNER),
        ("/proc/sys/kernel/osrelease", "6.2.0"),
        ("/proc/cpuinfo", GUEST),
        ("/sys/devices/system/cpu/online", "0-3"),
    ]);
    assert_eq!(found.kernel.release.as_deref(), Some("6.2.0"));
    assert_eq!(found.cpu.threads, Some(4));
    // A list that does not number the processors gives no count.
    assert_eq!(facts(&[("/proc/cpuinfo", "cpu\t: x\n")]).cpu.threads, None);
}

#[test]
fn a_design_that_cannot_do_what_the_guest_can_is_not_named() {
    assert_eq!(
        facts(&[("/proc/cpuinfo", GUEST)]).cpu.microarchitecture,
        None
    );
    let real = GUEST.replace(" hypervisor", "");
    assert_eq!(
        facts(&[("/proc/cpuinfo", &real)]).cpu.microarchitecture,
        Some(Microarchitecture::Tremont)
    );
    // A guest that shows fewer flags than its processor has is still recognised.
    let less = GUEST.replace("134", "94").replace(" avx512f", "");
    assert_eq!(
        facts(&[("/proc/cpuinfo", &less)]).cpu.microarchitecture,
        Some(Microarchitecture::Skylake)
    );
}

#[test]
fn only_an_x86_machine_has_a_bios() {
    let table = ("/sys/class/dmi/id/sys_vendor", "Ampere");
    let of = |cpu: &str| facts(&[table, ("/proc/cpuinfo", cpu)]).boot.firmware;
    assert_eq!(of(GUEST), Some(Firmware::Bios));
    let arm = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\n";
    assert_eq!(of(arm), None);
    assert_eq!(facts(&[table]).boot.firmware, None);
}
