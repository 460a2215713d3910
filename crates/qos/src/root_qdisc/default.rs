//! Going back to a root that the kernel had attached by default.
//!
//! The kernel attaches the kind that `net.core.default_qdisc` names at that moment. If it was
//! another one that the device had, only an explicit qdisc of that kind is what was there.

use hosttune_core::{Host, HostError};

use super::read::{self, default_qdisc};
use super::{RootQdisc, RootState, is_our_handle};
use crate::link::change;
use crate::netlink::{
    Link, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, TC_H_ROOT, TrafficControl, View,
};

/// The kinds that the kernel attaches by itself and that `net.core.default_qdisc` does not name:
/// to a device with several queues, to one without a queue, and to one that is down.
const OF_THE_DEVICE: [&str; 3] = ["mq", "noop", "noqueue"];

/// The kind that the kernel had attached, if it can be attached explicitly with the same result.
fn kind_of(default: &RootState) -> Option<&str> {
    match default {
        RootState::Default {
            shows: Some(kind), ..
        } => Some(kind.as_str()).filter(|kind| !OF_THE_DEVICE.contains(kind)),
        _ => None,
    }
}

/// Whether an explicit root is of the kind that the kernel had attached by default.
pub(super) fn is_same_kind(seen: &RootState, default: &RootState) -> bool {
    match seen {
        RootState::Explicit(seen) => {
            Some(seen.kind.as_str()) == kind_of(default)
                && !is_our_handle(seen.handle)
                && seen.children.is_empty()
                && seen.lost.is_empty()
        }
        _ => false,
    }
}

/// Replaces the explicit root with this handle by the default one `to`.
pub(super) fn attach_default(
    host: &mut Host,
    link: &Link,
    handle: u32,
    to: &RootState,
) -> Result<(), HostError> {
    let Some(kind) = kind_of(to) else {
        return change(host, &TrafficControl::delete(link, TC_H_ROOT, handle));
    };
    // Flags with which the kernel never changes the options of a root of the same kind instead.
    let flags = NLM_F_CREATE | NLM_F_REPLACE | NLM_F_EXCL;
    let explicit = TrafficControl::attach(link, TC_H_ROOT, kind, 0, None, flags);
    // With one message, so that a process that is killed leaves either of them.
    let attached = default_qdisc(host)?;
    if attached.as_ref().is_some_and(|now| now != kind) && change(host, &explicit).is_ok() {
        return Ok(());
    }
    change(host, &TrafficControl::delete(link, TC_H_ROOT, handle))?;
    if attached.is_some() {
        return Ok(());
    }
    // Only the initial network namespace shows the kind that the kernel attaches.
    let shown = read::root(host, View::of(host)?, link)?;
    if let RootState::Default {
        shows: Some(now), ..
    } = &shown
        && now != kind
        && !OF_THE_DEVICE.contains(&now.as_str())
    {
        // If the kernel does not have the kind any more, its default stays.
        let _ = change(host, &explicit);
    }
    Ok(())
}

/// What is different about the root after a revert to `from`.
pub(super) fn note(root: &RootQdisc, from: &RootState, now: &RootState) -> Option<String> {
    let device = root.device();
    let RootState::Default {
        shows: Some(kind),
        default_qdisc: before,
    } = from
    else {
        return None;
    };
    match now {
        RootState::Explicit(explicit) if is_same_kind(now, from) => Some(format!(
            "the kernel attaches another qdisc than {kind} by default now, so that {} was attached to {device} explicitly",
            explicit.kind
        )),
        RootState::Default {
            shows: Some(now), ..
        } if now != kind => Some(format!(
            "{device} had {kind} by the kernel's default and has {now} now"
        )),
        RootState::Default {
            default_qdisc: Some(now),
            ..
        } if kind == "mq" => before.as_ref().filter(|before| *before != now).map(|before| {
            format!(
                "net.core.default_qdisc was {before} when {device} was shaped and is {now} now: the queues of {device} have the present default"
            )
        }),
        _ => None,
    }
}
