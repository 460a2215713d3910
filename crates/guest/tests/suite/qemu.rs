//! The arguments, against QEMU's own parser.

use std::io::Write;
use std::process::{Command, Stdio};

use hosttune_guest::qemu::{arguments, command_line};

use crate::support::{has, windows};

#[test]
fn the_command_line_of_a_guest() {
    let wanted = "\
qemu-system-x86_64 \\
    -name windows11 \\
    -machine q35 \\
    -accel kvm \\
    -cpu host,hv_relaxed,hv_vapic,hv_spinlocks=0x1fff \\
    -smp 8,sockets=1,cores=8,threads=1 \\
    -m 16384M \\
    -device pcie-root-port,id=lent1,chassis=1,bus=pcie.0 \\
    -device vfio-pci,host=0000:0d:00.0,bus=lent1,addr=00.0,multifunction=on \\
    -device vfio-pci,host=0000:0d:00.1,bus=lent1,addr=00.1 \\
    -device pcie-root-port,id=lent2,chassis=2,bus=pcie.0 \\
    -device vfio-pci,host=10000:e1:00.0,bus=lent2,addr=00.0 \\
    -object memory-backend-file,id=looking-glass,mem-path=/dev/shm/looking-glass,size=128M,share=on \\
    -device ivshmem-plain,memdev=looking-glass,bus=pcie.0
";
    assert_eq!(command_line(&windows()), wanted);
}

/// What KVM has is replaced, because the machine of the test need not have it, and so is the path
/// of the shared memory, which belongs to the host.
fn run(mut arguments: Vec<String>, directory: &std::path::Path) -> String {
    for word in &mut arguments {
        *word = match word.as_str() {
            "kvm" => "tcg".to_owned(),
            cpu if cpu.starts_with("host,") => "max".to_owned(),
            "16384M" => "64M".to_owned(),
            other => other.replace("/dev/shm", directory.to_str().unwrap()),
        };
    }
    let mut process = Command::new("qemu-system-x86_64")
        .args(arguments)
        .args(["-S", "-display", "none", "-nodefaults", "-no-user-config"])
        .args(["-monitor", "stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut monitor = process.stdin.take().unwrap();
    // It may have ended already, because a device is missing.
    let _ = monitor.write_all(b"quit\n");
    let output = process.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn qemu_complains_of_nothing_but_the_missing_device() {
    if !has(
        "qemu-system-x86_64",
        "qemu_complains_of_nothing_but_the_missing_device",
    ) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let said = run(arguments(&windows()), directory.path());
    let complaints: Vec<&str> = said.lines().collect();
    let [only] = complaints[..] else {
        panic!("{said}");
    };
    assert!(only.contains("host=0000:0d:00.0"), "{said}");
    assert!(
        only.contains("no such host device") || only.contains("iommu_group"),
        "{said}"
    );
    // Without the lent devices it starts, and ends with its monitor.
    let all = arguments(&windows());
    let kept = all
        .chunks(2)
        .filter(|pair| !pair[1].starts_with("vfio-pci,"));
    assert_eq!(run(kept.flatten().cloned().collect(), directory.path()), "");
    let shared = std::fs::metadata(directory.path().join("looking-glass")).unwrap();
    assert_eq!(shared.len(), 128 << 20);
}
