//! The knob for the ingress hook, which the filters of received packets are attached to.

use std::fmt;

use hosttune_core::{
    Host, HostError, HostErrorKind, Knob, Operation, Unsupported, UnsupportedKind,
};
use serde::{Deserialize, Serialize};

use crate::link::change;
use crate::link_identity::{is_same_link, link_identity, present_name};
use crate::netlink::{
    EGRESS_FILTERS, INGRESS_FILTERS, INGRESS_HANDLE, Link, TC_H_INGRESS, TCA_EGRESS_BLOCK,
    TCA_INGRESS_BLOCK, TrafficControl, View,
};

/// The ingress hook of a device, by the device's name.
///
/// An existing hook is used as it is, whoever created it. Our own is removed only when nothing is
/// attached to it any more.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IngressHook {
    device: String,
}

/// The state of an ingress hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookState {
    /// The device does not exist.
    NoDevice,
    /// The device has no hook.
    Absent,
    /// It is an `ingress` qdisc, for received packets only.
    Ingress,
    /// It is a `clsact` qdisc, for received and sent packets.
    Clsact,
    /// Its filters are in a block shared by several devices.
    Shared,
}

impl IngressHook {
    /// The ingress hook of the device of this name.
    pub fn new(device: impl Into<String>) -> Self {
        Self {
            device: device.into(),
        }
    }

    /// The name of the device.
    pub fn device(&self) -> &str {
        &self.device
    }

    fn error(&self, kind: HostErrorKind, why: &str) -> HostError {
        HostError::new(Operation::Backend, &self.device, kind).detail(why)
    }
}

pub(crate) fn no_device(device: &str) -> Unsupported {
    Unsupported::new(
        UnsupportedKind::Missing,
        format!("there is no device {device}"),
    )
    .hint("check its name with ip link")
}

/// The error for a device that existed when the plan was made.
pub(crate) fn vanished(device: &str) -> HostError {
    HostError::new(Operation::Backend, device, HostErrorKind::Gone)
        .detail("the device no longer exists")
        .with_hint("apply again when it is back")
}

pub(crate) fn shared_block(device: &str) -> Unsupported {
    Unsupported::new(
        UnsupportedKind::Managed,
        format!("the ingress filters of {device} are in a block shared by several devices"),
    )
    .hint("remove the shared block, or shape another device behind it")
}

pub(crate) fn hook(backend: View<'_>, link: &Link) -> Result<HookState, HostError> {
    let all = backend.qdiscs()?;
    let found = all
        .iter()
        .find(|one| one.link == link.index && one.handle == INGRESS_HANDLE);
    Ok(match found {
        None => HookState::Absent,
        Some(hook) if hook.has(TCA_INGRESS_BLOCK) || hook.has(TCA_EGRESS_BLOCK) => {
            HookState::Shared
        }
        Some(hook) if hook.kind == "clsact" => HookState::Clsact,
        Some(_) => HookState::Ingress,
    })
}

impl fmt::Display for IngressHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ingress hook of {}", self.device)
    }
}

impl Knob for IngressHook {
    const NAME: &'static str = "ingress-hook";
    const CAN_BE_RENAMED: bool = true;
    type State = HookState;

    fn read(&self, host: &Host) -> Result<HookState, HostError> {
        let backend = View::of(host)?;
        match backend.link(&self.device)? {
            None => Ok(HookState::NoDevice),
            Some(link) => hook(backend, &link),
        }
    }

    fn set(&self, host: &mut Host, to: &HookState) -> Result<(), HostError> {
        let backend = View::of(host)?;
        let Some(link) = backend.link(&self.device)? else {
            return Err(vanished(&self.device));
        };
        match to {
            HookState::Ingress => change(host, &TrafficControl::add_ingress(&link)),
            HookState::Absent => {
                if hook(backend, &link)? != HookState::Ingress {
                    return Err(self.error(HostErrorKind::Refused, "it is not the hook we created"));
                }
                for parent in [INGRESS_FILTERS, EGRESS_FILTERS] {
                    if !backend.filters(link.index, parent)?.is_empty() {
                        return Err(self
                            .error(
                                HostErrorKind::Busy,
                                "filters of another program are attached to it",
                            )
                            .with_hint(format!(
                                "list them with: tc filter show dev {} ingress",
                                self.device
                            )));
                    }
                }
                change(
                    host,
                    &TrafficControl::delete(&link, TC_H_INGRESS, INGRESS_HANDLE),
                )
            }
            HookState::Clsact | HookState::Shared | HookState::NoDevice => Err(self.error(
                HostErrorKind::Refused,
                "only a hook of kind ingress is created here",
            )),
        }
    }

    fn unsupported(&self, host: &Host, to: &HookState) -> Result<Option<Unsupported>, HostError> {
        Ok(match (self.read(host)?, to) {
            (HookState::NoDevice, _) => Some(no_device(&self.device)),
            (HookState::Shared, _) => Some(shared_block(&self.device)),
            (seen, to) if seen != HookState::Absent && seen != *to => Some(Unsupported::new(
                UnsupportedKind::Managed,
                format!("{} already has a hook of another kind", self.device),
            )),
            _ => None,
        })
    }

    fn is_of_network_namespace(&self) -> bool {
        true
    }

    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        link_identity(host, &self.device)
    }

    fn is_same_thing(identity: &str, other: &str) -> bool {
        is_same_link(identity, other)
    }

    fn renamed(&self, host: &Host, identity: &str) -> Result<Option<Self>, HostError> {
        Ok(present_name(host, identity)?.map(Self::new))
    }

    fn is_gone(&self, seen: &HookState) -> bool {
        *seen == HookState::NoDevice
    }

    fn show(&self, state: &HookState) -> String {
        match state {
            HookState::NoDevice => "no device",
            HookState::Absent => "absent",
            HookState::Ingress => "ingress",
            HookState::Clsact => "clsact",
            HookState::Shared => "a shared block",
        }
        .to_owned()
    }
}
