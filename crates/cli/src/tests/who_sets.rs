//! `who-sets` for keys that are no sysctls, and when it is recommended.

use super::{greeter, image};
use crate::exit::Exit;

#[test]
fn a_name_that_is_no_sysctl_is_refused_on_a_kernel_that_shows_its_keys() {
    let root = image();
    let at = |path: &str| root.path().join(path);
    std::fs::create_dir_all(at("proc/sys/kernel")).unwrap();
    std::fs::write(at("proc/sys/kernel/osrelease"), "6.12.0\n").unwrap();
    for key in [
        "clock.quantum",
        "default.clock.quantum",
        "nvidia.NVreg_EnableGpuFirmware",
    ] {
        let ran = greeter(root.path(), &["who-sets", key]);
        assert_eq!(ran.exit, Exit::Usage, "{ran:?}");
        let said = format!("'{key}' is no sysctl of this kernel");
        assert!(ran.err.contains(&said), "{ran:?}");
    }
    // A key of the catalogue, of a module that may be loaded later.
    let ran = greeter(root.path(), &["who-sets", "vm.swappiness"]);
    assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    // A key that a file sets, whatever it is.
    std::fs::create_dir_all(at("etc/sysctl.d")).unwrap();
    std::fs::write(at("etc/sysctl.d/50-x.conf"), "clock.quantum = 64\n").unwrap();
    let ran = greeter(root.path(), &["who-sets", "clock.quantum"]);
    assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    assert!(ran.out.contains("/etc/sysctl.d/50-x.conf:1"), "{ran:?}");
}

#[test]
fn verify_recommends_it_only_for_a_sysctl() {
    let root = image();
    assert_eq!(greeter(root.path(), &["apply", "--yes"]).exit, Exit::Done);
    std::fs::write(root.path().join("etc/motd"), "another\n").unwrap();
    let ran = greeter(root.path(), &["verify"]);
    assert_eq!(ran.exit, Exit::Drift, "{ran:?}");
    assert!(ran.out.contains("apply"), "{ran:?}");
    assert!(!ran.out.contains("who-sets"), "{ran:?}");
}
