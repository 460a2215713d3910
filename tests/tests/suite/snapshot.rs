//! Snapshots of the running kernel and of fake trees show what was changed, but not what changes by itself.
//!
//! Nothing of the machine itself is changed: links and their sysctls are in a network namespace of the test.
//! If that is unavailable, a test prints one line that begins with `not run:`, and passes.

use std::fs::File;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use hosttune_test_machine::inside::test_name;
use hosttune_test_machine::{Seen, Snapshot, Subtree};
use nix::sched::{CloneFlags, unshare};

/// Held while snapshots are compared, and during everything that may load a module: a namespace isolates
/// links and sysctls, but not modules. Other tests that set sysctls hold it too.
fn alone() -> File {
    let lock = File::open("/proc/sys").unwrap();
    lock.lock().unwrap();
    lock
}

/// Runs a test in a thread with a network namespace of its own.
fn in_own_network(test: &str, body: impl FnOnce() + Send) {
    let _alone = alone();
    let outcome = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|errno| format!("no namespace can be made here: {errno}"))?;
            command("ip", &["link", "set", "lo", "up"])?;
            body();
            Ok::<_, String>(())
        });
        thread.join()
    });
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(reason)) => println!("not run: {test}: {reason}"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// A child inherits the network namespace of the thread that starts it.
fn command(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or_default();
    Err(format!("{program} {}: {said}", arguments.join(" ")))
}

fn ip(arguments: &str) {
    let arguments: Vec<&str> = arguments.split(' ').collect();
    command("ip", &arguments).unwrap();
}

fn tc(arguments: &str) {
    let arguments: Vec<&str> = arguments.split(' ').collect();
    command("tc", &arguments).unwrap();
}

/// Sends packets over loopback, which all counters on the way count.
fn traffic() {
    let to = UdpSocket::bind("127.0.0.1:0").unwrap();
    let from = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..100 {
        from.send_to(b"counted", to.local_addr().unwrap()).unwrap();
    }
    // Nothing listens there, and the refusal is traffic too.
    assert!(TcpStream::connect("127.0.0.1:1").is_err());
}

fn network() -> Snapshot {
    Snapshot::of(&[Subtree::Links, Subtree::Qdiscs])
}

#[test]
fn a_second_later_everything_is_as_it_was() {
    let _alone = alone();
    let begun = Instant::now();
    let before = Snapshot::of_everything();
    println!("{} seen in {:?}", before.iter().count(), begun.elapsed());
    for _ in 0..20 {
        command("true", &[]).unwrap();
    }
    traffic();
    std::thread::sleep(Duration::from_secs(1));
    before.is_still(&Snapshot::of_everything(), "a second later");
    for what in ["/proc/sys/vm/swappiness", "/sys/devices/system/cpu/online"] {
        assert!(matches!(before.get(what), Some(Seen::Holds(_))), "{what}");
    }
    for start in [
        "/sys/block/",
        "/sys/bus/pci/",
        "/sys/kernel/mm/",
        "link lo mtu",
    ] {
        let seen = before.iter().filter(|(what, _)| what.starts_with(start));
        println!("{start}: {} seen", seen.count());
    }
}

#[test]
fn what_is_set_of_a_link_or_a_qdisc_shows() {
    let test = &test_name();
    in_own_network(test, || {
        ip("link add eth0 type veth peer name eth1");
        ip("link set eth0 up");
        let before = network();
        before.is_still(&network(), "nothing was done");

        ip("link set eth0 mtu 1400");
        let differs = before.differs(&network());
        assert_eq!(
            differs,
            ["link eth0 mtu: was 0xdc050000, is 0x78050000"],
            "{differs:#?}"
        );
        ip("link set eth0 mtu 1500");
        before.is_still(&network(), "set back");

        ip("link set eth1 alias somebodys");
        assert_eq!(before.distance(&network()), 1, "an alias");
        ip("link set eth1 alias ");
        let left = before.differs(&network());
        assert!(left.is_empty(), "the alias: {left:#?}");

        tc("qdisc replace dev eth0 root handle 8001: pfifo limit 77");
        let with_qdisc = network();
        let named = |text: &str, snapshot: &Snapshot| {
            let differs = before.differs(snapshot);
            assert!(
                differs.iter().any(|line| line.contains(text)),
                "{text}: {differs:#?}"
            );
        };
        named("qdisc eth0 8001: root", &with_qdisc);
        tc("qdisc change dev eth0 root handle 8001: pfifo limit 78");
        assert_eq!(with_qdisc.distance(&network()), 1, "the limit");
        tc("qdisc del dev eth0 root");
        before.is_still(&network(), "without the qdisc");

        ip("link del eth0");
        named("link eth0 mtu", &network());
        named("link eth1 mtu", &network());
    });
}

#[test]
fn what_counts_by_itself_does_not_show() {
    let test = &test_name();
    in_own_network(test, || {
        // Class 30 does not exist: packets that no filter classifies have a counter of their own.
        tc("qdisc add dev lo root handle 1: htb default 30");
        tc("class add dev lo parent 1: classid 1:10 htb rate 1gbit");
        tc("class add dev lo parent 1: classid 1:20 htb rate 1gbit");
        tc(
            "filter add dev lo parent 1: prio 1 protocol ip u32 match ip protocol 17 0xff flowid 1:20",
        );
        let before = network();
        let of = |start: &str| {
            before
                .iter()
                .filter(|(what, _)| what.starts_with(start))
                .count()
        };
        assert!(of("qdisc lo 1: root") >= 2, "{before:#?}");
        assert!(of("class lo 1:10 root") >= 2, "{before:#?}");
        assert!(of("filter lo 1: ") >= 2, "{before:#?}");
        let counted = || std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let was = counted();
        traffic();
        assert_ne!(was, counted(), "nothing was sent");
        // The time since the last use of a filter is shown in hundredths of a second.
        std::thread::sleep(Duration::from_millis(50));
        before.is_still(&network(), "after some traffic");

        tc("class change dev lo parent 1: classid 1:20 htb rate 2gbit");
        let differs = before.differs(&network());
        assert!(
            !differs.is_empty()
                && differs
                    .iter()
                    .all(|line| line.starts_with("class lo 1:20 ")),
            "{differs:#?}"
        );
        tc("class change dev lo parent 1: classid 1:20 htb rate 1gbit");
        tc("filter del dev lo parent 1:");
        let differs = before.differs(&network());
        assert!(
            !differs.is_empty() && differs.iter().all(|line| line.starts_with("filter lo ")),
            "{differs:#?}"
        );
    });
}

/// Only in the test machine: it needs actions, which not every kernel has.
fn what_an_action_counts_does_not_show() {
    let test = &test_name();
    in_own_network(test, || {
        tc("qdisc add dev lo root handle 1: htb default 10");
        let filter = "filter add dev lo parent 1: prio 1 protocol ip u32 match u32 0 0 action gact";
        let arguments: Vec<&str> = filter.split(' ').chain(["ok"]).collect();
        command("tc", &arguments).unwrap();
        let before = network();
        traffic();
        std::thread::sleep(Duration::from_millis(50));
        before.is_still(&network(), "after some traffic");
        tc("filter del dev lo parent 1:");
        tc(&format!("{filter} drop"));
        assert!(before.distance(&network()) > 0, "another verdict");
    });
}

#[test]
fn a_sysctl_that_changes_others_along_shows_with_all_of_them() {
    let test = &test_name();
    in_own_network(test, || {
        let forward = "/proc/sys/net/ipv4/ip_forward";
        let before = Snapshot::of(&[Subtree::Sysctls]);
        if let Err(error) = std::fs::write(forward, "1") {
            println!("not run: {test}: {forward}: {error}");
            return;
        }
        let now = Snapshot::of(&[Subtree::Sysctls]);
        let differs = before.differs(&now);
        for name in ["ip_forward", "conf/all/forwarding", "conf/lo/forwarding"] {
            assert!(
                differs.iter().any(|line| line.contains(name)),
                "{name}: {differs:#?}"
            );
        }
        let only = before.clone().except(&[
            ("/proc/sys/net/ipv4/conf", "the switch of all is copied"),
            ("/proc/sys/net/ipv4/ip_forwar", "is the name of nothing"),
        ]);
        assert_eq!(only.differs(&now).len(), 1, "{:#?}", only.differs(&now));
        assert_eq!(now.differs(&only).len(), 1, "the other way round");
        let [differs] = &only.differs(&now)[..] else {
            panic!("there is one");
        };
        assert_eq!(differs, &format!(r#"{forward}: was "0\n", is "1\n""#));

        let one = [PathBuf::from(forward), PathBuf::from("/proc/sys/none")];
        let few = Snapshot::of_files(&one);
        assert_eq!(few.get("/proc/sys/none"), Some(&Seen::Refused(Some(2))));
        assert_eq!(before.get(forward), Some(&Seen::Holds(b"0\n".to_vec())));
        assert_eq!(few.get(forward), Some(&Seen::Holds(b"1\n".to_vec())));
    });
}

/// A fake tree of files as the kernel shows them.
struct Tree {
    root: tempfile::TempDir,
}

impl Tree {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self { root }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path.strip_prefix('/').unwrap())
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn link(&self, path: &str, to: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = std::fs::remove_file(&path);
        symlink(to, path).unwrap();
    }

    fn seen(&self) -> Snapshot {
        Snapshot::beneath(self.root.path(), &Subtree::ALL[..5])
    }

    /// The paths that differ after a change.
    fn shows(&self, change: impl FnOnce(&Self)) -> Vec<String> {
        let before = self.seen();
        before.is_still(&self.seen(), "nothing was done");
        change(self);
        let now = self.seen();
        let differences = before.differences(&now);
        differences.iter().map(|one| one.what.to_owned()).collect()
    }
}

fn machine() -> Tree {
    let tree = Tree::new();
    tree.write("/proc/sys/vm/swappiness", "60\n");
    tree.write("/proc/sys/fs/file-nr", "800\t0\t9223372036854775807\n");
    tree.link(
        "/sys/block/sda",
        "../devices/pci0000:00/0000:00:1f.2/block/sda",
    );
    let disk = "/sys/devices/pci0000:00/0000:00:1f.2/block/sda";
    tree.link(&format!("{disk}/subsystem"), "../../../../../class/block");
    tree.write(&format!("{disk}/queue/scheduler"), "[none] bfq\n");
    tree.write(&format!("{disk}/queue/iosched/fifo_batch"), "16\n");
    tree.write(&format!("{disk}/stat"), "1 2 3\n");
    tree.link(&format!("{disk}/bdi"), "../../../../virtual/bdi/8:0");
    tree.write(&format!("{disk}/sda1/start"), "2048\n");
    tree.link(
        &format!("{disk}/sda1/subsystem"),
        "../../../../../../class/block",
    );
    let device = "/sys/devices/pci0000:00/0000:00:1f.2";
    tree.link(
        "/sys/bus/pci/devices/0000:00:1f.2",
        "../../../devices/pci0000:00/0000:00:1f.2",
    );
    tree.link(&format!("{device}/subsystem"), "../../../bus/pci");
    tree.link(&format!("{device}/driver"), "../../../bus/pci/drivers/ahci");
    tree.write(&format!("{device}/power/control"), "on\n");
    tree.write(&format!("{device}/power/runtime_active_time"), "1234\n");
    tree.write(&format!("{device}/driver_override"), "(null)\n");
    tree.write(&format!("{device}/resource0"), "never read");
    tree.write("/sys/bus/pci/drivers_autoprobe", "1\n");
    tree.link(
        "/sys/bus/pci/drivers/ahci/0000:00:1f.2",
        "../../../../devices/pci0000:00/0000:00:1f.2",
    );
    tree.write("/sys/devices/system/cpu/online", "0-1\n");
    tree.write(
        "/sys/devices/system/cpu/cpufreq/policy0/scaling_governor",
        "powersave\n",
    );
    tree.write(
        "/sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq",
        "1\n",
    );
    tree.write(
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "always [madvise] never\n",
    );
    tree.write("/sys/kernel/mm/ksm/pages_shared", "1\n");
    tree
}

#[test]
fn a_change_shows_in_each_subtree_of_files_and_what_moves_does_not() {
    let tree = machine();
    for (path, text, shown) in [
        ("/proc/sys/vm/swappiness", "61\n", "/proc/sys/vm/swappiness"),
        (
            "/sys/devices/pci0000:00/0000:00:1f.2/block/sda/queue/scheduler",
            "none [bfq]\n",
            "/sys/block/sda/queue/scheduler",
        ),
        (
            "/sys/devices/pci0000:00/0000:00:1f.2/block/sda/queue/iosched/fifo_batch",
            "8\n",
            "/sys/block/sda/queue/iosched/fifo_batch",
        ),
        (
            "/sys/devices/pci0000:00/0000:00:1f.2/power/control",
            "auto\n",
            "/sys/bus/pci/devices/0000:00:1f.2/power/control",
        ),
        (
            "/sys/devices/pci0000:00/0000:00:1f.2/driver_override",
            "vfio-pci\n",
            "/sys/bus/pci/devices/0000:00:1f.2/driver_override",
        ),
        (
            "/sys/bus/pci/drivers_autoprobe",
            "0\n",
            "/sys/bus/pci/drivers_autoprobe",
        ),
        (
            "/sys/devices/system/cpu/cpufreq/policy0/scaling_governor",
            "performance\n",
            "/sys/devices/system/cpu/cpufreq/policy0/scaling_governor",
        ),
        (
            "/sys/kernel/mm/transparent_hugepage/enabled",
            "[always] madvise never\n",
            "/sys/kernel/mm/transparent_hugepage/enabled",
        ),
    ] {
        assert_eq!(tree.shows(|tree| tree.write(path, text)), [shown]);
    }
    for path in [
        "/proc/sys/fs/file-nr",
        "/sys/devices/pci0000:00/0000:00:1f.2/block/sda/stat",
        "/sys/devices/pci0000:00/0000:00:1f.2/block/sda/sda1/start",
        "/sys/devices/pci0000:00/0000:00:1f.2/power/runtime_active_time",
        "/sys/devices/pci0000:00/0000:00:1f.2/resource0",
        "/sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq",
        "/sys/kernel/mm/ksm/pages_shared",
    ] {
        let shown = tree.shows(|tree| tree.write(path, "another\n"));
        assert!(shown.is_empty(), "{path}: {shown:?}");
    }
}

#[test]
fn what_is_bound_elsewhere_comes_or_goes_shows() {
    let tree = machine();
    let rebound = tree.shows(|tree| {
        std::fs::remove_file(tree.path("/sys/bus/pci/drivers/ahci/0000:00:1f.2")).unwrap();
        tree.link(
            "/sys/bus/pci/drivers/vfio-pci/0000:00:1f.2",
            "../../../../devices/pci0000:00/0000:00:1f.2",
        );
        tree.link(
            "/sys/devices/pci0000:00/0000:00:1f.2/driver",
            "../../../bus/pci/drivers/vfio-pci",
        );
    });
    assert_eq!(
        rebound,
        [
            "/sys/bus/pci/devices/0000:00:1f.2/driver",
            "/sys/bus/pci/drivers/ahci/0000:00:1f.2",
            "/sys/bus/pci/drivers/vfio-pci",
            "/sys/bus/pci/drivers/vfio-pci/0000:00:1f.2",
        ]
    );
    let disk = "/sys/devices/pci0000:00/0000:00:1f.2/block/sda";
    let partition =
        tree.shows(|tree| std::fs::remove_dir_all(tree.path(disk).join("sda1")).unwrap());
    assert_eq!(partition, ["/sys/block/sda/sda1"]);
    // Only the links of /sys/block itself are followed; this one is compared by its target.
    let link = tree.shows(|tree| tree.link(&format!("{disk}/bdi"), "../../../../virtual/bdi/8:1"));
    assert_eq!(link, ["/sys/block/sda/bdi"]);
}

#[test]
fn modules_are_compared_by_name_alone() {
    let tree = Tree::new();
    let of = |text: &str| {
        tree.write("/proc/modules", text);
        Snapshot::beneath(tree.root.path(), &[Subtree::Modules])
    };
    let before = of("zram 40960 1 - Live 0x0\nveth 36864 0 - Live 0x0\n");
    before.is_still(
        &of("veth 36864 2 - Live 0x0\nzram 40960 0 - Live 0x0\n"),
        "used by others, and in another order",
    );
    let now = of("zram 40960 1 - Live 0x0\nveth 36864 0 - Live 0x0\nifb 16384 0 - Live 0x0\n");
    assert_eq!(before.differs(&now), ["module ifb: was absent, is loaded"]);
    let allowed = before.except(&[("module ifb", "what is shaped on the way in goes through it")]);
    allowed.is_still(&now, "the module is known");
}

#[test]
fn a_subtree_that_is_not_there_is_a_value() {
    let nowhere = Snapshot::beneath(Path::new("/nonexistent"), &Subtree::ALL[..5]);
    assert_eq!(nowhere.get("/sys/kernel/mm"), Some(&Seen::Refused(Some(2))));
    assert_eq!(nowhere.iter().count(), 5);
}

/// Only in the test machine, which has everything that is set here.
fn what_is_changed_shows_and_nothing_else_does() {
    let pci_device = |driver: &str| {
        let directory = format!("/sys/bus/pci/drivers/{driver}");
        let entries = std::fs::read_dir(directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .into_iter()
            .find(|name| name.starts_with("0000:"))
            .unwrap()
    };
    let card = pci_device("e1000e");
    for (file, changed, back) in [
        ("/proc/sys/vm/swappiness".to_owned(), "37", None),
        ("/sys/block/sda/queue/read_ahead_kb".to_owned(), "512", None),
        ("/sys/block/sda/queue/rq_affinity".to_owned(), "2", None),
        // An unset driver_override shows as "(null)", which is no driver's name; a newline unsets it.
        (
            format!("/sys/bus/pci/devices/{card}/driver_override"),
            "vfio-pci",
            Some("\n"),
        ),
        (
            "/sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq".to_owned(),
            "2000000",
            None,
        ),
        (
            "/sys/kernel/mm/transparent_hugepage/khugepaged/pages_to_scan".to_owned(),
            "37",
            None,
        ),
    ] {
        let before = Snapshot::of_everything();
        let was = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, changed).unwrap();
        let differs = before.differs(&Snapshot::of_everything());
        assert!(
            differs.len() == 1 && differs[0].starts_with(&file),
            "{file}: {differs:#?}"
        );
        std::fs::write(&file, back.unwrap_or(was.trim_end())).unwrap();
        before.is_still(&Snapshot::of_everything(), &file);
    }
}

hosttune_test_machine::inside_stock_kernels!(
    a_second_later_everything_is_as_it_was,
    what_is_set_of_a_link_or_a_qdisc_shows,
    what_counts_by_itself_does_not_show,
    what_an_action_counts_does_not_show,
    what_is_changed_shows_and_nothing_else_does,
);
