//! Which system calls change something that outlives the process that makes them.

use nix::libc;

/// Calls that change something outside of the process, or wait for it to reach the disk.
///
/// Memory, signal handling and the like are the process's own and end with it; so are the
/// descriptors, and closing one is told from being killed by nobody else.
const CHANGES: &[i64] = &[
    // What a file holds.
    libc::SYS_write,
    libc::SYS_pwrite64,
    libc::SYS_writev,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_copy_file_range,
    libc::SYS_truncate,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    // Which files there are.
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    // What is known of a file.
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_fremovexattr,
    // What has reached the disk.
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync,
    libc::SYS_syncfs,
    libc::SYS_sync_file_range,
    libc::SYS_msync,
    // Who may go on.
    libc::SYS_flock,
    // What a driver, the network or another part of the kernel is told.
    libc::SYS_ioctl,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_bpf,
    libc::SYS_io_uring_enter,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_reboot,
    // How another process runs.
    libc::SYS_kill,
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
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    libc::SYS_renameat,
];

/// Not among the constants of every C library: the system call has a number and no name there.
const SYS_FCHMODAT2: i64 = 452;

/// Whether a call with these arguments can change anything outside of the process.
///
/// `word` reads the process's memory, where some arguments lie.
pub(super) fn can_change_something(
    number: i64,
    arguments: &[i64],
    word: impl Fn(i64) -> Option<i64>,
) -> bool {
    let argument = |place: usize| arguments.get(place).copied();
    let makes = |flags: Option<i64>| {
        let making =
            i64::from(libc::O_CREAT | libc::O_TRUNC | libc::O_TMPFILE & !libc::O_DIRECTORY);
        // What cannot be read is taken for the worst.
        flags.is_none_or(|flags| flags & making != 0)
    };
    match number {
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open => makes(argument(1)),
        libc::SYS_openat => makes(argument(2)),
        // They are the first field of the structure that the third argument points to.
        libc::SYS_openat2 => makes(argument(2).and_then(word)),
        libc::SYS_fcntl => argument(1).is_none_or(|command| {
            [
                libc::F_SETLK,
                libc::F_SETLKW,
                libc::F_OFD_SETLK,
                libc::F_OFD_SETLKW,
            ]
            .contains(&i32::try_from(command).unwrap_or(-1))
        }),
        SYS_FCHMODAT2 => true,
        // A question to rtnetlink; the length in it tells it from what else is sent.
        libc::SYS_sendto => !argument(1)
            .and_then(word)
            .is_some_and(|begin| only_looks(begin.to_ne_bytes(), argument(2))),
        other => CHANGES.contains(&other),
    }
}

/// Whether these are the first bytes of an rtnetlink message of this length that has nothing
/// changed: its types come in fours from 16 on, of which the third is the one that looks.
pub(super) fn only_looks(begin: [u8; 8], length: Option<i64>) -> bool {
    let [a, b, c, d, kind @ ..] = begin;
    let number = u16::from_ne_bytes([kind[0], kind[1]]);
    length == Some(i64::from(u32::from_ne_bytes([a, b, c, d])))
        && (16..256).contains(&number)
        && number % 4 == 2
}

#[cfg(test)]
mod tests {
    use super::*;

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
        // Unreadable: it might.
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
        // Another length: it is no such message.
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
