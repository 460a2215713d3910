//! The simulated kernel gives the same answers as the real one to a table of values.
//!
//! Keys that exist per network namespace are compared in a namespace of their own. Global keys cannot be, so
//! the answers of Linux 6.18 are recorded here.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use hosttune_core::testing::{CrashPoint, Memory};
use hosttune_core::{Host, HostErrorKind};
use hosttune_sysctl::testing;

use crate::own_namespace;

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EINVAL: i32 = 22;
const ERANGE: i32 = 34;

/// Valid and invalid texts that people write.
const TEXTS: [&str; 68] = [
    "7",
    "1",
    "0",
    "2",
    "-1",
    "-0",
    "010",
    "0x1e",
    "0X1E",
    "0x",
    "08",
    "+5",
    "-",
    "- 5",
    "--5",
    " 5",
    "5 ",
    "\t5",
    "5\t",
    "5 6",
    "5,6",
    "",
    "  ",
    "abc",
    "5abc",
    "5 abc",
    "5 # c",
    "5#",
    "# c",
    "5\r",
    "\x0b5",
    "1\n2",
    "\n5",
    "\0",
    "5\0",
    "100",
    "201",
    "255",
    "256",
    "4096",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "-2147483648",
    "-2147483649",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "00000000000000000000005",
    "0000000000000000005",
    "5000 88888 banana",
    "5000 88888",
    "5000 88888 99999 7",
    "5000\t88888\t99999",
    "5000 0 7",
    "5000 x",
    "0 0 0",
    "cubic",
    "cubic ",
    " cubic",
    "cubic # comment",
    "CUBIC",
    "bbr",
    "reno",
    "cubicxxxxxxxxxxxxx",
    "nosuch",
];

const KEYS: [&str; 15] = [
    "net/core/somaxconn",
    "net/ipv4/tcp_max_syn_backlog",
    "net/ipv4/tcp_rmem",
    "net/ipv4/tcp_wmem",
    "net/ipv4/tcp_mtu_probing",
    "net/ipv4/tcp_fastopen",
    "net/ipv4/tcp_slow_start_after_idle",
    "net/ipv4/tcp_congestion_control",
    "net/ipv4/conf/eth0/forwarding",
    "net/ipv4/conf/eth0.100/forwarding",
    "net/ipv4/conf/default/forwarding",
    "net/ipv4/conf/all/forwarding",
    "net/ipv4/conf/eth0/accept_redirects",
    "net/ipv4/conf/default/accept_redirects",
    "net/ipv4/ip_forward",
];

fn path(key: &str) -> String {
    format!("/proc/sys/{key}")
}

/// Writes once, and returns the errno if that fails.
fn write(key: &str, text: &str) -> Result<(), i32> {
    let mut file = OpenOptions::new().write(true).open(path(key)).unwrap();
    // Not `write_all`, which would write the rest that the kernel does not consume as a second value.
    match file.write(format!("{text}\n").as_bytes()) {
        Ok(taken) => {
            assert!(taken > 0);
            Ok(())
        }
        Err(error) => Err(error.raw_os_error().unwrap()),
    }
}

/// What the fake and the kernel show for every readable key of the fake under net.
fn shown(fake: &Memory) -> BTreeMap<String, (Option<String>, Option<String>)> {
    let mut shown = BTreeMap::new();
    for (path, node) in fake.snapshot() {
        if !path.starts_with("/proc/sys/net/") || node == "directory" || node.starts_with("0200") {
            continue;
        }
        let kernel = std::fs::read_to_string(&path).ok();
        let kernel = kernel.map(|text| text.strip_suffix('\n').unwrap_or(&text).to_owned());
        shown.insert(path.clone(), (fake.get(&path), kernel));
    }
    shown
}

#[test]
fn the_fake_answers_as_the_kernel_does() {
    if !own_namespace::inside() {
        return;
    }
    // After a write to it, an interface no longer follows `default`.
    write("net/ipv4/conf/eth0/accept_redirects", "1").unwrap();
    // The allowed words are shared by the whole machine, and another process may change them now. Only a
    // difference that remains is a failure.
    let mut wrong = different();
    for _ in 0..2 {
        if !wrong.is_empty() {
            wrong = different();
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

/// The fake of a kernel as new as the running one.
fn in_network_namespace() -> Memory {
    if Path::new(&path("net/core/rmem_max")).exists() {
        testing::in_network_namespace(testing::kernel())
    } else {
        testing::in_network_namespace_of_old(testing::kernel())
    }
}

/// Sets the fake to what the kernel shows and lists where their answers differ.
fn different() -> Vec<String> {
    let mut fake = testing::without_module(in_network_namespace(), "tcp_bbr");
    let buffer = std::fs::read_to_string(path("net/ipv4/tcp_rmem")).unwrap();
    if write("net/ipv4/tcp_rmem", "4095").is_err() {
        fake = testing::with_least_receive_buffer(fake);
    }
    write("net/ipv4/tcp_rmem", buffer.trim_end()).unwrap();
    for (path, (_, kernel)) in shown(&fake) {
        fake.change(|tree| tree.set(path, &kernel.unwrap()));
    }
    let mut wrong = Vec::new();
    for key in KEYS {
        let base = fake.get(path(key)).unwrap();
        for text in TEXTS {
            // Each text starts from the base value, so that what the previous one left hides nothing.
            assert_eq!(write(key, &base), fake.write(path(key), &base));
            let (real, ours) = (write(key, text), fake.write(path(key), text));
            if real != ours {
                wrong.push(format!("{key} {text:?}: kernel {real:?}, double {ours:?}"));
            }
            for (path, (ours, real)) in shown(&fake) {
                if ours != real {
                    wrong.push(format!(
                        "{key} {text:?}: {path}: kernel {real:?}, double {ours:?}"
                    ));
                }
            }
        }
        assert_eq!(write(key, &base), fake.write(path(key), &base));
    }
    wrong
}

#[test]
fn the_fake_shows_a_network_namespace_as_the_kernel_does() {
    if !own_namespace::inside() {
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let outside = testing::kernel().snapshot();
    let inside = in_network_namespace().snapshot();
    for (path, node) in outside {
        if !path.starts_with("/proc/sys/net/") || node == "directory" {
            continue;
        }
        let real = std::fs::metadata(&path)
            .ok()
            .map(|file| format!("{:04o}", file.permissions().mode() & 0o7777));
        let ours = inside.get(&path).map(|node| node[..4].to_owned());
        assert_eq!(ours, real, "{path}");
    }
}

/// Measured on Linux 6.18: the key, the text written, the errno, and what the key and its partner showed
/// afterwards. Each group starts from the initial values of the fake.
type Measured = (&'static str, &'static str, Result<(), i32>, &'static str);

fn check(beside: &str, measured: &[Measured]) {
    let fake = testing::kernel();
    for (key, text, answer, left) in measured {
        assert_eq!(fake.write(path(key), text), *answer, "{text:?} to {key}");
        let mut shown = fake.get(path(key)).unwrap();
        if !beside.is_empty() {
            let beside = if key.ends_with("_ratio") {
                key.replace("_ratio", beside)
            } else {
                key.replace(beside, "_ratio")
            };
            shown = format!("{shown} {}", fake.get(path(&beside)).unwrap());
        }
        assert_eq!(shown, *left, "{text:?} to {key}");
    }
}

#[test]
fn the_dirty_pair_answers_as_measured() {
    let (bytes, ratio) = ("vm/dirty_bytes", "vm/dirty_ratio");
    check(
        "_bytes",
        &[
            (bytes, "0", Err(EINVAL), "0 20"),
            (bytes, "4096", Err(EINVAL), "0 20"),
            (bytes, "8191", Err(EINVAL), "0 20"),
            (bytes, "8192", Ok(()), "8192 0"),
            // An equal ratio changes nothing, and the bytes stay in force.
            (ratio, "0", Ok(()), "0 8192"),
            (bytes, "20000000 x", Ok(()), "20000000 0"),
            (ratio, "101", Err(EINVAL), "0 20000000"),
            (ratio, "", Err(EINVAL), "0 20000000"),
            (ratio, "20", Ok(()), "20 0"),
            (bytes, "0x100000", Ok(()), "1048576 0"),
            (bytes, "010000000", Ok(()), "2097152 0"),
            (bytes, "-1", Err(EINVAL), "2097152 0"),
            (bytes, "5000000abc", Err(EINVAL), "2097152 0"),
            (bytes, "17592186040320", Ok(()), "17592186040320 0"),
            (bytes, "17592186040321", Err(ERANGE), "17592186040320 0"),
            (
                bytes,
                "9223372036854775807",
                Err(ERANGE),
                "17592186040320 0",
            ),
            (
                bytes,
                "18446744073709551616",
                Err(EINVAL),
                "17592186040320 0",
            ),
            (
                bytes,
                "18446744073709551615",
                Ok(()),
                "18446744073709551615 0",
            ),
        ],
    );
}

#[test]
fn the_background_pair_answers_as_measured() {
    let (bytes, ratio) = ("vm/dirty_background_bytes", "vm/dirty_background_ratio");
    check(
        "_bytes",
        &[
            (bytes, "0", Err(EINVAL), "0 10"),
            (bytes, "1", Ok(()), "1 0"),
            // Unlike in the other pair, an equal ratio resets the bytes.
            (ratio, "0", Ok(()), "0 0"),
            (bytes, "8192", Ok(()), "8192 0"),
            (ratio, "101", Err(EINVAL), "0 8192"),
            (bytes, "17592186040321", Err(ERANGE), "8192 0"),
            (ratio, "100", Ok(()), "100 0"),
        ],
    );
}

#[test]
fn the_overcommit_pair_answers_as_measured() {
    let (kbytes, ratio) = ("vm/overcommit_kbytes", "vm/overcommit_ratio");
    check(
        "_kbytes",
        &[
            // Accepted, and then neither is in force.
            (kbytes, "0", Ok(()), "0 0"),
            (ratio, "50", Ok(()), "50 0"),
            (kbytes, "5", Ok(()), "5 0"),
            (ratio, "abc", Err(EINVAL), "0 5"),
            (ratio, "0", Ok(()), "0 0"),
            (ratio, "-1", Ok(()), "-1 0"),
            (
                kbytes,
                "18446744073709551615",
                Ok(()),
                "18446744073709551615 0",
            ),
            (kbytes, "-1", Err(EINVAL), "18446744073709551615 0"),
        ],
    );
}

#[test]
fn the_global_ranges_are_as_measured() {
    // (key, the least value that is accepted, the greatest)
    for (key, least, greatest) in [
        ("vm/swappiness", 0, 200),
        ("vm/compaction_proactiveness", 0, 100),
        ("vm/vfs_cache_pressure", 0, i32::MAX.into()),
        ("vm/vfs_cache_pressure_denom", 100, i32::MAX.into()),
        ("kernel/split_lock_mitigate", 0, 1),
        ("kernel/sched_autogroup_enabled", 0, 1),
        ("kernel/numa_balancing", 0, 4),
        (
            "net/core/netdev_max_backlog",
            i32::MIN.into(),
            i32::MAX.into(),
        ),
        ("net/core/rmem_max", 2304, i32::MAX.into()),
        ("net/core/wmem_max", 4608, i32::MAX.into()),
        ("kernel/yama/ptrace_scope", 0, 3),
    ] {
        let number = |number: i64| -> Result<String, i32> {
            let fake = testing::kernel();
            fake.write(path(key), &number.to_string())?;
            Ok(fake.get(path(key)).unwrap())
        };
        assert_eq!(number(least), Ok(least.to_string()), "{key}");
        assert_eq!(number(greatest), Ok(greatest.to_string()), "{key}");
        assert_eq!(number(least - 1), Err(EINVAL), "{key}");
        assert_eq!(number(greatest + 1), Err(EINVAL), "{key}");
    }
}

#[test]
fn the_words_of_the_initial_namespace_answer_as_measured() {
    let control = "net/ipv4/tcp_congestion_control";
    let allowed = "net/ipv4/tcp_allowed_congestion_control";
    let qdisc = "net/core/default_qdisc";
    check(
        "",
        &[
            (control, "nosuch", Err(ENOENT), "cubic"),
            (control, "cubic ", Err(ENOENT), "cubic"),
            (control, "", Err(ENOENT), "cubic"),
            (allowed, "reno", Ok(()), "reno"),
            (allowed, "cubic reno", Ok(()), "reno cubic"),
            (allowed, "reno nosuch", Err(ENOENT), "reno cubic"),
            (allowed, "", Ok(()), ""),
            (allowed, "reno  cubic ", Ok(()), "reno"),
            // A word that is set becomes allowed, and stays allowed.
            (control, "cubic", Ok(()), "cubic"),
            (allowed, "nosuch", Err(ENOENT), "reno cubic"),
            (qdisc, "pfifo", Ok(()), "pfifo"),
            (qdisc, "nosuch", Err(ENOENT), "pfifo"),
            (qdisc, "pfifo_fast # c", Err(ENOENT), "pfifo"),
            (qdisc, "", Err(ENOENT), "pfifo"),
            (qdisc, "pfifo_fastxxxxxxxxxxx", Err(ENOENT), "pfifo"),
            (qdisc, "noqueue", Ok(()), "noqueue"),
        ],
    );
}

#[test]
fn a_module_is_loaded_by_its_value_and_stays() {
    let fake = testing::kernel();
    let control = path("net/ipv4/tcp_congestion_control");
    let available = path("net/ipv4/tcp_available_congestion_control");
    fake.write(&control, "bbr").unwrap();
    fake.write(&control, "cubic").unwrap();
    assert_eq!(fake.get(&available).unwrap(), "reno cubic bbr");
    let without = testing::without_module(testing::kernel(), "tcp_bbr");
    assert_eq!(without.write(&control, "bbr"), Err(ENOENT));
    assert_eq!(without.get(&available).unwrap(), "reno cubic");
    // With `modules_disabled`, no module is loaded, whether or not it is listed.
    let locked = testing::kernel();
    locked.write(path("kernel/modules_disabled"), "1").unwrap();
    assert_eq!(locked.write(&control, "bbr"), Err(ENOENT));
}

#[test]
fn what_is_not_allowed_cannot_be_set_in_another_network_namespace() {
    let fake = testing::in_network_namespace(testing::kernel());
    let control = path("net/ipv4/tcp_congestion_control");
    fake.change(|tree| {
        tree.set(path("net/ipv4/tcp_allowed_congestion_control"), "reno");
    });
    assert_eq!(fake.write(&control, "cubic"), Err(EPERM));
    assert_eq!(fake.write(&control, "reno"), Ok(()));
}

#[test]
fn one_way_keys_refuse_the_way_back() {
    check(
        "",
        &[
            ("kernel/modules_disabled", "0", Err(EINVAL), "0"),
            ("kernel/modules_disabled", "1", Ok(()), "1"),
            ("kernel/modules_disabled", "0", Err(EINVAL), "1"),
            ("kernel/yama/ptrace_scope", "3", Ok(()), "3"),
            ("kernel/yama/ptrace_scope", "1", Err(EINVAL), "3"),
            ("kernel/yama/ptrace_scope", "3", Ok(()), "3"),
        ],
    );
}

#[test]
fn write_only_keys_cannot_be_read_and_keep_nothing() {
    for (key, text) in [("vm/drop_caches", "3"), ("net/ipv4/route/flush", "1")] {
        let fake = testing::kernel();
        let was = fake.snapshot();
        fake.write(path(key), text).unwrap();
        assert_eq!(fake.snapshot(), was);
        let host = Host::new(fake.host(&CrashPoint::lives()));
        let error = host.read(path(key)).unwrap_err();
        assert_eq!(*error.kind(), HostErrorKind::Denied);
        assert!(Path::new(error.subject()).ends_with(key));
    }
}

hosttune_test_machine::inside_stock_kernels!(
    the_fake_answers_as_the_kernel_does,
    the_fake_shows_a_network_namespace_as_the_kernel_does,
);
