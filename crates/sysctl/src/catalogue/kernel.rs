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
    global("kernel.sched_autogroup_enabled", SWITCH, SCHED, "Whether each session gets its own scheduling group.").since(2, 6),
    global("kernel.numa_balancing", integer(0, 3, Unit::Mask), kernel_doc!("numa-balancing"), "NUMA balancing, which moves memory to the node that uses it: bit 0 balancing, bit 1 tiering."),
    global("kernel.sched_rt_period_us", integer(1, INT_MAX, Unit::Microseconds), REAL_TIME, "Period over which the run time of real-time tasks is limited."),
    global("kernel.sched_rt_runtime_us", integer(-1, INT_MAX, Unit::Microseconds), REAL_TIME, "Run time per period for real-time tasks, at most the period; -1 is no limit.")
        .caution("Without a limit, a real-time task that never sleeps blocks a CPU permanently."),
    global("kernel.timer_migration", SWITCH, "", "Whether timers of idle CPUs are migrated to busy ones.").undocumented(),
    global("kernel.split_lock_mitigate", SWITCH, kernel_doc!("split-lock-mitigate-x86-only"), "Whether a process that uses split locks (atomic access across cache lines) is slowed down.")
        .since(6, 2).security("0 lets any user slow down the whole machine."),
    CatalogueEntry::new("kernel.pid_max", integer(301, 4_194_304, Unit::Count), Scope::PerPidNamespace, kernel_doc!("pid-max"), "Upper limit of PIDs; the largest PID is one less."),
    global("kernel.threads-max", integer(1, 0x3fff_ffff, Unit::Count), kernel_doc!("threads-max"), "Maximum number of threads on the machine."),
    // Watchdogs and panics
    global("kernel.nmi_watchdog", SWITCH, kernel_doc!("nmi-watchdog"), "Hard lockup detector: detects CPUs that hang with interrupts disabled.").access(Access::ReadWriteWhereSupported).resets(&["kernel.watchdog"]),
    global("kernel.soft_watchdog", SWITCH, kernel_doc!("soft-watchdog"), "Soft lockup detector: detects CPUs on which no other task gets to run.").resets(&["kernel.watchdog"]),
    global("kernel.watchdog", SWITCH, kernel_doc!("watchdog"), "Soft and hard lockup detector together.").resets(&["kernel.nmi_watchdog", "kernel.soft_watchdog"]),
    global("kernel.watchdog_thresh", integer(0, 60, Unit::Seconds), kernel_doc!("watchdog-thresh"), "Time after which a CPU is considered locked up; 0 disables the detectors."),
    global("kernel.hung_task_timeout_secs", integer(0, LONG_MAX / 1000, Unit::Seconds), kernel_doc!("hung-task-timeout-secs"), "Time after which a blocked task is reported; 0 disables the check."),
    global("kernel.panic", integer(-INT_MAX, INT_MAX, Unit::Seconds), kernel_doc!("panic"), "Time between a panic and the reboot; 0 never reboots, a negative value reboots at once."),
    global("kernel.panic_on_oops", SWITCH, kernel_doc!("panic-on-oops"), "Whether a kernel oops causes a panic."),
    global("kernel.panic_on_warn", SWITCH, kernel_doc!("panic-on-warn"), "Whether a kernel warning causes a panic."),
    global("kernel.softlockup_panic", SWITCH, kernel_doc!("softlockup-panic"), "Whether a soft lockup causes a panic."),
    global("kernel.hardlockup_panic", SWITCH, kernel_doc!("hardlockup-panic"), "Whether a hard lockup causes a panic."),
    global("kernel.sysrq", integer(0, 511, Unit::Mask), kernel_doc!("sysrq"), "Magic SysRq functions that are allowed; 1 allows all.")
        .security("Anyone at the keyboard can reboot the machine or kill tasks."),
    // Access to information
    global("kernel.printk", vector(4, 0, INT_MAX, Unit::Mode), kernel_doc!("printk"), "Console log levels: current, default of messages, minimum, boot default."),
    global("kernel.printk_devkmsg", ValueType::Word, kernel_doc!("printk-devkmsg"), "Writes to the kernel log from user space: ratelimit, on or off."),
    global("kernel.dmesg_restrict", SWITCH, kernel_doc!("dmesg-restrict"), "Whether reading the kernel log needs privileges.")
        .security("0 lets every user read the kernel log, including addresses."),
    global("kernel.kptr_restrict", mode(2), kernel_doc!("kptr-restrict"), "Kernel addresses: 0 hashed, 1 hidden from unprivileged users, 2 always hidden.")
        .security("A lower value shows kernel addresses to more users."),
    global("kernel.perf_event_paranoid", integer(-1, 4, Unit::Mode), kernel_doc!("perf-event-paranoid"), "What unprivileged users may measure: -1 everything, 2 only their own processes; 3 and 4 exist only in distribution kernels.")
        .security("A lower value lets users observe the kernel and each other."),
    global("kernel.perf_event_max_sample_rate", integer(1, INT_MAX, Unit::Count), kernel_doc!("perf-cpu-time-max-percent"), "Maximum number of perf samples per second.")
        .adjusts("The kernel lowers it at any time when sampling takes too long."),
    global("kernel.perf_cpu_time_max_percent", integer(0, 100, Unit::Percent), kernel_doc!("perf-cpu-time-max-percent"), "Percentage of CPU time that perf sampling may use; 0 is no limit.").resets(&["kernel.perf_event_max_sample_rate"]),
    global("kernel.randomize_va_space", mode(2), kernel_doc!("randomize-va-space"), "Address space layout randomization: 0 off, 1 stack and libraries, 2 heap too.")
        .security("Values below 2 let attackers predict addresses."),
    global("kernel.core_pattern", ValueType::Raw, kernel_doc!("core-pattern"), "Name of core dumps, or `|` and the program that receives them.")
        .security("The program runs as root."),
    global("kernel.core_uses_pid", SWITCH, kernel_doc!("core-uses-pid"), "Whether the name of a core dump ends in the PID."),
    // Restrictions, most of which cannot be lifted before the next boot
    global("kernel.yama.ptrace_scope", mode(3), "https://docs.kernel.org/admin-guide/LSM/Yama.html#ptrace-scope", "Who may trace a process: 0 any process of the same user, 1 its parent, 2 the administrator, 3 nobody.")
        .one_way(&[3]).since(3, 4).security("0 lets every program read the memory of other programs of the same user."),
    global("kernel.modules_disabled", SWITCH, kernel_doc!("modules-disabled"), "Whether loading of modules is disabled.").one_way(&[1]),
    global("kernel.kexec_load_disabled", SWITCH, kernel_doc!("kexec-load-disabled"), "Whether loading of another kernel with kexec is disabled.").one_way(&[1]).since(3, 14),
    global("kernel.unprivileged_bpf_disabled", mode(2), kernel_doc!("unprivileged-bpf-disabled"), "BPF for unprivileged users: 0 allowed, 1 disabled until the next boot, 2 disabled.")
        .one_way(&[1]).since(4, 4).security("0 lets every user load programs into the kernel."),
    global("kernel.io_uring_disabled", mode(2), kernel_doc!("io-uring-disabled"), "io_uring: 0 for all processes, 1 for privileged processes and the group kernel.io_uring_group, 2 for none.")
        .since(6, 6).security("0 exposes a large kernel interface to every user."),
    // Inter-process communication
    ipc("kernel.sem", vector(4, 0, INT_MAX, Unit::Count), "https://man7.org/linux/man-pages/man5/proc_sys_kernel.5.html", "Semaphore limits: per set, in total, operations per call, sets."),
    ipc("kernel.shmmax", integer(0, ULONG_MAX, Unit::Bytes), kernel_doc!("shmmax"), "Maximum size of one shared memory segment."),
    ipc("kernel.shmall", integer(0, ULONG_MAX, Unit::Pages), kernel_doc!("shmall"), "Maximum total shared memory."),
    ipc("kernel.shmmni", integer(0, 32_768, Unit::Count), kernel_doc!("shmmni"), "Maximum number of shared memory segments."),
    ipc("kernel.shm_rmid_forced", SWITCH, kernel_doc!("shm-rmid-forced"), "Whether a shared memory segment is removed when the last process detaches from it.")
        .caution("1 removes the segments to which no process is attached."),
    ipc("kernel.msgmax", integer(0, INT_MAX, Unit::Bytes), kernel_doc!("msgmax-msgmnb-and-msgmni"), "Maximum size of one message."),
    ipc("kernel.msgmnb", integer(0, INT_MAX, Unit::Bytes), kernel_doc!("msgmax-msgmnb-and-msgmni"), "Default maximum size of a message queue."),
    ipc("kernel.msgmni", integer(0, 32_768, Unit::Count), kernel_doc!("msgmax-msgmnb-and-msgmni"), "Maximum number of message queues."),
    // Files
    global("fs.file-max", integer(0, LONG_MAX, Unit::Count), fs_doc!("file-max-file-nr"), "Maximum number of open files on the machine."),
    global("fs.nr_open", integer(64, INT_MAX - 63, Unit::Count), fs_doc!("nr-open"), "Upper limit for the maximum number of open files of one process."),
    global("fs.aio-max-nr", integer(0, ULONG_MAX, Unit::Count), fs_doc!("aio-nr-aio-max-nr"), "Maximum number of asynchronous I/O requests in total."),
    global("fs.pipe-max-size", integer(4096, 1 << 31, Unit::Bytes), "https://man7.org/linux/man-pages/man7/pipe.7.html", "Maximum size of a pipe that an unprivileged user may request.")
        .adjusts("Rounded up to a power-of-two number of pages."),
    global("fs.mount-max", integer(1, INT_MAX, Unit::Count), fs_doc!("mount-max"), "Maximum number of mounts in one mount namespace."),
    global("fs.inotify.max_user_watches", COUNT, INOTIFY, "Maximum number of inotify watches per user.").resets(&["user.max_inotify_watches"]),
    global("fs.inotify.max_user_instances", COUNT, INOTIFY, "Maximum number of inotify instances per user.").resets(&["user.max_inotify_instances"]),
    global("fs.inotify.max_queued_events", COUNT, INOTIFY, "Maximum number of events queued on one inotify instance."),
    global("fs.suid_dumpable", mode(2), fs_doc!("suid-dumpable"), "Core dumps of privileged programs: 0 none, 1 like any other, 2 readable by root only.")
        .security("1 lets users read the memory of privileged programs."),
    global("fs.protected_symlinks", SWITCH, fs_doc!("protected-symlinks"), "Whether symbolic links in sticky world-writable directories are followed only if their owner matches.")
        .since(3, 6).security("0 allows symlink attacks in shared directories."),
    global("fs.protected_hardlinks", SWITCH, fs_doc!("protected-hardlinks"), "Whether users may create hard links only to files that they own or can read and write.")
        .since(3, 6).security("0 lets users keep hard links to files that they do not own."),
    global("fs.protected_fifos", mode(2), fs_doc!("protected-fifos"), "Whether O_CREAT opens of other users' FIFOs in sticky shared directories are restricted.")
        .since(4, 19).security("0 lets users read what others write to files in a shared directory."),
    global("fs.protected_regular", mode(2), fs_doc!("protected-regular"), "Whether O_CREAT opens of other users' regular files in sticky shared directories are restricted.")
        .since(4, 19).security("0 lets users read what others write to files in a shared directory."),
];
