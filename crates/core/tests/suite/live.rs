//! Values of the running kernel whose files are kept open, of devices that disappear and come back
//! under the same name.
//!
//! Runs in its own network namespace: nothing on this machine is changed.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use hosttune_core::host::HostErrorKind;
use hosttune_core::host::{EntryKind, Fs};
use hosttune_core::{Host, LinuxHost};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// One value of a device from each of the two trees whose files are kept open. Once the device is gone,
/// reading an open file of the first fails with ENOENT, and of the second with ENODEV.
const VALUES: [(&str, Errno); 2] = [
    ("/proc/sys/net/ipv4/conf/tap/forwarding", Errno::ENOENT),
    ("/sys/class/net/tap/mtu", Errno::ENODEV),
];

/// Runs a test in its own network and mount namespaces, with a `/sys` that shows that network
/// namespace.
fn in_own_namespaces(test: &'static str, body: fn()) {
    let inside = move || {
        let own = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
        if let Err(errno) = unshare(own) {
            // Only a process without the necessary privileges may be refused.
            assert_eq!(errno, Errno::EPERM);
            let why = "not run: it takes the right to make namespaces";
            let _ = writeln!(std::io::stderr(), "{why}: {test}");
            return;
        }
        let nothing = None::<&str>;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(nothing, "/", nothing, private, nothing).unwrap();
        mount(nothing, "/sys", Some("sysfs"), MsFlags::empty(), nothing).unwrap();
        body();
    };
    std::thread::spawn(inside).join().unwrap();
}

fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {said}");
}

fn plug_in() {
    ip("link add tap type veth peer name other");
}

fn pull_out() {
    ip("link del tap");
}

/// What the values show. On a new device, the first is the default of all new devices.
fn said(host: &LinuxHost) -> [String; 2] {
    VALUES.map(|(path, _)| {
        let bytes = host.read(Path::new(path)).unwrap();
        String::from_utf8(bytes).unwrap().trim_end().to_owned()
    })
}

fn default() -> String {
    let value = std::fs::read_to_string("/proc/sys/net/ipv4/conf/default/forwarding");
    value.unwrap().trim_end().to_owned()
}

#[test]
fn what_has_gone_is_missing_and_what_comes_in_its_place_is_read_anew() {
    in_own_namespaces("what_has_gone_is_missing", || {
        let host = LinuxHost::live().unwrap();
        for round in 0..3 {
            plug_in();
            assert_eq!(said(&host), [default(), "1500".to_owned()], "{round}");
            // The kernel computes the value anew for every read of an open file.
            ip("link set tap mtu 1400");
            assert_eq!(said(&host), [default(), "1400".to_owned()], "{round}");
            pull_out();
            for (path, _) in VALUES {
                // Twice: the first read finds that its open file is gone, the second has no open file.
                for _ in 0..2 {
                    let error = host.read(Path::new(path)).unwrap_err();
                    assert_eq!(*error.kind(), HostErrorKind::Missing, "{path}, {round}");
                }
            }
        }
    });
}

/// Nothing was read in between, so the disappearance went unnoticed.
#[test]
fn what_went_and_came_between_two_reads_is_read_anew() {
    in_own_namespaces("what_went_and_came_between_two_reads", || {
        let host = LinuxHost::live().unwrap();
        plug_in();
        ip("link set tap mtu 1400");
        assert_eq!(said(&host), [default(), "1400".to_owned()]);
        for _ in 0..3 {
            pull_out();
            plug_in();
            assert_eq!(said(&host), [default(), "1500".to_owned()]);
        }
    });
}

/// The kernel behaviour that the other tests are about: reading an open file of a deleted device fails.
#[test]
fn whoever_holds_a_value_of_what_has_gone_is_told_so() {
    in_own_namespaces("whoever_holds_a_value", || {
        plug_in();
        let held = VALUES.map(|(path, _)| std::fs::File::open(path).unwrap());
        pull_out();
        plug_in();
        for (mut held, (path, errno)) in held.into_iter().zip(VALUES) {
            let mut text = String::new();
            let error = std::io::Read::read_to_string(&mut held, &mut text).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(errno as i32), "{path}");
        }
    });
}

#[test]
fn what_is_kept_open_and_has_gone_is_not_there() {
    in_own_namespaces("what_is_kept_open_and_has_gone", || {
        let host = LinuxHost::live().unwrap();
        let kinds = || {
            VALUES.map(|(path, _)| {
                let entry = host.entry(Path::new(path)).unwrap();
                entry.map(|entry| (entry.kind, entry.mode))
            })
        };
        let there = Some((EntryKind::File, 0o644));
        for _ in 0..2 {
            plug_in();
            said(&host);
            assert_eq!(kinds(), [there.clone(), there.clone()]);
            pull_out();
            assert_eq!(kinds(), [None, None]);
        }
        plug_in();
        said(&host);
        pull_out();
        let host = Host::new(host);
        for (path, _) in VALUES {
            assert!(!host.exists(path).unwrap(), "{path}");
        }
    });
}
