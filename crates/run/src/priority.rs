//! Whether a nice value has an effect against the rest of the host.
//!
//! The scheduler divides the processor among groups first, and nice values count only within one. A control
//! group with the cpu controller is such a group; where none is, the kernel makes one of each session
//! (`sched_autogroup_enabled`, `sched(7)`).

use std::fmt;

use hosttune_core::host::unescaped_path;
use rustix::process::Pid;

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

/// The nearest control group of a process that the scheduler divides the processor by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightedGroup {
    /// The mount point of its hierarchy; empty if that is of version 1.
    pub mount: String,
    /// Its path in the hierarchy.
    pub path: String,
    /// Whether it is of version 2, and has `cpu.weight`.
    pub is_version_2: bool,
}

impl WeightedGroup {
    /// That of a process, by its number or `self`; `None` if only the root is above it.
    ///
    /// # Errors
    /// If there is no such process, or no `/proc`.
    pub fn of(process: &str) -> std::io::Result<Option<Self>> {
        let groups = own_kernel(&format!("/proc/{process}/cgroup"))?;
        let mounts = own_kernel("/proc/self/mountinfo")?;
        let has_weight = |path: &str| rustix::fs::stat(format!("{path}/cpu.weight")).is_ok();
        Ok(Self::decide(&groups, &mounts, has_weight))
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> String {
        format!("{}{}", self.mount, self.path)
    }

    /// The same from `/proc/PID/cgroup`, `/proc/PID/mountinfo`, and whether a directory has a file `cpu.weight`, which
    /// a group has if the controller is on in it.
    fn decide(groups: &str, mountinfo: &str, has_weight: impl Fn(&str) -> bool) -> Option<Self> {
        let lines = groups.lines().filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            Some((fields.next()?, fields.next()?, fields.next()?))
        });
        for (number, controllers, path) in lines {
            if controllers.split(',').any(|controller| controller == "cpu") && path != "/" {
                return Some(Self {
                    mount: String::new(),
                    path: path.to_owned(),
                    is_version_2: false,
                });
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
                    return Some(Self {
                        mount,
                        path: group.to_owned(),
                        is_version_2: true,
                    });
                }
                group = group.rfind('/').map_or("", |end| &group[..end]);
            }
        }
        None
    }
}

impl NiceScope {
    /// The scope of a process that stays in the control group and in the session of this one.
    pub fn of_this_process() -> Self {
        Self::of("self")
    }

    /// The scope of a process, by its number or `self`.
    pub fn of(process: &str) -> Self {
        match WeightedGroup::of(process) {
            Ok(group) => Self::in_group(group.as_ref(), are_sessions_grouped()),
            Err(error) => Self::Unknown(error.to_string()),
        }
    }

    /// The kernel asks for the control group first, and for the session only in the root.
    fn in_group(group: Option<&WeightedGroup>, are_sessions_grouped: bool) -> Self {
        match group {
            Some(group) => Self::Cgroup(group.path.clone()),
            None if are_sessions_grouped => Self::Session,
            None => Self::Host,
        }
    }
}

/// Whether the kernel makes a group of each session. Its file is absent in a kernel that cannot.
fn are_sessions_grouped() -> bool {
    let autogroup = own_kernel("/proc/sys/kernel/sched_autogroup_enabled");
    autogroup.is_ok_and(|text| text.trim() == "1")
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

/// What decides how much processor time a process gets against others, as the kernel shows it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessorShare {
    /// Its nice value.
    pub nice: i32,
    /// Against which processes that counts.
    pub scope: NiceScope,
    /// `cpu.weight` of the control group that the nice value counts in; `None` if there is none.
    pub weight: Option<u16>,
    /// The nice value of its session, where sessions are groups (`/proc/PID/autogroup`).
    pub session_nice: Option<i32>,
}

impl ProcessorShare {
    /// That of a process; `None` if there is none of this number.
    pub fn of(pid: i32) -> Option<Self> {
        let process = Pid::from_raw(pid).filter(|_| pid > 0)?;
        let nice = rustix::process::getpriority_process(Some(process)).ok()?;
        let group = WeightedGroup::of(&pid.to_string()).ok()?;
        let scope = NiceScope::in_group(group.as_ref(), are_sessions_grouped());
        let weight = group.filter(|group| group.is_version_2).and_then(|group| {
            let text = own_kernel(&format!("{}/cpu.weight", group.directory())).ok()?;
            text.trim().parse().ok()
        });
        let session_nice = own_kernel(&format!("/proc/{pid}/autogroup")).ok();
        let session_nice = session_nice.and_then(|text| nice_of_session(&text));
        Some(Self {
            nice,
            session_nice: session_nice.filter(|_| scope == NiceScope::Session),
            scope,
            weight,
        })
    }
}

impl fmt::Display for ProcessorShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nice {} counts {}", self.nice, self.scope)?;
        if let Some(weight) = self.weight {
            write!(
                f,
                "; that group counts with cpu.weight {weight} against those beside it"
            )?;
        }
        if let Some(nice) = self.session_nice {
            write!(f, "; that session counts with nice {nice} against others")?;
        }
        Ok(())
    }
}

/// The nice value in `/proc/PID/autogroup`: `/autogroup-57 nice 0`.
fn nice_of_session(text: &str) -> Option<i32> {
    text.trim().rsplit_once(" nice ")?.1.parse().ok()
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

    fn path_of(groups: &str, has_weight: impl Fn(&str) -> bool) -> Option<String> {
        WeightedGroup::decide(groups, MOUNTS, has_weight).map(|group| group.path)
    }

    #[test]
    fn the_nearest_group_with_the_controller_counts() {
        let of = |weight: &'static str| path_of(APP, |path: &str| path.ends_with(weight));
        let app = APP.trim().trim_start_matches("0::");
        assert_eq!(of("scope").as_deref(), Some(app));
        assert_eq!(of("/user.slice").as_deref(), Some("/user.slice"));
        assert_eq!(of("nowhere"), None);
        let group = WeightedGroup::decide(APP, MOUNTS, |path: &str| path.ends_with("scope"));
        let group = group.unwrap();
        assert!(group.is_version_2);
        assert_eq!(group.directory(), format!("/sys/fs/cgroup{app}"));
    }

    #[test]
    fn the_controller_of_version_1_counts_as_well() {
        let of = |groups| WeightedGroup::decide(groups, MOUNTS, |_| false);
        let group = of("2:cpu,cpuacct:/docker/1\n0::/\n").unwrap();
        assert_eq!(
            (group.path.as_str(), group.is_version_2),
            ("/docker/1", false)
        );
        assert_eq!(of("2:cpu,cpuacct:/\n0::/\n"), None);
        // The root has no weight and is no group.
        assert_eq!(path_of("0::/\n", |_| true), None);
    }

    #[test]
    fn a_session_counts_only_without_a_control_group() {
        let group = WeightedGroup {
            mount: "/sys/fs/cgroup".into(),
            path: "/a".into(),
            is_version_2: true,
        };
        for grouped in [false, true] {
            let scope = NiceScope::in_group(Some(&group), grouped);
            assert_eq!(scope, NiceScope::Cgroup("/a".into()));
        }
        assert_eq!(NiceScope::in_group(None, true), NiceScope::Session);
        assert_eq!(NiceScope::in_group(None, false), NiceScope::Host);
        // `cat /proc/self/autogroup`, Linux 6.12.
        assert_eq!(nice_of_session("/autogroup-57 nice -5\n"), Some(-5));
        assert_eq!(nice_of_session("garbage"), None);
    }

    #[test]
    fn what_decides_is_said_in_one_line() {
        let share = ProcessorShare {
            nice: -10,
            scope: NiceScope::Cgroup("/app.slice/game.scope".into()),
            weight: Some(932),
            session_nice: None,
        };
        assert_eq!(
            share.to_string(),
            "nice -10 counts only against processes in its control group /app.slice/game.scope: the cpu \
             controller is on there; that group counts with cpu.weight 932 against those beside it"
        );
    }
}
