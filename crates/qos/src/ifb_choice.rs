//! Which IFB a device is shaped through: each IFB belongs to one device.
//!
//! Two devices that share an IFB share its rate: what arrives at the faster one waits in the queue
//! of the slower one.

use std::borrow::Cow;

use hosttune_core::{Host, HostError, Knob};

use crate::ifb_owner;
use crate::link::IfbLink;
use crate::netlink::View;
use crate::redirect::{Redirect, RedirectState};
use crate::shaper::Shaper;

impl Shaper {
    /// Whether the caller named the IFB, so that no other may be used instead.
    fn is_ifb_given(&self) -> bool {
        !self.prefers_ifb && self.ifb != Self::ifb_for(&self.device)
    }

    /// The same shaper with the IFB that is used on this host, if the configured one is only a
    /// preference.
    ///
    /// The IFB that the redirect of the device leads to comes first, whatever its name is, so that
    /// a device keeps the one it has, even under another name. Without a backend the preference
    /// stays: nothing can be shaped there.
    pub(crate) fn with_ifb_chosen(&self, host: &Host) -> Result<Cow<'_, Self>, HostError> {
        if self.is_ifb_given() || self.ingress.is_none() {
            return Ok(Cow::Borrowed(self));
        }
        let Ok(backend) = View::of(host) else {
            return Ok(Cow::Borrowed(self));
        };
        let link = backend.link(&self.device)?;
        let is_free = |ifb: &str| IfbLink::new(ifb).is_free_for(host, &self.device);
        if let Some(link) = &link
            && let Some(ifb) = ifb_owner::ifb_of(host, link)?
            && is_free(&ifb)?
        {
            return Ok(self.with_ifb(&ifb));
        }
        let mut candidates = vec![self.ifb.clone(), Self::ifb_for(&self.device)];
        // The IFB that the device had before it was unplugged, according to the alias.
        for ifb in backend.ifbs()? {
            let is_known = candidates.contains(&ifb.name);
            let noted = IfbLink::new(&ifb.name).noted_device(host)?;
            if !is_known && noted.as_ref() == Some(&self.device) {
                candidates.push(ifb.name);
            }
        }
        // A renamed device can have the IFB that is named after this one.
        candidates.extend(link.map(|link| self.numbered_ifb(link.index)));
        let mut free = Vec::new();
        for ifb in candidates {
            if is_free(&ifb)? {
                free.push(ifb);
            }
        }
        for ifb in &free {
            let redirect = Redirect::new(&self.device, ifb).read(host)?;
            let is_noted = IfbLink::new(ifb).noted_device(host)?.as_ref() == Some(&self.device);
            if redirect == RedirectState::Dangling || is_noted {
                return Ok(self.with_ifb(ifb));
            }
        }
        // If all candidates are taken, report the error of the IFB named after the device.
        let own = Self::ifb_for(&self.device);
        Ok(self.with_ifb(free.first().unwrap_or(&own)))
    }

    /// The names that the IFB of this device usually has.
    pub(crate) fn possible_ifbs(&self) -> impl Iterator<Item = String> + use<> {
        let own = (!self.is_ifb_given()).then(|| Self::ifb_for(&self.device));
        std::iter::once(self.ifb.clone()).chain(own)
    }

    /// Like [`ifb_for`](Self::ifb_for), but named after the link's index, which no other link has
    /// while the kernel runs.
    fn numbered_ifb(&self, index: u32) -> String {
        Self::ifb_for(&format!("{}_{index}", self.device))
    }

    fn with_ifb(&self, ifb: &str) -> Cow<'_, Self> {
        if self.ifb == ifb {
            return Cow::Borrowed(self);
        }
        Cow::Owned(Self {
            ifb: ifb.to_owned(),
            ..self.clone()
        })
    }
}

/// The note for the user about why an IFB other than the preferred one is used.
pub(crate) fn note(shaper: &Shaper, used: &str, host: &Host) -> Result<String, HostError> {
    let preferred = &shaper.ifb;
    let link = IfbLink::new(preferred);
    if link.is_somebody_elses(host)? {
        return Ok(format!(
            "{preferred} is in use by another program; using {used}"
        ));
    }
    if let Some(name) = link.renamed_to(host)? {
        return Ok(format!("{preferred} was renamed to {name}; using {used}"));
    }
    Ok(match link.other_device(host, &shaper.device)? {
        Some(device) => format!("{preferred} belongs to {device}; using {used}"),
        None => format!(
            "{} already uses {used}, which is kept instead of {preferred}",
            shaper.device
        ),
    })
}
