//! Control groups: out of the caller's, so that what ends the caller does not end this process.
//!
//! A logout, a scope that is stopped and `cgroup.kill` act on a control group and everything in it. The root
//! of the hierarchy can be neither stopped nor killed, holds processes under every rule (`cgroup-v2.rst`, "No
//! Internal Process Constraint"), and nothing has to be made in it or removed from it later.

use hosttune_core::host::unescaped_path;

use crate::process::own_kernel;

/// Where a process is that was to leave its caller's control group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the root.
    Root,
    /// Where it was, and why.
    Callers(String),
}

/// Moves this process to the root of the hierarchies in which processes are ended as a group: that of
/// version 2, and the one that systemd has for itself where the controllers are of version 1.
pub fn leave_callers() -> Place {
    let mounts = match own_kernel("/proc/self/mountinfo") {
        Ok(mounts) => hierarchies(&mounts),
        Err(error) => return Place::Callers(format!("/proc/self/mountinfo: {error}")),
    };
    if mounts.is_empty() {
        return Place::Callers("no cgroup hierarchy is mounted".to_owned());
    }
    let mut failed = None;
    for mount in &mounts {
        // 0 is the process that writes.
        if let Err(error) = write(&format!("{mount}/cgroup.procs"), "0") {
            failed = Some(format!("{mount}: {error}"));
        }
    }
    // Accepted is not effective: the kernel says where the process is.
    match (failed, own_kernel("/proc/self/cgroup")) {
        (None, Ok(groups)) if is_in_roots(&groups) => Place::Root,
        (Some(why), _) => Place::Callers(why),
        (None, Ok(groups)) => Place::Callers(groups.trim().replace('\n', ", ")),
        (None, Err(error)) => Place::Callers(error.to_string()),
    }
}

/// Makes this process the last that the kernel kills when memory runs out. Whether it did.
pub fn spare_from_oom() -> bool {
    write("/proc/self/oom_score_adj", "-1000").is_ok()
}

#[expect(
    clippy::disallowed_methods,
    reason = "it moves this process and changes nothing of the host that a revert would have to know"
)]
fn write(path: &str, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut file = std::fs::File::options().write(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// The mount points of the hierarchies of [`leave_callers`], from `/proc/PID/mountinfo`
/// (`proc_pid_mountinfo(5)`): those of version 2, and of version 1 the one named `systemd`.
fn hierarchies(mountinfo: &str) -> Vec<String> {
    let of_line = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let (kind, _, options) = (after.next()?, after.next()?, after.next().unwrap_or(""));
        let is_meant = match kind {
            "cgroup2" => true,
            "cgroup" => options.split(',').any(|option| option == "name=systemd"),
            _ => false,
        };
        let fields: Vec<&str> = before.split(' ').collect();
        // Only the mount of the whole hierarchy has its root.
        let (root, point) = (fields.get(3)?, fields.get(4)?);
        (is_meant && *root == "/").then(|| unescaped_path(point))
    };
    let mut found: Vec<String> = mountinfo.lines().filter_map(of_line).collect();
    found.dedup();
    found
}

/// Whether a process is in the root of these hierarchies, from its `/proc/PID/cgroup`.
fn is_in_roots(groups: &str) -> bool {
    groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            (number == "0" || controllers == "name=systemd").then_some(path)
        })
        .all(|path| path == "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cat /proc/self/mountinfo` of a machine with both versions, shortened.
    const HYBRID: &str = "\
25 30 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw
28 25 0:25 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,size=4096k
29 28 0:26 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate
31 28 0:27 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,xattr,name=systemd
35 28 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:15 - cgroup cgroup rw,cpu,cpuacct
40 30 0:26 /user.slice /mnt/part\\040of rw shared:10 - cgroup2 cgroup2 rw";

    #[test]
    fn only_whole_hierarchies_that_end_processes_are_meant() {
        assert_eq!(
            hierarchies(HYBRID),
            ["/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"]
        );
        assert_eq!(hierarchies("garbage\n\n1 2 - cgroup2"), [""; 0]);
    }

    #[test]
    fn the_root_is_the_root_of_each() {
        assert!(is_in_roots("9:name=systemd:/\n4:memory:/x/y\n0::/\n"));
        assert!(!is_in_roots("9:name=systemd:/user.slice\n0::/\n"));
        assert!(!is_in_roots("0::/user.slice/a:b\n"));
    }
}
