//! What the kernel shows of all links, read without any knob.

use std::collections::BTreeMap;

use hosttune_qos::Netlink;
use hosttune_qos::netlink::{INGRESS_FILTERS, TC_H_INGRESS, TC_H_ROOT};

/// A filter at the ingress hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) priority: u16,
    pub(super) kind: String,
    /// Whether it is a redirect of ours, and the name of the link that it leads to, if there is one.
    pub(super) ours: bool,
    pub(super) leads_to: Option<String>,
}

/// One link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) up: bool,
    pub(super) alias: Option<String>,
    /// Kind, handle and options of the root, or `default` if none was set explicitly.
    pub(super) root: String,
    /// The kind of the ingress hook.
    pub(super) hook: Option<String>,
    pub(super) filters: Vec<Filter>,
}

impl Shown {
    /// Whether it is an IFB that hosttune has made.
    pub(super) fn is_our_ifb(&self) -> bool {
        let alias = self.alias.as_deref().unwrap_or_default();
        self.kind == "ifb" && alias.starts_with("hosttune")
    }
}

/// All links but the loopback device, by index.
pub(super) type Picture = BTreeMap<u32, Shown>;

pub(super) fn take() -> Picture {
    let netlink = Netlink::open().unwrap();
    let links = netlink.links().unwrap();
    let qdiscs = netlink.qdiscs().unwrap();
    let name = |index: u32| {
        links
            .iter()
            .find(|link| link.index == index)
            .map(|link| link.name.clone())
    };
    let mut picture = Picture::new();
    for link in links.iter().filter(|link| link.name != "lo") {
        let of = |parent: u32| {
            qdiscs
                .iter()
                .find(|qdisc| qdisc.link == link.index && qdisc.parent == parent)
        };
        let root = of(TC_H_ROOT).filter(|root| root.handle != 0);
        let root = root.map(|root| {
            let options = root
                .options()
                .unwrap_or_default()
                .iter()
                .map(|byte| format!("{byte:02x}"));
            format!(
                "{} {:x} {}",
                root.kind,
                root.handle >> 16,
                options.collect::<String>()
            )
        });
        let hook = of(TC_H_INGRESS).map(|hook| hook.kind.clone());
        let filters = match hook {
            None => Vec::new(),
            Some(_) => netlink.filters(link.index, INGRESS_FILTERS).unwrap(),
        };
        let filters = filters.iter().map(|filter| {
            let mirred = filter.mirred();
            Filter {
                priority: filter.priority,
                kind: filter.kind.clone(),
                ours: mirred
                    .as_ref()
                    .is_some_and(|mirred| mirred.cookie.starts_with(b"hosttune")),
                leads_to: mirred.and_then(|mirred| name(mirred.device)),
            }
        });
        picture.insert(
            link.index,
            Shown {
                name: link.name.clone(),
                kind: link.kind.clone(),
                up: link.is_up(),
                alias: link.alias.clone(),
                root: root.unwrap_or_else(|| "default".to_owned()),
                hook,
                filters: filters.collect(),
            },
        );
    }
    picture
}
