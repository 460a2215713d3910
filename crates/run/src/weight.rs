//! The processor time of a control group against the groups beside it, and whether a command has one to itself.
//!
//! In a hierarchy of version 2 with the cpu controller, processes compete only within their group, and groups by
//! `cpu.weight` (`cgroup-v2.rst`, "CPU Interface Files"). A nice value therefore needs a weight of its group beside
//! it to count against other programs. A desktop starts each program in a group of its own; a terminal shares one
//! with all that is started in it, and its weight is not a command's.

use std::fmt;

use hosttune_core::{
    Error, Host, HostError, Knob, Planner, Registry, Tuning, Unsupported, UnsupportedKind,
    attribute,
};
use serde::{Deserialize, Serialize};

use crate::priority::WeightedGroup;
use crate::process::{Stat, own_kernel};

/// The load weights of the nice values −20 to 19, of which each is 1.25 times the next
/// (`sched_prio_to_weight` in `kernel/sched/core.c`, unchanged since Linux 2.6.23).
const OF_NICE: [u32; 40] = [
    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904,
    3906, 3121, 2501, 1991, 1586, 1277, 1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87,
    70, 56, 45, 36, 29, 23, 18, 15,
];

/// The `cpu.weight` that `cpu.weight.nice` shows as this nice value (−20 to 19; what is beyond counts as the end):
/// 1 to 10000, and 100 for 0.
#[must_use]
pub fn weight_of_nice(nice: i32) -> u16 {
    let place = usize::try_from(nice.clamp(-20, 19) + 20).unwrap_or_default();
    // Rounded to the nearest, as the kernel does.
    let weight = (OF_NICE[place] * 100 + 512) / 1024;
    u16::try_from(weight.max(1)).unwrap_or(u16::MAX)
}

/// `cpu.weight` of a control group, by the group's directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CgroupWeight {
    /// The directory, below the mount point of the hierarchy.
    pub directory: String,
}

/// What `cpu.weight` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightState {
    /// There is no such group, or the cpu controller is not on in it.
    Missing,
    /// The group gets only what no other wants (`cpu.idle`), and has no weight.
    Idle,
    /// The weight, 1 to 10000; the kernel's default is 100.
    Weight(u16),
}

impl CgroupWeight {
    fn file(&self) -> String {
        format!("{}/cpu.weight", self.directory)
    }
}

impl fmt::Display for CgroupWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cpu.weight of {}", self.directory)
    }
}

impl Knob for CgroupWeight {
    const NAME: &'static str = "cgroup-cpu-weight";
    type State = WeightState;

    fn read(&self, host: &Host) -> Result<WeightState, HostError> {
        Ok(match attribute::read_number(host, self.file())? {
            None => WeightState::Missing,
            Some(0) => WeightState::Idle,
            Some(number) => WeightState::Weight(u16::try_from(number).map_err(|_| {
                HostError::malformed(self.file(), format!("{number} is above 10000"))
            })?),
        })
    }

    fn set(&self, host: &mut Host, to: &WeightState) -> Result<(), HostError> {
        match to {
            WeightState::Weight(weight) => {
                host.write_value(self.file(), format!("{weight}\n").as_bytes())
            }
            WeightState::Idle | WeightState::Missing => Err(attribute::no_value(
                self.file(),
                "a control group with the cpu controller has a weight",
            )),
        }
    }

    fn unsupported(&self, host: &Host, to: &WeightState) -> Result<Option<Unsupported>, HostError> {
        match (self.read(host)?, to) {
            (_, WeightState::Missing | WeightState::Idle) => Ok(None),
            (WeightState::Missing, WeightState::Weight(_)) => Ok(Some(Unsupported::new(
                UnsupportedKind::Missing,
                "the cpu controller is not on in this control group",
            ))),
            (WeightState::Idle, WeightState::Weight(_)) => Ok(Some(Unsupported::new(
                UnsupportedKind::ValueUnavailable,
                "cpu.idle is on in this control group, which then has no weight",
            ))),
            (WeightState::Weight(_), WeightState::Weight(_)) => {
                attribute::unwritable(host, self.file(), "the kernel shows this weight read-only")
            }
        }
    }

    fn is_gone(&self, seen: &WeightState) -> bool {
        *seen == WeightState::Missing
    }

    fn show(&self, state: &WeightState) -> String {
        match state {
            WeightState::Missing => "missing".to_owned(),
            WeightState::Idle => "idle".to_owned(),
            WeightState::Weight(weight) => weight.to_string(),
        }
    }
}

/// Registers the knob.
pub fn knobs(registry: &mut Registry) {
    registry.add::<CgroupWeight>();
}

/// The weight that a command's control group is given for its nice value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandWeight {
    /// The group.
    pub group: CgroupWeight,
    /// The nice value.
    pub nice: i32,
}

impl Tuning for CommandWeight {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        let weight = WeightState::Weight(weight_of_nice(self.nice));
        at.want(&self.group, &weight).optional().why(format!(
            "the command's nice value {} counts only within its control group",
            self.nice
        ));
        Ok(())
    }
}

/// Whether a command has a control group with a weight to itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandGroup {
    /// This one, with no other processes.
    Own(CgroupWeight),
    /// It has not; the reason, which continues "not set: ".
    NotOwn(String),
}

impl CommandGroup {
    /// The group of the command that this process runs. `children` are the processes that it has started for that.
    pub fn of_this_process(children: &[i32]) -> Self {
        let group = match WeightedGroup::of("self") {
            Ok(group) => group,
            Err(error) => return Self::NotOwn(error.to_string()),
        };
        let own = rustix::process::getpid().as_raw_pid();
        let is_ours = |pid: i32| pid == own || children.contains(&pid) || has_called(pid, own);
        Self::decide(group, &processes_below, is_ours, |pid| {
            own_kernel(&format!("/proc/{pid}/comm")).unwrap_or_default()
        })
    }

    /// The same from the nearest group with a weight, the processes in a directory and below, which of them belong
    /// to the command, and their names.
    fn decide(
        group: Option<WeightedGroup>,
        processes: &dyn Fn(&str) -> std::io::Result<Vec<i32>>,
        is_ours: impl Fn(i32) -> bool,
        name: impl Fn(i32) -> String,
    ) -> Self {
        let Some(group) = group else {
            return Self::NotOwn("no control group above it has the cpu controller".to_owned());
        };
        if !group.is_version_2 {
            return Self::NotOwn(format!(
                "the cpu controller of its control group {} is of version 1",
                group.path
            ));
        }
        let directory = group.directory();
        let inside = match processes(&directory) {
            Ok(inside) => inside,
            Err(error) => {
                return Self::NotOwn(format!(
                    "the processes in {directory} cannot be read: {error}"
                ));
            }
        };
        match inside.into_iter().find(|&pid| !is_ours(pid)) {
            None => Self::Own(CgroupWeight { directory }),
            Some(other) => Self::NotOwn(format!(
                "its control group {} has other processes too, such as {other} ({})",
                group.path,
                name(other).trim()
            )),
        }
    }
}

/// Programs that start a command as another user, and wait until it has ended.
const CALLERS: [&str; 3] = ["sudo", "doas", "pkexec"];

/// Whether a process is one of [`CALLERS`] and has started this one, itself or by another of them.
fn has_called(pid: i32, own: i32) -> bool {
    let mut at = own;
    while let Some(above) = Stat::of(at).map(|stat| stat.parent) {
        let comm = own_kernel(&format!("/proc/{above}/comm")).unwrap_or_default();
        if !CALLERS.contains(&comm.trim()) {
            return false;
        }
        if above == pid {
            return true;
        }
        at = above;
    }
    false
}

/// The processes in a control group and the groups below it.
#[expect(
    clippy::disallowed_methods,
    reason = "it describes processes and not the tuned host, so --root does not apply"
)]
fn processes_below(directory: &str) -> std::io::Result<Vec<i32>> {
    let text = own_kernel(&format!("{directory}/cgroup.procs"))?;
    let mut found: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            // One that is removed meanwhile has no processes.
            let below = processes_below(&entry.path().to_string_lossy());
            match below {
                Ok(below) => found.extend(below),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nice_value_has_the_weight_that_the_kernel_shows_for_it() {
        for (nice, weight) in [
            (0, 100),
            (-10, 932),
            (-20, 8668),
            (19, 1),
            (10, 11),
            (-99, 8668),
        ] {
            assert_eq!(weight_of_nice(nice), weight, "{nice}");
        }
    }

    fn decided(group: Option<(&str, bool)>, inside: &[i32]) -> CommandGroup {
        let group = group.map(|(path, is_version_2)| WeightedGroup {
            mount: "/sys/fs/cgroup".to_owned(),
            path: path.to_owned(),
            is_version_2,
        });
        let inside = inside.to_vec();
        CommandGroup::decide(
            group,
            &move |_| Ok(inside.clone()),
            |pid| pid == 7 || pid == 8,
            |_| "steam\n".to_owned(),
        )
    }

    #[test]
    fn only_a_group_without_other_processes_is_the_commands() {
        let scope = Some(("/app.slice/app-game.scope", true));
        assert_eq!(
            decided(scope, &[7, 8]),
            CommandGroup::Own(CgroupWeight {
                directory: "/sys/fs/cgroup/app.slice/app-game.scope".into()
            })
        );
        for (group, inside, why) in [
            (scope, &[7, 12][..], "such as 12 (steam)"),
            (None, &[7], "no control group above it"),
            (Some(("/docker/1", false)), &[7], "of version 1"),
        ] {
            match decided(group, inside) {
                CommandGroup::NotOwn(said) => assert!(said.contains(why), "{said}"),
                own @ CommandGroup::Own(_) => panic!("{own:?}"),
            }
        }
    }
}
