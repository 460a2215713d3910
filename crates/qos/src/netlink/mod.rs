//! The netlink backend: rtnetlink, one message at a time, with the kernel's own text in every error.
//!
//! Messages are kept as raw bytes. A qdisc is restored from the same bytes that the kernel dumped:
//! a crate that parses the options of kinds it does not know and writes them again would change
//! them.

mod emitted;
mod filters;
mod leading;
mod links;
#[cfg(test)]
mod requests_tests;
mod statistics;
mod traffic;
mod traffic_numbers;
mod view;

use std::cell::{OnceCell, RefCell};

use view::Answers;

use crate::hardware_address::HardwareAddress;
use crate::ingress_programs::{IngressProgram, IngressPrograms, Unknown};

pub(crate) use filters::COOKIE;
pub(crate) use filters::Keeps;
pub use filters::{Filter, Mirred, PRIORITY};
pub use hosttune_netlink::numbers::*;
pub use hosttune_netlink::{
    Acknowledgement, Attribute, Attributes, KernelMonitor, KernelSocket, Message, Monitor,
    NetlinkError, Notice, Request, Rtnetlink, Subject, WaitOutcome, attributes, find,
};
pub use links::Link;
pub use statistics::{LinkStatistics, TrafficStatistics};
#[cfg(feature = "testing")]
pub(crate) use traffic::words as traffic_words;
pub use traffic::{Class, TrafficControl, format_handle};
pub use traffic_numbers::*;
pub use view::View;

/// The netlink backend of a host.
///
/// ```no_run
/// use hosttune_core::Session;
/// use hosttune_qos::Netlink;
///
/// let session = Session::live("router")?.with(hosttune_qos::knobs).with_backend(Netlink::open()?);
/// # Ok::<(), hosttune_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Netlink {
    rtnetlink: Box<dyn Rtnetlink>,
    answers: RefCell<Answers>,
    /// The network namespace, determined once: a socket stays in the one where it was opened.
    pub(crate) namespace: OnceCell<Option<String>>,
    programs: Box<dyn IngressPrograms>,
}

impl Netlink {
    /// Opens rtnetlink of the running kernel, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// If the socket cannot be opened.
    pub fn open() -> Result<Self, hosttune_core::HostError> {
        Ok(Self::of_kernel(KernelSocket::open()?))
    }

    /// Like [`open`](Self::open), but opened by the first request, for a program that may not make
    /// any.
    ///
    /// If it cannot be opened then, that request fails. The network namespace is that of the thread
    /// that makes the request.
    pub fn on_demand() -> Self {
        Self::of_kernel(KernelSocket::on_demand())
    }

    fn of_kernel(socket: KernelSocket) -> Self {
        let backend = Self::over(socket);
        #[cfg(feature = "bpf")]
        let backend = backend.with_ingress_programs(crate::ingress_programs::KernelPrograms);
        backend
    }

    /// A backend that uses any other implementation. It does not know which programs are attached
    /// to devices.
    pub fn over(rtnetlink: impl Rtnetlink + 'static) -> Self {
        Self {
            rtnetlink: Box::new(rtnetlink),
            answers: RefCell::default(),
            namespace: OnceCell::new(),
            programs: Box::new(Unknown),
        }
    }

    /// The same backend with another source of the programs that are attached to devices.
    #[must_use]
    pub fn with_ingress_programs(self, programs: impl IngressPrograms + 'static) -> Self {
        let programs = Box::new(programs);
        Self { programs, ..self }
    }

    /// The programs at `tcx` of a device, as [`IngressPrograms::at`].
    pub fn ingress_programs(&self, device: &str) -> Option<Vec<IngressProgram>> {
        self.programs.at(device)
    }

    /// Changes something with a single message.
    ///
    /// # Errors
    /// If the kernel reports an error.
    pub fn change(&mut self, request: &Request) -> Result<(), NetlinkError> {
        self.rtnetlink.change(request)
    }

    /// The link of this name, or `None` if there is none.
    ///
    /// # Errors
    /// Any other error from the kernel.
    pub fn link(&self, name: &str) -> Result<Option<Link>, NetlinkError> {
        self.look_at(name)?.as_ref().map(Link::read).transpose()
    }

    /// The link with this index, whatever its name is, or `None` if there is none.
    ///
    /// # Errors
    /// Any other error from the kernel.
    pub fn link_of_number(&self, index: u32) -> Result<Option<Link>, NetlinkError> {
        match self.rtnetlink.get(&Link::look_for_number(index)) {
            Ok(message) => Link::read(&message).map(Some),
            Err(error) if error.errno() == Some(ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn look_at(&self, name: &str) -> Result<Option<Message>, NetlinkError> {
        // The kernel rejects a name that is too long; no link can have it.
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Ok(None);
        }
        match self.rtnetlink.get(&Link::look_for(name)) {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.errno() == Some(ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The counters of the link of this name, or `None` if there is none.
    ///
    /// # Errors
    /// Any other error from the kernel.
    pub fn link_statistics(&self, name: &str) -> Result<Option<LinkStatistics>, NetlinkError> {
        Ok(self.look_at(name)?.as_ref().map(LinkStatistics::of))
    }

    /// All links.
    ///
    /// # Errors
    /// If the kernel reports an error.
    pub fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        self.rtnetlink
            .dump(&Link::list())?
            .iter()
            .map(Link::read)
            .collect()
    }

    /// All links of kind `ifb`.
    ///
    /// # Errors
    /// If the kernel reports an error.
    pub fn ifbs(&self) -> Result<Vec<Link>, NetlinkError> {
        let listed = self.rtnetlink.dump(&Link::list_of_kind("ifb"))?;
        let mut all = Vec::new();
        for message in &listed {
            all.push(Link::read(message)?);
        }
        // A kernel that does not know the kind yet lists all links.
        all.retain(|link| link.kind == "ifb");
        Ok(all)
    }

    /// The link of the card with this permanent address, whatever its name is now, or `None` if
    /// there is none.
    ///
    /// Virtual links on top of a card can show its address too. They have a kind and the card has
    /// none, so the card is preferred.
    ///
    /// # Errors
    /// If the kernel reports an error.
    pub fn link_of_card(&self, address: &HardwareAddress) -> Result<Option<Link>, NetlinkError> {
        let mut all = self.links()?;
        all.retain(|link| link.permanent_address.as_ref() == Some(address));
        all.sort_by_key(|link| (!link.kind.is_empty(), link.index));
        Ok(all.into_iter().next())
    }

    /// All qdiscs of all links, except hidden ones.
    ///
    /// # Errors
    /// If the kernel reports an error.
    pub fn qdiscs(&self) -> Result<Vec<TrafficControl>, NetlinkError> {
        self.traffic(&TrafficControl::list_qdiscs())
    }

    /// The classes of a link.
    ///
    /// # Errors
    /// If the kernel reports an error.
    pub fn classes(&self, link: &Link) -> Result<Vec<TrafficControl>, NetlinkError> {
        let mut all = self.traffic(&TrafficControl::list_classes(link))?;
        all.retain(|class| class.link == link.index);
        Ok(all)
    }

    /// The filters of a link below this parent.
    ///
    /// # Errors
    /// If the kernel reports an error.
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
