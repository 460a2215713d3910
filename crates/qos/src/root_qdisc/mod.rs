//! The knob for the root qdisc of a device.

mod default;
mod options;
mod read;
mod words;

pub(crate) use read::{is_like, standing_at_root};

use std::fmt;

use hosttune_core::{
    Host, HostError, HostErrorKind, Knob, Operation, Unsupported, UnsupportedKind,
};
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::ingress::{no_device, vanished};
use crate::link::{IfbLink, change, is_ifb_of_ours};
use crate::link_identity::{is_same_link, link_identity, present_name};
use crate::netlink::{Link, TC_H_ROOT, TrafficControl, View};
use crate::qdisc::{CAKE_MQ, Qdisc};

/// The handles of our root qdiscs; a free one is used. A new handle tells the kernel to attach a
/// new qdisc instead of changing the existing one.
const HANDLES: std::ops::RangeInclusive<u32> = 0x4854..=0x485b;

/// The root qdisc of a device, by the device's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RootQdisc {
    device: String,
}

/// The state of the root of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootState {
    /// The device does not exist.
    NoDevice,
    /// No qdisc was set: the kernel attaches the one that `net.core.default_qdisc` names then.
    Default {
        /// The kind that the kernel has attached. `None` for a link that was never up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shows: Option<String>,
        /// The value of `net.core.default_qdisc` at that time, or `None` if this network namespace
        /// does not have it. If it names another kind when a revert runs, the revert attaches the
        /// kind in `shows` explicitly.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        default_qdisc: Option<String>,
    },
    /// A qdisc that was set explicitly.
    Explicit(ExplicitRoot),
}

/// A root qdisc that was set explicitly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ExplicitRoot {
    /// The kind, as `tc` names it.
    pub kind: String,
    /// The handle, with the number before the colon in the upper 16 bits.
    pub handle: u32,
    /// The payload of `TCA_OPTIONS` as the kernel returned it. `None` for a kind without options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Bytes>,
    /// The qdiscs that were attached below it, one per queue of the device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Attached>,
    /// What cannot be reverted, in words. If there is any, a revert attaches the default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
    /// For a requested root: the consent to losing what cannot be reverted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub discards: bool,
}

/// A qdisc attached below another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Attached {
    /// The class that it is attached to.
    pub parent: u32,
    /// The kind, as `tc` names it.
    pub kind: String,
    /// The handle.
    pub handle: u32,
    /// The payload of `TCA_OPTIONS` as the kernel returned it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Bytes>,
}

/// Whether a handle is in the range that our root qdiscs use.
pub(crate) fn is_our_handle(handle: u32) -> bool {
    HANDLES.contains(&(handle >> 16))
}

impl RootQdisc {
    /// The root of the device of this name.
    pub fn new(device: impl Into<String>) -> Self {
        Self {
            device: device.into(),
        }
    }

    /// The name of the device.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// The requested state, given the present one (`None` if that is not known yet).
    ///
    /// A root that already equals the requested one is kept, whatever its handle; any other one is
    /// replaced as a whole.
    pub fn wanted(&self, now: Option<&RootState>, qdisc: &Qdisc, discard: bool) -> RootState {
        let explicit = match now {
            Some(RootState::Explicit(explicit)) => Some(explicit),
            _ => None,
        };
        let wanted = |handle| ExplicitRoot {
            kind: qdisc.kind.clone(),
            handle,
            options: Some(qdisc.options.clone()),
            children: Vec::new(),
            lost: Vec::new(),
            discards: discard,
        };
        let as_it_is = explicit.map(|now| wanted(now.handle)).filter(|wanted| {
            explicit.is_some_and(|now| now.lost.is_empty() && now.is_like(wanted))
        });
        RootState::Explicit(as_it_is.unwrap_or_else(|| {
            let taken = explicit.map(|now| now.handle >> 16);
            let mut free = HANDLES.filter(|handle| Some(*handle) != taken);
            wanted(free.next().unwrap_or(*HANDLES.start()) << 16)
        }))
    }

    fn error(&self, kind: HostErrorKind, why: &str) -> HostError {
        HostError::new(Operation::Backend, &self.device, kind).detail(why)
    }

    fn attach(
        &self,
        host: &mut Host,
        link: &Link,
        seen: &RootState,
        to: &ExplicitRoot,
    ) -> Result<(), HostError> {
        let mut there: &[Attached] = &[];
        let mut stays = false;
        if let RootState::Explicit(now) = seen
            && now.handle == to.handle
        {
            stays = !to.children.is_empty() && now.is_part_of(to);
            if stays {
                there = &now.children;
            } else {
                // With the same handle the kernel would change the existing qdisc, and options that
                // are not given would keep their values.
                change(host, &TrafficControl::delete(link, TC_H_ROOT, now.handle))?;
            }
        }
        if !stays {
            let options = to
                .options
                .as_ref()
                .map(|raw| options::to_send(&to.kind, raw.as_slice()));
            let request =
                TrafficControl::replace(link, TC_H_ROOT, &to.kind, to.handle, options.as_deref());
            change(host, &request)?;
        }
        for child in to.children.iter().filter(|child| !there.contains(child)) {
            let options = child
                .options
                .as_ref()
                .map(|raw| options::to_send(&child.kind, raw.as_slice()));
            let request = TrafficControl::replace(
                link,
                child.parent,
                &child.kind,
                child.handle,
                options.as_deref(),
            );
            change(host, &request)?;
        }
        Ok(())
    }
}

impl RootQdisc {
    /// Removes a root of ours of which the kernel made something else: it is neither what was
    /// requested nor what was there before, and only here is it still known to be ours.
    fn check_taken(
        &self,
        host: &mut Host,
        link: &Link,
        was: &RootState,
        to: &ExplicitRoot,
    ) -> Result<(), HostError> {
        if !is_our_handle(to.handle) {
            return Ok(());
        }
        let all = View::of(host)?.qdiscs()?;
        let taken = standing_at_root(&all, link.index).is_none_or(|now| {
            let shown = now.options().map(|raw| raw.to_vec().into());
            (now.handle, &now.kind) != (to.handle, &to.kind)
                || options::alike(&to.kind, shown.as_ref(), to.options.as_ref())
        });
        if taken {
            return Ok(());
        }
        let shows = read::root(host, View::of(host)?, link)?;
        match was {
            RootState::Explicit(was) if was.lost.is_empty() => {
                self.attach(host, link, &shows, was)?;
            }
            _ => change(host, &TrafficControl::delete(link, TC_H_ROOT, to.handle))?,
        }
        let why = format!(
            "the kernel accepted the options of {} but shows different ones",
            to.kind
        );
        Err(self
            .error(HostErrorKind::Refused, &why)
            .with_hint("write each option as the kernel shows it"))
    }
}

impl ExplicitRoot {
    /// Whether requesting `wanted` results in this root, as seen.
    fn is_like(&self, wanted: &Self) -> bool {
        let alike = |seen: &Attached, wanted: &Attached| {
            (seen.parent, &seen.kind, seen.handle) == (wanted.parent, &wanted.kind, wanted.handle)
                && options::alike(&seen.kind, seen.options.as_ref(), wanted.options.as_ref())
        };
        self.kind == wanted.kind
            && options::alike(&self.kind, self.options.as_ref(), wanted.options.as_ref())
            && self.lost == wanted.lost
            && self.children.len() == wanted.children.len()
            && self
                .children
                .iter()
                .zip(&wanted.children)
                .all(|(seen, wanted)| alike(seen, wanted))
    }

    /// Whether this root equals `whole`, except that some of its children are missing.
    fn is_part_of(&self, whole: &Self) -> bool {
        let without_children = |root: &Self| Self {
            children: Vec::new(),
            ..root.clone()
        };
        self.handle == whole.handle
            && without_children(self).is_like(&without_children(whole))
            && self.children.len() < whole.children.len()
            && self
                .children
                .iter()
                .all(|child| whole.children.contains(child))
    }
}

impl fmt::Display for RootQdisc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "root qdisc of {}", self.device)
    }
}

impl Knob for RootQdisc {
    const NAME: &'static str = "root-qdisc";
    const CAN_BE_RENAMED: bool = true;
    type State = RootState;

    fn read(&self, host: &Host) -> Result<RootState, HostError> {
        let backend = View::of(host)?;
        match backend.link(&self.device)? {
            None => Ok(RootState::NoDevice),
            Some(link) => read::root(host, backend, &link),
        }
    }

    /// Takes one message, except if the kernel does not set what was requested, if queues of the
    /// device have qdiscs of their own, or if the root is reverted to one of the same handle.
    fn set(&self, host: &mut Host, to: &RootState) -> Result<(), HostError> {
        let backend = View::of(host)?;
        let Some(link) = backend.link(&self.device)? else {
            return Err(vanished(&self.device));
        };
        let seen = read::root(host, backend, &link)?;
        match to {
            RootState::NoDevice => Err(self.error(
                HostErrorKind::Refused,
                "a device cannot be removed through its root qdisc",
            )),
            RootState::Explicit(to) if to.lost.is_empty() => {
                self.attach(host, &link, &seen, to)?;
                self.check_taken(host, &link, &seen, to)
            }
            RootState::Explicit(_) | RootState::Default { .. } => match seen {
                // It is deleted next, and with an explicit root it would be taken for one that another
                // program uses.
                RootState::Explicit(now) if is_ifb_of_ours(&link) => {
                    change(host, &TrafficControl::delete(&link, TC_H_ROOT, now.handle))
                }
                RootState::Explicit(now) => default::attach_default(host, &link, now.handle, to),
                RootState::Default { .. } | RootState::NoDevice => Ok(()),
            },
        }
    }

    fn satisfies(&self, seen: &RootState, wanted: &RootState) -> bool {
        match (seen, wanted) {
            (RootState::Default { .. }, RootState::Default { .. }) => true,
            (RootState::Explicit(_), RootState::Default { .. }) => {
                default::is_same_kind(seen, wanted)
            }
            (RootState::Default { .. }, RootState::Explicit(wanted)) => !wanted.lost.is_empty(),
            (RootState::Explicit(seen), RootState::Explicit(wanted)) => {
                seen.handle == wanted.handle && seen.is_like(wanted)
            }
            _ => seen == wanted,
        }
    }

    fn is_partial_write(&self, seen: &RootState, from: &RootState, to: &RootState) -> bool {
        let same_handle = match (from, to) {
            (RootState::Explicit(from), RootState::Explicit(to)) => from.handle == to.handle,
            _ => false,
        };
        match seen {
            RootState::Default { .. } => same_handle,
            RootState::Explicit(seen) => [from, to].into_iter().any(|whole| match whole {
                RootState::Explicit(whole) => seen.is_part_of(whole),
                _ => false,
            }),
            RootState::NoDevice => false,
        }
    }

    fn unsupported(&self, host: &Host, to: &RootState) -> Result<Option<Unsupported>, HostError> {
        let discards = match to {
            RootState::Explicit(to) => to.discards || !to.lost.is_empty(),
            _ => false,
        };
        if let RootState::Explicit(wanted) = to
            && wanted.kind == CAKE_MQ
            && let Some(link) = View::of(host)?.link(&self.device)?
            && let Some(unsupported) = options::cake_mq_lacks(&link, wanted.options.as_ref())
        {
            return Ok(Some(unsupported));
        }
        Ok(match self.read(host)? {
            RootState::NoDevice => {
                let ifb = IfbLink::new(&self.device);
                let no_device = || no_device(&self.device).cured_by(&ifb, &ifb.for_any_device());
                Some(ifb.was_renamed(host)?.unwrap_or_else(no_device))
            }
            RootState::Explicit(now) if !now.lost.is_empty() && !discards => Some(
                Unsupported::new(
                    UnsupportedKind::OneWay,
                    format!(
                        "{} has a root qdisc {} that cannot be restored: {}",
                        self.device,
                        now.kind,
                        now.lost.join(", ")
                    ),
                )
                .hint(format!(
                    "if it is not needed, remove it first: tc qdisc delete dev {} root",
                    self.device
                )),
            ),
            _ => None,
        })
    }

    fn is_gone(&self, seen: &RootState) -> bool {
        *seen == RootState::NoDevice
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

    /// Says what the kernel has attached instead of what was there.
    fn revert_note(&self, host: &Host, from: &RootState) -> Option<String> {
        let link = View::of(host).ok()?.link(&self.device).ok()??;
        if is_ifb_of_ours(&link) {
            return None;
        }
        default::note(self, from, &self.read(host).ok()?)
    }

    fn show(&self, state: &RootState) -> String {
        match state {
            RootState::NoDevice => "no device".to_owned(),
            RootState::Default { shows: None, .. } => "the kernel's default".to_owned(),
            RootState::Default {
                shows: Some(kind), ..
            } => format!("the kernel's default ({kind})"),
            RootState::Explicit(root) => words::shown(root),
        }
    }
}
