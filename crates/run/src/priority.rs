//! Whether a nice value has an effect against the rest of the host.
//!
//! The scheduler divides the processor among groups first, and nice values count only within one. A control
//! group with the cpu controller is such a group; where none is, the kernel makes one of each session
//! (`sched_autogroup_enabled`, `sched(7)`).

use std::fmt;

use hosttune_core::host::unescaped_path;

use crate::process::own_kernel;

/// Against which processes a nice value counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NiceScope {
    /// Against all that are in no group of their own.
    Host,
    /// Against those in the same control group, with its path in the hierarchy.
    Cgroup(String),
    /// Against those of the same session.
    Session,
    /// It cannot be told, because this could not be read.
    Unknown(String),
}

impl NiceScope {
    /// The scope of a process that stays in the control group and in the session of this one.
    pub fn of_this_process() -> Self {
        let read = || {
            let groups = own_kernel("/proc/self/cgroup")?;
            let mounts = own_kernel("/proc/self/mountinfo")?;
            // The file is absent in a kernel without autogroups.
            let autogroup = own_kernel("/proc/sys/kernel/sched_autogroup_enabled");
            let autogroup = autogroup.is_ok_and(|text| text.trim() == "1");
            let has_weight = |path: &str| rustix::fs::stat(format!("{path}/cpu.weight")).is_ok();
            Ok::<_, std::io::Error>(Self::decide(&groups, &mounts, autogroup, has_weight))
        };
        read().unwrap_or_else(|error| Self::Unknown(error.to_string()))
    }

    /// The same from `/proc/PID/cgroup`, `/proc/PID/mountinfo`, whether sessions are grouped, and whether a
    /// directory has a file `cpu.weight`, which a group has if the controller is on in it.
    fn decide(
        groups: &str,
        mountinfo: &str,
        autogroup: bool,
        has_weight: impl Fn(&str) -> bool,
    ) -> Self {
        let lines = groups.lines().filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            Some((fields.next()?, fields.next()?, fields.next()?))
        });
        for (number, controllers, path) in lines {
            if controllers.split(',').any(|controller| controller == "cpu") && path != "/" {
                return Self::Cgroup(path.to_owned());
            }
            if number != "0" {
                continue;
            }
            let Some(mount) = version_2(mountinfo) else {
                continue;
            };
            // A group without the controller is scheduled as a part of the nearest one above that has it.
            let mut group = path.trim_end_matches('/');
            while !group.is_empty() {
                if has_weight(&format!("{mount}{group}")) {
                    return Self::Cgroup(group.to_owned());
                }
                group = group.rfind('/').map_or("", |end| &group[..end]);
            }
        }
        if autogroup { Self::Session } else { Self::Host }
    }
}

impl fmt::Display for NiceScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("against all processes"),
            Self::Cgroup(path) => write!(
                f,
                "only against processes in its control group {path}: the cpu controller is on there"
            ),
            Self::Session => f.write_str(
                "only against processes of its session: kernel.sched_autogroup_enabled is 1",
            ),
            Self::Unknown(why) => write!(f, "against unknown processes: {why}"),
        }
    }
}

/// The mount point of the whole hierarchy of version 2.
fn version_2(mountinfo: &str) -> Option<String> {
    mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let fields: Vec<&str> = before.split(' ').collect();
        let is_whole = after.starts_with("cgroup2 ") && *fields.get(3)? == "/";
        let point = fields.get(4)?;
        is_whole.then(|| unescaped_path(point))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "29 28 0:26 / /sys/fs/cgroup rw shared:10 - cgroup2 cgroup2 rw,nsdelegate";
    const APP: &str = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-game.scope\n";

    #[test]
    fn the_nearest_group_with_the_controller_counts() {
        let of = |autogroup, weight: &'static str| {
            NiceScope::decide(APP, MOUNTS, autogroup, |path: &str| path.ends_with(weight))
        };
        let group = |path: &str| NiceScope::Cgroup(path.to_owned());
        assert_eq!(
            of(true, "scope"),
            group(APP.trim().trim_start_matches("0::"))
        );
        assert_eq!(of(true, "/user.slice"), group("/user.slice"));
        assert_eq!(of(true, "nowhere"), NiceScope::Session);
        assert_eq!(of(false, "nowhere"), NiceScope::Host);
    }

    #[test]
    fn the_controller_of_version_1_counts_as_well() {
        let of = |groups| NiceScope::decide(groups, MOUNTS, true, |_| false);
        assert_eq!(
            of("2:cpu,cpuacct:/docker/1\n0::/\n"),
            NiceScope::Cgroup("/docker/1".into())
        );
        assert_eq!(of("2:cpu,cpuacct:/\n0::/\n"), NiceScope::Session);
        // The root has no weight and is no group.
        let root = NiceScope::decide("0::/\n", MOUNTS, false, |_| true);
        assert_eq!(root, NiceScope::Host);
    }
}
