//! The socket that the helper listens on.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::installed::{NotExecuted, is_private};

/// Who may connect: the owner and the group (`0660`).
const SOCKET_MODE: u32 = 0o660;

/// The mode of the directory of the socket if it is made here: all may pass to the socket, and nobody but the
/// owner sees what else is there.
const DIRECTORY_MODE: u32 = 0o711;

/// How many connections wait to be accepted. More get EAGAIN, and try again until their deadline.
const BACKLOG: i32 = 128;

/// A socket that this process has made.
#[derive(Debug)]
pub struct Listening {
    /// The socket.
    pub listener: UnixListener,
    /// Its path.
    pub path: PathBuf,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Its directory cannot be used.
    #[error("the directory of the socket cannot be used: {0}")]
    Directory(NotExecuted),
    /// Another helper listens there.
    #[error("another helper listens on {} already", .0.display())]
    Taken(PathBuf),
    /// Something else has the name of the socket.
    #[error("{} is there and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The kernel refuses.
    #[error("cannot {doing} {}", path.display())]
    Failed {
        /// What was tried.
        doing: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        why: io::Error,
    },
}

/// The listening socket that systemd has given to this process as its standard input
/// (`StandardInput=socket`, `systemd.exec(5)`); `None` if that is not a listening Unix stream socket.
///
/// It is not taken from `LISTEN_FDS`: a descriptor that is known only by its number cannot be owned without
/// `unsafe`, and would be inherited by every process that is started here.
///
/// # Errors
/// If it cannot be duplicated.
pub fn listener_on_stdin() -> io::Result<Option<UnixListener>> {
    let stdin = io::stdin();
    let listens = sockopt::socket_acceptconn(&stdin) == Ok(true)
        && sockopt::socket_domain(&stdin) == Ok(AddressFamily::UNIX)
        // One with ListenSequentialPacket= keeps the limits of messages, which the protocol has not.
        && sockopt::socket_type(&stdin) == Ok(SocketType::STREAM);
    if !listens {
        return Ok(None);
    }
    let own: OwnedFd = stdin.as_fd().try_clone_to_owned()?;
    Ok(Some(own.into()))
}

/// Makes a socket that the owner of this process and, with `group`, the members of that group can connect to.
///
/// A socket on which nobody listens any more is replaced. It cannot be connected to before it has its group and
/// mode.
///
/// # Errors
/// If the directory is not this user's or root's alone, another helper listens, or the kernel refuses.
pub fn listen(path: &Path, group: Option<u32>) -> Result<Listening, ListenError> {
    let fail = |doing: &'static str| {
        move |errno: Errno| ListenError::Failed {
            doing,
            path: path.to_owned(),
            why: errno.into(),
        }
    };
    let directory = path.parent().unwrap_or(Path::new("/"));
    prepare(directory)?;
    let address = SocketAddrUnix::new(path).map_err(fail("name a socket"))?;
    remove_stale(path, &address)?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(fail("make the socket"))?;
    // Nobody may connect until it has its group: the file gets the mode of the socket (`unix_bind_bsd` in
    // net/unix/af_unix.c, since 2.6). A umask would be that of all threads.
    rustix::fs::fchmod(&socket, Mode::empty())
        .and_then(|()| rustix::net::bind(&socket, &address))
        .map_err(fail("make the socket"))?;
    if let Some(group) = group {
        let group = Some(Gid::from_raw(group));
        rustix::fs::chownat(CWD, path, None, group, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(fail("give to its group"))?;
    }
    rustix::fs::chmod(path, Mode::from_raw_mode(SOCKET_MODE)).map_err(fail("set the mode of"))?;
    rustix::net::listen(&socket, BACKLOG).map_err(fail("listen on"))?;
    Ok(Listening {
        listener: socket.into(),
        path: path.to_owned(),
    })
}

/// Makes the directory, or lets others pass through the one of root's journals if it is that.
fn prepare(directory: &Path) -> Result<(), ListenError> {
    let mode = Mode::from_raw_mode(DIRECTORY_MODE);
    let fail = |errno: Errno| ListenError::Failed {
        doing: "make the directory",
        path: directory.to_owned(),
        why: errno.into(),
    };
    match rustix::fs::mkdir(directory, mode) {
        // The umask may have taken bits away.
        Ok(()) => return rustix::fs::chmod(directory, mode).map_err(fail),
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(fail(errno)),
    }
    let stat = is_private(directory).map_err(ListenError::Directory)?;
    if Some(directory) == Path::new(crate::SOCKET).parent() && stat.st_mode & 0o001 == 0 {
        rustix::fs::chmod(directory, mode).map_err(fail)?;
    }
    Ok(())
}

fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), ListenError> {
    let fail = |errno: Errno| ListenError::Failed {
        doing: "replace",
        path: path.to_owned(),
        why: errno.into(),
    };
    match rustix::fs::lstat(path) {
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(fail(errno)),
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Socket => {
            return Err(ListenError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    let probe = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .map_err(fail)?;
    match rustix::net::connect(&probe, address) {
        Err(Errno::CONNREFUSED) => rustix::fs::unlink(path).map_err(fail),
        Ok(()) | Err(Errno::AGAIN) => Err(ListenError::Taken(path.to_owned())),
        Err(errno) => Err(fail(errno)),
    }
}
