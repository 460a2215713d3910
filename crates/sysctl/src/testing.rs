//! A fake kernel for sysctls: a machine in memory whose keys respond to writes as Linux does.
//!
//! Passing the tests on a kernel that is more lenient than the real one would prove nothing. So
//! every response here was measured on Linux 6.18, and `tests/suite/fake.rs` writes the same
//! table of values to the fake and to the running kernel, in a separate network namespace, and
//! compares errno and value afterwards.
//!
//! Where a file in memory cannot behave like the kernel, the fake is the stricter of the two:
//! - A write of zero bytes succeeds on the kernel and changes nothing. Here it is an empty line,
//!   which the kernel rejects.
//! - Trailing text after a number (`5 # five`) is accepted, and for most keys the kernel reports
//!   that it wrote two bytes of eight. A behaviour has no byte counts; a Linux host reports an
//!   error.
//! - An interface whose value was never written follows `default`; one whose value was written does
//!   not. Here `eth0` counts as written, as if by a network manager, and the others never do.

mod behaviours;
mod numbers;

use hosttune_core::testing::{Behaviour, Memory};

use self::behaviours::{
    accept_redirects, all_forwarding, allowed_congestion_control, background_bytes,
    background_ratio, congestion_control, default_qdisc, dirty_bytes, dirty_ratio,
    interface_forwarding, overcommit_kbytes, overcommit_ratio, ptrace_scope,
};
use self::numbers::{integers, unsigned, unsigned_longs};

/// The kernel release of the machine.
pub const RELEASE: &str = "6.12.0-hosttune";

/// The interfaces of the machine; the dot in the last one is part of its name.
pub const INTERFACES: [&str; 3] = ["lo", "eth0", "eth0.100"];

const MODULES_DEP: &str = "\
kernel/net/ipv4/tcp_bbr.ko.xz:
kernel/net/sched/sch_fq.ko.xz:
kernel/net/sched/sch_cake.ko.xz:
kernel/net/netfilter/nf_conntrack.ko.xz: kernel/lib/libcrc32c.ko.xz
";

const MODULES_BUILTIN: &str = "\
kernel/net/ipv4/tcp_cubic.ko
kernel/net/sched/sch_fq_codel.ko
";

const SWAPS: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/zram0                              partition\t8388604\t\t0\t\t100";

fn path(key: &str) -> String {
    format!("/proc/sys/{key}")
}

fn modules(list: &str) -> String {
    format!("/lib/modules/{RELEASE}/{list}")
}

/// A Linux machine in its initial namespaces after boot, with two interfaces in addition to the
/// loopback, swap on zram, and BBR as a module that is not loaded yet.
pub fn kernel() -> Memory {
    let mut memory = Memory::new().directory("/etc").directory("/sys/module");
    for (key, value, behaviour) in network().into_iter().chain(memory_and_kernel()) {
        memory = memory.file(path(key), value, behaviour);
    }
    for (key, value) in [
        ("kernel/osrelease", RELEASE),
        (
            "kernel/random/boot_id",
            "5d6f2f1c-8a55-4a4e-9d68-2d1c8f0f6f5e",
        ),
        ("net/ipv4/tcp_available_congestion_control", "reno cubic"),
    ] {
        memory = memory
            .file(path(key), value, Behaviour::takes_all())
            .mode(path(key), 0o444);
    }
    for (key, behaviour) in [
        ("vm/drop_caches", forgets(integers(Some(1), Some(4)))),
        ("net/ipv4/route/flush", forgets(integers(None, None))),
    ] {
        memory = memory.file(path(key), "", behaviour).mode(path(key), 0o200);
    }
    for (file, text) in [
        ("/proc/swaps".to_owned(), SWAPS),
        (modules("modules.dep"), MODULES_DEP.trim_end()),
        (modules("modules.builtin"), MODULES_BUILTIN.trim_end()),
    ] {
        memory = memory.file(file, text, Behaviour::takes_all());
    }
    interfaces(memory.mode("/proc/swaps", 0o444))
}

type Keys = Vec<(&'static str, &'static str, Behaviour)>;

fn network() -> Keys {
    vec![
        ("net/core/default_qdisc", "fq_codel", default_qdisc()),
        ("net/core/netdev_max_backlog", "1000", integers(None, None)),
        ("net/core/rmem_max", "212992", integers(Some(2304), None)),
        ("net/core/wmem_max", "212992", integers(Some(4608), None)),
        ("net/core/somaxconn", "4096", integers(Some(0), None)),
        (
            "net/ipv4/tcp_congestion_control",
            "cubic",
            congestion_control(),
        ),
        (
            "net/ipv4/tcp_allowed_congestion_control",
            "reno cubic",
            allowed_congestion_control(),
        ),
        ("net/ipv4/tcp_max_syn_backlog", "1024", integers(None, None)),
        (
            "net/ipv4/tcp_rmem",
            "4096\t131072\t6291456",
            integers(Some(1), None),
        ),
        (
            "net/ipv4/tcp_wmem",
            "4096\t16384\t4194304",
            integers(Some(1), None),
        ),
        (
            "net/ipv4/tcp_mem",
            "188319\t251093\t376638",
            unsigned_longs(0, u64::MAX),
        ),
        // One-byte values without a narrower range.
        ("net/ipv4/tcp_mtu_probing", "0", unsigned(0, 255)),
        // Bits without a meaning are accepted as well.
        ("net/ipv4/tcp_fastopen", "1", integers(None, None)),
        ("net/ipv4/tcp_slow_start_after_idle", "1", unsigned(0, 255)),
    ]
}

fn memory_and_kernel() -> Keys {
    vec![
        ("vm/swappiness", "60", integers(Some(0), Some(200))),
        ("vm/dirty_ratio", "20", dirty_ratio()),
        ("vm/dirty_bytes", "0", dirty_bytes()),
        ("vm/dirty_background_ratio", "10", background_ratio()),
        ("vm/dirty_background_bytes", "0", background_bytes()),
        ("vm/overcommit_ratio", "50", overcommit_ratio()),
        ("vm/overcommit_kbytes", "0", overcommit_kbytes()),
        (
            "vm/compaction_proactiveness",
            "20",
            integers(Some(0), Some(100)),
        ),
        ("vm/vfs_cache_pressure", "100", integers(Some(0), None)),
        (
            "vm/vfs_cache_pressure_denom",
            "100",
            integers(Some(100), None),
        ),
        ("kernel/split_lock_mitigate", "1", unsigned(0, 1)),
        (
            "kernel/sched_autogroup_enabled",
            "1",
            integers(Some(0), Some(1)),
        ),
        ("kernel/numa_balancing", "0", integers(Some(0), Some(4))),
        ("kernel/yama/ptrace_scope", "1", ptrace_scope()),
        // Only 1 is accepted, even if it would change nothing.
        ("kernel/modules_disabled", "0", integers(Some(1), Some(1))),
    ]
}

fn interfaces(mut memory: Memory) -> Memory {
    memory = memory.file(path("net/ipv4/ip_forward"), "0", all_forwarding());
    for name in ["all", "default"].into_iter().chain(INTERFACES) {
        let forwarding = match name {
            "all" => all_forwarding(),
            _ => interface_forwarding(),
        };
        memory = memory
            .file(
                path(&format!("net/ipv4/conf/{name}/forwarding")),
                "0",
                forwarding,
            )
            .file(
                path(&format!("net/ipv4/conf/{name}/accept_redirects")),
                "1",
                accept_redirects(name),
            );
    }
    memory
}

/// A key that only triggers an action: a written value is validated but not stored.
fn forgets(judge: Behaviour) -> Behaviour {
    judge.then(|tree, _| {
        for key in ["vm/drop_caches", "net/ipv4/route/flush"] {
            if tree.get(path(key)).is_some() {
                tree.set(path(key), "");
            }
        }
    })
}

/// The behaviour of most keys: plain numbers, as many as the file contains.
pub fn plain_integers() -> Behaviour {
    integers(None, None)
}

/// A host that has only the directories `/proc/sys` and `/etc`.
pub fn empty() -> Memory {
    Memory::new().directory("/proc/sys").directory("/etc")
}

/// The machine with a kernel that does not have a module.
#[must_use]
pub fn without_module(memory: Memory, module: &str) -> Memory {
    memory.change(|tree| {
        for list in ["modules.dep", "modules.builtin"] {
            let text = tree.get(modules(list)).unwrap_or_default();
            let left: Vec<&str> = text
                .lines()
                .filter(|line| !line.contains(&format!("/{module}.ko")))
                .collect();
            tree.set(modules(list), &left.join("\n"));
        }
    });
    memory
}

/// The machine with a kernel that rejects TCP receive buffers below one page quantum of 4096 bytes.
/// This was measured on 6.1.192, 6.12.117 and 7.2.12, while 6.18.44 still accepts a single byte.
#[must_use]
pub fn with_least_receive_buffer(memory: Memory) -> Memory {
    let name = path("net/ipv4/tcp_rmem");
    let value = memory.get(&name).unwrap_or_default();
    memory.file(name, &value, integers(Some(4096), None))
}

/// The machine as seen by a process in a separate network namespace.
#[must_use]
pub fn in_network_namespace(memory: Memory) -> Memory {
    memory.change(|tree| {
        for key in [
            "net/core/default_qdisc",
            "net/core/netdev_max_backlog",
            "net/ipv4/tcp_mem",
        ] {
            tree.remove(path(key));
        }
    });
    [
        "net/core/rmem_max",
        "net/core/wmem_max",
        "net/ipv4/tcp_allowed_congestion_control",
    ]
    .into_iter()
    .fold(memory, |memory, key| memory.mode(path(key), 0o444))
}

/// Like [`in_network_namespace`], but on kernels as old as 6.1, which lack the keys that are
/// read-only there on newer ones.
#[must_use]
pub fn in_network_namespace_of_old(memory: Memory) -> Memory {
    let memory = in_network_namespace(memory);
    memory.change(|tree| {
        for key in ["net/core/rmem_max", "net/core/wmem_max"] {
            tree.remove(path(key));
        }
    });
    memory
}
