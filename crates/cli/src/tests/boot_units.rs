//! `install-units` and `uninstall-units` on an image.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::asked::hosttune;
use super::schema::assert_valid;
use crate::exit::Exit;

const UNIT: &str = "etc/systemd/system/hosttune-gaming.service";

/// An image with a program that only its owner can change.
fn image() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for directory in [
        "etc/systemd/system/multi-user.target.wants",
        "usr/bin",
        "opt/open",
    ] {
        std::fs::create_dir_all(root.path().join(directory)).unwrap();
    }
    for directory in ["usr", "usr/bin", "opt"] {
        mode(&root.path().join(directory), 0o755);
    }
    for program in ["usr/bin/gaming", "opt/open/gaming"] {
        std::fs::write(root.path().join(program), "").unwrap();
        mode(&root.path().join(program), 0o755);
    }
    mode(&root.path().join("opt/open"), 0o777);
    root
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn units_are_written_once_and_removed() {
    let image = image();
    let root = image.path().to_str().unwrap();
    let install = [
        "install-units",
        "gaming",
        "--watch",
        "--root",
        root,
        "--",
        "--only",
        "cpu",
    ];
    let ran = hosttune(&install);
    assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    assert!(ran.out.contains("systemctl --root"), "{ran:?}");
    let unit = std::fs::read_to_string(image.path().join(UNIT)).unwrap();
    assert!(
        unit.contains("ExecStart=/usr/bin/gaming --only cpu apply --yes"),
        "{unit}"
    );
    assert!(
        image
            .path()
            .join("etc/systemd/system/hosttune-gaming-watch.service")
            .exists()
    );
    assert!(hosttune(&install).out.contains("nothing to do"));
    // Other options change the unit, and removing it removes all of it.
    let ran = hosttune(&["--json", "install-units", "gaming", "--root", root]);
    assert_valid("apply", &ran.document());
    // Enabled, it is not removed.
    let link = image
        .path()
        .join("etc/systemd/system/multi-user.target.wants/hosttune-gaming.service");
    symlink("../hosttune-gaming.service", &link).unwrap();
    let ran = hosttune(&["uninstall-units", "gaming", "--root", root]);
    assert_eq!(ran.exit, Exit::Refused, "{ran:?}");
    assert!(ran.err.contains("systemctl --root"), "{ran:?}");
    assert!(image.path().join(UNIT).exists());
    std::fs::remove_file(link).unwrap();
    let ran = hosttune(&["uninstall-units", "gaming", "--root", root, "--json"]);
    assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    assert_valid("revert", &ran.document());
    assert!(!image.path().join(UNIT).exists());
    let ran = hosttune(&["uninstall-units", "gaming", "--root", root]);
    assert!(
        ran.exit == Exit::Done && ran.out.contains("nothing to do"),
        "{ran:?}"
    );
}

/// The drop-in is printed where NVIDIA's driver is, as a command that writes it.
#[test]
fn what_nvidias_driver_needs_is_printed_where_it_is() {
    let image = image();
    let root = image.path().to_str().unwrap();
    std::fs::write(image.path().join("usr/bin/hosttuned"), "").unwrap();
    mode(&image.path().join("usr/bin/hosttuned"), 0o755);
    let install = ["install-units", "gaming", "--root", root];
    let device = |name: &str| {
        std::fs::create_dir_all(image.path().join("dev")).unwrap();
        std::fs::write(image.path().join("dev").join(name), "").unwrap();
    };
    assert!(!hosttune(&install).out.contains("nvidia"));
    // A node that was left, without the driver's own.
    device("nvidia0");
    assert!(!hosttune(&install).out.contains("nvidia"));
    for name in [
        "nvidiactl",
        "nvidia10",
        "nvidia2",
        "nvidia-uvm",
        "nvidia-caps",
    ] {
        device(name);
    }
    let ran = hosttune(&install);
    let (_, command) = ran.out.split_once("install -D -m 0644 /dev/stdin").unwrap();
    let script = format!("install -D -m 0644 /dev/stdin{command}");
    let done = std::process::Command::new("sh")
        .args(["-ec", &script])
        .status();
    assert!(done.unwrap().success(), "{script}");
    let path = "etc/systemd/system/hosttuned.service.d/nvidia.conf";
    let text = std::fs::read_to_string(image.path().join(path)).unwrap();
    let devices: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("DeviceAllow="))
        .collect();
    assert_eq!(
        devices,
        [
            "/dev/nvidiactl rw",
            "/dev/nvidia0 rw",
            "/dev/nvidia2 rw",
            "/dev/nvidia10 rw"
        ]
    );
}

/// What is said of a unit is what has become of it.
#[test]
fn a_unit_that_another_host_needs_is_kept_and_one_of_somebody_elses_put_back() {
    let image = image();
    let root = image.path().to_str().unwrap();
    let at = |path: &str| image.path().join(path);
    for program in ["usr/bin/hosttuned", "usr/bin/shoshin"] {
        std::fs::write(at(program), "").unwrap();
        mode(&at(program), 0o755);
    }
    std::fs::write(at(UNIT), "theirs").unwrap();
    for host in ["gaming", "shoshin"] {
        let ran = hosttune(&["install-units", host, "--root", root]);
        assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    }
    let socket = "/etc/systemd/system/hosttuned.socket";
    let ran = hosttune(&["uninstall-units", "gaming", "--root", root]);
    assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    assert!(
        ran.out.contains(&format!("kept {socket} for shoshin")),
        "{ran:?}"
    );
    assert!(ran.out.contains(&format!("put back /{UNIT}")), "{ran:?}");
    assert!(at(&socket[1..]).exists());
    assert_eq!(std::fs::read_to_string(at(UNIT)).unwrap(), "theirs");
    let ran = hosttune(&["uninstall-units", "shoshin", "--root", root]);
    assert!(ran.out.contains(&format!("removed {socket}")), "{ran:?}");
    assert!(!at(&socket[1..]).exists());
}

/// An enabled socket is disabled with the units of the last host that need it.
#[test]
fn a_socket_that_another_host_needs_stays_enabled() {
    let image = image();
    let root = image.path().to_str().unwrap();
    let at = |path: &str| image.path().join(path);
    for program in ["usr/bin/hosttuned", "usr/bin/shoshin"] {
        std::fs::write(at(program), "").unwrap();
        mode(&at(program), 0o755);
    }
    for host in ["gaming", "shoshin"] {
        let ran = hosttune(&["install-units", host, "--root", root]);
        assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    }
    let wants = at("etc/systemd/system/sockets.target.wants");
    std::fs::create_dir(&wants).unwrap();
    let link = wants.join("hosttuned.socket");
    symlink("../hosttuned.socket", &link).unwrap();
    let ran = hosttune(&["uninstall-units", "gaming", "--root", root]);
    assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    assert!(ran.out.contains("hosttuned.socket for shoshin"), "{ran:?}");
    assert!(at("etc/systemd/system/hosttuned.socket").exists());
    // The last one.
    let ran = hosttune(&["uninstall-units", "shoshin", "--root", root]);
    assert_eq!(ran.exit, Exit::Refused, "{ran:?}");
    assert!(ran.err.contains("disable hosttuned.socket"), "{ran:?}");
    std::fs::remove_file(link).unwrap();
    let ran = hosttune(&["uninstall-units", "shoshin", "--root", root]);
    assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    assert!(!at("etc/systemd/system/hosttuned.socket").exists());
}

/// To enable it would fail.
#[test]
fn a_masked_unit_is_not_taken_for_written() {
    let image = image();
    let root = image.path().to_str().unwrap();
    symlink("/dev/null", image.path().join(UNIT)).unwrap();
    let ran = hosttune(&["install-units", "gaming", "--root", root]);
    assert_eq!(ran.exit, Exit::Refused, "{ran:?}");
    assert!(ran.err.contains("symlink to /dev/null"), "{ran:?}");
    assert!(!ran.out.contains("enable"), "{ran:?}");
}

#[test]
fn root_starts_only_what_others_cannot_change() {
    let image = image();
    let root = image.path().to_str().unwrap();
    symlink("gaming", image.path().join("usr/bin/link")).unwrap();
    let cases: [(&[&str], &str); 6] = [
        (
            &["gaming", "--program", "/opt/open/gaming"],
            "others can write to it",
        ),
        (&["gaming", "--program", "/usr/bin/link"], "it is a symlink"),
        (
            &["gaming", "--program", "/usr/bin/none"],
            "it does not exist",
        ),
        (&["gaming", "--program", "gaming"], "not an absolute path"),
        (&["nothing"], "there is no program nothing"),
        (&["../gaming"], "is not the name of a host program"),
    ];
    for (typed, why) in cases {
        let ran = hosttune(&[&["install-units", "--root", root], typed].concat());
        assert_eq!(ran.exit, Exit::Usage, "{ran:?}");
        assert!(
            ran.err.contains(why) && ran.err.contains("  try: "),
            "{why}: {ran:?}"
        );
    }
    for options in [
        &["--persist"][..],
        &["revert"],
        &["--only", "cpu", "--try-boot"],
    ] {
        let typed = [&["install-units", "gaming", "--root", root, "--"], options].concat();
        let ran = hosttune(&typed);
        assert_eq!(ran.exit, Exit::Usage, "{ran:?}");
        assert!(ran.err.contains("no option for a unit"), "{ran:?}");
    }
    let line = "--only=a\nExecStop=/bin/b";
    let ran = hosttune(&["install-units", "gaming", "--root", root, "--", line]);
    assert_eq!(ran.exit, Exit::Usage, "{ran:?}");
    assert!(!image.path().join("var").exists(), "a journal was begun");
}

/// With the helper installed, its socket, its service and its group are written and removed with the others.
#[test]
fn the_helper_has_its_units() {
    let image = image();
    let root = image.path().to_str().unwrap();
    let at = |path: &str| image.path().join(path);
    let (socket, service, group) = (
        at("etc/systemd/system/hosttuned.socket"),
        at("etc/systemd/system/hosttuned.service"),
        at("etc/sysusers.d/hosttune.conf"),
    );
    let install = ["install-units", "gaming", "--root", root];
    let ran = hosttune(&install);
    assert!(ran.out.contains("there is no program hosttuned"), "{ran:?}");
    assert!(!socket.exists());
    std::fs::write(at("usr/bin/hosttuned"), "").unwrap();
    mode(&at("usr/bin/hosttuned"), 0o755);
    let ran = hosttune(&install);
    assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    for typed in [
        "install -D -o root -g root -m 0755",
        "/usr/lib/hosttune/hosts/gaming",
        "systemd-sysusers --root=",
        "enable hosttuned.socket",
        "usermod -aG hosttune",
    ] {
        assert!(ran.out.contains(typed), "{typed}: {ran:?}");
    }
    let text = std::fs::read_to_string(&socket).unwrap();
    for line in [
        format!("ListenStream={}", hosttune_helper::SOCKET),
        format!("SocketGroup={}", hosttune_helper::GROUP),
    ] {
        assert!(text.lines().any(|own| own == line), "{line}: {text}");
    }
    let text = std::fs::read_to_string(&service).unwrap();
    assert!(text.contains("ExecStart=/usr/bin/hosttuned\n"), "{text}");
    let line = format!("g {} - -", hosttune_helper::GROUP);
    assert!(std::fs::read_to_string(&group).unwrap().contains(&line));
    // Enabled, it is not removed.
    std::fs::create_dir(at("etc/systemd/system/sockets.target.wants")).unwrap();
    let link = at("etc/systemd/system/sockets.target.wants/hosttuned.socket");
    symlink("../hosttuned.socket", &link).unwrap();
    let uninstall = ["uninstall-units", "gaming", "--root", root];
    let ran = hosttune(&uninstall);
    assert_eq!(ran.exit, Exit::Refused, "{ran:?}");
    assert!(ran.err.contains("disable hosttuned.socket"), "{ran:?}");
    std::fs::remove_file(link).unwrap();
    let ran = hosttune(&uninstall);
    assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    for path in [&socket, &service, &group] {
        assert!(!path.exists(), "{}", path.display());
    }
    assert!(!at("etc/sysusers.d").exists());
}

#[test]
fn a_helper_that_others_can_change_gets_no_unit() {
    let image = image();
    let root = image.path().to_str().unwrap();
    std::fs::write(image.path().join("opt/open/hosttuned"), "").unwrap();
    let ran = hosttune(&[
        "install-units",
        "gaming",
        "--root",
        root,
        "--helper",
        "/opt/open/hosttuned",
    ]);
    assert_eq!(ran.exit, Exit::Usage, "{ran:?}");
    assert!(ran.err.contains("others can write to it"), "{ran:?}");
    assert!(
        !image
            .path()
            .join("etc/systemd/system/hosttune-gaming.service")
            .exists()
    );
}
