//! The unit that tunes the host at boot.

use hosttune_test_machine::inside::{command, test_name};
use hosttune_test_machine::{Kernel, Snapshot, tell};

use super::installed::AT_BOOT;
use super::{INSTALLED, PART, exists, gaming, log_of, property, quiet, shown, systemctl, there};

/// Where the state of the host is recorded that the unit finds at boot, and the ID of the boot that enabled it.
const FOUND: &str = "/run/machine/found";
const BOOT: &str = "/var/lib/test-boot";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A test unit that records what the boot unit finds.
const RECORDS: &str = "/etc/systemd/system/record.service";
const SCRIPT: &str = "/etc/record";

fn is_tuned() {
    assert_eq!(
        property(AT_BOOT, "ActiveState"),
        "active",
        "{}",
        log_of(AT_BOOT)
    );
    assert_eq!(
        property(AT_BOOT, "Result"),
        "success",
        "{}",
        log_of(AT_BOOT)
    );
    let verified = quiet(INSTALLED).arg("verify").output().unwrap();
    assert!(
        verified.status.success(),
        "{}\n{}\n{}",
        String::from_utf8_lossy(&verified.stdout),
        tell("cat /proc/swaps; systemctl --no-pager status '*.swap' '*zram*' || true"),
        tell("journalctl --no-pager --lines 80 || true")
    );
    assert_eq!(shown(), "100");
    assert!(exists("/sys/block/zram0"), "{}", log_of(AT_BOOT));
    let network = std::fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap();
    assert_eq!(network, "33554432\n");
}

/// Starts and stops it in a host that has booted.
pub(super) fn unit_tunes_and_its_stop_reverts_nothing() {
    let before = there();
    systemctl(&format!("start {AT_BOOT}"));
    is_tuned();
    let tuned = there();
    systemctl(&format!("restart {AT_BOOT}"));
    is_tuned();
    systemctl(&format!("stop {AT_BOOT}"));
    assert_eq!(property(AT_BOOT, "ActiveState"), "inactive");
    let differs = tuned.differs(&there());
    assert!(differs.is_empty(), "stopped: {differs:#?}");
    gaming(&["revert", "--yes"]);
    let differs = before.differs(&there());
    assert!(differs.is_empty(), "reverted: {differs:#?}");
    systemctl(&format!("enable {AT_BOOT}"));
}

/// Enables it for the next boot, behind a unit that records what it will find.
pub(super) fn enable(kernel: Kernel) {
    let records = command(&test_name(), kernel);
    std::fs::write(SCRIPT, format!("export {PART}=record\nexec {records}\n")).unwrap();
    let unit = format!(
        "[Unit]\nBefore={AT_BOOT}\nAfter=systemd-sysctl.service systemd-modules-load.service\n\
         [Service]\nType=oneshot\nExecStart=/usr/bin/dash {SCRIPT}\n\
         [Install]\nRequiredBy={AT_BOOT}\n"
    );
    std::fs::write(RECORDS, unit).unwrap();
    let modules = "acpi_cpufreq\\ntcp_bbr\\nsch_fq\\n";
    tell(&format!(
        "mkdir -p /etc/modules-load.d && printf '{modules}' >/etc/modules-load.d/test.conf"
    ));
    systemctl("daemon-reload");
    systemctl(&format!("enable record.service {AT_BOOT}"));
    let boot = std::fs::read(BOOT_ID).unwrap();
    std::fs::write(BOOT, boot).unwrap();
    assert_ne!(shown(), "100", "it is only enabled");
}

pub(super) fn record() {
    std::fs::create_dir_all("/run/machine").unwrap();
    std::fs::write(FOUND, there().to_bytes()).unwrap();
}

pub(super) fn tuned_the_host_and_reverts_exactly() {
    assert_ne!(
        std::fs::read(BOOT_ID).unwrap(),
        std::fs::read(BOOT).unwrap(),
        "this is the same boot"
    );
    is_tuned();
    let found =
        std::fs::read(FOUND).unwrap_or_else(|error| panic!("{error}: {}", log_of("record")));
    let found = Snapshot::from_bytes(&found).unwrap();
    gaming(&["revert", "--yes"]);
    let differs = found.differs(&there());
    assert!(differs.is_empty(), "reverted: {differs:#?}");
    systemctl("disable record.service");
    tell(&format!("rm {RECORDS}"));
}
