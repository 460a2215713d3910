//! The network interfaces of a type, in all network namespaces.
//!
//! The kernel does not count them as uses of the module that provides them: unloading the module
//! removes them, whoever owns them and whatever depends on them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use hosttune_core::{HostError, HostErrorKind, Operation};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_DUMP_INTR: u16 = 0x10;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
/// The bits of an attribute's type field that contain its number.
const NUMBER: u16 = 0x3fff;
/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct ifinfomsg`.
const FIXED: usize = 16;
/// The largest message of a dump that the kernel sends.
const RECEIVED_AT_ONCE: usize = 32 * 1024;
/// The number of attempts if a dump is interrupted by changes (`NLM_F_DUMP_INTR`).
const TRIES: usize = 10;

/// The interfaces of these types: each is its name, and the namespace if it is not in this one.
pub(crate) fn of_kinds(kinds: &[String]) -> Result<Vec<String>, HostError> {
    let mut found = here(kinds).map_err(|error| failed("this network namespace", &error))?;
    for (number, paths) in others() {
        let mut answer = Err(gone());
        for path in &paths {
            answer = there(path, kinds);
            // The process has exited; another one of the namespace may still be running.
            if !answer.as_ref().is_err_and(is_gone) {
                break;
            }
        }
        match answer {
            Ok(links) => found.extend(
                links
                    .into_iter()
                    .map(|link| format!("{link} in another network namespace ({number})")),
            ),
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(failed(&format!("the network namespace {number}"), &error)),
        }
    }
    Ok(found)
}

/// Lists the interfaces in a separate thread, because a thread that has entered another namespace
/// may not be allowed to return.
fn there(path: &Path, kinds: &[String]) -> io::Result<Vec<String>> {
    let looked = thread::scope(|scope| {
        let look = || enter(path).and_then(|()| here(kinds));
        scope.spawn(look).join()
    });
    looked.unwrap_or_else(|_| Err(io::Error::other("the thread that listed them panicked")))
}

fn failed(what: &str, error: &io::Error) -> HostError {
    let error = match error.raw_os_error() {
        Some(errno) => HostError::from_errno(Operation::Backend, what, errno),
        None => HostError::new(Operation::Backend, what, HostErrorKind::Malformed),
    };
    error
        .detail("its interfaces cannot be listed")
        .with_hint("run this as root of the machine, which may enter every network namespace")
}

fn gone() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::NOENT.raw_os_error())
}

fn is_gone(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    // EINVAL: the file is not a namespace, for example because it was unmounted in the meantime.
    matches!(errno, Some(Errno::NOENT | Errno::SRCH | Errno::INVAL))
}

/// The network namespaces of all processes and the mounted ones, except that of this thread: by
/// number, with the paths by which they can be entered. A namespace that is held only by an open
/// file, or by a thread that has left the namespace of its process, is not included.
#[expect(
    clippy::disallowed_methods,
    reason = "the namespaces of the running system are not files beneath the root of a host"
)]
fn others() -> BTreeMap<String, Vec<PathBuf>> {
    let mut all: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let path = process.path().join("ns/net");
        // Other entries of /proc have no namespace, and kernel threads are in the initial one.
        if let Ok(number) = std::fs::read_link(&path) {
            let paths = all.entry(number.display().to_string()).or_default();
            paths.push(path);
        }
    }
    let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    for (number, path) in mounts.lines().filter_map(mounted) {
        all.entry(number.to_owned()).or_default().push(path);
    }
    if let Ok(own) = std::fs::read_link("/proc/thread-self/ns/net") {
        all.remove(&own.display().to_string());
    }
    all
}

/// The number and path of a mounted network namespace, as `ip netns` creates them.
fn mounted(line: &str) -> Option<(&str, PathBuf)> {
    let mut words = line.split(' ').skip(3);
    let (root, at) = (words.next()?, words.next()?);
    root.starts_with("net:[")
        .then(|| (root, PathBuf::from(at.replace("\\040", " "))))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the namespaces of the running system are not files beneath the root of a host"
)]
fn enter(path: &Path) -> io::Result<()> {
    use std::os::fd::AsFd;
    let namespace = std::fs::File::open(path)?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}

/// The names of the interfaces of these types in this thread's namespace.
fn here(kinds: &[String]) -> io::Result<Vec<String>> {
    for _ in 0..TRIES {
        if let Some(links) = list(kinds)? {
            return Ok(links);
        }
    }
    Err(io::Error::other(
        "the interfaces changed during every attempt to list them",
    ))
}

/// Like [`here`], but `None` if the interfaces changed while they were listed.
fn list(kinds: &[String]) -> io::Result<Option<Vec<String>>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut request = Vec::new();
    request.extend(u32::try_from(HEADER + FIXED).unwrap_or(0).to_ne_bytes());
    request.extend(RTM_GETLINK.to_ne_bytes());
    request.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    request.resize(HEADER + FIXED, 0);
    socket.send(&request, 0)?;
    let mut found = Vec::new();
    let mut whole = true;
    loop {
        let mut received = Vec::with_capacity(RECEIVED_AT_ONCE);
        match socket.recv(&mut received, 0) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let mut rest = received.as_slice();
        while let Some((message, behind)) = message(rest) {
            rest = behind;
            whole &= message.flags & NLM_F_DUMP_INTR == 0;
            match message.number {
                NLMSG_DONE => return Ok(whole.then_some(found)),
                NLMSG_ERROR => {
                    let code = message
                        .payload
                        .get(..4)
                        .and_then(|code| code.try_into().ok());
                    let code = code.map_or(0, i32::from_ne_bytes);
                    return Err(io::Error::from_raw_os_error(-code));
                }
                RTM_NEWLINK => {
                    let attributes = message.payload.get(FIXED..).unwrap_or_default();
                    let kind = attribute(attributes, IFLA_LINKINFO)
                        .and_then(|info| attribute(info, IFLA_INFO_KIND))
                        .map(text);
                    if kind.is_some_and(|kind| kinds.contains(&kind)) {
                        let name = attribute(attributes, IFLA_IFNAME).map(text);
                        found.push(name.unwrap_or_default());
                    }
                }
                _ => {}
            }
        }
    }
}

struct Message<'m> {
    number: u16,
    flags: u16,
    payload: &'m [u8],
}

/// The first message and the bytes after it.
fn message(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let half = |at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
    let length = usize::try_from(length).ok()?;
    let message = Message {
        number: half(4)?,
        flags: half(6)?,
        payload: bytes.get(HEADER..length)?,
    };
    let behind = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((message, behind))
}

/// The value of the first attribute with this number.
fn attribute(mut bytes: &[u8], number: u16) -> Option<&[u8]> {
    loop {
        let half = |at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let (length, this) = (usize::from(half(0)?), half(2)? & NUMBER);
        let value = bytes.get(4..length)?;
        if this == number {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

fn text(bytes: &[u8]) -> String {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_that_are_torn_end_the_list() {
        // IFLA_MTU 1500, IFLA_IFNAME "ifb0"
        let bytes = [
            8, 0, 4, 0, 0xdc, 5, 0, 0, 9, 0, 3, 0, b'i', b'f', b'b', b'0', 0,
        ];
        assert_eq!(attribute(&bytes, IFLA_IFNAME).map(text).unwrap(), "ifb0");
        for end in 0..bytes.len() {
            assert!(attribute(&bytes[..end], IFLA_IFNAME).is_none(), "{end}");
        }
        assert!(attribute(&[0, 0, 3, 0], IFLA_IFNAME).is_none());
        assert!(message(&[3, 0, 0, 0, 0, 0, 0, 0]).is_none());
    }

    #[test]
    fn a_namespace_that_is_mounted_is_found() {
        let line = "63 27 0:4 net:[4026532240] /run/netns/a\\040b rw shared:28 - nsfs nsfs rw";
        let (number, path) = mounted(line).unwrap();
        assert_eq!(number, "net:[4026532240]");
        assert_eq!(path, PathBuf::from("/run/netns/a b"));
        assert!(mounted("22 27 0:20 / /sys rw - sysfs sysfs rw").is_none());
    }

    /// Every machine has a loopback interface, which has no type.
    #[test]
    fn the_running_kernel_answers() {
        assert!(here(&[String::from("no such kind")]).unwrap().is_empty());
    }
}
