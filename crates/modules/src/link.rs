//! The network interfaces of a type, in all network namespaces.
//!
//! The kernel does not count them as uses of the module that provides them: unloading the module
//! removes them, whoever owns them and whatever depends on them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use hosttune_core::{HostError, HostErrorKind, Operation};
use hosttune_netlink::numbers::{IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINKINFO, RTM_GETLINK};
use hosttune_netlink::{Attributes, KernelSocket, NetlinkError, Request, Rtnetlink, find};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The size of the fixed part, `struct ifinfomsg`.
const FIXED: usize = 16;

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
    let all = Request::new(
        RTM_GETLINK,
        0,
        vec![0; FIXED],
        Attributes::new(),
        "list the links",
        "",
    );
    let listed = KernelSocket::on_demand().dump(&all).map_err(of_kernel)?;
    let mut found = Vec::new();
    for link in &listed {
        let attributes = link.payload.get(FIXED..).unwrap_or_default();
        let kind = find(attributes, IFLA_LINKINFO)
            .and_then(|info| find(info.value, IFLA_INFO_KIND))
            .map(|kind| kind.text());
        if kind.is_some_and(|kind| kinds.contains(&kind)) {
            let name = find(attributes, IFLA_IFNAME).map(|name| name.text());
            found.push(name.unwrap_or_default());
        }
    }
    Ok(found)
}

fn of_kernel(error: NetlinkError) -> io::Error {
    match error.errno() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
