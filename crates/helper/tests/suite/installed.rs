//! Which files are host programs.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use hosttune_helper::{Installed, NotExecuted};

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A directory with one host program, which only prints its environment and its arguments.
fn place() -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let hosts = place.path().join("hosts");
    std::fs::create_dir(&hosts).unwrap();
    set_mode(&hosts, 0o755);
    // With cp: a file that this process writes may still be open in a child that another test has just started, and
    // executing it would fail with ETXTBSY.
    let mut copy = std::process::Command::new("cp");
    let copied = copy.arg("/usr/bin/env").arg(hosts.join("quiet")).status();
    assert!(copied.unwrap().success());
    set_mode(&hosts.join("quiet"), 0o755);
    (place, hosts)
}

#[test]
fn a_program_is_executed_by_its_descriptor_with_nothing_of_this_environment() {
    let (_place, hosts) = place();
    let opened = Installed::new(&hosts).open("quiet").unwrap();
    // What is put in its place after the check is not executed.
    std::fs::remove_file(hosts.join("quiet")).unwrap();
    std::fs::write(hosts.join("quiet"), "#!/bin/false\n").unwrap();
    let mut command = opened.command(&["A=1"]);
    // This process has a CARGO_MANIFEST_DIR, for example.
    let output = command
        .stdout(std::process::Stdio::piped())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split('=').next())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["A", "PATH"], "{text}");
}

#[test]
fn names_lead_nowhere_else() {
    let (_place, hosts) = place();
    let installed = Installed::new(&hosts);
    for name in [
        "../hosts/quiet",
        "/usr/bin/env",
        ".",
        "..",
        "",
        "quiet/",
        "Quiet",
    ] {
        let opened = installed.open(name);
        assert!(
            matches!(opened, Err(NotExecuted::Missing { .. })),
            "{name}: {opened:?}"
        );
    }
    assert_eq!(installed.names().unwrap(), ["quiet"]);
    assert!(
        Installed::new(hosts.join("none"))
            .names()
            .unwrap()
            .is_empty()
    );
    for path in ["hosts", "/usr/../tmp"] {
        let opened = Installed::new(path).open("quiet");
        assert!(
            matches!(opened, Err(NotExecuted::Untrusted { .. })),
            "{opened:?}"
        );
    }
}

#[test]
fn a_directory_above_that_others_can_write_to_is_not_trusted() {
    let (place, hosts) = place();
    let opened = || Installed::new(&hosts).open("quiet");
    assert!(opened().is_ok());
    set_mode(place.path(), 0o777);
    assert!(matches!(opened(), Err(NotExecuted::Untrusted { .. })));
    // As /tmp is: others cannot replace what is ours in it.
    set_mode(place.path(), 0o1777);
    assert!(opened().is_ok());
    set_mode(place.path(), 0o755);
    // A link on the way is not followed, even to the same directory.
    symlink(place.path(), place.path().join("link")).unwrap();
    let linked = Installed::new(place.path().join("link/hosts")).open("quiet");
    assert!(
        matches!(linked, Err(NotExecuted::Untrusted { .. })),
        "{linked:?}"
    );
}

#[test]
fn a_file_of_another_user_is_not_executed() {
    if !rustix::process::geteuid().is_root() {
        eprintln!(
            "not run: installed::a_file_of_another_user_is_not_executed: it takes root to give a file away"
        );
        return;
    }
    let (_place, hosts) = place();
    std::os::unix::fs::chown(hosts.join("quiet"), Some(4001), None).unwrap();
    let opened = Installed::new(&hosts).open("quiet");
    let Err(NotExecuted::Untrusted { why, .. }) = opened else {
        panic!("{opened:?}");
    };
    assert_eq!(why, "it belongs to user 4001, not to root");
    std::os::unix::fs::chown(hosts.join("quiet"), Some(0), None).unwrap();
    std::os::unix::fs::chown(&hosts, Some(4001), None).unwrap();
    assert!(Installed::new(&hosts).open("quiet").is_err());
}
