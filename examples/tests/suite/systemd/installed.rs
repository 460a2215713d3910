//! The units as files: written, accepted by systemd, and removed.

use std::ffi::OsString;
use std::process::Command;

use hosttune::cli::{Exit, tool_with};
use hosttune_test_machine::{inside, tell};

use super::{GAMING, HOSTTUNED, PART, exists, property, systemctl};

/// A user whom the group is for, and one who is not in it.
pub(super) const MEMBER: &str = "player";
pub(super) const OTHER: &str = "visitor";

/// The unit that tunes the host at boot.
pub(super) const AT_BOOT: &str = "hosttune-gaming.service";

/// The environment variable with the arguments of the program `hosttune`.
const ARGUMENTS: &str = "HOSTTUNE_TEST_ARGUMENTS";

/// Is the program `hosttune`, which this package does not build.
pub(super) fn act_as_hosttune() {
    let arguments = std::env::var(ARGUMENTS).unwrap();
    let arguments = std::iter::once("hosttune").chain(arguments.split(' '));
    let exit = tool_with(arguments.map(OsString::from));
    assert_eq!(exit, Exit::Done);
}

/// Runs this test program as `hosttune`. Returns whether it succeeded, and its output from both streams.
fn hosttune(arguments: &str) -> (bool, String) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &inside::test_name(), "--nocapture"])
        .env(PART, "hosttune")
        .env(ARGUMENTS, arguments)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Installs the programs and the units as the documentation says, and types what `install-units` prints.
pub(super) fn install() {
    tell(&format!(
        "install -D -m 0755 {GAMING} /usr/local/bin/gaming && install -m 0755 {HOSTTUNED} /usr/local/bin/hosttuned"
    ));
    let (done, said) = hosttune("install-units gaming");
    assert!(done, "{said}");
    tell(&format!(
        "printf 'u {MEMBER} 2001 - /\\nu {OTHER} 2002 - /\\n' | systemd-sysusers -"
    ));
    // The commands are indented. The programs are installed already, so the one that does it is `install`.
    let commands: Vec<String> = said
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .map(|command| command.replace("USER", MEMBER))
        .collect();
    assert!(commands.len() >= 4, "{said}");
    for command in &commands {
        tell(command);
    }
    assert!(said.contains(&format!("enable --now {AT_BOOT}")), "{said}");
    assert_eq!(property("hosttuned.socket", "ActiveState"), "active");
    assert_eq!(property("hosttuned.service", "ActiveState"), "inactive");
    // What the kernel loads when the names of sysctls are written stays loaded after a revert.
    tell("modprobe -a acpi_cpufreq tcp_bbr sch_fq");
}

/// systemd finds nothing wrong with the units as they are installed.
pub(super) fn is_accepted_by_systemd() {
    let directory = "/etc/systemd/system";
    let units =
        format!("{directory}/{AT_BOOT} {directory}/hosttuned.service {directory}/hosttuned.socket");
    let said = tell(&format!("systemd-analyze verify --man=no {units} 2>&1"));
    assert!(!said.contains("hosttune"), "{said}");
    // In tenths; the tool fails above it.
    tell("systemd-analyze security --no-pager --threshold=29 hosttuned.service");
}

/// An enabled unit is not removed; afterwards nothing is left but the group.
pub(super) fn uninstall() {
    let (done, said) = hosttune("uninstall-units gaming");
    assert!(!done && said.contains("systemctl disable"), "{said}");
    systemctl(&format!("disable --now {AT_BOOT} hosttuned.socket"));
    systemctl("stop hosttuned.service");
    let (done, said) = hosttune("uninstall-units gaming");
    assert!(done, "{said}");
    systemctl("daemon-reload");
    for unit in [AT_BOOT, "hosttuned.socket", "hosttuned.service"] {
        assert!(!exists(&format!("/etc/systemd/system/{unit}")), "{unit}");
        assert_eq!(property(unit, "LoadState"), "not-found", "{unit}");
    }
    assert!(!exists("/etc/sysusers.d"), "{said}");
}
