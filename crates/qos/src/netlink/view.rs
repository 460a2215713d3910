//! Cached reads of the kernel: each request is made once per read epoch.

use std::collections::HashMap;

use hosttune_core::host::ReadEpoch;
use hosttune_core::{Host, HostError};

use super::{Class, Filter, Link, Netlink, NetlinkError, TrafficControl};

/// The answers of one read epoch. Nothing changes within an epoch, so no request is made twice: a
/// plan reads the same link in ten places.
#[derive(Debug, Default)]
pub(super) struct Answers {
    look: Option<ReadEpoch>,
    links: HashMap<String, Option<Link>>,
    ifbs: Option<Vec<Link>>,
    qdiscs: Option<Vec<TrafficControl>>,
    classes: HashMap<u32, Vec<Class>>,
    filters: HashMap<(u32, u32), Vec<Filter>>,
}

impl Answers {
    /// The answers of this epoch; those of any other one are dropped.
    fn of(&mut self, look: ReadEpoch) -> &mut Self {
        if self.look != Some(look) {
            *self = Self {
                look: Some(look),
                ..Self::default()
            };
        }
        self
    }
}

/// The kernel within the host's read epoch. Outside of one, every answer is fresh.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    backend: &'a Netlink,
    look: Option<ReadEpoch>,
}

impl<'a> View<'a> {
    /// A view through the netlink backend of the host.
    ///
    /// # Errors
    /// `NotApplicable` if the host has none.
    pub fn of(host: &'a Host) -> Result<Self, HostError> {
        Ok(Self {
            backend: host.backend::<Netlink>()?,
            look: host.look(),
        })
    }

    /// A view in which every answer is fresh, in a read epoch too: for counters.
    ///
    /// # Errors
    /// `NotApplicable` if the host has none.
    pub(crate) fn fresh(host: &'a Host) -> Result<Self, HostError> {
        let backend = host.backend::<Netlink>()?;
        Ok(Self {
            backend,
            look: None,
        })
    }

    fn once<T: Clone>(
        self,
        kept: impl Fn(&Answers) -> Option<&T>,
        ask: impl FnOnce(&Netlink) -> Result<T, NetlinkError>,
        keep: impl FnOnce(&mut Answers, T),
    ) -> Result<T, NetlinkError> {
        let Some(look) = self.look else {
            return ask(self.backend);
        };
        if let Some(answer) = kept(self.backend.answers.borrow_mut().of(look)) {
            return Ok(answer.clone());
        }
        let answer = ask(self.backend)?;
        keep(self.backend.answers.borrow_mut().of(look), answer.clone());
        Ok(answer)
    }

    /// As [`Netlink::link`].
    ///
    /// # Errors
    /// As there.
    pub fn link(self, name: &str) -> Result<Option<Link>, NetlinkError> {
        self.once(
            |answers| answers.links.get(name),
            |backend| backend.link(name),
            |answers, link| drop(answers.links.insert(name.to_owned(), link)),
        )
    }

    /// As [`Netlink::ifbs`].
    ///
    /// # Errors
    /// As there.
    pub fn ifbs(self) -> Result<Vec<Link>, NetlinkError> {
        self.once(
            |answers| answers.ifbs.as_ref(),
            Netlink::ifbs,
            |answers, ifbs| answers.ifbs = Some(ifbs),
        )
    }

    /// As [`Netlink::qdiscs`].
    ///
    /// # Errors
    /// As there.
    pub fn qdiscs(self) -> Result<Vec<TrafficControl>, NetlinkError> {
        self.once(
            |answers| answers.qdiscs.as_ref(),
            Netlink::qdiscs,
            |answers, qdiscs| answers.qdiscs = Some(qdiscs),
        )
    }

    /// As [`Netlink::classes`].
    ///
    /// # Errors
    /// As there.
    pub fn classes(self, link: &Link) -> Result<Vec<Class>, NetlinkError> {
        self.once(
            |answers| answers.classes.get(&link.index),
            |backend| backend.classes(link),
            |answers, classes| drop(answers.classes.insert(link.index, classes)),
        )
    }

    /// As [`Netlink::filters`].
    ///
    /// # Errors
    /// As there.
    pub fn filters(self, index: u32, parent: u32) -> Result<Vec<Filter>, NetlinkError> {
        self.once(
            |answers| answers.filters.get(&(index, parent)),
            |backend| backend.filters(index, parent),
            |answers, filters| drop(answers.filters.insert((index, parent), filters)),
        )
    }
}
