//! Values of the running kernel that are kept open, of things that go and come back under their name.
//!
//! In a network namespace of its own: nothing of this machine is changed.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use hosttune_core::error::HostErrorKind;
use hosttune_core::host::{EntryKind, Fs};
use hosttune_core::{Host, LinuxHost};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// One value of a device in each of the two trees that are kept open; the kernel answers whoever holds
/// the first with ENOENT when the device has gone, and whoever holds the second with ENODEV.
const VALUES: [(&str, Errno); 2] = [
    ("/proc/sys/net/ipv4/conf/tap/forwarding", Errno::ENOENT),
    ("/sys/class/net/tap/mtu", Errno::ENODEV),
];

/// Runs a test in network and mount namespaces that end with it, `/sys` showing the former.
fn in_own_namespaces(test: &'static str, body: fn()) {
    let inside = move || {
        let own = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
        if let Err(errno) = unshare(own) {
            // Only who is not root may not.
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

/// What the values say. As a device comes, the first is what all that come have.
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
            // The kernel works a value out anew for whoever has it open.
            ip("link set tap mtu 1400");
            assert_eq!(said(&host), [default(), "1400".to_owned()], "{round}");
            pull_out();
            for (path, _) in VALUES {
                // Twice: the first finds the file that it holds gone, the second holds none.
                for _ in 0..2 {
                    let error = host.read(Path::new(path)).unwrap_err();
                    assert_eq!(*error.kind(), HostErrorKind::Missing, "{path}, {round}");
                }
            }
        }
    });
}

/// Between the two nobody looked: it is as if it had never gone.
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

/// What this is all for: that is what whoever holds one is told.
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
