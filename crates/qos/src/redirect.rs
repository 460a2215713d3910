//! The filter that redirects everything that arrives at a device to another device, as a knob.

use std::fmt;

use hosttune_core::{
    Host, HostError, HostErrorKind, Knob, Operation, Unsupported, UnsupportedKind,
};
use serde::{Deserialize, Serialize};

use crate::ifb_owner;
use crate::ingress::{HookState, IngressHook, hook, no_device, shared_block, vanished};
use crate::link::{IfbLink, change, hash};
use crate::link_identity::{is_same_link, link_identity, present_name};
use crate::netlink::{
    COOKIE, ENOENT, Filter, INGRESS_FILTERS, Link, Netlink, PRIORITY, TrafficStatistics, View,
};

/// Redirects everything that arrives at one device to the egress of another, both by name.
///
/// A cookie on the action of the filter marks it as ours. The filter comes after all filters whose
/// priority the kernel chose, so that those of other programs still see the same packets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Redirect {
    device: String,
    to: String,
}

/// The state of a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RedirectState {
    /// There is no such device.
    NoDevice,
    /// There is no redirect.
    Absent,
    /// The redirect exists and leads to the right device.
    Present,
    /// The redirect leads nowhere or to another device, or there is more than one: packets are
    /// lost.
    #[serde(rename = "astray")]
    Dangling,
}

impl Redirect {
    /// A redirect from one device to another.
    pub fn new(device: impl Into<String>, to: impl Into<String>) -> Self {
        Self {
            device: device.into(),
            to: to.into(),
        }
    }

    /// The device at which the packets arrive.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// The device to which the packets are sent.
    pub fn to(&self) -> &str {
        &self.to
    }

    pub(crate) fn cookie(&self) -> Vec<u8> {
        let mut cookie = COOKIE.to_vec();
        cookie.extend(hash(self.to.as_bytes()).to_be_bytes());
        cookie
    }

    fn ours(&self, backend: View<'_>, link: &Link) -> Result<Vec<Filter>, HostError> {
        let cookie = self.cookie();
        let mut filters = backend.filters(link.index, INGRESS_FILTERS)?;
        filters.retain(|filter| filter.mirred().is_some_and(|to| to.cookie == cookie));
        Ok(filters)
    }

    /// The interface index that our redirect leads to, and its counters; `None` unless there is
    /// exactly one.
    pub(crate) fn counted(
        &self,
        backend: View<'_>,
        link: &Link,
    ) -> Result<Option<(u32, TrafficStatistics)>, HostError> {
        Ok(match self.ours(backend, link)?.as_slice() {
            [one] => one
                .mirred()
                .map(|to| (to.device, one.mirred_statistics().unwrap_or_default())),
            _ => None,
        })
    }

    fn seen(&self, backend: View<'_>, link: &Link) -> Result<RedirectState, HostError> {
        let ours = self.ours(backend, link)?;
        let target = backend.link(&self.to)?.map(|to| to.index);
        Ok(match ours.as_slice() {
            [] => RedirectState::Absent,
            [one]
                if one.is_for_everything()
                    && one
                        .mirred()
                        .is_some_and(|to| to.redirects && Some(to.device) == target) =>
            {
                RedirectState::Present
            }
            _ => RedirectState::Dangling,
        })
    }

    /// Our redirects to other IFBs, which would take the packets first.
    fn others(&self, backend: View<'_>, link: &Link) -> Result<Vec<Filter>, HostError> {
        let cookie = self.cookie();
        let mut filters = backend.filters(link.index, INGRESS_FILTERS)?;
        filters.retain(|filter| {
            filter.is_ours() && filter.mirred().is_some_and(|to| to.cookie != cookie)
        });
        Ok(filters)
    }

    /// The IFB of another redirect of ours, if that redirect must stay: it loses no packets, and
    /// its IFB belongs to this device alone. Any other redirect of ours is replaced by this one.
    fn staying(
        &self,
        host: &Host,
        backend: View<'_>,
        link: &Link,
    ) -> Result<Option<String>, HostError> {
        if self.others(backend, link)?.is_empty() {
            return Ok(None);
        }
        let Some(ifb) = ifb_owner::ifb_of(host, link)? else {
            return Ok(None);
        };
        let is_up = backend.link(&ifb)?.is_some_and(|ifb| ifb.is_up());
        let stays =
            is_up && ifb != self.to && IfbLink::new(&ifb).is_free_for(host, &self.device)?;
        Ok(stays.then_some(ifb))
    }

    fn error(&self, kind: HostErrorKind, why: impl Into<String>) -> HostError {
        HostError::new(Operation::Backend, &self.device, kind).detail(why)
    }

    /// Why the redirect cannot be created at present.
    fn obstacle(&self, host: &Host, link: &Link) -> Result<Option<Unsupported>, HostError> {
        let backend = View::of(host)?;
        if self.to == self.device {
            let why = format!("{} cannot be redirected to itself", self.device);
            return Ok(Some(
                Unsupported::new(UnsupportedKind::ValueUnavailable, why)
                    .hint("redirect to an IFB instead"),
            ));
        }
        match hook(backend, link)? {
            HookState::Ingress | HookState::Clsact => {}
            HookState::Shared => return Ok(Some(shared_block(&self.device))),
            HookState::Absent | HookState::NoDevice => {
                let hook = IngressHook::new(&self.device);
                let why = format!("{} has no ingress hook", self.device);
                return Ok(Some(
                    Unsupported::new(UnsupportedKind::Missing, why)
                        .hint("request the ingress hook as well")
                        .cured_by(&hook, &HookState::Ingress),
                ));
            }
        }
        let theirs = backend.filters(link.index, INGRESS_FILTERS)?;
        let cookie = self.cookie();
        let taken = theirs.iter().any(|filter| {
            filter.priority == PRIORITY
                && filter.mirred().is_none_or(|mirred| mirred.cookie != cookie)
                && !filter.is_ours()
                // The hash table that u32 lists above its filters.
                && !filter.is_of_a_table()
        });
        if taken {
            let why = format!(
                "another program's filter has the priority {PRIORITY} on {}",
                self.device
            );
            return Ok(Some(
                Unsupported::new(UnsupportedKind::Managed, why)
                    .hint("give that filter another priority"),
            ));
        }
        if let Some(ifb) = self.staying(host, backend, link)? {
            let why = format!("{} is already redirected to {ifb}", self.device);
            return Ok(Some(
                Unsupported::new(UnsupportedKind::Managed, why)
                    .hint(format!("revert the shaping of {} first", self.device)),
            ));
        }
        let ifb = IfbLink::new(&self.to);
        if let Some(other) = ifb.other_device(host, &self.device)? {
            return Ok(Some(ifb.belongs_to(&other)));
        }
        let up = backend.link(&self.to)?.is_some_and(|to| to.is_up());
        if !up {
            let why = format!(
                "{} is not up: all packets sent to it would be lost",
                self.to
            );
            return Ok(Some(
                Unsupported::new(UnsupportedKind::Missing, why)
                    .hint(format!("bring it up first: ip link set {} up", self.to))
                    .cured_by(&ifb, &ifb.for_any_device()),
            ));
        }
        Ok(None)
    }

    /// What setting a state takes: the device, the link to redirect to, and the filters to delete
    /// first.
    fn asked(
        &self,
        host: &Host,
        to: &RedirectState,
    ) -> Result<(Link, Option<Link>, Vec<Filter>), HostError> {
        let backend = View::of(host)?;
        let Some(link) = backend.link(&self.device)? else {
            return Err(vanished(&self.device));
        };
        let target = match to {
            RedirectState::Absent => None,
            RedirectState::Present => {
                if let Some(unsupported) = self.obstacle(host, &link)? {
                    return Err(HostError::not_applicable(
                        Operation::Backend,
                        &self.device,
                        unsupported,
                    ));
                }
                backend.link(&self.to)?
            }
            RedirectState::Dangling | RedirectState::NoDevice => {
                return Err(self.error(
                    HostErrorKind::Refused,
                    "a redirect that loses packets is never created",
                ));
            }
        };
        let mut old = self.ours(backend, &link)?;
        if target.is_some() {
            old.extend(self.others(backend, &link)?);
        }
        Ok((link, target, old))
    }
}

/// Adds the filter with `matchall`, and with `u32` if the kernel lacks that classifier.
fn add(host: &mut Host, link: &Link, to: &Link, cookie: &[u8]) -> Result<(), HostError> {
    let request = Filter::redirect_with_matchall(link, to, cookie);
    let unknown = host.change::<Netlink, bool>(|backend| match backend.change(&request) {
        Ok(()) => Ok(false),
        Err(error)
            if error.errno() == Some(ENOENT) && error.text() == Some("TC classifier not found") =>
        {
            Ok(true)
        }
        Err(error) => Err(error.into()),
    })?;
    if unknown {
        change(host, &Filter::redirect_with_u32(link, to, cookie))?;
    }
    Ok(())
}

impl fmt::Display for Redirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redirect of {} to {}", self.device, self.to)
    }
}

impl Knob for Redirect {
    const NAME: &'static str = "redirect";
    const CAN_BE_RENAMED: bool = true;
    type State = RedirectState;

    fn read(&self, host: &Host) -> Result<RedirectState, HostError> {
        let backend = View::of(host)?;
        match backend.link(&self.device)? {
            None => Ok(RedirectState::NoDevice),
            Some(link) => self.seen(backend, &link),
        }
    }

    fn set(&self, host: &mut Host, to: &RedirectState) -> Result<(), HostError> {
        let (link, target, old) = host.in_one_look(|host| self.asked(host, to))?;
        for filter in &old {
            change(host, &filter.delete(&link))?;
        }
        let Some(target) = target else { return Ok(()) };
        let added = add(host, &link, &target, &self.cookie());
        if added.is_err() {
            // The replaced redirects are restored: without them the device would not be shaped at
            // all.
            for mirred in old.iter().filter_map(Filter::mirred) {
                let led = host.backend::<Netlink>()?.link_of_number(mirred.device)?;
                if let Some(led) = led {
                    add(host, &link, &led, &mirred.cookie)?;
                }
            }
        }
        added
    }

    /// A filter that has our cookie and leads nowhere is a remnant of ours; before it there was
    /// none.
    fn original(&self, seen: &RedirectState) -> Option<RedirectState> {
        Some(match seen {
            RedirectState::Dangling => RedirectState::Absent,
            whole => *whole,
        })
    }

    /// The filter has our cookie, wherever it leads.
    fn is_partial_write(
        &self,
        seen: &RedirectState,
        from: &RedirectState,
        to: &RedirectState,
    ) -> bool {
        *seen == RedirectState::Dangling
            || *seen == RedirectState::Absent
                && *from == RedirectState::Dangling
                && *to == RedirectState::Present
    }

    fn unsupported(
        &self,
        host: &Host,
        to: &RedirectState,
    ) -> Result<Option<Unsupported>, HostError> {
        let backend = View::of(host)?;
        match backend.link(&self.device)? {
            None => Ok(Some(no_device(&self.device))),
            Some(link) if *to == RedirectState::Present => self.obstacle(host, &link),
            Some(_) => Ok(None),
        }
    }

    fn is_of_network_namespace(&self) -> bool {
        true
    }

    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        link_identity(host, &self.device)
    }

    fn is_same_thing(identity: &str, other: &str) -> bool {
        is_same_link(identity, other)
    }

    fn renamed(&self, host: &Host, identity: &str) -> Result<Option<Self>, HostError> {
        Ok(present_name(host, identity)?.map(|device| Self::new(device, &self.to)))
    }

    fn is_gone(&self, seen: &RedirectState) -> bool {
        *seen == RedirectState::NoDevice
    }

    fn show(&self, state: &RedirectState) -> String {
        match state {
            RedirectState::NoDevice => "no device",
            RedirectState::Absent => "absent",
            RedirectState::Present => "present",
            RedirectState::Dangling => "dangling: received packets are lost",
        }
        .to_owned()
    }
}
