//! Filters of ingress and egress, at a hook or at a root qdisc with classes.

use std::collections::BTreeMap;

use super::qdiscs::Root;
use super::{Answered, State, refuse};
use crate::bytes::Bytes;
use crate::netlink::traffic_words as words;
use crate::netlink::*;

const TCA_U32_ACT: u16 = 7;
const TCA_MATCHALL_ACT: u16 = 2;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_MIRRED_PARMS: u16 = 2;
const U32_TABLE: u32 = 0x8000_0000;
const U32_FIRST: u32 = 0x8000_0800;

/// All filters of one priority.
#[derive(Debug, Clone)]
pub(super) struct Classifier {
    parent: u32,
    priority: u32,
    protocol: u32,
    kind: String,
    filters: Vec<(u32, Vec<u8>)>,
}

impl Classifier {
    /// Whether it is at this root qdisc, or at the hook for `None`.
    pub(super) fn is_at(&self, root: Option<u32>) -> bool {
        match root {
            Some(handle) => self.parent == handle,
            None => matches!(self.parent, INGRESS_FILTERS | EGRESS_FILTERS),
        }
    }

    pub(super) fn is_of(&self, kind: &str) -> bool {
        self.kind == kind
    }

    /// Number of its filters that redirect packets.
    pub(super) fn mirreds(&self) -> usize {
        let leads = |(_, options): &&(u32, Vec<u8>)| device_in(options).is_some();
        self.filters.iter().filter(leads).count()
    }

    /// Handles the removal of a device to which packets were redirected.
    pub(super) fn lose(&mut self, index: u32) {
        for (_, options) in &mut self.filters {
            if let Some(at) = device_in(options)
                && options[at..at + 4] == index.to_ne_bytes()
            {
                options[at..at + 4].fill(0);
            }
        }
    }

    pub(super) fn draw(
        &self,
        state: &State,
        device: &str,
        snapshot: &mut BTreeMap<String, String>,
    ) {
        for (handle, options) in &self.filters {
            let what = format!(
                "filter {device} {:x} priority {} handle {handle:x}",
                self.parent, self.priority
            );
            let mut drawn = options.clone();
            let mut leads = String::new();
            if let Some(at) = device_in(options) {
                let index = u32::from_ne_bytes(options[at..at + 4].try_into().unwrap_or_default());
                leads = format!(" to {}", state.name_of(index));
                drawn[at..at + 4].fill(0);
            }
            let shown = format!(
                "{} protocol {:x}{leads} {}",
                self.kind,
                self.protocol,
                Bytes::from(drawn)
            );
            snapshot.insert(what, shown);
        }
    }
}

/// The offset of the target device's index in the options.
fn device_in(options: &[u8]) -> Option<usize> {
    let actions = find(options, TCA_U32_ACT)
        .filter(|actions| actions.value.len() > 36)
        .or_else(|| find(options, TCA_MATCHALL_ACT))?;
    let action = attributes(actions.value).next()?.value;
    if find(action, TCA_ACT_KIND)?.text() != "mirred" {
        return None;
    }
    let parameters = find(find(action, TCA_ACT_OPTIONS)?.value, TCA_MIRRED_PARMS)?.value;
    let at = parameters.as_ptr() as usize - options.as_ptr() as usize + 24;
    (at + 4 <= options.len()).then_some(at)
}

impl State {
    /// Whether a filter redirects packets to a link that is down or gone.
    pub(super) fn loses_packets(&self) -> bool {
        let classifiers = self.links.iter().flat_map(|link| &link.classifiers);
        let mut filters = classifiers.flat_map(|classifier| &classifier.filters);
        filters.any(|(_, options)| {
            device_in(options).is_some_and(|at| {
                let index = u32::from_ne_bytes(options[at..at + 4].try_into().unwrap_or_default());
                !self.place(index).is_ok_and(|place| self.links[place].up)
            })
        })
    }

    /// Returns the position of the link, if filters can be attached to it there.
    fn hook(&self, index: u32, parent: u32) -> Answered<usize> {
        let place = self.place(index)?;
        let kind = self.links[place].hook.kind.as_deref();
        if let Root::Explicit(root) = &self.links[place].root
            && root.handle == parent
        {
            return match root.kind.as_str() {
                "cake" | "fq_codel" | "prio" | "sfq" => Ok(place),
                "noqueue" | "pfifo" | "pfifo_fast" => refuse(EINVAL, "Qdisc not classful"),
                _ => refuse(EOPNOTSUPP, "Class doesn't support blocks"),
            };
        }
        match (parent, kind) {
            (_, None) => refuse(EINVAL, "Parent Qdisc doesn't exists"),
            (INGRESS_FILTERS, Some(_)) | (EGRESS_FILTERS, Some("clsact")) => Ok(place),
            _ => refuse(EINVAL, "Specified class doesn't exist"),
        }
    }

    pub(super) fn list_filters(&self, request: &Request) -> Answered<Vec<Message>> {
        let Some([index, _, parent, _]) = words(&request.header) else {
            return refuse(EINVAL, "");
        };
        let mut all = Vec::new();
        // A missing hook has an empty list.
        let Ok(place) = self.hook(index, parent) else {
            return Ok(all);
        };
        for one in &self.links[place].classifiers {
            if one.parent != parent {
                continue;
            }
            let mut show = |handle: u32, options: Option<&[u8]>| {
                let mut payload = vec![0; 4];
                for word in [index, handle, parent, one.priority << 16 | one.protocol] {
                    payload.extend(word.to_ne_bytes());
                }
                let mut attributes = Attributes::new().with_text(TCA_KIND, &one.kind);
                if let Some(options) = options {
                    attributes = attributes.with(TCA_OPTIONS, options);
                }
                payload.extend(attributes.into_bytes());
                all.push(Message {
                    number: RTM_NEWTFILTER,
                    payload,
                });
            };
            show(0, None);
            if one.kind == "u32" {
                show(U32_TABLE, Some(&[]));
            }
            for (handle, options) in &one.filters {
                show(*handle, Some(options));
            }
        }
        Ok(all)
    }

    pub(super) fn new_filter(&mut self, request: &Request) -> Answered<()> {
        let Some([index, handle, parent, info]) = words(&request.header) else {
            return refuse(EINVAL, "");
        };
        let (priority, protocol) = (info >> 16, info & 0xffff);
        let place = self.hook(index, parent)?;
        let kind = find(&request.attributes, TCA_KIND)
            .map(|kind| kind.text())
            .unwrap_or_default();
        let options = find(&request.attributes, TCA_OPTIONS)
            .map_or_else(Vec::new, |options| options.value.to_vec());
        let same = |one: &Classifier| one.parent == parent && one.priority == priority;
        let found = self.links[place].classifiers.iter().position(same);
        if let Some(at) = found {
            let one = &self.links[place].classifiers[at];
            if one.protocol != protocol {
                let text = "Filter with specified priority/protocol not found";
                return refuse(EINVAL, text);
            }
            if one.kind != kind {
                let text = "Specified filter kind does not match existing one";
                return refuse(EINVAL, text);
            }
        } else if !self.kinds.contains(&kind) {
            return refuse(ENOENT, "TC classifier not found");
        }
        let filters = found.map_or(&[][..], |at| &self.links[place].classifiers[at].filters);
        if filters.iter().any(|(there, _)| *there == handle) {
            return if request.flags & NLM_F_EXCL != 0 {
                refuse(EEXIST, "Filter already exists")
            } else {
                refuse(EEXIST, "")
            };
        }
        if kind == "matchall" && !filters.is_empty() {
            return refuse(EEXIST, "");
        }
        if let Some(at) = device_in(&options) {
            if !self.kinds.contains("mirred") {
                return refuse(ENOENT, "Failed to load TC action module");
            }
            let index = u32::from_ne_bytes(options[at..at + 4].try_into().unwrap_or_default());
            self.place(index)?;
        }
        // A filter without a handle is added as one more, exclusive or not.
        let last = filters.iter().map(|(handle, _)| *handle).max();
        let handle = match (handle, kind.as_str()) {
            (0, "u32") => last.map_or(U32_FIRST, |last| last + 1),
            (0, _) => 1,
            (handle, _) => handle,
        };
        let classifiers = &mut self.links[place].classifiers;
        let at = found.unwrap_or_else(|| {
            let behind = |one: &Classifier| one.priority > priority;
            let at = classifiers.iter().position(behind);
            let at = at.unwrap_or(classifiers.len());
            let new = Classifier {
                parent,
                priority,
                protocol,
                kind,
                filters: Vec::new(),
            };
            classifiers.insert(at, new);
            at
        });
        classifiers[at].filters.push((handle, options));
        Ok(())
    }

    pub(super) fn delete_filter(&mut self, request: &Request) -> Answered<()> {
        let Some([index, handle, parent, info]) = words(&request.header) else {
            return refuse(EINVAL, "");
        };
        let (priority, protocol) = (info >> 16, info & 0xffff);
        let place = self.hook(index, parent)?;
        let kind = find(&request.attributes, TCA_KIND).map(|kind| kind.text());
        let classifiers = &mut self.links[place].classifiers;
        let same = |one: &Classifier| {
            one.parent == parent && one.priority == priority && one.protocol == protocol
        };
        let Some(at) = classifiers.iter().position(same) else {
            return refuse(ENOENT, "Filter with specified priority/protocol not found");
        };
        let one = &mut classifiers[at];
        if kind.is_some_and(|kind| kind != one.kind) {
            return refuse(EINVAL, "Specified filter kind does not match existing one");
        }
        if handle == 0 {
            // A handle of zero deletes the filters of everybody.
            classifiers.remove(at);
            return Ok(());
        }
        let Some(which) = one.filters.iter().position(|(there, _)| *there == handle) else {
            return refuse(ENOENT, "Specified filter handle not found");
        };
        one.filters.remove(which);
        if one.filters.is_empty() {
            classifiers.remove(at);
        }
        Ok(())
    }
}
