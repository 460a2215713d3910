//! A simulated kernel for rtnetlink.
//!
//! [`Kernel`] answers as the real kernel does for links, root queueing disciplines, ingress hooks
//! and filters: what it refuses, with which error number and text, and what it merges instead of
//! replacing, rounds, adds twice, or removes along with something else. A test compares it with
//! stock kernels, message by message. Together with
//! [`MemoryModules`](hosttune_modules::testing::MemoryModules) its kinds are loaded and unloaded with
//! modules.

mod filters;
mod links;
mod modules;
mod monitor;
mod options;
mod qdiscs;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::netlink::*;

pub use monitor::Script;

/// The kinds that this kernel has by default.
const KINDS: [&str; 13] = [
    "cake",
    "cake_mq",
    "clsact",
    "fq_codel",
    "ingress",
    "mq",
    "noqueue",
    "pfifo",
    "pfifo_fast",
    "prio",
    "red",
    "sfq",
    "tbf",
];

/// A simulated kernel. Clones share its state, and [`fork`](Self::fork) copies it.
#[derive(Debug, Clone)]
pub struct Kernel(Arc<Mutex<State>>);

#[derive(Debug, Clone)]
struct State {
    links: Vec<links::Device>,
    next_index: u32,
    next_handle: u32,
    default_qdisc: String,
    kinds: BTreeSet<String>,
    /// Whether packets have ever been redirected to a link that was down or missing.
    black_hole: bool,
    /// All notifications so far.
    told: Vec<Notice>,
    /// Number of messages that should change something.
    changes: usize,
}

type Answered<T> = Result<T, Acknowledgement>;

/// A refusal of the kernel, with a text unless it is empty.
fn refuse<T>(errno: i32, text: &str) -> Answered<T> {
    Err(Acknowledgement {
        errno,
        text: (!text.is_empty()).then(|| text.to_owned()),
        ..Acknowledgement::default()
    })
}

impl Default for Kernel {
    fn default() -> Self {
        Self::new()
    }
}

impl Kernel {
    /// A kernel with the link `lo` and nothing else.
    pub fn new() -> Self {
        let mut state = State {
            links: Vec::new(),
            next_index: 1,
            next_handle: 0x8000,
            default_qdisc: "fq_codel".to_owned(),
            kinds: KINDS
                .into_iter()
                .chain(["ifb", "matchall", "u32", "mirred"])
                .map(str::to_owned)
                .collect(),
            black_hole: false,
            told: Vec::new(),
            changes: 0,
        };
        state.add("lo", "", 1, true);
        Self(Arc::new(Mutex::new(state)))
    }

    /// An independent copy.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.state().clone())))
    }

    /// Adds a link of this kind with this many queues. A link without a queue of its own, such as
    /// veth, has `noqueue` by default.
    #[must_use]
    pub fn link(self, name: &str, kind: &str, queues: u32) -> Self {
        let no_queue = matches!(kind, "veth" | "dummy" | "bridge");
        self.state().add(name, kind, queues, no_queue);
        self
    }

    /// Adds a card with this permanent address and one queue.
    #[must_use]
    pub fn card(self, name: &str, address: &[u8]) -> Self {
        {
            let mut state = self.state();
            let place = state.add(name, "", 1, false);
            state.links[place].permanent = Some(address.to_vec());
        }
        self
    }

    /// Hot-plugs a link of this kind and brings it up. It is not the same link as an earlier one of
    /// this name.
    pub fn plug_in(&self, name: &str, kind: &str) {
        let no_queue = matches!(kind, "veth" | "dummy" | "bridge");
        let mut state = self.state();
        let place = state.add(name, kind, 1, no_queue);
        state.tell(Subject::Link, place);
        state.links[place].up = true;
        state.activate(place);
        state.tell(Subject::Link, place);
    }

    /// Puts a VLAN of this name on top of a link.
    ///
    /// # Panics
    /// If there is no such link.
    pub fn put_on_top(&self, name: &str, lower: &str) {
        let mut state = self.state();
        let index = state.named(lower).index;
        let place = state.add(name, "vlan", 1, true);
        state.links[place].lower = Some(index);
        state.tell(Subject::Link, place);
    }

    /// Makes a link a port of another one, such as a bridge.
    ///
    /// # Panics
    /// If there is no such link.
    pub fn make_port(&self, name: &str, master: &str) {
        let mut state = self.state();
        let index = state.named(master).index;
        state.named(name).master = Some(index);
    }

    /// Removes a link with everything on it. Does nothing if there is none.
    pub fn pull_out(&self, name: &str) {
        let mut state = self.state();
        if let Some(place) = state.links.iter().position(|link| link.name == name) {
            state.tell(Subject::LinkGone, place);
            state.lose(place);
            state.black_hole |= state.loses_packets();
        }
    }

    /// Reports a change of a default route. The files in `/proc/net` say which one is in effect.
    pub fn change_route(&self) {
        self.state().told.push(Notice {
            subject: Subject::Route,
            index: 0,
            name: None,
        });
    }

    /// Renames a link.
    ///
    /// # Panics
    /// If there is no such link, or there already is one with the new name.
    pub fn rename(&self, name: &str, to: &str) {
        let mut state = self.state();
        let taken = state.links.iter().any(|link| link.name == to);
        assert!(!taken, "a link {to} already exists");
        let place = state.links.iter().position(|link| link.name == name);
        let place = place.unwrap_or_else(|| panic!("there is no link {name}"));
        to.clone_into(&mut state.links[place].name);
        state.tell(Subject::Link, place);
    }

    /// Sets or clears the carrier of a link.
    ///
    /// # Panics
    /// If there is no such link.
    pub fn set_carrier(&self, name: &str, carrier: bool) {
        let mut state = self.state();
        let place = state.links.iter().position(|link| link.name == name);
        let place = place.unwrap_or_else(|| panic!("there is no link {name}"));
        state.links[place].carrier = carrier;
        state.tell(Subject::Link, place);
    }

    /// Number of messages so far that changed something or tried to.
    pub fn changes(&self) -> usize {
        self.state().changes
    }

    /// Removes a kind of queueing discipline (`cake`), classifier (`matchall`), action (`mirred`)
    /// or link (`ifb`), as on a kernel that was built without it.
    #[must_use]
    pub fn without(self, kind: &str) -> Self {
        self.state().kinds.remove(kind);
        self
    }

    /// Sets `net.core.default_qdisc`, which links get that come up from now on.
    pub fn set_default_qdisc(&self, kind: &str) {
        kind.clone_into(&mut self.state().default_qdisc);
    }

    /// Everything that is visible, with one line for each thing. Links are shown by name, because a
    /// recreated link has another index. Once packets have been lost on the way to a link that was
    /// down or gone, that remains visible, whatever is repaired afterwards.
    pub fn snapshot(&self) -> BTreeMap<String, String> {
        let state = self.state();
        let mut snapshot = BTreeMap::new();
        for device in &state.links {
            state.draw(device, &mut snapshot);
        }
        if state.black_hole {
            let what = "a filter sent packets to a link that was down or not there";
            snapshot.insert("lost".to_owned(), what.to_owned());
        }
        snapshot
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer<T>(
        &self,
        request: &Request,
        answer: impl FnOnce(&mut State) -> Answered<T>,
    ) -> Result<T, NetlinkError> {
        answer(&mut self.state()).map_err(|refused| NetlinkError::refused(request, &refused))
    }
}

impl Rtnetlink for Kernel {
    fn dump(&self, request: &Request) -> Result<Vec<Message>, NetlinkError> {
        self.answer(request, |state| match request.number {
            RTM_GETLINK => Ok(state.links.iter().map(links::Device::shown).collect()),
            RTM_GETQDISC => Ok(state.list_qdiscs()),
            RTM_GETTFILTER => state.list_filters(request),
            // None of the kinds that this kernel has can have explicitly created classes.
            RTM_GETTCLASS => Ok(Vec::new()),
            _ => refuse(EOPNOTSUPP, ""),
        })
    }

    fn get(&self, request: &Request) -> Result<Message, NetlinkError> {
        self.answer(request, |state| state.look_for_link(request))
    }

    fn change(&mut self, request: &Request) -> Result<(), NetlinkError> {
        self.answer(request, |state| {
            state.changes += 1;
            // The link of a deletion is known only before it is deleted.
            let before = state.told_of(request);
            let answer = match request.number {
                RTM_NEWLINK => state.new_link(request),
                RTM_SETLINK => state.set_link(request),
                RTM_DELLINK => state.delete_link(request),
                RTM_NEWQDISC => state.new_qdisc(request),
                RTM_DELQDISC => state.delete_qdisc(request),
                RTM_NEWTFILTER => state.new_filter(request),
                RTM_DELTFILTER => state.delete_filter(request),
                _ => refuse(EOPNOTSUPP, ""),
            };
            state.black_hole |= state.loses_packets();
            if answer.is_ok() {
                let notice = before.or_else(|| state.told_of(request));
                state.told.extend(notice);
            }
            answer
        })
    }
}
