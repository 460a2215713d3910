//! Where a daemon's socket is, and whether a daemon runs, found out without connecting.
//!
//! The user's service manager holds the socket and starts the daemon at the first connection
//! (`pipewire.socket`), so an attempt to connect does not tell whether a daemon runs: it makes one
//! run. The daemon itself holds a lock (`flock(2)`) on the file `pipewire-0.lock` beside its socket,
//! from before it listens until it ends, however it ends, and also if systemd holds the socket
//! (`src/modules/module-protocol-native.c`, 0.3.65 to 1.7). `/proc/locks` shows that lock without
//! taking it: a lock that is taken, however shortly, would make a daemon fail that starts just then.
//! In a PID namespace the list lacks the locks of processes outside of it (`locks_show` in the
//! kernel's `fs/locks.c`), so that a lock which is not listed tells nothing there.

use std::path::{Path, PathBuf};

use hosttune_core::{HostError, HostErrorKind, Operation};
use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::geteuid;

/// The name of the socket if the environment does not name another.
const SOCKET: &str = "pipewire-0";
/// Where the socket of a system-wide daemon is, which clients try last.
const SYSTEM_DIRECTORY: &str = "/run/pipewire";
/// The longest path of a socket, in bytes (`sun_path` with its NUL).
const LONGEST_PATH: usize = 107;

/// Whether a daemon runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DaemonState {
    /// There is no socket: nothing would answer or be started.
    NoSocket,
    /// There is a socket and no daemon. Connecting would start one if the service manager holds the
    /// socket, and fail if the socket was left behind by a daemon that was killed.
    NotRunning,
    /// A daemon runs.
    Running,
    /// It cannot be determined, because `/proc/locks` cannot be read, or because it is that of a PID
    /// namespace in which the daemon may not be.
    Unknown,
}

/// The inode of the initial PID namespace in `/proc/PID/ns` (`PROC_PID_INIT_INO`, from Linux 3.8).
const INITIAL_PID_NAMESPACE: u64 = 0xefff_fffc;

/// The socket of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// In the order in which clients try them.
    sockets: Vec<PathBuf>,
}

impl Remote {
    /// The socket at a path.
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self {
            sockets: vec![socket.into()],
        }
    }

    /// The socket that the environment of this process names, as PipeWire's own clients find it.
    ///
    /// # Errors
    /// As [`from_variables`](Self::from_variables).
    pub fn from_environment() -> Result<Self, HostError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// The socket that these environment variables name: `PIPEWIRE_REMOTE` (a name, or an absolute
    /// path) in `PIPEWIRE_RUNTIME_DIR`, or else in `XDG_RUNTIME_DIR`, and then in `/run/pipewire`.
    ///
    /// Without an absolute `XDG_RUNTIME_DIR`, as after `su -` or in a job of cron, the user's daemon is
    /// looked for where logind puts it, in `/run/user/UID`. PipeWire's own clients do not find it then.
    ///
    /// # Errors
    /// If `PIPEWIRE_REMOTE` is an abstract socket, for which a daemon has no lock, or a list of
    /// sockets, or if the path is too long for a socket.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, HostError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let name = set("PIPEWIRE_REMOTE").unwrap_or_else(|| SOCKET.to_owned());
        let refused = |detail: &str| {
            HostError::new(
                Operation::Backend,
                format!("PipeWire's socket '{}'", name.escape_debug()),
                HostErrorKind::Other,
            )
            .detail(detail)
            .with_hint("set PIPEWIRE_REMOTE to the name or the absolute path of one socket")
        };
        if name.starts_with('@') {
            return Err(refused(
                "it is an abstract socket, for which nothing shows whether a daemon runs",
            ));
        }
        if name.starts_with('[') {
            return Err(refused("it is a list of sockets"));
        }
        let sockets: Vec<PathBuf> = if name.starts_with('/') {
            vec![PathBuf::from(&name)]
        } else {
            let of_user = || format!("/run/user/{}", geteuid().as_raw());
            let runtime = set("XDG_RUNTIME_DIR").filter(|path| path.starts_with('/'));
            let directory = set("PIPEWIRE_RUNTIME_DIR")
                .or(runtime)
                .unwrap_or_else(of_user);
            [directory, SYSTEM_DIRECTORY.to_owned()]
                .into_iter()
                .map(|directory| Path::new(&directory).join(&name))
                .collect()
        };
        if sockets
            .iter()
            .any(|socket| socket.as_os_str().len() > LONGEST_PATH)
        {
            return Err(refused("its path is longer than the 107 bytes of a socket"));
        }
        Ok(Self { sockets })
    }

    /// The sockets, in the order in which clients try them.
    #[must_use]
    pub fn sockets(&self) -> &[PathBuf] {
        &self.sockets
    }

    /// The socket that a client would use, and whether a daemon runs behind it.
    ///
    /// Nothing is connected and no daemon is started.
    ///
    /// # Errors
    /// `Denied` if the socket belongs to another user. `/run/pipewire` is shared by all users, so
    /// there it may.
    pub fn state(&self) -> Result<(&Path, DaemonState), HostError> {
        let mut first = None;
        for socket in &self.sockets {
            match rustix::fs::stat(socket) {
                Ok(found) => {
                    self.check_owner(socket, &found)?;
                    return Ok((socket, state(socket)));
                }
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(errno) => return Err(denied(socket, errno)),
            }
            first.get_or_insert(socket.as_path());
        }
        Ok((first.unwrap_or(Path::new("")), DaemonState::NoSocket))
    }

    /// Root would otherwise change the settings of whichever user's environment it has kept.
    fn check_owner(&self, socket: &Path, found: &Stat) -> Result<(), HostError> {
        if found.st_uid == geteuid().as_raw() || socket.starts_with(SYSTEM_DIRECTORY) {
            return Ok(());
        }
        Err(HostError::new(
            Operation::Backend,
            socket.display().to_string(),
            HostErrorKind::Denied,
        )
        .detail(format!("the socket belongs to the user {}", found.st_uid))
        .with_hint("run this as that user: PipeWire runs for each user separately"))
    }
}

fn denied(socket: &Path, errno: Errno) -> HostError {
    HostError::from_errno(
        Operation::Backend,
        socket.display().to_string(),
        errno.raw_os_error(),
    )
}

fn state(socket: &Path) -> DaemonState {
    let mut lock = socket.as_os_str().to_owned();
    lock.push(".lock");
    let path = PathBuf::from(lock);
    let Ok(lock) = rustix::fs::stat(&path) else {
        return DaemonState::NotRunning;
    };
    let Ok(locks) = read("/proc/locks") else {
        return DaemonState::Unknown;
    };
    let device = (
        rustix::fs::major(lock.st_dev),
        rustix::fs::minor(lock.st_dev),
    );
    let device = Some(device).filter(|_| !shows_other_devices(&path));
    judge(is_locked(&locks, device, lock.st_ino), shows_all_locks())
}

/// What a list of locks tells: one that is not listed is not held only if the list is complete.
fn judge(is_listed: bool, is_complete: bool) -> DaemonState {
    match (is_listed, is_complete) {
        (true, _) => DaemonState::Running,
        (false, true) => DaemonState::NotRunning,
        (false, false) => DaemonState::Unknown,
    }
}

/// Whether `/proc/locks` lists the locks of all processes.
fn shows_all_locks() -> bool {
    let namespace = rustix::fs::stat("/proc/self/ns/pid");
    namespace.is_ok_and(|namespace| namespace.st_ino == INITIAL_PID_NAMESPACE)
}

/// Whether a file is on a file system for which `/proc/locks` and `stat(2)` show different device
/// numbers: btrfs and overlayfs (`linux/magic.h`). A runtime directory is usually on tmpfs.
fn shows_other_devices(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| matches!(found.f_type, 0x9123_683e | 0x794c_7630))
}

/// Whether a list of locks, in the form of `/proc/locks`, contains an exclusive `flock(2)` of the
/// file with this device (if it is comparable) and inode.
fn is_locked(locks: &str, device: Option<(u32, u32)>, inode: u64) -> bool {
    locks.lines().any(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        // A process that waits for a lock is shown with an arrow after the number.
        let [_, "FLOCK", _, "WRITE", _, file, ..] = words.as_slice() else {
            return false;
        };
        let mut numbers = file.split(':');
        let mut hexadecimal = || u32::from_str_radix(numbers.next()?, 16).ok();
        let of = (hexadecimal(), hexadecimal());
        let same_device = device.is_none_or(|(major, minor)| of == (Some(major), Some(minor)));
        same_device && numbers.next().and_then(|number| number.parse().ok()) == Some(inode)
    })
}

fn read(path: &str) -> Result<String, Errno> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::fs::File::from(file), &mut text)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKS: &str = "\
1: FLOCK  ADVISORY  WRITE 6393 fe:00:5653227 0 EOF
2: FLOCK  ADVISORY  READ 6393 fe:00:5482221 0 EOF
3: POSIX  ADVISORY  WRITE 6393 fe:00:17 0 EOF
4: FLOCK  ADVISORY  WRITE 6393 00:1c:99 0 EOF
4: -> FLOCK  ADVISORY  WRITE 6394 00:1c:100 0 EOF
";

    #[test]
    fn only_a_held_exclusive_flock_of_the_same_file_counts() {
        assert!(is_locked(LOCKS, Some((0xfe, 0)), 5_653_227));
        assert!(
            !is_locked(LOCKS, Some((0xfd, 0)), 5_653_227),
            "another device"
        );
        assert!(!is_locked(LOCKS, Some((0xfe, 0)), 5_482_221), "shared");
        assert!(!is_locked(LOCKS, Some((0xfe, 0)), 17), "not a flock");
        assert!(is_locked(LOCKS, Some((0, 0x1c)), 99));
        assert!(!is_locked(LOCKS, Some((0, 0x1d)), 99), "another tmpfs");
        assert!(is_locked(LOCKS, None, 99));
        assert!(!is_locked(LOCKS, Some((0, 0x1c)), 100), "it waits");
        for damaged in [
            "",
            "1:",
            "1: FLOCK ADVISORY WRITE 1 x:y:z",
            "1: FLOCK ADVISORY WRITE 1 fe",
        ] {
            assert!(!is_locked(damaged, Some((0xfe, 0)), 1), "{damaged}");
        }
    }

    fn remote(variables: &[(&str, &str)]) -> Result<Vec<String>, HostError> {
        let found = Remote::from_variables(|name| {
            let set = variables.iter().find(|(known, _)| *known == name);
            set.map(|(_, value)| (*value).to_owned())
        })?;
        let text = |socket: &PathBuf| socket.display().to_string();
        Ok(found.sockets().iter().map(text).collect())
    }

    #[test]
    fn the_socket_is_found_as_clients_find_it() {
        let system = "/run/pipewire/pipewire-0";
        // Where the journal of such a user is too.
        let usual = format!("/run/user/{}/pipewire-0", geteuid().as_raw());
        assert_eq!(remote(&[]).unwrap(), [usual.as_str(), system]);
        for no_directory in ["", "relative"] {
            let variables = [("XDG_RUNTIME_DIR", no_directory)];
            assert_eq!(remote(&variables).unwrap(), [usual.as_str(), system]);
        }
        let user = ("XDG_RUNTIME_DIR", "/run/user/1000");
        assert_eq!(
            remote(&[user]).unwrap(),
            ["/run/user/1000/pipewire-0", system]
        );
        let own = ("PIPEWIRE_RUNTIME_DIR", "/tmp/p");
        assert_eq!(remote(&[user, own]).unwrap(), ["/tmp/p/pipewire-0", system]);
        let name = ("PIPEWIRE_REMOTE", "music");
        assert_eq!(
            remote(&[user, name]).unwrap(),
            ["/run/user/1000/music", "/run/pipewire/music"]
        );
        let path = ("PIPEWIRE_REMOTE", "/tmp/p/socket");
        assert_eq!(remote(&[user, path]).unwrap(), ["/tmp/p/socket"]);
        let empty = ("PIPEWIRE_REMOTE", "");
        assert_eq!(remote(&[empty]).unwrap(), [usual.as_str(), system]);
    }

    #[test]
    fn a_lock_that_is_not_listed_is_not_held_only_in_a_complete_list() {
        assert_eq!(judge(true, true), DaemonState::Running);
        assert_eq!(judge(true, false), DaemonState::Running);
        assert_eq!(judge(false, true), DaemonState::NotRunning);
        assert_eq!(judge(false, false), DaemonState::Unknown);
    }

    #[test]
    fn sockets_that_cannot_be_judged_are_refused() {
        let long = "x".repeat(108);
        for (value, why) in [
            ("@pipewire", "abstract socket"),
            ("[ \"a\", \"b\" ]", "list of sockets"),
            (long.as_str(), "107 bytes"),
        ] {
            let error = remote(&[("PIPEWIRE_REMOTE", value)]).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
            assert!(error.hint().unwrap().contains("PIPEWIRE_REMOTE"));
        }
    }
}
