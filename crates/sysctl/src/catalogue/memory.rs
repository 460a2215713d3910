//! Variables beneath `/proc/sys/vm`.

use super::{
    Access, CatalogueEntry, INT_MAX, JIFFIES_SECONDS, SWITCH, Scope, ULONG_MAX, integer, mode,
};
use crate::value::{Unit, ValueType};

macro_rules! vm_doc {
    ($anchor:literal) => {
        concat!(
            "https://docs.kernel.org/admin-guide/sysctl/vm.html#",
            $anchor
        )
    };
}

/// 2^32 - 1 pages of 4096 bytes; for larger values Linux 6.18 returns ERANGE.
const DIRTY_BYTES_MAX: i128 = 4_294_967_295 * 4096;
const PERCENT: ValueType = integer(0, 100, Unit::Percent);
const KIBIBYTES: ValueType = integer(0, ULONG_MAX, Unit::Kibibytes);
const CENTISECONDS: ValueType = integer(0, INT_MAX, Unit::Centiseconds);
const HUGE_PAGES: ValueType = integer(0, ULONG_MAX, Unit::Count);

const fn vm(
    key: &'static str,
    value_type: ValueType,
    documentation: &'static str,
    meaning: &'static str,
) -> CatalogueEntry {
    CatalogueEntry::new(key, value_type, Scope::Global, documentation, meaning)
}

pub(super) const ENTRIES: &[CatalogueEntry] = &[
    // Reclaim
    vm("vm.swappiness", integer(0, 200, Unit::Mode), vm_doc!("swappiness"), "Cost of swapping relative to dropping page cache; 100 means equal cost. Values above 100 since Linux 5.8."),
    vm("vm.vfs_cache_pressure", integer(0, INT_MAX, Unit::Percent), vm_doc!("vfs-cache-pressure"), "Tendency to reclaim dentry and inode caches; 100 reclaims them like page cache."),
    vm("vm.vfs_cache_pressure_denom", integer(100, INT_MAX, Unit::Count), vm_doc!("vfs-cache-pressure-denom"), "Denominator of vfs_cache_pressure."),
    vm("vm.min_free_kbytes", integer(0, INT_MAX, Unit::Kibibytes), vm_doc!("min-free-kbytes"), "Memory kept free; the watermarks are derived from it.")
        .caution("A value that is too small can deadlock the machine; one that is too large causes an out-of-memory condition at once."),
    vm("vm.watermark_boost_factor", integer(0, INT_MAX, Unit::TenThousandths), vm_doc!("watermark-boost-factor"), "How far the watermark is raised after fragmentation; 0 disables it.").since(5, 0),
    vm("vm.watermark_scale_factor", integer(1, 3000, Unit::TenThousandths), vm_doc!("watermark-scale-factor"), "Distance between the watermarks as a fraction of memory.").since(4, 6),
    vm("vm.page-cluster", integer(0, 31, Unit::Count), vm_doc!("page-cluster"), "Pages read from swap at once, as the exponent of a power of two."),
    vm("vm.zone_reclaim_mode", integer(0, 7, Unit::Mask), vm_doc!("zone-reclaim-mode"), "Whether a NUMA node is reclaimed before another is used."),
    vm("vm.min_unmapped_ratio", PERCENT, vm_doc!("min-unmapped-ratio"), "Percentage of unmapped pages above which a node is reclaimed."),
    vm("vm.min_slab_ratio", PERCENT, vm_doc!("min-slab-ratio"), "Percentage of reclaimable slab pages above which a node is reclaimed."),
    vm("vm.laptop_mode", integer(0, JIFFIES_SECONDS, Unit::Seconds), vm_doc!("laptop-mode"), "Time after a disk read at which dirty data is written as well; 0 disables laptop mode."),
    vm("vm.drop_caches", integer(1, 4, Unit::Mode), vm_doc!("drop-caches"), "Writing drops clean caches: 1 page cache, 2 slab, 3 both; 4 disables the log message.").access(Access::WriteOnly),
    // Write-back
    vm("vm.dirty_ratio", PERCENT, vm_doc!("dirty-ratio"), "Dirty memory, as a percentage of available memory, at which writers start write-back themselves.").excludes("vm.dirty_bytes"),
    // Two pages of 4096 bytes; kernels with larger pages have a larger minimum.
    vm("vm.dirty_bytes", integer(8192, DIRTY_BYTES_MAX, Unit::Bytes), vm_doc!("dirty-bytes"), "Dirty memory at which writers start write-back themselves. Reads 0 while the ratio is in force, but 0 cannot be written.").excludes("vm.dirty_ratio").since(2, 6),
    vm("vm.dirty_background_ratio", PERCENT, vm_doc!("dirty-background-ratio"), "Dirty memory, as a percentage of available memory, at which background write-back begins.").excludes("vm.dirty_background_bytes"),
    vm("vm.dirty_background_bytes", integer(1, DIRTY_BYTES_MAX, Unit::Bytes), vm_doc!("dirty-background-bytes"), "Dirty memory at which background write-back begins. Reads 0 while the ratio is in force, but 0 cannot be written.").excludes("vm.dirty_background_ratio").since(2, 6),
    vm("vm.dirty_expire_centisecs", CENTISECONDS, vm_doc!("dirty-expire-centisecs"), "Age at which dirty data is written back."),
    vm("vm.dirty_writeback_centisecs", CENTISECONDS, vm_doc!("dirty-writeback-centisecs"), "Interval between runs of the write-back threads; 0 disables periodic write-back."),
    vm("vm.dirtytime_expire_seconds", integer(0, INT_MAX, Unit::Seconds), vm_doc!("dirtytime-expire-seconds"), "Age at which lazy timestamps are written back."),
    // Overcommit and limits
    vm("vm.overcommit_memory", mode(2), vm_doc!("overcommit-memory"), "Memory overcommit: 0 heuristic, 1 always, 2 never beyond the commit limit."),
    vm("vm.overcommit_ratio", integer(0, INT_MAX, Unit::Percent), vm_doc!("overcommit-ratio"), "Percentage of memory that counts towards the commit limit in mode 2.").excludes("vm.overcommit_kbytes"),
    // It reads 0 while the ratio is in force; writing 0 would put neither in force.
    vm("vm.overcommit_kbytes", integer(1, ULONG_MAX, Unit::Kibibytes), vm_doc!("overcommit-kbytes"), "Memory that counts towards the commit limit in mode 2.").excludes("vm.overcommit_ratio").since(3, 14),
    vm("vm.admin_reserve_kbytes", KIBIBYTES, vm_doc!("admin-reserve-kbytes"), "Memory reserved for privileged processes."),
    vm("vm.user_reserve_kbytes", KIBIBYTES, vm_doc!("user-reserve-kbytes"), "Memory reserved for recovery by a user in mode 2."),
    vm("vm.max_map_count", integer(0, INT_MAX, Unit::Count), vm_doc!("max-map-count"), "Maximum number of memory mappings of one process."),
    vm("vm.mmap_min_addr", integer(0, ULONG_MAX, Unit::Bytes), vm_doc!("mmap-min-addr"), "Lowest address that a process may map.")
        .security("0 makes null pointer bugs in the kernel exploitable for running code."),
    vm("vm.unprivileged_userfaultfd", SWITCH, vm_doc!("unprivileged-userfaultfd"), "Whether unprivileged users may handle page faults from kernel mode with userfaultfd.")
        .security("1 makes race conditions in the kernel easier to exploit.").since(5, 2),
    vm("vm.panic_on_oom", mode(2), vm_doc!("panic-on-oom"), "Whether an out-of-memory condition causes a panic: 0 no, 1 unless limited to a memory policy, cpuset or cgroup, 2 always."),
    vm("vm.oom_kill_allocating_task", SWITCH, vm_doc!("oom-kill-allocating-task"), "Whether the OOM killer kills the task that triggered it instead of the highest scored one."),
    vm("vm.oom_dump_tasks", SWITCH, vm_doc!("oom-dump-tasks"), "Whether the OOM killer logs a list of all tasks."),
    // Huge pages and compaction
    vm("vm.nr_hugepages", HUGE_PAGES, vm_doc!("nr-hugepages"), "Number of preallocated huge pages of the default size.").resets(&["vm.nr_hugepages_mempolicy"])
        .adjusts("The kernel allocates as many as it can, which may be fewer than requested."),
    vm("vm.nr_overcommit_hugepages", HUGE_PAGES, vm_doc!("nr-overcommit-hugepages"), "Huge pages that may be allocated on demand beyond the preallocated ones."),
    vm("vm.compaction_proactiveness", integer(0, 100, Unit::Mode), vm_doc!("compaction-proactiveness"), "Aggressiveness of background compaction; 0 disables it.").since(5, 9),
    vm("vm.compact_memory", integer(1, 1, Unit::Mode), vm_doc!("compact-memory"), "Writing 1 compacts all memory.").access(Access::WriteOnly),
    vm("vm.compact_unevictable_allowed", SWITCH, vm_doc!("compact-unevictable-allowed"), "Whether compaction may move unevictable (mlocked) pages."),
    vm("vm.extfrag_threshold", integer(0, 1000, Unit::Mode), vm_doc!("extfrag-threshold"), "Fragmentation index above which memory is compacted instead of reclaimed."),
    // Bookkeeping
    vm("vm.stat_interval", integer(1, JIFFIES_SECONDS, Unit::Seconds), vm_doc!("stat-interval"), "Interval between updates of the memory statistics."),
    vm("vm.numa_stat", SWITCH, vm_doc!("numa-stat"), "Whether NUMA statistics are collected."),
    vm("vm.page_lock_unfairness", integer(0, INT_MAX, Unit::Count), vm_doc!("page-lock-unfairness"), "How many times a page lock may be stolen from a waiter."),
];
