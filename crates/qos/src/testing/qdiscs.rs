//! Queueing disciplines: created, changed, replaced, deleted.

use std::collections::BTreeMap;

use super::options::given;
use super::{Answered, State, refuse};
use crate::bytes::Bytes;
use crate::netlink::traffic_words as words;
use crate::netlink::*;

#[derive(Debug, Clone)]
pub(super) enum Root {
    /// The link was never up, or has lost its root while it was down: none is shown.
    Noop,
    Default(String),
    Explicit(Queue),
}

#[derive(Debug, Clone)]
pub(super) struct Queue {
    pub(super) kind: String,
    pub(super) handle: u32,
    pub(super) options: Option<Vec<u8>>,
    /// The children of `mq`, by the class that is their parent.
    pub(super) children: BTreeMap<u32, Queue>,
}

impl Queue {
    pub(super) fn drawn(&self) -> String {
        let options = self.options.clone().map(Bytes::from);
        let mut drawn = format!("{} {} {options:?}", self.kind, format_handle(self.handle));
        for (parent, child) in &self.children {
            let under = format_handle(*parent);
            drawn.push_str(&format!(", {under} {}", child.drawn()));
        }
        drawn
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Hook {
    pub(super) kind: Option<String>,
    /// Whether there ever was a hook: its slot remains.
    pub(super) was_there: bool,
    pub(super) block: u32,
}

impl State {
    pub(super) fn list_qdiscs(&self) -> Vec<Message> {
        let mut all = Vec::new();
        for link in &self.links {
            let mut show = |handle, parent, kind: &str, options: Option<&[u8]>, block: u32| {
                let mut payload = vec![0; 4];
                for word in [link.index, handle, parent, 1] {
                    payload.extend(u32::to_ne_bytes(word));
                }
                let mut attributes = Attributes::new().with_text(TCA_KIND, kind);
                if let Some(options) = options {
                    attributes = attributes.with(TCA_OPTIONS, options);
                }
                if block != 0 {
                    attributes = attributes.with(TCA_INGRESS_BLOCK, &block.to_ne_bytes());
                }
                payload.extend(attributes.into_bytes());
                all.push(Message {
                    number: RTM_NEWQDISC,
                    payload,
                });
            };
            match &link.root {
                Root::Noop => {}
                Root::Default(kind) => {
                    show(0, TC_H_ROOT, kind, None, 0);
                    for queue in 1..=link.queues {
                        if kind == "mq" {
                            show(0, queue, &self.default_qdisc, None, 0);
                        }
                    }
                }
                Root::Explicit(queue) => {
                    show(
                        queue.handle,
                        TC_H_ROOT,
                        &queue.kind,
                        queue.options.as_deref(),
                        0,
                    );
                    for number in 1..=link.queues {
                        let parent = queue.handle | number;
                        match queue.children.get(&parent) {
                            Some(child) => {
                                let options = child.options.as_deref();
                                show(child.handle, parent, &child.kind, options, 0);
                            }
                            None if queue.kind == "mq" => {
                                show(0, parent, &self.default_qdisc, None, 0);
                            }
                            // All children have the options of the root.
                            None if queue.kind == "cake_mq" => {
                                show(0, parent, "cake", queue.options.as_deref(), 0);
                            }
                            None => {}
                        }
                    }
                }
            }
            if let Some(kind) = &link.hook.kind {
                show(
                    INGRESS_HANDLE,
                    TC_H_INGRESS,
                    kind,
                    Some(&[]),
                    link.hook.block,
                );
            }
        }
        all
    }

    pub(super) fn new_qdisc(&mut self, request: &Request) -> Answered<()> {
        let Some([index, handle, parent, _]) = words(&request.header) else {
            return refuse(EINVAL, "");
        };
        let place = self.place(index)?;
        let kind = find(&request.attributes, TCA_KIND)
            .map(|kind| kind.text())
            .unwrap_or_default();
        let options = find(&request.attributes, TCA_OPTIONS).map(|options| options.value);
        let has = |flag| request.flags & flag != 0;
        if parent == TC_H_INGRESS {
            // A mere lookup creates the slot.
            self.links[place].hook.was_there = true;
        }
        let there = self.there(place, parent)?;
        let other = match &there {
            Some((old, _)) if handle == 0 => {
                has(NLM_F_CREATE) && has(NLM_F_REPLACE) && (has(NLM_F_EXCL) || *old != kind)
            }
            Some((_, old_handle)) => *old_handle != handle,
            None => true,
        };
        if !other {
            if has(NLM_F_EXCL) {
                return refuse(EEXIST, "Exclusivity flag on, cannot modify");
            }
            if there.is_none_or(|(old, _)| old != kind) {
                return refuse(EINVAL, "Invalid qdisc name");
            }
            return self.change_qdisc(place, parent, options);
        }
        if handle != 0 {
            if there.is_some() && !has(NLM_F_REPLACE) {
                return refuse(EEXIST, "NLM_F_REPLACE needed to override");
            }
            if handle & 0xffff != 0 {
                return refuse(EINVAL, "Invalid minor handle");
            }
            if let Some(old) = self.by_handle(place, handle) {
                if has(NLM_F_EXCL) {
                    return refuse(EEXIST, "Exclusivity flag on, cannot override");
                }
                return if old == kind {
                    refuse(EOPNOTSUPP, "")
                } else {
                    refuse(EINVAL, "Invalid qdisc name")
                };
            }
        }
        if !has(NLM_F_CREATE) {
            let text = "Qdisc not found. To create specify NLM_F_CREATE flag";
            return refuse(ENOENT, text);
        }
        self.create_qdisc(place, parent, handle, &kind, options)
    }

    /// The kind and handle of the explicit qdisc at this parent; `None` if it is a default.
    fn there(&self, place: usize, parent: u32) -> Answered<Option<(String, u32)>> {
        let link = &self.links[place];
        Ok(match (parent, &link.root) {
            (TC_H_INGRESS, _) => link.hook.kind.clone().map(|kind| (kind, INGRESS_HANDLE)),
            (TC_H_ROOT, Root::Explicit(queue)) => Some((queue.kind.clone(), queue.handle)),
            (TC_H_ROOT, _) => None,
            (_, Root::Explicit(queue)) if queue.handle == parent & 0xffff_0000 => queue
                .children
                .get(&parent)
                .map(|child| (child.kind.clone(), child.handle)),
            _ => return refuse(ENOENT, "Failed to find specified qdisc"),
        })
    }

    fn by_handle(&self, place: usize, handle: u32) -> Option<&str> {
        let Root::Explicit(root) = &self.links[place].root else {
            return None;
        };
        let mut all = std::iter::once(root).chain(root.children.values());
        all.find(|queue| queue.handle == handle)
            .map(|queue| queue.kind.as_str())
    }

    fn change_qdisc(&mut self, place: usize, parent: u32, options: Option<&[u8]>) -> Answered<()> {
        let Some(options) = options else {
            return Ok(());
        };
        let Root::Explicit(root) = &mut self.links[place].root else {
            return Ok(());
        };
        let queue = match parent {
            TC_H_ROOT => Some(root),
            _ => root.children.get_mut(&parent),
        };
        if let Some(queue) = queue {
            let was = queue.options.clone().unwrap_or_default();
            queue.options = given(&queue.kind, Some(&was), Some(options))?;
        }
        Ok(())
    }

    fn create_qdisc(
        &mut self,
        place: usize,
        parent: u32,
        handle: u32,
        kind: &str,
        options: Option<&[u8]>,
    ) -> Answered<()> {
        if !self.kinds.contains(kind) {
            return refuse(ENOENT, "Specified qdisc kind is unknown");
        }
        let is_hook = matches!(kind, "ingress" | "clsact");
        if parent == TC_H_INGRESS {
            if !is_hook {
                let text = "Specified parent ID is reserved for ingress and clsact Qdiscs";
                return refuse(EINVAL, text);
            }
            // It replaces the existing hook, and removes its filters with it.
            let classifiers = &mut self.links[place].classifiers;
            classifiers.retain(|one| !one.is_at(None));
            self.links[place].hook.kind = Some(kind.to_owned());
            return Ok(());
        }
        let of_queues = matches!(kind, "mq" | "cake_mq");
        if is_hook || of_queues && (parent != TC_H_ROOT || self.links[place].queues < 2) {
            return refuse(EOPNOTSUPP, "");
        }
        let handle = if handle == 0 {
            self.next_handle += 1;
            self.next_handle << 16
        } else {
            handle
        };
        let queue = Queue {
            kind: kind.to_owned(),
            handle,
            options: given(kind, None, options)?,
            children: BTreeMap::new(),
        };
        match &mut self.links[place].root {
            Root::Explicit(root) if parent != TC_H_ROOT && root.kind == "cake_mq" => {
                return refuse(EOPNOTSUPP, "can't replace cake_mq sub-qdiscs");
            }
            Root::Explicit(root) if parent != TC_H_ROOT => {
                root.children.insert(parent, queue);
            }
            _ => self.links[place].replace_root(Root::Explicit(queue)),
        }
        Ok(())
    }

    pub(super) fn delete_qdisc(&mut self, request: &Request) -> Answered<()> {
        const NOT_THERE: &str = "Cannot find specified qdisc on specified device";
        let Some([index, handle, parent, _]) = words(&request.header) else {
            return refuse(EINVAL, "");
        };
        let place = self.place(index)?;
        let link = &mut self.links[place];
        let there = match (parent, &link.root) {
            (TC_H_INGRESS, _) if link.hook.kind.is_some() => INGRESS_HANDLE,
            (TC_H_INGRESS, _) if !link.hook.was_there => return refuse(ENOENT, NOT_THERE),
            (TC_H_ROOT, Root::Explicit(queue)) => queue.handle,
            (TC_H_INGRESS | TC_H_ROOT, _) => 0,
            _ => return refuse(EOPNOTSUPP, ""),
        };
        if handle != 0 && handle != there {
            return refuse(EINVAL, "Invalid handle");
        }
        if there == 0 {
            return refuse(ENOENT, "Cannot delete qdisc with handle of zero");
        }
        if parent == TC_H_INGRESS {
            link.hook.kind = None;
            link.hook.block = 0;
            link.classifiers.retain(|one| !one.is_at(None));
        } else {
            link.replace_root(Root::Noop);
            self.activate(place);
        }
        Ok(())
    }
}
