//! Variables beneath `/proc/sys/kernel` and `/proc/sys/fs`.

use super::{
    Access, CatalogueEntry, INT_MAX, LONG_MAX, SWITCH, Scope, ULONG_MAX, integer, mode, vector,
};
use crate::value::{Unit, ValueType};

macro_rules! kernel_doc {
    ($anchor:literal) => {
        concat!(
            "https://docs.kernel.org/admin-guide/sysctl/kernel.html#",
            $anchor
        )
    };
}

macro_rules! fs_doc {
    ($anchor:literal) => {
        concat!(
            "https://docs.kernel.org/admin-guide/sysctl/fs.html#",
            $anchor
        )
    };
}

const INOTIFY: &str = "https://man7.org/linux/man-pages/man7/inotify.7.html";
const SCHED: &str = "https://man7.org/linux/man-pages/man7/sched.7.html";
const REAL_TIME: &str = "https://docs.kernel.org/scheduler/sched-rt-group.html";
const COUNT: ValueType = integer(0, INT_MAX, Unit::Count);

const fn global(
    key: &'static str,
    value_type: ValueType,
    documentation: &'static str,
    meaning: &'static str,
) -> CatalogueEntry {
    CatalogueEntry::new(key, value_type, Scope::Global, documentation, meaning)
}

const fn ipc(
    key: &'static str,
    value_type: ValueType,
    documentation: &'static str,
    meaning: &'static str,
) -> CatalogueEntry {
    let scope = Scope::PerIpcNamespace;
    CatalogueEntry::new(key, value_type, scope, documentation, meaning)
}

pub(super) const ENTRIES: &[CatalogueEntry] = &[
    // Scheduling
    global("kernel.sched_autogroup_enabled", SWITCH, SCHED, "Whether each session is a scheduling group of its own.").since(2, 6),
    global("kernel.numa_balancing", integer(0, 3, Unit::Mask), kernel_doc!("numa-balancing"), "Moving memory to the node that uses it: bit 0 balancing, bit 1 tiering."),
    global("kernel.sched_rt_period_us", integer(1, INT_MAX, Unit::Microseconds), REAL_TIME, "Period over which real-time tasks are limited."),
    global("kernel.sched_rt_runtime_us", integer(-1, INT_MAX, Unit::Microseconds), REAL_TIME, "Time per period for real-time tasks; -1 is no limit. At most the period.")
        .caution("With no limit, a real-time task that never sleeps takes a CPU for good."),
    global("kernel.timer_migration", SWITCH, "", "Whether timers of idle CPUs move to busy ones.").undocumented(),
    global("kernel.split_lock_mitigate", SWITCH, kernel_doc!("split-lock-mitigate-x86-only"), "Whether a process that locks across cache lines is slowed down.")
        .since(6, 2).security("0 lets any user slow down the whole machine."),
    CatalogueEntry::new("kernel.pid_max", integer(301, 4_194_304, Unit::Count), Scope::PerPidNamespace, kernel_doc!("pid-max"), "One more than the greatest process number."),
    global("kernel.threads-max", integer(1, 0x3fff_ffff, Unit::Count), kernel_doc!("threads-max"), "Threads on the machine."),
    // Watchdogs and panics
    global("kernel.nmi_watchdog", SWITCH, kernel_doc!("nmi-watchdog"), "Detection of CPUs that hang with interrupts off.").access(Access::ReadWriteWhereSupported).resets(&["kernel.watchdog"]),
    global("kernel.soft_watchdog", SWITCH, kernel_doc!("soft-watchdog"), "Detection of CPUs on which no other task gets its turn.").resets(&["kernel.watchdog"]),
    global("kernel.watchdog", SWITCH, kernel_doc!("watchdog"), "Both watchdogs at once.").resets(&["kernel.nmi_watchdog", "kernel.soft_watchdog"]),
    global("kernel.watchdog_thresh", integer(0, 60, Unit::Seconds), kernel_doc!("watchdog-thresh"), "Time after which a CPU counts as hanging; 0 is off."),
    global("kernel.hung_task_timeout_secs", integer(0, LONG_MAX / 1000, Unit::Seconds), kernel_doc!("hung-task-timeout-secs"), "Time after which a blocked task is reported; 0 is off."),
    global("kernel.panic", integer(-INT_MAX, INT_MAX, Unit::Seconds), kernel_doc!("panic"), "Time from a panic to the restart; 0 is never, below 0 at once."),
    global("kernel.panic_on_oops", SWITCH, kernel_doc!("panic-on-oops"), "Whether an error in the kernel is a panic."),
    global("kernel.panic_on_warn", SWITCH, kernel_doc!("panic-on-warn"), "Whether a warning of the kernel is a panic."),
    global("kernel.softlockup_panic", SWITCH, kernel_doc!("softlockup-panic"), "Whether a CPU that hangs is a panic."),
    global("kernel.hardlockup_panic", SWITCH, kernel_doc!("hardlockup-panic"), "Whether a CPU that hangs with interrupts off is a panic."),
    global("kernel.sysrq", integer(0, 511, Unit::Mask), kernel_doc!("sysrq"), "Which magic key sequences work; 1 is all.")
        .security("Whoever sits at the keyboard can restart the machine or kill tasks."),
    // What is shown, and to whom
    global("kernel.printk", vector(4, 0, INT_MAX, Unit::Mode), kernel_doc!("printk"), "Log levels: console, default, least, boot."),
    global("kernel.printk_devkmsg", ValueType::Word, kernel_doc!("printk-devkmsg"), "Log writing by processes: ratelimit, on or off."),
    global("kernel.dmesg_restrict", SWITCH, kernel_doc!("dmesg-restrict"), "Whether the kernel log needs privilege.")
        .security("0 shows the kernel log, addresses included, to every user."),
    global("kernel.kptr_restrict", mode(2), kernel_doc!("kptr-restrict"), "Kernel addresses: 0 hashed, 1 hidden without privilege, 2 hidden.")
        .security("A lower number shows kernel addresses to more users."),
    global("kernel.perf_event_paranoid", integer(-1, 4, Unit::Mode), kernel_doc!("perf-event-paranoid"), "What unprivileged users may measure: -1 all, 2 own processes only; 3 and 4 on kernels that distributions patch.")
        .security("A lower number lets users observe the kernel and each other."),
    global("kernel.perf_event_max_sample_rate", integer(1, INT_MAX, Unit::Count), kernel_doc!("perf-cpu-time-max-percent"), "Samples per second.")
        .adjusts("Lowered by the kernel, at any time, when sampling takes too long."),
    global("kernel.perf_cpu_time_max_percent", integer(0, 100, Unit::Percent), kernel_doc!("perf-cpu-time-max-percent"), "Share of a CPU that sampling may take; 0 is no limit.").resets(&["kernel.perf_event_max_sample_rate"]),
    global("kernel.randomize_va_space", mode(2), kernel_doc!("randomize-va-space"), "Random addresses: 0 off, 1 stack and libraries, 2 heap too.")
        .security("Below 2, attacks can predict addresses."),
    global("kernel.core_pattern", ValueType::Raw, kernel_doc!("core-pattern"), "Name of core dumps, or `|` and the program that takes them.")
        .security("The program runs with full privilege."),
    global("kernel.core_uses_pid", SWITCH, kernel_doc!("core-uses-pid"), "Whether a core dump's name ends in the process number."),
    // Doors that close for good
    global("kernel.yama.ptrace_scope", mode(3), "https://docs.kernel.org/admin-guide/LSM/Yama.html#ptrace-scope", "Who may trace a process: 0 its owner, 1 its parent, 2 the administrator, 3 nobody.")
        .one_way(&[3]).since(3, 4).security("0 lets every program read the memory of the user's others."),
    global("kernel.modules_disabled", SWITCH, kernel_doc!("modules-disabled"), "Whether modules can be loaded no more.").one_way(&[1]),
    global("kernel.kexec_load_disabled", SWITCH, kernel_doc!("kexec-load-disabled"), "Whether another kernel can be loaded no more.").one_way(&[1]).since(3, 14),
    global("kernel.unprivileged_bpf_disabled", mode(2), kernel_doc!("unprivileged-bpf-disabled"), "BPF for unprivileged users: 0 allowed, 1 refused for good, 2 refused.")
        .one_way(&[1]).since(4, 4).security("0 lets every user load programs into the kernel."),
    global("kernel.io_uring_disabled", mode(2), kernel_doc!("io-uring-disabled"), "io_uring: 0 for all, 1 for a group, 2 for nobody.")
        .since(6, 6).security("0 opens a large interface of the kernel to every user."),
    // Inter-process communication
    ipc("kernel.sem", vector(4, 0, INT_MAX, Unit::Count), "https://man7.org/linux/man-pages/man5/proc_sys_kernel.5.html", "Semaphores: per set, in all, operations per call, sets."),
    ipc("kernel.shmmax", integer(0, ULONG_MAX, Unit::Bytes), kernel_doc!("shmmax"), "Size of one shared memory segment."),
    ipc("kernel.shmall", integer(0, ULONG_MAX, Unit::Pages), kernel_doc!("shmall"), "Shared memory in all."),
    ipc("kernel.shmmni", integer(0, 32_768, Unit::Count), kernel_doc!("shmmni"), "Shared memory segments."),
    ipc("kernel.shm_rmid_forced", SWITCH, kernel_doc!("shm-rmid-forced"), "Whether segments go with their last user.")
        .caution("1 removes the segments that nobody is attached to."),
    ipc("kernel.msgmax", integer(0, INT_MAX, Unit::Bytes), kernel_doc!("msgmax-msgmnb-and-msgmni"), "Size of one message."),
    ipc("kernel.msgmnb", integer(0, INT_MAX, Unit::Bytes), kernel_doc!("msgmax-msgmnb-and-msgmni"), "Size of a new message queue."),
    ipc("kernel.msgmni", integer(0, 32_768, Unit::Count), kernel_doc!("msgmax-msgmnb-and-msgmni"), "Message queues."),
    // Files
    global("fs.file-max", integer(0, LONG_MAX, Unit::Count), fs_doc!("file-max-file-nr"), "Open files on the machine."),
    global("fs.nr_open", integer(64, INT_MAX - 63, Unit::Count), fs_doc!("nr-open"), "Open files that one process may be allowed."),
    global("fs.aio-max-nr", integer(0, ULONG_MAX, Unit::Count), fs_doc!("aio-nr-aio-max-nr"), "Asynchronous requests in all."),
    global("fs.pipe-max-size", integer(4096, 1 << 31, Unit::Bytes), "https://man7.org/linux/man-pages/man7/pipe.7.html", "Size of a pipe that an unprivileged user may ask for.")
        .adjusts("Rounded up to a power of two of pages."),
    global("fs.mount-max", integer(1, INT_MAX, Unit::Count), fs_doc!("mount-max"), "Mounts in one namespace."),
    global("fs.inotify.max_user_watches", COUNT, INOTIFY, "Files that one user may watch.").resets(&["user.max_inotify_watches"]),
    global("fs.inotify.max_user_instances", COUNT, INOTIFY, "Watchers that one user may have.").resets(&["user.max_inotify_instances"]),
    global("fs.inotify.max_queued_events", COUNT, INOTIFY, "Events queued at one watcher."),
    global("fs.suid_dumpable", mode(2), fs_doc!("suid-dumpable"), "Core dumps of privileged programs: 0 none, 1 as any, 2 for the administrator.")
        .security("1 lets users read what privileged programs had in memory."),
    global("fs.protected_symlinks", SWITCH, fs_doc!("protected-symlinks"), "Whether links in shared directories are followed only when they are one's own.")
        .since(3, 6).security("0 lets users lure others to files by links in shared directories."),
    global("fs.protected_hardlinks", SWITCH, fs_doc!("protected-hardlinks"), "Whether files that one could not write cannot be linked to.")
        .since(3, 6).security("0 lets users keep links to files that they do not own."),
    global("fs.protected_fifos", mode(2), fs_doc!("protected-fifos"), "Whether pipes in shared directories are safe to open.")
        .since(4, 19).security("0 lets users read what others write to a file in a shared directory."),
    global("fs.protected_regular", mode(2), fs_doc!("protected-regular"), "Whether files in shared directories are safe to open.")
        .since(4, 19).security("0 lets users read what others write to a file in a shared directory."),
];
