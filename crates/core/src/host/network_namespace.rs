//! The network namespace of this process, and whether others still exist.
//!
//! A namespace is named as the kernel names it: `net:[4026531840]`, with the inode number that
//! `/proc/PID/ns/net` shows. The number is unique among the namespaces that exist in one boot; one
//! that has ended can pass its number on.

use std::path::{Path, PathBuf};

use super::error::{HostError, HostErrorKind};
use super::fs::EntryKind;
use super::{Host, unescaped_path};

/// The initial PID namespace: `PROC_PID_INIT_INO` in `include/linux/proc_ns.h`, the same in every
/// kernel since 3.8. Only there all processes are seen.
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Where another network namespace is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    /// It can be entered with this command before another one.
    Entered(String),
    /// It is not known whether it exists.
    Unknown,
    /// Nothing that a process could enter it by is left.
    Gone,
}

impl Host {
    /// The network namespace of the calling thread, as `net:[4026531840]`; `None` on a host without
    /// processes, such as a captured tree.
    ///
    /// # Errors
    /// Any error from the host, except that there is no such file.
    pub fn network_namespace(&self) -> Result<Option<String>, HostError> {
        // A plan asks for each of its knobs that is of a namespace.
        let is_one_look = self.look().is_some();
        if is_one_look && let Some(known) = self.namespace.borrow().as_ref() {
            return Ok(known.clone());
        }
        // Of the thread and not of the process: `/proc/sys/net` and a netlink socket are too.
        let found = self.link_target(Path::new("/proc/thread-self/ns/net"))?;
        if is_one_look {
            self.namespace.replace(Some(found.clone()));
        }
        Ok(found)
    }

    /// Takes the network namespace of this read epoch as known: that in which the journal was read
    /// just before.
    pub(crate) fn knows_network_namespace(&self, namespace: Option<&str>) {
        if self.look().is_some() {
            self.namespace.replace(Some(namespace.map(str::to_owned)));
        }
    }

    /// Where a network namespace is found.
    ///
    /// It is gone if no mount, process, thread or open file holds it. Something else may keep it
    /// alive, such as a socket, but no command can enter it then.
    pub(crate) fn whereabouts(&self, namespace: &str) -> Whereabouts {
        // Twice: a process can have started another one and ended while they were looked at.
        match self.whereabouts_now(namespace) {
            Whereabouts::Gone => self.whereabouts_now(namespace),
            found => found,
        }
    }

    fn whereabouts_now(&self, namespace: &str) -> Whereabouts {
        if let Some(path) = self.mounted_at(Path::new("/proc/thread-self/mountinfo"), namespace) {
            let named = ["/run/netns", "/var/run/netns"];
            let name = named.iter().find_map(|of| path.strip_prefix(of).ok());
            return Whereabouts::Entered(match name {
                Some(name) => format!("ip netns exec {}", name.display()),
                None => format!("nsenter --net={}", path.display()),
            });
        }
        let Ok(names) = self.list("/proc") else {
            return Whereabouts::Unknown;
        };
        let mut processes: Vec<u32> = names.iter().filter_map(|name| name.parse().ok()).collect();
        processes.sort_unstable();
        let mut sees_all = matches!(
            self.link_target(Path::new("/proc/self/ns/pid")),
            Ok(Some(pid)) if pid == INITIAL_PID_NAMESPACE
        );
        for process in &processes {
            let path = PathBuf::from(format!("/proc/{process}/ns/net"));
            match self.link_target(&path) {
                Ok(Some(of)) if of == namespace => {
                    return Whereabouts::Entered(format!("nsenter --net={}", path.display()));
                }
                Ok(_) => {}
                Err(error) => sees_all &= is_over(&error),
            }
        }
        for process in processes {
            if !sees_all {
                return Whereabouts::Unknown;
            }
            let of = PathBuf::from(format!("/proc/{process}"));
            match self.held_by(&of, namespace) {
                Ok(Some(path)) => {
                    return Whereabouts::Entered(format!("nsenter --net={}", path.display()));
                }
                Ok(None) => {}
                Err(error) => sees_all &= is_over(&error),
            }
        }
        if sees_all {
            Whereabouts::Gone
        } else {
            Whereabouts::Unknown
        }
    }

    /// By which of its threads, mounts and open files a process holds a namespace.
    fn held_by(&self, process: &Path, namespace: &str) -> Result<Option<PathBuf>, HostError> {
        let threads = process.join("task");
        for thread in self.list_if_there(&threads)? {
            let path = threads.join(thread).join("ns/net");
            if self.link_target(&path)?.as_deref() == Some(namespace) {
                return Ok(Some(path));
            }
        }
        if let Some(at) = self.mounted_at(&process.join("mountinfo"), namespace) {
            let path = process.join("root");
            return Ok(Some(path.join(at.strip_prefix("/").unwrap_or(&at))));
        }
        let open = process.join("fd");
        for number in self.list_if_there(&open)? {
            let path = open.join(number);
            if self.link_target(&path)?.as_deref() == Some(namespace) {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Where a list of mounts has a namespace.
    fn mounted_at(&self, list: &Path, namespace: &str) -> Option<PathBuf> {
        let list = self.read(list).ok()?;
        let list = String::from_utf8_lossy(&list);
        list.lines().find_map(|line| {
            let mut words = line.split(' ').skip(3);
            (words.next()? == namespace)
                .then(|| words.next())
                .flatten()
                .map(|at| PathBuf::from(unescaped_path(at)))
        })
    }

    fn link_target(&self, path: &Path) -> Result<Option<String>, HostError> {
        Ok(match self.entry(path)?.map(|entry| entry.kind) {
            Some(EntryKind::Link(target)) => Some(target.to_string_lossy().into_owned()),
            _ => None,
        })
    }
}

/// Whether an error about a process means that it has ended, so that it holds nothing.
fn is_over(error: &HostError) -> bool {
    matches!(error.kind(), HostErrorKind::Missing | HostErrorKind::Gone)
}
