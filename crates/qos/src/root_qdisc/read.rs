//! Reading the root qdisc, and finding what of it could not be restored.

use hosttune_core::{Host, HostError, HostErrorKind};

use super::{Attached, ExplicitRoot, RootState, options};
use crate::netlink::{
    INGRESS_HANDLE, Link, TC_H_INGRESS, TC_H_ROOT, TCA_EGRESS_BLOCK, TCA_INGRESS_BLOCK, TCA_STAB,
    TrafficControl, View,
};
use crate::qdisc::Qdisc;

/// The kinds that the kernel restores from what it showed, as measured on real kernels.
const EXACT: [&str; 25] = [
    "bfifo",
    "blackhole",
    "cake",
    "cake_mq",
    "codel",
    "drr",
    "fq",
    "fq_codel",
    "fq_pie",
    "hfsc",
    "hhf",
    "htb",
    "mq",
    "noqueue",
    "pfifo",
    "pfifo_fast",
    "pfifo_head_drop",
    "pie",
    "plug",
    "prio",
    "qfq",
    "sfb",
    "sfq",
    "skbprio",
    "tbf",
];

/// The kinds among them whose classes are created explicitly.
const HAVE_CLASSES: [&str; 4] = ["drr", "hfsc", "htb", "qfq"];

/// The root qdisc of the link with this index.
pub(crate) fn standing_at_root(all: &[TrafficControl], index: u32) -> Option<&TrafficControl> {
    all.iter()
        .find(|one| one.link == index && one.parent == TC_H_ROOT)
}

/// Whether requesting `wanted` results in the qdisc that is shown.
pub(crate) fn is_like(shown: &TrafficControl, wanted: &Qdisc) -> bool {
    let options = shown.options().map(|raw| raw.to_vec().into());
    shown.handle != 0
        && shown.kind == wanted.kind
        && options::alike(&shown.kind, options.as_ref(), Some(&wanted.options))
}

/// The file with the kind that the kernel attaches by default to a single queue.
const DEFAULT_QDISC: &str = "/proc/sys/net/core/default_qdisc";

/// The value of `net.core.default_qdisc`, or `None` in a network namespace that does not have it:
/// only the initial one does.
pub(super) fn default_qdisc(host: &Host) -> Result<Option<String>, HostError> {
    match host.read_text(DEFAULT_QDISC) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(error) if *error.kind() == HostErrorKind::Missing => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn root(host: &Host, backend: View<'_>, link: &Link) -> Result<RootState, HostError> {
    let mut all = backend.qdiscs()?;
    all.retain(|one| {
        one.link == link.index && one.parent != TC_H_INGRESS && one.handle != INGRESS_HANDLE
    });
    let Some(place) = all.iter().position(|one| one.parent == TC_H_ROOT) else {
        return Ok(RootState::Default {
            shows: None,
            default_qdisc: default_qdisc(host)?,
        });
    };
    let root = all.remove(place);
    if root.handle == 0 {
        return Ok(RootState::Default {
            shows: Some(root.kind),
            default_qdisc: default_qdisc(host)?,
        });
    }
    // A qdisc without a handle below the root is the kernel's own.
    all.retain(|one| one.handle != 0);
    all.sort_by_key(|one| (one.parent, one.handle));
    let mut lost = whole(&root);
    if HAVE_CLASSES.contains(&root.kind.as_str()) {
        let of_root = |class: &&TrafficControl| {
            class.handle >> 16 == root.handle >> 16 && class.handle & 0xffff != 0
        };
        let classes = backend.classes(link)?.iter().filter(of_root).count();
        if classes > 0 {
            lost.push(count(classes, "class", "classes"));
        }
    }
    let mut filters = filters_at(backend, link, root.handle)?;
    let mut children = Vec::new();
    if root.kind == "mq" {
        for child in all {
            lost.extend(whole(&child));
            filters += filters_at(backend, link, child.handle)?;
            if child.parent >> 16 != root.handle >> 16 {
                lost.push(format!("{} beneath one beneath it", child.kind));
            }
            children.push(Attached {
                parent: child.parent,
                handle: child.handle,
                options: child.options().map(|raw| raw.to_vec().into()),
                kind: child.kind,
            });
        }
    } else if !all.is_empty() {
        let one = "queueing discipline beneath it";
        lost.push(count(all.len(), one, "queueing disciplines beneath it"));
    }
    if filters > 0 {
        lost.push(count(filters, "filter", "filters"));
    }
    Ok(RootState::Explicit(ExplicitRoot {
        handle: root.handle,
        options: root.options().map(|raw| raw.to_vec().into()),
        kind: root.kind,
        children,
        lost,
        discards: false,
    }))
}

fn filters_at(backend: View<'_>, link: &Link, handle: u32) -> Result<usize, HostError> {
    let all = backend.filters(link.index, handle)?;
    Ok(all.iter().filter(|one| !one.is_of_a_table()).count())
}

/// What of this qdisc itself could not be restored.
fn whole(one: &TrafficControl) -> Vec<String> {
    let mut lost = Vec::new();
    if !EXACT.contains(&one.kind.as_str()) {
        lost.push(format!("{} cannot be put back exactly", one.kind));
    }
    if one.has(TCA_STAB) {
        lost.push("a size table".to_owned());
    }
    if one.has_rate_estimator() {
        lost.push("a rate estimator".to_owned());
    }
    if one.has(TCA_INGRESS_BLOCK) || one.has(TCA_EGRESS_BLOCK) {
        lost.push("a shared block of filters".to_owned());
    }
    lost
}

fn count(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}
