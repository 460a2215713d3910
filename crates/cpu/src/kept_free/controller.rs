//! The knob that gives the children of a control group a controller.

use std::fmt;

use hosttune_core::{Host, HostError, Knob, Unsupported, UnsupportedKind, attribute};
use serde::{Deserialize, Serialize};

use super::CGROUPS;

/// Whether the children of a control group have the controller `cpuset`
/// (`cgroup.subtree_control`, cgroup v2, Linux 4.5). The group is named by its path below the mount;
/// the root is empty.
///
/// systemd enables controllers that its units ask for, and can disable this one when it reloads its
/// units: `verify` tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Controller(pub String);

/// Whether a controller is enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControllerState {
    /// There is no such control group.
    Missing,
    /// The children do not have it.
    Disabled,
    /// The children have it.
    Enabled,
}

const NAME: &str = "cpuset";

impl Controller {
    fn file(&self, name: &str) -> String {
        match self.0.as_str() {
            "" => format!("{CGROUPS}/{name}"),
            group => format!("{CGROUPS}/{group}/{name}"),
        }
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "controller {NAME} below /{}", self.0)
    }
}

fn has(list: &str) -> bool {
    list.split_whitespace().any(|word| word == NAME)
}

impl Knob for Controller {
    const NAME: &'static str = "cgroup-cpuset-controller";
    type State = ControllerState;

    fn read(&self, host: &Host) -> Result<ControllerState, HostError> {
        let list = attribute::read(host, self.file("cgroup.subtree_control"))?;
        Ok(match list {
            None => ControllerState::Missing,
            Some(list) if has(&list) => ControllerState::Enabled,
            Some(_) => ControllerState::Disabled,
        })
    }

    fn set(&self, host: &mut Host, to: &ControllerState) -> Result<(), HostError> {
        let file = self.file("cgroup.subtree_control");
        let word = match to {
            ControllerState::Enabled => "+cpuset\n",
            ControllerState::Disabled => "-cpuset\n",
            ControllerState::Missing => {
                return Err(attribute::no_value(
                    file,
                    "control groups are not removed here",
                ));
            }
        };
        host.write_value(file, word.as_bytes())
    }

    fn unsupported(
        &self,
        host: &Host,
        _: &ControllerState,
    ) -> Result<Option<Unsupported>, HostError> {
        let offered = attribute::read(host, self.file("cgroup.controllers"))?;
        Ok(match offered {
            Some(list) if has(&list) => {
                host.unwritable_here(self.file("cgroup.subtree_control"))?
            }
            Some(_) if !self.0.is_empty() => {
                let parent = self.0.rsplit_once('/').map_or("", |(parent, _)| parent);
                let unsupported = Unsupported::new(
                    UnsupportedKind::Missing,
                    format!("/{} does not have the controller {NAME}", self.0),
                );
                Some(unsupported.cured_by(&Self(parent.to_owned()), &ControllerState::Enabled))
            }
            Some(_) => Some(
                Unsupported::new(
                    UnsupportedKind::Missing,
                    format!("/{} has no controller {NAME}", self.0),
                )
                .hint("a kernel with CONFIG_CPUSETS has it, unless cgroup v1 uses it: boot without systemd.unified_cgroup_hierarchy=0"),
            ),
            None => Some(
                Unsupported::new(
                    UnsupportedKind::Missing,
                    format!("there is no control group /{} of cgroup v2", self.0),
                )
                .hint("mount cgroup v2 at /sys/fs/cgroup, which systemd does by default"),
            ),
        })
    }

    fn is_gone(&self, seen: &ControllerState) -> bool {
        *seen == ControllerState::Missing
    }

    fn show(&self, state: &ControllerState) -> String {
        match state {
            ControllerState::Missing => "missing",
            ControllerState::Disabled => "disabled",
            ControllerState::Enabled => "enabled",
        }
        .to_owned()
    }
}

/// Why a file of a control group is missing, with the step that makes it.
pub(super) fn no_cpuset(host: &Host, group: &str) -> Result<Unsupported, HostError> {
    if !host.exists(format!("{CGROUPS}/{group}"))? {
        let hint = match group.ends_with(".slice") && !group.contains('/') {
            true => format!("systemd makes it: systemctl start {group}"),
            false => "name one that is there, as below /sys/fs/cgroup".to_owned(),
        };
        return Ok(Unsupported::new(
            UnsupportedKind::Missing,
            format!("there is no control group /{group}"),
        )
        .hint(hint));
    }
    let parent = group.rsplit_once('/').map_or("", |(parent, _)| parent);
    let controller = Controller(parent.to_owned());
    Ok(Unsupported::new(
        UnsupportedKind::Missing,
        format!("/{group} does not have the controller {NAME}"),
    )
    .cured_by(&controller, &ControllerState::Enabled))
}
