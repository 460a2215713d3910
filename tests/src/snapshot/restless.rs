//! Files that change by themselves, are generated at each read, or must not be read: paths below the top of a
//! subtree, each with its reason.
//!
//! They were found by comparing snapshots taken a second apart, which every run repeats. Those that do not change
//! on an idle machine are from the kernel's documentation.

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
    ("kernel/random/uuid", "a new one at each read"),
    ("kernel/random/entropy_avail", "changes with interrupts"),
    (
        "kernel/ns_last_pid",
        "the last process ID, changes with every new process",
    ),
    ("kernel/pty/nr", "counts the terminals in use"),
    (
        "kernel/perf_event_max_sample_rate",
        "the kernel lowers it when sampling takes too long",
    ),
    ("kernel/hung_task_detect_count", "counts tasks found hung"),
    ("fs/aio-nr", "counts requests in flight"),
    ("fs/dentry-state", "counts the cache"),
    ("fs/file-nr", "counts open files"),
    ("fs/inode-nr", "counts the cache"),
    ("fs/inode-state", "counts the cache"),
    ("fs/quota", "counts look-ups"),
    ("net/netfilter/nf_conntrack_count", "counts connections"),
    (
        "net/core/netdev_rss_key",
        "generated when the first driver requests it",
    ),
    (
        "vm/stat_refresh",
        "has no value; a read makes the kernel update its statistics",
    ),
];

const BLOCK_DEVICES: Names = &[
    ("*/stat", "counts requests"),
    ("*/inflight", "counts requests in flight"),
    ("*/trace", "belongs to the program that is tracing the disk"),
    ("**/power/runtime_active_time", "counts time"),
    ("**/power/runtime_suspended_time", "counts time"),
    ("**/power/runtime_status", "follows the use of the disk"),
    ("*/mm_stat", "counts the data in a zram device"),
    ("*/io_stat", "counts requests that failed"),
    ("*/bd_stat", "counts pages written back"),
    ("*/debug_stat", "counts recompressed pages"),
    ("*/bcache/stats_*", "counts requests"),
    ("*/md/sync_completed", "follows the progress of a check"),
    ("*/md/sync_speed", "follows the progress of a check"),
    (
        "*/md/array_state",
        "switches between clean and active with each write",
    ),
    ("*/md/reshape_position", "follows the progress of a reshape"),
    ("*/md/mismatch_cnt", "counts errors found by a check"),
    ("*/md/stripe_cache_active", "counts requests in flight"),
];

const PCI_DEVICES: Names = &[
    ("devices/*/rom", "a read enables the device's ROM"),
    (
        "devices/*/resource?*",
        "the device's own memory, where a read has side effects",
    ),
    (
        "devices/*/vpd",
        "queries the device, which may take seconds",
    ),
    ("devices/*/aer_*", "counts errors"),
    (
        "devices/*/current_link_speed",
        "follows the use of the device",
    ),
    (
        "devices/*/current_link_width",
        "follows the use of the device",
    ),
    ("devices/*/power_state", "follows the use of the device"),
    ("devices/*/p2pmem", "counts memory in use"),
    ("devices/*/pools", "counts memory in use"),
    ("devices/*/doe_*", "queries the device"),
    ("devices/**/power/runtime_active_time", "counts time"),
    ("devices/**/power/runtime_suspended_time", "counts time"),
    (
        "devices/**/power/runtime_active_kids",
        "counts active children",
    ),
    (
        "devices/**/power/runtime_usage",
        "counts the users that keep it active",
    ),
    (
        "devices/**/power/runtime_status",
        "follows the use of the device",
    ),
    ("devices/**/power/wakeup_*", "counts wake-ups"),
    ("devices/*/wakeup", "counts wake-ups"),
    ("slots/*/cur_bus_speed", "follows the use of the device"),
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
        "follows the load, and queries the hardware",
    ),
    (
        "cpufreq/policy*/cpuinfo_avg_freq",
        "follows the load, and takes time to measure",
    ),
    ("cpufreq/policy*/stats", "counts time"),
    ("cpu*/acpi_cppc/feedback_ctrs", "counts"),
    (
        "intel_uncore_frequency/*/current_freq_khz",
        "follows the load, and queries the hardware",
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
    ("page_idle", "a read walks all memory"),
    ("cma/*/alloc_pages_*", "counts"),
    ("cma/*/release_pages_success", "counts"),
    ("cma/*/available_pages", "counts pages in use"),
    (
        "damon/admin/kdamonds",
        "belongs to the program that monitors memory: regions change, and reads then fail with EBUSY",
    ),
];
