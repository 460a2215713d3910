//! The hook script, run by a shell with the arguments that libvirt gives.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use hosttune_guest::{LookingGlass, Name, Resolution, SharedMemory, Version, hook, tmpfiles};

#[test]
fn the_hook_lends_before_the_guest_starts_and_takes_back_after_it_ended() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    // A program that says how it was called and fails as it is told to.
    let program = at("toaster's");
    let log = at("log");
    let text = format!("#!/bin/sh\necho \"$@\" >>'{}'\nexit 3\n", log.display());
    std::fs::write(&program, text).unwrap();
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&program, executable).unwrap();
    let name = Name::new("windows11").unwrap();
    let options = ["--consent".to_owned(), "only-gpu".to_owned()];
    let script = at("hook");
    let text = hook::script(&name, program.to_str().unwrap(), &options);
    std::fs::write(&script, text).unwrap();
    let run = |arguments: [&str; 4]| {
        let mut shell = Command::new("/bin/sh");
        shell.arg(&script).args(arguments).env_clear();
        shell.output().unwrap()
    };
    for (arguments, code) in [
        (["windows11", "prepare", "begin", "-"], 3),
        (["windows11", "start", "begin", "-"], 0),
        (["windows11", "started", "begin", "-"], 0),
        (["windows11", "stopped", "end", "-"], 0),
        (["windows11", "reconnect", "begin", "-"], 0),
        (["another", "prepare", "begin", "-"], 0),
        (["windows11-2", "release", "end", "-"], 0),
        (["windows11", "release", "end", "-"], 3),
    ] {
        let output = run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(
            output.stdout.is_empty(),
            "libvirt reads the standard output"
        );
    }
    let calls = std::fs::read_to_string(&log).unwrap();
    let wanted = "lend --consent only-gpu windows11\nreturn windows11\n";
    assert_eq!(calls, wanted);
}

#[test]
fn the_line_of_the_shared_memory() {
    let screen = Resolution::new(3840, 2160).unwrap();
    let memory = SharedMemory::looking_glass(LookingGlass::new(screen, Version::Idd));
    assert_eq!(
        tmpfiles::line(&memory),
        "f /dev/shm/looking-glass 0660 root kvm -\n"
    );
    assert_eq!(
        tmpfiles::path("toaster"),
        "/etc/tmpfiles.d/60-hosttune-toaster.conf"
    );
}
