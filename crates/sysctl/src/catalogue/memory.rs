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

/// 2^32 - 1 pages of 4096 bytes: above it Linux 6.18 answers ERANGE.
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
    vm("vm.swappiness", integer(0, 200, Unit::Mode), vm_doc!("swappiness"), "Cost of swapping against dropping cache; 100 is even. Above 100 since Linux 5.8."),
    vm("vm.vfs_cache_pressure", integer(0, INT_MAX, Unit::Percent), vm_doc!("vfs-cache-pressure"), "Eagerness to reclaim directory and inode caches; 100 is even."),
    vm("vm.vfs_cache_pressure_denom", integer(100, INT_MAX, Unit::Count), vm_doc!("vfs-cache-pressure-denom"), "What vfs_cache_pressure is a fraction of."),
    vm("vm.min_free_kbytes", integer(0, INT_MAX, Unit::Kibibytes), vm_doc!("min-free-kbytes"), "Memory kept free; the watermarks derive from it.")
        .caution("Too small a value deadlocks the machine, too great a one runs it out of memory at once."),
    vm("vm.watermark_boost_factor", integer(0, INT_MAX, Unit::TenThousandths), vm_doc!("watermark-boost-factor"), "How far the watermark is raised after fragmentation; 0 is off.").since(5, 0),
    vm("vm.watermark_scale_factor", integer(1, 3000, Unit::TenThousandths), vm_doc!("watermark-scale-factor"), "Distance between watermarks as a share of memory.").since(4, 6),
    vm("vm.page-cluster", integer(0, 31, Unit::Count), vm_doc!("page-cluster"), "Pages read from swap at once, as a power of two."),
    vm("vm.zone_reclaim_mode", integer(0, 7, Unit::Mask), vm_doc!("zone-reclaim-mode"), "Whether a NUMA node is reclaimed before another is used."),
    vm("vm.min_unmapped_ratio", PERCENT, vm_doc!("min-unmapped-ratio"), "Share of unmapped pages at which a node is reclaimed."),
    vm("vm.min_slab_ratio", PERCENT, vm_doc!("min-slab-ratio"), "Share of reclaimable slab at which a node is reclaimed."),
    vm("vm.laptop_mode", integer(0, JIFFIES_SECONDS, Unit::Seconds), vm_doc!("laptop-mode"), "Time after a read at which writes are joined to it; 0 is off."),
    vm("vm.drop_caches", integer(1, 4, Unit::Mode), vm_doc!("drop-caches"), "Writing drops clean caches: 1 pages, 2 slab, 3 both; 4 silences the log.").access(Access::WriteOnly),
    // Write-back
    vm("vm.dirty_ratio", PERCENT, vm_doc!("dirty-ratio"), "Share of memory at which writers must write back themselves.").excludes("vm.dirty_bytes"),
    // Two pages of 4096 bytes; kernels with greater pages have a greater minimum.
    vm("vm.dirty_bytes", integer(8192, DIRTY_BYTES_MAX, Unit::Bytes), vm_doc!("dirty-bytes"), "Dirty memory at which writers must write back themselves. Reads 0 while the ratio is in force, but 0 cannot be written.").excludes("vm.dirty_ratio").since(2, 6),
    vm("vm.dirty_background_ratio", PERCENT, vm_doc!("dirty-background-ratio"), "Share of memory at which write-back begins.").excludes("vm.dirty_background_bytes"),
    vm("vm.dirty_background_bytes", integer(1, DIRTY_BYTES_MAX, Unit::Bytes), vm_doc!("dirty-background-bytes"), "Dirty memory at which write-back begins. Reads 0 while the ratio is in force, but 0 cannot be written.").excludes("vm.dirty_background_ratio").since(2, 6),
    vm("vm.dirty_expire_centisecs", CENTISECONDS, vm_doc!("dirty-expire-centisecs"), "Age at which dirty data is written back."),
    vm("vm.dirty_writeback_centisecs", CENTISECONDS, vm_doc!("dirty-writeback-centisecs"), "Time between runs of the write-back threads; 0 is off."),
    vm("vm.dirtytime_expire_seconds", integer(0, INT_MAX, Unit::Seconds), vm_doc!("dirtytime-expire-seconds"), "Age at which lazy timestamps are written back."),
    // Overcommit and limits
    vm("vm.overcommit_memory", mode(2), vm_doc!("overcommit-memory"), "Promised memory: 0 by estimate, 1 without limit, 2 up to the limit."),
    vm("vm.overcommit_ratio", integer(0, INT_MAX, Unit::Percent), vm_doc!("overcommit-ratio"), "Share of memory that may be promised in mode 2.").excludes("vm.overcommit_kbytes"),
    // 0 is how it reads while the ratio is in force; as a wish it would put neither in force.
    vm("vm.overcommit_kbytes", integer(1, ULONG_MAX, Unit::Kibibytes), vm_doc!("overcommit-kbytes"), "Memory that may be promised in mode 2.").excludes("vm.overcommit_ratio").since(3, 14),
    vm("vm.admin_reserve_kbytes", KIBIBYTES, vm_doc!("admin-reserve-kbytes"), "Memory kept for privileged processes."),
    vm("vm.user_reserve_kbytes", KIBIBYTES, vm_doc!("user-reserve-kbytes"), "Memory kept for recovery in mode 2."),
    vm("vm.max_map_count", integer(0, INT_MAX, Unit::Count), vm_doc!("max-map-count"), "Memory mappings of one process."),
    vm("vm.mmap_min_addr", integer(0, ULONG_MAX, Unit::Bytes), vm_doc!("mmap-min-addr"), "Lowest address that a process may map.")
        .security("0 turns kernel faults on address 0 into a way to run code."),
    vm("vm.unprivileged_userfaultfd", SWITCH, vm_doc!("unprivileged-userfaultfd"), "Whether any user may handle page faults of the kernel's own accesses.")
        .security("1 makes races in the kernel easier to win.").since(5, 2),
    vm("vm.panic_on_oom", mode(2), vm_doc!("panic-on-oom"), "Whether running out of memory panics: 0 no, 1 unless confined, 2 always."),
    vm("vm.oom_kill_allocating_task", SWITCH, vm_doc!("oom-kill-allocating-task"), "Whether the task that ran out is killed instead of the worst one."),
    vm("vm.oom_dump_tasks", SWITCH, vm_doc!("oom-dump-tasks"), "Whether running out of memory lists all tasks."),
    // Huge pages and compaction
    vm("vm.nr_hugepages", HUGE_PAGES, vm_doc!("nr-hugepages"), "Huge pages of the default size kept ready.").resets(&["vm.nr_hugepages_mempolicy"])
        .adjusts("As many as could be found, which may be fewer than asked for."),
    vm("vm.nr_overcommit_hugepages", HUGE_PAGES, vm_doc!("nr-overcommit-hugepages"), "Huge pages made on demand beyond those kept ready."),
    vm("vm.compaction_proactiveness", integer(0, 100, Unit::Mode), vm_doc!("compaction-proactiveness"), "Effort of compaction in the background; 0 is off.").since(5, 9),
    vm("vm.compact_memory", integer(1, 1, Unit::Mode), vm_doc!("compact-memory"), "Writing 1 compacts all memory.").access(Access::WriteOnly),
    vm("vm.compact_unevictable_allowed", SWITCH, vm_doc!("compact-unevictable-allowed"), "Whether locked pages are moved by compaction."),
    vm("vm.extfrag_threshold", integer(0, 1000, Unit::Mode), vm_doc!("extfrag-threshold"), "Fragmentation at which memory is compacted instead of reclaimed."),
    // Bookkeeping
    vm("vm.stat_interval", integer(1, JIFFIES_SECONDS, Unit::Seconds), vm_doc!("stat-interval"), "Time between updates of memory statistics."),
    vm("vm.numa_stat", SWITCH, vm_doc!("numa-stat"), "Whether NUMA counters are kept."),
    vm("vm.page_lock_unfairness", integer(0, INT_MAX, Unit::Count), vm_doc!("page-lock-unfairness"), "Times that a page lock may be stolen from a waiter."),
];
