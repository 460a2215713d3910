//! The system calls that change something that outlives the calling process.
//!
//! The list has two uses: [`can_change_something`] consults it at a stop, and [`filter`] compiles it for the
//! kernel, so that a program runs at full speed between such calls.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};

/// Calls that, with any arguments, change something outside of the process or wait until it is on disk.
///
/// Memory, signal handling and similar state belong to the process and end with it. So do the descriptors: to
/// everything outside, closing one is the same as being killed. Memory shared with another process changes
/// without a call and is not covered.
const CHANGES: &[i64] = &[
    // The contents of files.
    libc::SYS_write,
    libc::SYS_pwrite64,
    libc::SYS_writev,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_tee,
    libc::SYS_vmsplice,
    libc::SYS_copy_file_range,
    libc::SYS_truncate,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_io_submit,
    libc::SYS_io_uring_enter,
    // Files and directories.
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_mq_unlink,
    // The metadata of files.
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    SYS_FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    SYS_SETXATTRAT,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    SYS_REMOVEXATTRAT,
    SYS_FILE_SETATTR,
    libc::SYS_quotactl,
    SYS_QUOTACTL_FD,
    // Syncing to disk.
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync,
    libc::SYS_syncfs,
    libc::SYS_sync_file_range,
    libc::SYS_msync,
    // Locks.
    libc::SYS_flock,
    // Requests to drivers, to the network and to other parts of the kernel.
    libc::SYS_ioctl,
    libc::SYS_listen,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_bpf,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_fsconfig,
    libc::SYS_pivot_root,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_adjtimex,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Objects that processes share by an ID instead of a descriptor.
    libc::SYS_mq_timedsend,
    libc::SYS_mq_timedreceive,
    libc::SYS_msgget,
    libc::SYS_msgctl,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_semget,
    libc::SYS_semctl,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_shmget,
    libc::SYS_shmctl,
    // Other processes.
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_send_signal,
    libc::SYS_ptrace,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    SYS_PROCESS_MRELEASE,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_setpriority,
    libc::SYS_ioprio_set,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_creat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat,
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    libc::SYS_renameat,
];

// Not every C library has constants for these calls.
const SYS_QUOTACTL_FD: i64 = 443;
const SYS_PROCESS_MRELEASE: i64 = 448;
const SYS_FCHMODAT2: i64 = 452;
const SYS_SETXATTRAT: i64 = 463;
const SYS_REMOVEXATTRAT: i64 = 466;
const SYS_FILE_SETATTR: i64 = 469;

/// Calls that change something only with certain arguments.
const SOMETIMES: &[(i64, With)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, With::AnyBit(1, MAKES)),
    (libc::SYS_openat, With::AnyBit(2, MAKES)),
    (libc::SYS_open_by_handle_at, With::AnyBit(2, MAKES)),
    (libc::SYS_mq_open, With::AnyBit(1, MAKES)),
    (libc::SYS_openat2, With::Memory(opens_to_make)),
    (libc::SYS_fcntl, With::OneOf(1, LOCKS)),
    // The netfilter tables; all other options concern only the socket.
    (
        libc::SYS_setsockopt,
        With::OneOf(1, &[libc::IPPROTO_IP as u32, libc::IPPROTO_IPV6 as u32]),
    ),
    // Reading and clearing the kernel log, clearing it, and the console log level.
    (libc::SYS_syslog, With::OneOf(0, &[4, 5, 6, 7, 8])),
    // Limits of another process; those of the process itself end with it.
    (libc::SYS_prlimit64, With::NoneZero(&[0, 2])),
    (libc::SYS_bind, With::Memory(is_not_netlink)),
    (libc::SYS_connect, With::Memory(is_not_netlink)),
    (libc::SYS_sendto, With::Memory(sends_a_change)),
];

/// Reads a word of the process's memory, or returns `None`.
type Word<'a> = dyn Fn(i64) -> Option<i64> + 'a;

/// The arguments with which a call changes something. The filter checks all of these except the last.
#[derive(Debug, Clone, Copy)]
enum With {
    /// The argument at this index has any of these bits.
    AnyBit(u8, u32),
    /// The lower 32 bits of the argument at this index are one of these values.
    OneOf(u8, &'static [u32]),
    /// None of the arguments at these indices is zero.
    NoneZero(&'static [u8]),
    /// Depends on the process's memory, which a filter cannot read.
    Memory(fn(&[i64], &Word<'_>) -> bool),
}

/// Open flags that may create or truncate a file.
const MAKES: u32 = (libc::O_CREAT | libc::O_TRUNC | libc::O_TMPFILE & !libc::O_DIRECTORY) as u32;

/// The commands of fcntl(2) that lock and unlock.
const LOCKS: &[u32] = &[
    libc::F_SETLK as u32,
    libc::F_SETLKW as u32,
    libc::F_OFD_SETLK as u32,
    libc::F_OFD_SETLKW as u32,
];

/// Whether a call with these arguments can change anything outside of the process.
///
/// `word` reads the process's memory, to which some arguments point. If it cannot be read, the call counts as a
/// change.
pub(super) fn can_change_something(
    number: i64,
    arguments: &[i64],
    word: impl Fn(i64) -> Option<i64>,
) -> bool {
    if CHANGES.contains(&number) {
        return true;
    }
    let Some((_, with)) = SOMETIMES.iter().find(|(known, _)| *known == number) else {
        return false;
    };
    let argument = |place: u8| arguments.get(usize::from(place)).copied();
    // The kernel too uses only the lower 32 bits of these arguments.
    let lower = |place: u8| argument(place).map(|value| value as u32);
    match with {
        With::AnyBit(place, bits) => lower(*place).is_none_or(|value| value & bits != 0),
        With::OneOf(place, values) => lower(*place).is_none_or(|value| values.contains(&value)),
        With::NoneZero(places) => places.iter().all(|place| argument(*place) != Some(0)),
        With::Memory(look) => look(arguments, &word),
    }
}

/// Whether `openat2` may create or truncate a file. The flags are the first field of the structure that the third
/// argument points to.
fn opens_to_make(arguments: &[i64], word: &Word<'_>) -> bool {
    let flags = arguments.get(2).and_then(|address| word(*address));
    flags.is_none_or(|flags| flags & i64::from(MAKES) != 0)
}

/// Whether other processes can see the address. The port ID of a netlink socket concerns only the process itself.
fn is_not_netlink(arguments: &[i64], word: &Word<'_>) -> bool {
    let begin = arguments.get(1).and_then(|address| word(*address));
    begin.is_none_or(|begin| {
        let [a, b, ..] = begin.to_ne_bytes();
        i32::from(u16::from_ne_bytes([a, b])) != libc::AF_NETLINK
    })
}

/// Whether this is anything other than a query to rtnetlink.
fn sends_a_change(arguments: &[i64], word: &Word<'_>) -> bool {
    let begin = arguments.get(1).and_then(|address| word(*address));
    !begin.is_some_and(|begin| only_looks(begin.to_ne_bytes(), arguments.get(2).copied()))
}

/// Whether these are the first bytes of an rtnetlink message of this length that only queries. The message types
/// are in groups of four from 16 on, and the third of a group is the query. The length field distinguishes such
/// a message from other data.
fn only_looks(begin: [u8; 8], length: Option<i64>) -> bool {
    let [a, b, c, d, kind @ ..] = begin;
    let number = u16::from_ne_bytes([kind[0], kind[1]]);
    length == Some(i64::from(u32::from_ne_bytes([a, b, c, d])))
        && (16..256).contains(&number)
        && number % 4 == 2
}

/// Compiles the list to a seccomp filter, which stops the process for its tracer at calls that can change
/// something, and lets all other calls run at full speed.
///
/// If a call depends on the process's memory, the filter always stops at it. A program for another architecture,
/// such as a 32-bit one, is killed at its first call.
pub(super) fn filter() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    // An empty list of rules matches every call with that number.
    rules.extend(CHANGES.iter().map(|number| (*number, Vec::new())));
    for (number, with) in SOMETIMES {
        rules.insert(*number, with.rules()?);
    }
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Trace(0), arch)?.try_into()
}

impl With {
    /// Returns rules of which one must match; all conditions of a rule must hold.
    fn rules(self) -> Result<Vec<SeccompRule>, BackendError> {
        use SeccompCmpArgLen::{Dword, Qword};
        use SeccompCmpOp::{Eq, MaskedEq, Ne};
        match self {
            Self::AnyBit(place, bits) => (0..u32::BITS)
                .map(|at| u64::from(bits & 1 << at))
                .filter(|bit| *bit != 0)
                .map(|bit| SeccompCondition::new(place, Dword, MaskedEq(bit), bit))
                .map(|condition| SeccompRule::new(vec![condition?]))
                .collect(),
            Self::OneOf(place, values) => values
                .iter()
                .map(|value| SeccompCondition::new(place, Dword, Eq, u64::from(*value)))
                .map(|condition| SeccompRule::new(vec![condition?]))
                .collect(),
            Self::NoneZero(places) => {
                let conditions: Result<_, _> = places
                    .iter()
                    .map(|place| SeccompCondition::new(*place, Qword, Ne, 0))
                    .collect();
                Ok(vec![SeccompRule::new(conditions?)?])
            }
            Self::Memory(_) => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a filter on a call, with a small interpreter for the instructions that seccompiler uses: load, mask,
    /// compare, jump and return.
    fn result(program: &BpfProgram, number: i64, arguments: &[i64]) -> u32 {
        // struct seccomp_data: number, architecture, instruction pointer, arguments.
        let mut data = [0u8; 64];
        data[..4].copy_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
        data[4..8].copy_from_slice(&program[1].k.to_le_bytes());
        for (place, argument) in arguments.iter().enumerate() {
            data[16 + place * 8..][..8].copy_from_slice(&argument.to_le_bytes());
        }
        let (mut at, mut value) = (0, 0);
        loop {
            let step = &program[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
            match u32::from(step.code) {
                code if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => {
                    let bytes = data[step.k as usize..][..4].try_into().unwrap();
                    value = u32::from_le_bytes(bytes);
                }
                code if code == libc::BPF_ALU | libc::BPF_AND | libc::BPF_K => value &= step.k,
                code if code == libc::BPF_JMP | libc::BPF_JA => at += step.k as usize,
                code if code == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K => {
                    at += jump(value == step.k);
                }
                code if code == libc::BPF_RET | libc::BPF_K => return step.k,
                other => panic!("an instruction unknown to this test: {other:#x}"),
            }
        }
    }

    fn stops(program: &BpfProgram, number: i64, arguments: &[i64]) -> bool {
        match result(program, number, arguments) {
            libc::SECCOMP_RET_TRACE => true,
            libc::SECCOMP_RET_ALLOW => false,
            other => panic!("neither traced nor allowed: {other:#x}"),
        }
    }

    #[test]
    fn the_filter_and_a_look_at_the_stop_agree_on_every_call() {
        let program = filter().unwrap();
        let places = |at: u32| i64::from(at) | 0x7f << 32;
        let mut changes = 0;
        for number in 0..=470 {
            let arguments: Vec<Vec<i64>> = (0..u32::BITS)
                .map(|bit| 1 << bit)
                .chain([0, 5, 6, 7, 8, 9, 36, 37, 38, 41, u32::MAX])
                // The same value in every argument, because flags and commands are at different indices.
                // The upper half of the register is ignored.
                .flat_map(|value| [vec![i64::from(value); 6], vec![places(value); 6]])
                .chain([vec![0, 3, 0x7000], vec![7, 3, 0], vec![7, 3, 0x7000]])
                .collect();
            for arguments in arguments {
                let unreadable = can_change_something(number, &arguments, |_| None);
                assert_eq!(
                    stops(&program, number, &arguments),
                    unreadable,
                    "call {number} with {arguments:x?}"
                );
                changes += usize::from(unreadable);
                // Reading the memory can only rule out a change.
                let looked = can_change_something(number, &arguments, |_| Some(0));
                assert!(unreadable || !looked, "call {number} with {arguments:x?}");
            }
        }
        assert!(changes > 1000, "only {changes}");
    }

    #[test]
    fn each_call_is_in_the_list_once() {
        let mut numbers = CHANGES.to_vec();
        numbers.extend(SOMETIMES.iter().map(|(number, _)| number));
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count);
    }

    #[test]
    fn a_program_for_another_processor_is_not_let_through() {
        let mut other = filter().unwrap();
        let here = result(&other, libc::SYS_getpid, &[]);
        assert_eq!(here, libc::SECCOMP_RET_ALLOW);
        // The interpreter takes the architecture from the second instruction. The inserted one makes that another
        // instruction, so the architecture is wrong.
        other.insert(0, other[0].clone());
        assert_eq!(
            result(&other, libc::SYS_getpid, &[]),
            libc::SECCOMP_RET_KILL_PROCESS
        );
    }

    fn asked(number: i64, arguments: &[i64]) -> bool {
        can_change_something(number, arguments, |address| {
            (address == 0x1000).then_some(i64::from(libc::O_WRONLY | libc::O_CREAT))
        })
    }

    #[test]
    fn an_opening_changes_something_only_where_it_may_make_or_empty_a_file() {
        for (flags, wanted) in [
            (libc::O_RDONLY | libc::O_CLOEXEC, false),
            (libc::O_RDWR, false),
            (libc::O_DIRECTORY, false),
            (libc::O_WRONLY | libc::O_CREAT, true),
            (libc::O_WRONLY | libc::O_TRUNC, true),
            (libc::O_WRONLY | libc::O_TMPFILE, true),
        ] {
            let arguments = [-100, 0x7000, i64::from(flags)];
            assert_eq!(asked(libc::SYS_openat, &arguments), wanted, "{flags:o}");
        }
        assert!(asked(libc::SYS_openat2, &[-100, 0x7000, 0x1000, 24]));
        // The flags cannot be read, so this counts as a change.
        assert!(asked(libc::SYS_openat2, &[-100, 0x7000, 0x2000, 24]));
    }

    #[test]
    fn a_question_to_the_kernel_changes_nothing() {
        let sent = |number: u16, length: u32| {
            let message = [length.to_ne_bytes(), [0; 4]].concat();
            let mut begin: [u8; 8] = message.try_into().unwrap();
            begin[4..6].copy_from_slice(&number.to_ne_bytes());
            can_change_something(libc::SYS_sendto, &[3, 0x7000, 36, 0], |_| {
                Some(i64::from_ne_bytes(begin))
            })
        };
        assert!(!sent(libc::RTM_GETQDISC, 36));
        assert!(!sent(libc::RTM_GETLINK, 36));
        assert!(sent(libc::RTM_NEWQDISC, 36));
        assert!(sent(libc::RTM_DELLINK, 36));
        // With another length it is not such a message.
        assert!(sent(libc::RTM_GETQDISC, 40));
        assert!(can_change_something(
            libc::SYS_sendto,
            &[3, 0x7000, 36, 0],
            |_| None
        ));
    }

    #[test]
    fn locks_do_and_reading_does_not() {
        assert!(asked(libc::SYS_flock, &[3, 2]));
        assert!(asked(libc::SYS_fcntl, &[3, i64::from(libc::F_SETLKW)]));
        assert!(!asked(libc::SYS_fcntl, &[3, i64::from(libc::F_GETFL)]));
        assert!(!asked(libc::SYS_read, &[3, 0x7000, 8]));
        assert!(!asked(libc::SYS_close, &[3]));
    }
}
