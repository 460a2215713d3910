//! The knob for the IFB through which the received packets of a device are sent.

use std::fmt;

use hosttune_core::{
    AnyKnob, Host, HostError, HostErrorKind, Knob, Operation, Unsupported, UnsupportedKind,
};
use hosttune_modules::module::find;
use hosttune_modules::{Availability, ModuleState};
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::ifb_users::what_uses;
use crate::kernel_part::ifb_module;
use crate::link_identity::{is_same_link, link_identity};
use crate::netlink::{LONGEST_NAME, Link, Netlink, View};
use crate::root_qdisc::RootQdisc;

/// The prefix of the alias of every link of ours.
const ALIAS: &str = "hosttune";

/// What separates the prefix from the device in the alias of an IFB.
const ARRIVES_AT: &str = ": what arrives at ";

/// The device that the alias of an IFB of ours names.
fn noted_device(alias: &str) -> Option<&str> {
    alias.strip_prefix(ALIAS)?.strip_prefix(ARRIVES_AT)
}

/// Whether a link is an IFB of ours, by its alias: whatever its name is, and was.
pub(crate) fn is_ifb_of_ours(link: &Link) -> bool {
    link.kind == "ifb"
        && link
            .alias
            .as_deref()
            .is_some_and(|alias| noted_device(alias).is_some())
}

/// An IFB, by its name.
///
/// An IFB of ours has a hardware address derived from its name alone. The message that creates the
/// link sets the address, and a second message the alias: if the process is killed between the two,
/// the link is still recognized as ours. A link of that name that is not ours is never touched.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IfbLink {
    name: String,
}

/// The state of a link.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// No link has that name.
    Absent,
    /// The link is an IFB.
    #[serde(rename_all = "kebab-case")]
    Ifb {
        /// Its hardware address.
        address: Bytes,
        /// Whether it is up. An IFB that is down loses all packets sent through it.
        up: bool,
        /// Its alias (`ip link set … alias`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        alias: Option<String>,
        /// Its present name, if another process has renamed it. Only set for an IFB of ours.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        renamed_to: Option<String>,
        /// Whether it was renamed and a link of another program has its name now.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        name_taken: bool,
    },
    /// The link is of another kind, which is empty for a device that is not virtual.
    Other {
        /// Its kind.
        kind: String,
    },
}

impl IfbLink {
    /// The IFB of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// The name of the IFB.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a link of this name exists that is not ours: one of another program, or one of those
    /// that the kernel creates if `ifb` is built in.
    ///
    /// # Errors
    /// If the host has no netlink backend, or with what the kernel answers.
    pub fn is_somebody_elses(&self, host: &Host) -> Result<bool, HostError> {
        let link = View::of(host)?.link(&self.name)?;
        Ok(link.is_some_and(|link| !self.is_ours(&link)))
    }

    /// The device whose packets it receives, from its alias. `None` unless the IFB is ours.
    pub(crate) fn noted_device(&self, host: &Host) -> Result<Option<String>, HostError> {
        let link = View::of(host)?.link(&self.name)?;
        Ok(link
            .filter(|link| self.is_ours(link))
            .and_then(|link| Some(noted_device(link.alias.as_deref()?)?.to_owned())))
    }

    /// The link of ours that used to have this name and has another one now. It is found by its
    /// address.
    fn renamed_link(&self, host: &Host) -> Result<Option<Link>, HostError> {
        let ifbs = View::of(host)?.ifbs()?;
        Ok(ifbs.into_iter().find(|link| self.is_ours(link)))
    }

    /// The link of this name, or the link of ours that used to have it.
    fn found(&self, host: &Host) -> Result<Option<Link>, HostError> {
        match View::of(host)?.link(&self.name)? {
            Some(link) => Ok(Some(link)),
            None => self.renamed_link(host),
        }
    }

    /// The link of ours, whatever its name is and whoever has this one now.
    fn found_ours(&self, host: &Host) -> Result<Option<Link>, HostError> {
        match View::of(host)?.link(&self.name)? {
            Some(link) if self.is_ours(&link) => Ok(Some(link)),
            _ => self.renamed_link(host),
        }
    }

    /// The error for an IFB that has been renamed, if it has.
    pub(crate) fn was_renamed(&self, host: &Host) -> Result<Option<Unsupported>, HostError> {
        Ok(self.renamed_to(host)?.map(|name| {
            let why = format!("{} was renamed to {name}", self.name);
            let hint = format!("rename it back: ip link set {name} name {}", self.name);
            Unsupported::new(UnsupportedKind::Managed, why).hint(hint)
        }))
    }

    /// The present name of an IFB of ours that has been renamed.
    pub(crate) fn renamed_to(&self, host: &Host) -> Result<Option<String>, HostError> {
        if View::of(host)?.link(&self.name)?.is_some() {
            return Ok(None);
        }
        Ok(self.renamed_link(host)?.map(|link| link.name))
    }

    /// Its state when it is ours, up, and used for the packets received on `device`.
    pub fn for_device(&self, device: &str) -> LinkState {
        self.noted(format!("{ALIAS}{ARRIVES_AT}{device}"))
    }

    /// Like [`for_device`](Self::for_device), for any device.
    pub(crate) fn for_any_device(&self) -> LinkState {
        self.noted(ALIAS.to_owned())
    }

    fn noted(&self, alias: String) -> LinkState {
        LinkState::Ifb {
            address: self.address(),
            up: true,
            alias: Some(alias),
            renamed_to: None,
            name_taken: false,
        }
    }

    /// The hardware address of an IFB of ours of this name: a locally administered one.
    fn address(&self) -> Bytes {
        let hash = hash(self.name.as_bytes()).to_be_bytes();
        let mut address = vec![0x02, b'h', b't'];
        address.extend(&hash[..3]);
        address.into()
    }

    fn refused(&self, unsupported: Unsupported) -> HostError {
        HostError::not_applicable(Operation::Backend, &self.name, unsupported)
    }

    fn here(&self, host: &Host) -> Result<Link, HostError> {
        let link = View::of(host)?.link(&self.name)?;
        link.ok_or_else(|| self.vanished())
    }

    fn vanished(&self) -> HostError {
        HostError::new(Operation::Backend, &self.name, HostErrorKind::Gone)
            .detail("the link no longer exists")
    }

    /// Deletes the link, unless something still uses it.
    fn delete(&self, host: &mut Host) -> Result<(), HostError> {
        let link = self.found_ours(host)?.ok_or_else(|| self.vanished())?;
        if let Some(why) = what_uses(host, &link)? {
            return Err(
                HostError::new(Operation::Backend, &self.name, HostErrorKind::Busy)
                    .detail(why)
                    .with_hint("remove that first: packets sent to a deleted link are lost"),
            );
        }
        change(host, &link.delete())
    }

    /// Whether this link was created as the IFB of ours of this name.
    pub(crate) fn is_ours(&self, link: &Link) -> bool {
        link.kind == "ifb" && link.address == self.address().as_slice()
    }

    /// The error for using it for a device other than the one it belongs to.
    pub(crate) fn belongs_to(&self, device: &str) -> Unsupported {
        let why = format!("{} belongs to {device} and receives its packets", self.name);
        Unsupported::new(UnsupportedKind::Managed, why)
            .hint(format!("revert the shaping of {device} first"))
    }

    fn foreign(&self, link: &Link) -> Unsupported {
        let what = match link.kind.as_str() {
            "" => "device",
            kind => kind,
        };
        Unsupported::new(
            UnsupportedKind::Managed,
            format!(
                "the link {} already exists and belongs to another program ({what})",
                self.name
            ),
        )
        .hint(format!(
            "if it is not needed, delete it: ip link delete {}",
            self.name
        ))
    }
}

pub(crate) fn change(host: &mut Host, request: &crate::netlink::Request) -> Result<(), HostError> {
    host.change::<Netlink, ()>(|backend| Ok(backend.change(request)?))
}

/// The 64-bit FNV-1a hash, which is the same on every machine and in every version.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Why a link cannot have this name, or `None` if it can.
pub(crate) fn unusable_name(name: &str) -> Option<Unsupported> {
    let unusable = if name.len() > LONGEST_NAME {
        format!("the name {name} has {} bytes", name.len())
    } else if name.is_empty()
        || name == "."
        || name == ".."
        || name
            .chars()
            .any(|c| c == '/' || c == ':' || c.is_whitespace() || c == '\0' || c == '%')
    {
        format!("'{name}' is not a valid link name")
    } else {
        return None;
    };
    Some(
        Unsupported::new(UnsupportedKind::ValueUnavailable, unusable).hint(format!(
            "a link name has 1 to {LONGEST_NAME} bytes and no '/', ':', '%' or white space"
        )),
    )
}

impl fmt::Display for IfbLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {}", self.name)
    }
}

impl Knob for IfbLink {
    const NAME: &'static str = "ifb-link";
    type State = LinkState;

    fn is_of_network_namespace(&self) -> bool {
        true
    }

    fn read(&self, host: &Host) -> Result<LinkState, HostError> {
        let named = View::of(host)?.link(&self.name)?;
        let is_named = named.as_ref().is_some_and(|link| self.is_ours(link));
        let ours = match is_named {
            true => None,
            false => self.renamed_link(host)?,
        };
        let renamed_to = ours.as_ref().map(|link| link.name.clone());
        let name_taken = ours.is_some() && named.is_some();
        let link = ours.or(named);
        Ok(match link {
            None => LinkState::Absent,
            Some(link) if link.kind == "ifb" => LinkState::Ifb {
                up: link.is_up(),
                address: link.address.into(),
                alias: link.alias,
                renamed_to,
                name_taken,
            },
            Some(link) => LinkState::Other { kind: link.kind },
        })
    }

    /// Creating the IFB takes two messages; the first one creates it and brings it up.
    fn set(&self, host: &mut Host, to: &LinkState) -> Result<(), HostError> {
        let (address, up, alias) = match to {
            LinkState::Absent => return self.delete(host),
            LinkState::Ifb {
                address, up, alias, ..
            } => (address, *up, alias),
            LinkState::Other { .. } => {
                return Err(self.refused(Unsupported::new(
                    UnsupportedKind::Managed,
                    "it is not an IFB",
                )));
            }
        };
        let link = match self.found(host)? {
            Some(link) => link,
            None => {
                change(host, &Link::create_ifb(&self.name, address.as_slice()))?;
                self.here(host)?
            }
        };
        if !self.is_ours(&link) {
            return Err(self.refused(self.foreign(&link)));
        }
        if link.is_up() != up {
            change(host, &link.bring(up))?;
        }
        if link.alias != *alias {
            change(host, &link.note(alias.as_deref().unwrap_or_default()))?;
        }
        Ok(())
    }

    /// An IFB of ours that another process has taken down loses all packets sent through it. Its
    /// original is absence: taking it down again would not be a revert. So is that of one whose
    /// name another link has.
    fn original(&self, seen: &LinkState) -> Option<LinkState> {
        Some(match seen {
            LinkState::Ifb {
                name_taken: true, ..
            } => LinkState::Absent,
            LinkState::Ifb {
                up: false,
                alias: Some(alias),
                ..
            } if alias.starts_with(ALIAS) => LinkState::Absent,
            other => other.clone(),
        })
    }

    fn satisfies(&self, seen: &LinkState, wanted: &LinkState) -> bool {
        match (seen, wanted) {
            (
                LinkState::Ifb {
                    name_taken: true, ..
                },
                _,
            ) => false,
            (
                LinkState::Ifb {
                    address, up, alias, ..
                },
                LinkState::Ifb {
                    address: wanted_address,
                    up: wanted_up,
                    alias: wanted_alias,
                    ..
                },
            ) => {
                let any = wanted_alias.as_deref() == Some(ALIAS)
                    && alias
                        .as_deref()
                        .is_some_and(|alias| alias.starts_with(ALIAS));
                address == wanted_address && up == wanted_up && (any || alias == wanted_alias)
            }
            _ => seen == wanted,
        }
    }

    /// The link is created and its alias not set yet. One whose name another link has is ours all
    /// the same.
    fn is_partial_write(&self, seen: &LinkState, _: &LinkState, _: &LinkState) -> bool {
        if let LinkState::Ifb {
            name_taken: true, ..
        } = seen
        {
            return true;
        }
        let created = LinkState::Ifb {
            address: self.address(),
            up: true,
            alias: None,
            renamed_to: None,
            name_taken: false,
        };
        *seen == created
    }

    fn unsupported(&self, host: &Host, to: &LinkState) -> Result<Option<Unsupported>, HostError> {
        if let Some(unsupported) = unusable_name(&self.name) {
            return Ok(Some(unsupported));
        }
        let link = View::of(host)?.link(&self.name)?;
        if let Some(link) = link.as_ref().filter(|link| !self.is_ours(link)) {
            return Ok(Some(self.foreign(link)));
        }
        if let LinkState::Ifb {
            alias: Some(alias), ..
        } = to
            && let Some(device) = noted_device(alias)
            && let Some(other) = self.other_device(host, device)?
        {
            return Ok(Some(self.belongs_to(&other)));
        }
        if link.is_some() {
            return Ok(None);
        }
        if let Some(unsupported) = self.was_renamed(host)? {
            return Ok(Some(unsupported));
        }
        // The kernel would load the module by itself, which creates unwanted links.
        let unloaded = *to != LinkState::Absent
            && host.exists("/proc/modules")?
            && find(host, "ifb")? != Availability::Present;
        Ok(unloaded.then(|| {
            Unsupported::new(
                UnsupportedKind::ValueUnavailable,
                "the module ifb is not loaded",
            )
            .hint("load it without creating links: modprobe ifb numifbs=0")
            .module("ifb")
            .cured_by(&ifb_module(), &ModuleState::Loaded)
        }))
    }

    /// Another link has the name: ours was deleted, and everything on it with it.
    fn is_gone(&self, seen: &LinkState) -> bool {
        match seen {
            LinkState::Absent => false,
            LinkState::Ifb { address, .. } => *address != self.address(),
            LinkState::Other { .. } => true,
        }
    }

    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        match self.found_ours(host)? {
            Some(ours) => link_identity(host, &ours.name),
            None => link_identity(host, &self.name),
        }
    }

    fn is_same_thing(identity: &str, other: &str) -> bool {
        is_same_link(identity, other)
    }

    /// With the IFB, what is set on it is deleted.
    fn destroys(&self, host: &Host, to: &LinkState) -> Result<Vec<AnyKnob>, HostError> {
        let ours = match to {
            LinkState::Absent => self.found_ours(host)?,
            _ => None,
        };
        let root = |link: Link| AnyKnob::of(&RootQdisc::new(link.name));
        Ok(ours.into_iter().map(root).collect())
    }

    /// The IFB's own root qdisc is created and deleted with it.
    fn side_effects(&self, host: &Host, to: &LinkState) -> Result<Vec<AnyKnob>, HostError> {
        let comes = *to != LinkState::Absent && self.read(host)? == LinkState::Absent;
        Ok(if comes {
            vec![AnyKnob::of(&RootQdisc::new(&self.name))]
        } else {
            Vec::new()
        })
    }

    fn show(&self, state: &LinkState) -> String {
        match state {
            LinkState::Absent => "absent".to_owned(),
            LinkState::Ifb {
                up,
                alias,
                renamed_to,
                ..
            } => {
                let mut shown = format!("an IFB that is {}", if *up { "up" } else { "down" });
                if let Some(name) = renamed_to {
                    shown.push_str(&format!(", renamed to {name}"));
                }
                if let Some(alias) = alias {
                    shown.push_str(&format!(" ({alias})"));
                }
                shown
            }
            LinkState::Other { kind } if kind.is_empty() => "a device".to_owned(),
            LinkState::Other { kind } => format!("a link of type {kind}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_one_that_anybody_may_give_and_each_name_has_its_own() {
        let address = IfbLink::new("ifb0").address();
        assert_eq!(address.as_slice()[0] & 0b11, 0b10);
        assert_ne!(address, IfbLink::new("ifb1").address());
        // Every later version recognizes links of ours by this hash.
        assert_eq!(hash(b"ifb0"), hash(b"ifb0"));
        assert_eq!(hash(b"a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn names_that_no_link_can_have_are_told_apart() {
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "a b",
            "a:b",
            "a%d",
            "sixteen-letters-",
        ] {
            assert!(unusable_name(name).is_some(), "{name:?}");
        }
        for name in ["a", "eth0.100", "fifteen-letters"] {
            assert!(unusable_name(name).is_none(), "{name:?}");
        }
    }
}
