//! Which device an IFB of ours belongs to: the one whose packets are sent to it.
//!
//! Links are told apart by index: a renamed link keeps its IFB, and another link that now has its
//! old name does not get it. The alias of the IFB decides only where no packets are sent to it, or
//! between two devices that both send theirs.

use hosttune_core::{Host, HostError};

use crate::link::IfbLink;
use crate::netlink::{
    COOKIE, Filter, INGRESS_FILTERS, INGRESS_HANDLE, Link, Mirred, Netlink, View,
};
use crate::redirect::Redirect;

/// The `mirred` actions of the ingress filters of this link.
fn redirects(backend: View<'_>, index: u32) -> Result<Vec<Mirred>, HostError> {
    let filters = backend.filters(index, INGRESS_FILTERS)?;
    Ok(filters.iter().filter_map(Filter::mirred).collect())
}

/// The indexes of the links with an ingress `mirred` action for which `is` returns true.
fn links_with(backend: View<'_>, is: impl Fn(&Mirred) -> bool) -> Result<Vec<u32>, HostError> {
    let mut found = Vec::new();
    for hook in backend.qdiscs()? {
        if hook.handle == INGRESS_HANDLE && redirects(backend, hook.link)?.iter().any(&is) {
            found.push(hook.link);
        }
    }
    Ok(found)
}

/// The IFB of ours that an ingress filter of ours on this link leads to.
pub(crate) fn ifb_of(host: &Host, link: &Link) -> Result<Option<String>, HostError> {
    let backend = View::of(host)?;
    for mirred in redirects(backend, link.index)? {
        if mirred.device == 0 || !mirred.cookie.starts_with(COOKIE) {
            continue;
        }
        let Some(ifb) = host.backend::<Netlink>()?.link_of_number(mirred.device)? else {
            continue;
        };
        // The cookie is derived from the IFB's name as well: a renamed IFB is not recognized as ours.
        let is_meant = Redirect::new(&link.name, &ifb.name).cookie() == mirred.cookie;
        if is_meant && IfbLink::new(&ifb.name).is_ours(&ifb) {
            return Ok(Some(ifb.name));
        }
    }
    Ok(None)
}

impl IfbLink {
    /// The device that this IFB belongs to, if that is not `device`.
    ///
    /// A missing IFB belongs to the device whose redirect has led nowhere since it was deleted: once
    /// it is created again, it is that device's again.
    pub(crate) fn other_device(
        &self,
        host: &Host,
        device: &str,
    ) -> Result<Option<String>, HostError> {
        let backend = View::of(host)?;
        let this = backend.link(device)?.map(|link| link.index);
        let ifb = backend.link(self.name())?;
        let cookie = Redirect::new(device, self.name()).cookie();
        let leading = match &ifb {
            Some(ifb) if !self.is_ours(ifb) => return Ok(None),
            Some(ifb) => links_with(backend, |mirred| mirred.device == ifb.index)?,
            None => links_with(backend, |mirred| mirred.cookie == cookie)?,
        };
        let noted = match ifb {
            Some(_) => self.noted_device(host)?,
            None => None,
        };
        let is_noted = noted.as_deref() == Some(device);
        let leads = this.is_some_and(|this| leading.contains(&this));
        let other = leading.iter().find(|index| Some(**index) != this);
        match other {
            // Two devices share it: the one named in the alias keeps it, the other gets a new one.
            Some(_) if leads && is_noted => Ok(None),
            Some(other) => {
                let link = host.backend::<Netlink>()?.link_of_number(*other)?;
                Ok(link.map(|link| link.name))
            }
            None if leads => Ok(None),
            None => Ok(noted.filter(|_| !is_noted)),
        }
    }

    /// Whether no link has this name, or it is an IFB of ours that belongs to no other device.
    pub(crate) fn is_free_for(&self, host: &Host, device: &str) -> Result<bool, HostError> {
        Ok(!self.is_somebody_elses(host)?
            && self.other_device(host, device)?.is_none()
            && self.renamed_to(host)?.is_none())
    }
}
