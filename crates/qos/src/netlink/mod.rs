//! The wire: rtnetlink, one message after the other, with the kernel's own words in every error.
//!
//! Messages are kept as the bytes they are. What the kernel dumped of a queueing discipline is put
//! back as the same bytes: a crate that reads options of kinds that it does not know and writes
//! them again changes them.

mod acknowledgement;
mod attributes;
mod error;
mod filters;
mod links;
mod monitor;
mod numbers;
mod request;
mod socket;
mod statistics;
mod traffic;
mod view;

use std::cell::{OnceCell, RefCell};
use std::fmt;

use view::Answers;

use crate::hardware_address::HardwareAddress;

pub use acknowledgement::Acknowledgement;
pub use attributes::{Attribute, Attributes, attributes, find};
pub use error::NetlinkError;
pub(crate) use filters::COOKIE;
pub(crate) use filters::Keeps;
pub use filters::{Filter, Mirred, PRIORITY};
pub use links::Link;
pub use monitor::{KernelMonitor, Monitor, Notice, Noticed, Subject};
pub use numbers::*;
pub use request::{Message, Request};
pub use socket::KernelSocket;
pub use statistics::{LinkStatistics, TrafficStatistics};
#[cfg(feature = "testing")]
pub(crate) use traffic::words as traffic_words;
pub use traffic::{Class, TrafficControl, shown_handle};
pub use view::View;

/// Something that answers rtnetlink requests: the kernel, or what stands for it.
pub trait Rtnetlink: fmt::Debug + Send {
    /// Everything that is answered to a request to list; all of it from one moment.
    ///
    /// # Errors
    /// What the kernel answers.
    fn dump(&self, request: &Request) -> Result<Vec<Message>, NetlinkError>;

    /// The one message that is answered to a request to look.
    ///
    /// # Errors
    /// What the kernel answers: ENODEV where there is no such link.
    fn get(&self, request: &Request) -> Result<Message, NetlinkError>;

    /// Has something changed.
    ///
    /// # Errors
    /// What the kernel answers; nothing was changed then.
    fn change(&mut self, request: &Request) -> Result<(), NetlinkError>;
}

/// The wire that is plugged into a host.
///
/// ```no_run
/// use hosttune_core::Session;
/// use hosttune_qos::Netlink;
///
/// let session = Session::live("router")?.with(hosttune_qos::knobs).plug(Netlink::open()?);
/// # Ok::<(), hosttune_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Netlink {
    rtnetlink: Box<dyn Rtnetlink>,
    answers: RefCell<Answers>,
    /// In which network namespace it is, asked once: a socket stays where it was opened.
    pub(crate) namespace: OnceCell<Option<String>>,
}

impl Netlink {
    /// That of the running kernel, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// Where no such socket can be had.
    pub fn open() -> Result<Self, hosttune_core::HostError> {
        Ok(Self::over(KernelSocket::open()?))
    }

    /// The same, opened with the first question: for a program that may well ask none.
    ///
    /// Where it cannot be opened then, the question fails and says so. The network namespace is
    /// that of the thread which asks.
    pub fn on_demand() -> Self {
        Self::over(KernelSocket::on_demand())
    }

    /// Any other that answers.
    pub fn over(rtnetlink: impl Rtnetlink + 'static) -> Self {
        Self {
            rtnetlink: Box::new(rtnetlink),
            answers: RefCell::default(),
            namespace: OnceCell::new(),
        }
    }

    /// Has something changed, with one message.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn change(&mut self, request: &Request) -> Result<(), NetlinkError> {
        self.rtnetlink.change(request)
    }

    /// The link of this name; `None` where there is none.
    ///
    /// # Errors
    /// What the kernel answers otherwise.
    pub fn link(&self, name: &str) -> Result<Option<Link>, NetlinkError> {
        self.look_at(name)?.as_ref().map(Link::read).transpose()
    }

    /// The link of this number, whatever its name is; `None` where there is none.
    ///
    /// # Errors
    /// What the kernel answers otherwise.
    pub fn link_of_number(&self, index: u32) -> Result<Option<Link>, NetlinkError> {
        match self.rtnetlink.get(&Link::look_for_number(index)) {
            Ok(message) => Link::read(&message).map(Some),
            Err(error) if error.errno() == Some(ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn look_at(&self, name: &str) -> Result<Option<Message>, NetlinkError> {
        // A name that is too long is an error to the kernel, and certainly none that is there.
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Ok(None);
        }
        match self.rtnetlink.get(&Link::look_for(name)) {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.errno() == Some(ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What was counted of the link of this name; `None` where there is none.
    ///
    /// # Errors
    /// What the kernel answers otherwise.
    pub fn link_statistics(&self, name: &str) -> Result<Option<LinkStatistics>, NetlinkError> {
        Ok(self.look_at(name)?.as_ref().map(LinkStatistics::of))
    }

    /// All links.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        self.rtnetlink
            .dump(&Link::list())?
            .iter()
            .map(Link::read)
            .collect()
    }

    /// All links of the kind `ifb`.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn ifbs(&self) -> Result<Vec<Link>, NetlinkError> {
        let listed = self.rtnetlink.dump(&Link::list_of_kind("ifb"))?;
        let mut all = Vec::new();
        for message in &listed {
            all.push(Link::read(message)?);
        }
        // Where the kind is not known to the kernel yet, it lists all.
        all.retain(|link| link.kind == "ifb");
        Ok(all)
    }

    /// The link of the card with this permanent address, whatever its name is now; `None` where
    /// there is none.
    ///
    /// Virtual links on top of a card can show its address too: they have a kind and it has none,
    /// so it comes before them.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn link_of_card(&self, address: &HardwareAddress) -> Result<Option<Link>, NetlinkError> {
        let mut all = self.links()?;
        all.retain(|link| link.permanent_address.as_ref() == Some(address));
        all.sort_by_key(|link| (!link.kind.is_empty(), link.index));
        Ok(all.into_iter().next())
    }

    /// All queueing disciplines of all links, hidden ones excepted.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn qdiscs(&self) -> Result<Vec<TrafficControl>, NetlinkError> {
        self.traffic(&TrafficControl::list_qdiscs())
    }

    /// The classes of a link.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn classes(&self, link: &Link) -> Result<Vec<TrafficControl>, NetlinkError> {
        let mut all = self.traffic(&TrafficControl::list_classes(link))?;
        all.retain(|class| class.link == link.index);
        Ok(all)
    }

    /// The filters at one place of a link.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn filters(&self, index: u32, parent: u32) -> Result<Vec<Filter>, NetlinkError> {
        let listed = self.traffic(&Filter::list(index, parent))?;
        Ok(listed
            .into_iter()
            .filter(|one| one.link == index && one.parent == parent)
            .map(Filter::of)
            .collect())
    }

    fn traffic(&self, request: &Request) -> Result<Vec<TrafficControl>, NetlinkError> {
        let listed = self.rtnetlink.dump(request)?;
        Ok(listed.iter().filter_map(TrafficControl::read).collect())
    }
}
