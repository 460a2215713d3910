//! Which IFB a device is shaped through: each IFB belongs to one device.
//!
//! Two devices that share an IFB share its rate: what arrives at the faster one waits in the queue
//! of the slower one.

use std::borrow::Cow;

use hosttune_core::{Host, HostError};

use crate::link::IfbLink;
use crate::netlink::View;
use crate::redirect::{Redirect, RedirectState};
use crate::shaper::Shaper;

impl Shaper {
    /// The same with the IFB that is used on this host, where the given one is only a preference.
    ///
    /// The IFB that the redirect of the device leads to comes first, so that a device keeps the one
    /// it has. Without a backend the preference stays: nothing can be shaped there.
    pub(crate) fn with_ifb_chosen(&self, host: &Host) -> Result<Cow<'_, Self>, HostError> {
        if !self.prefers_ifb || self.ingress.is_none() || View::of(host).is_err() {
            return Ok(Cow::Borrowed(self));
        }
        let own = Self::ifb_for(&self.device);
        for ifb in [&self.ifb, &own] {
            let state = hosttune_core::Knob::read(&Redirect::new(&self.device, ifb), host)?;
            if matches!(state, RedirectState::Present | RedirectState::Astray) {
                return Ok(self.with_ifb(ifb));
            }
        }
        for ifb in [&self.ifb, &own] {
            let is_kept = IfbLink::new(ifb).noted_device(host)?;
            if is_kept.as_deref() == Some(&self.device) {
                return Ok(self.with_ifb(ifb));
            }
        }
        let preferred = IfbLink::new(&self.ifb);
        let is_taken = preferred.is_somebody_elses(host)?
            || preferred.other_device(host, &self.device)?.is_some();
        Ok(self.with_ifb(if is_taken { &own } else { &self.ifb }))
    }

    /// The names that its IFB can have.
    pub(crate) fn possible_ifbs(&self) -> impl Iterator<Item = String> + use<> {
        let own = self.prefers_ifb.then(|| Self::ifb_for(&self.device));
        std::iter::once(self.ifb.clone()).chain(own)
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

/// Why the preferred IFB is not used, for a person.
pub(crate) fn note(preferred: &str, used: &str, host: &Host) -> Result<String, HostError> {
    let link = IfbLink::new(preferred);
    Ok(match link.noted_device(host)? {
        Some(device) if !link.is_somebody_elses(host)? => {
            format!("{preferred} belongs to {device}; using {used}")
        }
        _ if link.is_somebody_elses(host)? => {
            format!("{preferred} is in use by another program; using {used}")
        }
        _ => format!("the IFB is {used}, which is in use already, and not {preferred}"),
    })
}
