//! What changes by itself, is made anew by each read, or must not be read: paths beneath the top
//! of a subtree, each with its reason.
//!
//! Found by comparing snapshots a second apart, which every run does again; those that a quiet
//! machine does not show come from the kernel's documentation.

use super::Subtree;

type Names = &'static [(&'static str, &'static str)];

pub(super) fn of(subtree: Subtree) -> Names {
    match subtree {
        Subtree::Sysctls => SYSCTLS,
        Subtree::BlockDevices => BLOCK_DEVICES,
        Subtree::PciDevices => PCI_DEVICES,
        Subtree::Processors => PROCESSORS,
        Subtree::Memory => MEMORY,
        Subtree::Links | Subtree::Qdiscs | Subtree::Modules => &[],
    }
}

const SYSCTLS: Names = &[
    ("kernel/random/uuid", "another one at each read"),
    ("kernel/random/entropy_avail", "moves with interrupts"),
    ("kernel/ns_last_pid", "counts with every process started"),
    ("kernel/pty/nr", "counts the terminals in use"),
    (
        "kernel/perf_event_max_sample_rate",
        "the kernel lowers it when sampling takes it too long",
    ),
    ("kernel/hung_task_detect_count", "counts tasks found hung"),
    ("fs/aio-nr", "counts requests under way"),
    ("fs/dentry-state", "counts the cache"),
    ("fs/file-nr", "counts open files"),
    ("fs/inode-nr", "counts the cache"),
    ("fs/inode-state", "counts the cache"),
    ("fs/quota", "counts look-ups"),
    ("net/netfilter/nf_conntrack_count", "counts connections"),
    (
        "net/core/netdev_rss_key",
        "made when the first driver asks for it",
    ),
    (
        "vm/stat_refresh",
        "holds nothing, and makes the kernel work when read",
    ),
];

const BLOCK_DEVICES: Names = &[
    ("*/stat", "counts requests"),
    ("*/inflight", "counts requests under way"),
    ("*/trace", "belongs to whoever traces the disk just now"),
    ("**/power/runtime_active_time", "counts time"),
    ("**/power/runtime_suspended_time", "counts time"),
    ("**/power/runtime_status", "follows how the disk is used"),
    ("*/mm_stat", "counts what a compressed disk holds"),
    ("*/io_stat", "counts requests that failed"),
    ("*/bd_stat", "counts what was written back"),
    ("*/debug_stat", "counts what was compressed again"),
    ("*/bcache/stats_*", "counts requests"),
    ("*/md/sync_completed", "follows how far a check has come"),
    ("*/md/sync_speed", "follows how far a check has come"),
    ("*/md/array_state", "turns clean and active with each write"),
    (
        "*/md/reshape_position",
        "follows how far a reshape has come",
    ),
    ("*/md/mismatch_cnt", "counts what a check found"),
    ("*/md/stripe_cache_active", "counts requests under way"),
];

const PCI_DEVICES: Names = &[
    ("devices/*/rom", "reading turns on the device's memory"),
    (
        "devices/*/resource?*",
        "is the device's own memory, where reading has effects",
    ),
    (
        "devices/*/vpd",
        "asks the device itself, which may take seconds",
    ),
    ("devices/*/aer_*", "counts errors"),
    (
        "devices/*/current_link_speed",
        "follows how the device is used",
    ),
    (
        "devices/*/current_link_width",
        "follows how the device is used",
    ),
    ("devices/*/power_state", "follows how the device is used"),
    ("devices/*/p2pmem", "counts memory in use"),
    ("devices/*/pools", "counts memory in use"),
    ("devices/*/doe_*", "asks the device itself"),
    ("devices/**/power/runtime_active_time", "counts time"),
    ("devices/**/power/runtime_suspended_time", "counts time"),
    (
        "devices/**/power/runtime_active_kids",
        "counts what is awake",
    ),
    (
        "devices/**/power/runtime_usage",
        "counts who keeps it awake",
    ),
    (
        "devices/**/power/runtime_status",
        "follows how the device is used",
    ),
    ("devices/**/power/wakeup_*", "counts wake-ups"),
    ("devices/*/wakeup", "counts wake-ups"),
    ("slots/*/cur_bus_speed", "follows how the device is used"),
];

const PROCESSORS: Names = &[
    ("**/power/runtime_active_time", "counts time"),
    ("**/power/runtime_suspended_time", "counts time"),
    ("**/cpuidle/state*/usage", "counts"),
    ("**/cpuidle/state*/time", "counts time"),
    ("**/cpuidle/state*/above", "counts"),
    ("**/cpuidle/state*/below", "counts"),
    ("**/cpuidle/state*/rejected", "counts"),
    ("**/cpuidle/state*/s2idle", "counts"),
    ("**/thermal_throttle", "counts"),
    ("cpufreq/policy*/scaling_cur_freq", "follows the load"),
    (
        "cpufreq/policy*/cpuinfo_cur_freq",
        "follows the load, and asks the hardware",
    ),
    (
        "cpufreq/policy*/cpuinfo_avg_freq",
        "follows the load, and waits for it",
    ),
    ("cpufreq/policy*/stats", "counts time"),
    ("cpu*/acpi_cppc/feedback_ctrs", "counts"),
    (
        "intel_uncore_frequency/*/current_freq_khz",
        "follows the load, and asks the hardware",
    ),
];

const MEMORY: Names = &[
    ("hugepages/*/free_hugepages", "counts pages in use"),
    ("hugepages/*/resv_hugepages", "counts pages in use"),
    ("hugepages/*/surplus_hugepages", "counts pages in use"),
    ("ksm/pages_shared", "counts"),
    ("ksm/pages_sharing", "counts"),
    ("ksm/pages_unshared", "counts"),
    ("ksm/pages_volatile", "counts"),
    ("ksm/pages_scanned", "counts"),
    ("ksm/pages_skipped", "counts"),
    ("ksm/ksm_zero_pages", "counts"),
    ("ksm/full_scans", "counts"),
    ("ksm/general_profit", "counts"),
    ("ksm/stable_node_chains", "counts"),
    ("ksm/stable_node_dups", "counts"),
    ("transparent_hugepage/hugepages-*/stats", "counts"),
    ("transparent_hugepage/khugepaged/full_scans", "counts"),
    ("transparent_hugepage/khugepaged/pages_collapsed", "counts"),
    ("page_idle", "reading walks all memory"),
    ("cma/*/alloc_pages_*", "counts"),
    ("cma/*/release_pages_success", "counts"),
    ("cma/*/available_pages", "counts pages in use"),
    (
        "damon/admin/kdamonds",
        "belongs to whoever watches memory just now: regions move, and while they do it answers EBUSY",
    ),
];
