//! Which device an IFB of ours belongs to: the one whose packets are sent to it.
//!
//! Links are told apart by their numbers: a link that was renamed keeps its IFB, and another that
//! has its name now does not get it. What the alias of the IFB says counts where no packets are
//! sent to it, and between two that both send theirs.

use hosttune_core::{Host, HostError};

use crate::link::IfbLink;
use crate::netlink::{
    COOKIE, Filter, INGRESS_FILTERS, INGRESS_HANDLE, Link, Mirred, Netlink, View,
};
use crate::redirect::Redirect;

/// What sends packets that arrive at this link elsewhere.
fn redirects(wire: View<'_>, index: u32) -> Result<Vec<Mirred>, HostError> {
    let filters = wire.filters(index, INGRESS_FILTERS)?;
    Ok(filters.iter().filter_map(Filter::mirred).collect())
}

/// The numbers of the links that have a filter of which this is so.
fn links_with(wire: View<'_>, is: impl Fn(&Mirred) -> bool) -> Result<Vec<u32>, HostError> {
    let mut found = Vec::new();
    for hook in wire.qdiscs()? {
        if hook.handle == INGRESS_HANDLE && redirects(wire, hook.link)?.iter().any(&is) {
            found.push(hook.link);
        }
    }
    Ok(found)
}

/// The IFB of ours that a filter of ours at this link leads to.
pub(crate) fn ifb_of(host: &Host, link: &Link) -> Result<Option<String>, HostError> {
    let wire = View::of(host)?;
    for mirred in redirects(wire, link.index)? {
        if mirred.device == 0 || !mirred.cookie.starts_with(COOKIE) {
            continue;
        }
        let Some(ifb) = host.wire::<Netlink>()?.link_of_number(mirred.device)? else {
            continue;
        };
        // The cookie names it too: one that was renamed is no longer known to be ours.
        let is_meant = Redirect::new(&link.name, &ifb.name).cookie() == mirred.cookie;
        if is_meant && IfbLink::new(&ifb.name).is_ours(&ifb) {
            return Ok(Some(ifb.name));
        }
    }
    Ok(None)
}

impl IfbLink {
    /// The other device than this one that it belongs to, if it belongs to another.
    ///
    /// One that is not there belongs to the device whose redirect leads nowhere since it went: made
    /// again, it is that one's again.
    pub(crate) fn other_device(
        &self,
        host: &Host,
        device: &str,
    ) -> Result<Option<String>, HostError> {
        let wire = View::of(host)?;
        let this = wire.link(device)?.map(|link| link.index);
        let ifb = wire.link(self.name())?;
        let cookie = Redirect::new(device, self.name()).cookie();
        let leading = match &ifb {
            Some(ifb) if !self.is_ours(ifb) => return Ok(None),
            Some(ifb) => links_with(wire, |mirred| mirred.device == ifb.index)?,
            None => links_with(wire, |mirred| mirred.cookie == cookie)?,
        };
        let noted = match ifb {
            Some(_) => self.noted_device(host)?,
            None => None,
        };
        let is_noted = noted.as_deref() == Some(device);
        let leads = this.is_some_and(|this| leading.contains(&this));
        let other = leading.iter().find(|index| Some(**index) != this);
        match other {
            // Two share it: who is named keeps it, and the other one gets another.
            Some(_) if leads && is_noted => Ok(None),
            Some(other) => {
                let link = host.wire::<Netlink>()?.link_of_number(*other)?;
                Ok(link.map(|link| link.name))
            }
            None if leads => Ok(None),
            None => Ok(noted.filter(|_| !is_noted)),
        }
    }

    /// Whether there is none of this name, or one of ours that belongs to no other device than this.
    pub(crate) fn is_free_for(&self, host: &Host, device: &str) -> Result<bool, HostError> {
        Ok(!self.is_somebody_elses(host)?
            && self.other_device(host, device)?.is_none()
            && self.renamed_to(host)?.is_none())
    }
}
