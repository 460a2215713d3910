//! Unknown and missing keys, sets of words, and sysctl.d files as the loaders read them, on captured trees.

use std::path::PathBuf;

use hosttune_core::host::RootKind;
use hosttune_core::{Host, LinuxHost, Session, State, Tuning};
use hosttune_sysctl::{Loader, OnHost, Sources, Standing, SysctlSet, Wanted};
use tempfile::TempDir;

struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(TempDir::new().unwrap());
        tree.put("proc/sys/vm/swappiness", b"60\n");
        tree.put("proc/sys/vm/dirty_ratio", b"20\n");
        tree
    }

    fn at(&self, path: &str) -> PathBuf {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        std::fs::write(self.at(path), bytes).unwrap();
    }

    fn session(&self) -> Session {
        let session = Session::at(self.0.path(), "us").unwrap();
        session.with(hosttune_sysctl::knobs)
    }

    /// The file that wins, and its value.
    fn winner(&self, key: &str, loader: Loader) -> Option<(String, String)> {
        let host = Host::new(LinuxHost::at(self.0.path()).unwrap());
        let sources = Sources::collect(&OnHost::new(&host), loader).unwrap();
        let settings = sources.who_sets(&key.parse().unwrap());
        let winner = settings
            .into_iter()
            .find(|one| one.standing == Standing::Wins)?;
        Some((winner.place.file, winner.value.unwrap()))
    }
}

fn wins(file: &str, value: &str) -> Option<(String, String)> {
    Some((file.to_owned(), value.to_owned()))
}

#[test]
fn a_key_that_nobody_knows_is_an_error_with_the_nearest_one() {
    let tree = Tree::new();
    tree.put("proc/sys/vm/of_this_kernel", b"1\n");
    for (written, nearest) in [
        ("vm.swapiness", Some("vm.swappiness")),
        ("vm/dirty_ratoi", Some("vm.dirty_ratio")),
        ("vm.of_this_kernle", Some("vm.of_this_kernel")),
        (
            "net.ipv4.conf.eth0.rp_filer",
            Some("net.ipv4.conf.eth0.rp_filter"),
        ),
        ("vm.nothing_of_the_kind", None),
        ("swappiness", Some("vm.swappiness")),
    ] {
        let set = SysctlSet::new([Wanted::new("vm.swappiness", 10), Wanted::new(written, 1)]);
        let session = tree.session();
        for error in [
            set.plan(&session).unwrap_err(),
            set.verify(&session).unwrap_err(),
            set.apply(&mut tree.session()).unwrap_err(),
        ] {
            let text = error.to_string();
            assert!(text.contains("unknown sysctl"), "{written}: {text}");
            match nearest {
                Some(nearest) => assert!(text.ends_with(nearest), "{written}: {text}"),
                None => assert!(!text.contains("nearest"), "{written}: {text}"),
            }
            assert!(error.hint().is_some());
        }
    }
    assert_eq!(
        std::fs::read(tree.at("proc/sys/vm/swappiness")).unwrap(),
        b"60\n"
    );
}

#[test]
fn a_key_that_may_come_or_that_may_be_absent_is_no_error() {
    let tree = Tree::new();
    for wanted in [
        // In the catalogue, but not in this kernel.
        Wanted::new("vm.laptop_mode", 1),
        // Its directory appears when a module is loaded.
        Wanted::new("fs.xfs.speculative_prealloc_lifetime", 300),
        // Unknown, but marked as optional: the caller expects that it may be absent.
        Wanted::new("vm.swapiness", 1).optional(),
    ] {
        let plan = SysctlSet::new([wanted]).plan(&tree.session()).unwrap();
        assert!(plan.is_empty());
        let state = &plan.findings[0].state;
        assert!(matches!(state, State::NotApplicable { .. }), "{state:?}");
    }
}

#[test]
fn a_set_of_words_is_set_where_each_is_offered() {
    let allowed = "net.ipv4.tcp_allowed_congestion_control";
    let tree = Tree::new();
    let directory = "proc/sys/net/ipv4/";
    tree.put(
        &format!("{directory}tcp_available_congestion_control"),
        b"reno cubic bbr\n",
    );
    tree.put(
        &format!("{directory}tcp_allowed_congestion_control"),
        b"reno cubic\n",
    );
    tree.put("proc/modules", b"");
    tree.put("lib/modules/6.12.0/modules.builtin", b"");
    tree.put("lib/modules/6.12.0/modules.dep", b"");
    tree.put("proc/sys/kernel/osrelease", b"6.12.0\n");
    for (words, steps) in [
        ("reno cubic bbr", 1),
        ("bbr  reno", 1),
        ("bbr", 1),
        ("cubic reno", 0),
    ] {
        let set = SysctlSet::new([Wanted::new(allowed, words)]);
        let plan = set.plan(&tree.session()).unwrap();
        assert_eq!(plan.steps.len(), steps, "{words}: {:?}", plan.findings);
    }
    // The module of the missing word is named.
    let set = SysctlSet::new([Wanted::new(allowed, "reno vegas cubic")]);
    let plan = set.plan(&tree.session()).unwrap();
    let State::NotApplicable { unsupported } = &plan.findings[0].state else {
        panic!("{plan:?}");
    };
    assert_eq!(unsupported.module.as_deref(), Some("tcp_vegas"));
    let set = SysctlSet::new([Wanted::new(allowed, "reno cubic bbr")]);
    let _ = set.apply(&mut tree.session()).unwrap();
    assert!(set.verify(&tree.session()).unwrap().is_as_wanted());
}

#[test]
fn what_is_required_and_not_here_is_not_as_wanted() {
    let tree = Tree::new();
    let verify = |wanted: Wanted| {
        let report = SysctlSet::new([wanted]).verify(&tree.session()).unwrap();
        report.is_as_wanted()
    };
    let wanted = || Wanted::new("vm.laptop_mode", 1);
    assert!(verify(wanted()));
    assert!(verify(wanted().optional()));
    assert!(!verify(wanted().required()));
    // A value that cannot be read is never a success, not even if it is optional.
    std::fs::remove_file(tree.at("proc/sys/vm/swappiness")).unwrap();
    std::os::unix::net::UnixListener::bind(tree.at("proc/sys/vm/swappiness")).unwrap();
    let wanted = || Wanted::new("vm.swappiness", 60);
    assert!(!verify(wanted()));
    assert!(!verify(wanted().optional()));
}

#[test]
fn one_odd_entry_does_not_take_the_answer_away() {
    let tree = Tree::new();
    tree.put("etc/sysctl.d/10-a.conf", b"vm.swappiness = 30\n");
    let good = wins("/etc/sysctl.d/10-a.conf", "30");
    std::fs::create_dir_all(tree.at("etc/sysctl.d/20-b.conf")).unwrap();
    std::os::unix::fs::symlink("20-b.conf", tree.at("etc/sysctl.d/30-c.conf")).unwrap();
    std::os::unix::fs::symlink("40-d.conf", tree.at("etc/sysctl.d/40-d.conf")).unwrap();
    std::os::unix::fs::symlink("/nowhere", tree.at("etc/sysctl.d/50-e.conf")).unwrap();
    for loader in [Loader::Systemd, Loader::Procps] {
        assert_eq!(tree.winner("vm.swappiness", loader), good);
    }
    // A directory does not mask a lower file. A link does, wherever it points.
    tree.put("usr/lib/sysctl.d/20-b.conf", b"vm.swappiness = 31\n");
    tree.put("usr/lib/sysctl.d/40-d.conf", b"vm.swappiness = 32\n");
    let lower = wins("/usr/lib/sysctl.d/20-b.conf", "31");
    assert_eq!(tree.winner("vm.swappiness", Loader::Systemd), lower);
}

#[test]
fn a_line_is_read_as_bytes() {
    let tree = Tree::new();
    tree.put("etc/sysctl.d/10-a.conf", b"vm.swappiness = 10\n");
    tree.put(
        "etc/sysctl.d/20-b.conf",
        b"# R\xe9glages\nvm.swappiness = 30 # syst\xe8me\nvm.dirty_r\xe4tio = 5\n-vm.x\xff\n",
    );
    for loader in [Loader::Systemd, Loader::Procps] {
        let later = wins("/etc/sysctl.d/20-b.conf", "30 # syst\u{fffd}me");
        assert_eq!(tree.winner("vm.swappiness", loader), later);
        assert_eq!(tree.winner("vm.dirty_ratio", loader), None);
    }
}

#[test]
fn procps_writes_nothing_where_the_key_ends_in_a_separator() {
    let tree = Tree::new();
    let file = "/etc/sysctl.d/10-a.conf";
    for (line, procps) in [
        ("vm.dirty_ratio. = 6", false),
        ("vm/dirty_ratio/ = 6", false),
        ("- vm.dirty_ratio = 6", false),
        ("-vm.dirty_ratio = 6", true),
        ("vm..dirty_ratio = 6", true),
        ("  vm.dirty_ratio=6", true),
    ] {
        tree.put(&file[1..], format!("{line}\n").as_bytes());
        let set = wins(file, "6");
        assert_eq!(
            tree.winner("vm.dirty_ratio", Loader::Systemd),
            set,
            "{line}"
        );
        let of_procps = tree.winner("vm.dirty_ratio", Loader::Procps);
        assert_eq!(of_procps, set.filter(|_| procps), "{line}");
    }
}

#[test]
fn a_capture_without_sysctls_is_a_capture() {
    for shown in [
        "proc/cpuinfo",
        "proc/version",
        "sys/devices/x",
        "sys/class/net/x",
    ] {
        let tree = Tree(TempDir::new().unwrap());
        tree.put(shown, b"x\n");
        let session = tree.session();
        assert_eq!(session.host().root_kind(), RootKind::Captured, "{shown}");
        let set = SysctlSet::new([Wanted::new("vm.swappiness", 10)]);
        let plan = set.plan(&session).unwrap();
        let State::NotApplicable { unsupported } = &plan.findings[0].state else {
            panic!("{plan:?}");
        };
        assert!(
            unsupported.why.contains("does not contain /proc/sys"),
            "{unsupported:?}"
        );
    }
    // An image has empty mount points.
    let tree = Tree(TempDir::new().unwrap());
    for directory in ["proc", "sys", "etc"] {
        std::fs::create_dir(tree.at(directory)).unwrap();
    }
    assert_eq!(tree.session().host().root_kind(), RootKind::Image);
}
