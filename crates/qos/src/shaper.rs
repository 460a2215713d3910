//! Shaping of the egress and the ingress of a device.

use hosttune_core::{AnyKnob, Error, HostError, Planner, Tuning, Unsupported, UnsupportedKind};
use hosttune_modules::ModuleState;
use serde::{Deserialize, Serialize};

use crate::circumstances;
use crate::hardware_address::HardwareAddress;
use crate::ifb_choice;
use crate::ingress::{HookState, IngressHook};
use crate::ingress_programs::Before;
use crate::kernel_part::Parts;
use crate::link::{IfbLink, unusable_name};
use crate::netlink::{LONGEST_NAME, View};
use crate::qdisc::{CAKE_MQ, Qdisc};
use crate::redirect::{Redirect, RedirectState};
use crate::root_qdisc::RootQdisc;

/// Shapes egress at the root of a device, and ingress at the root of an IFB through which all of it
/// is redirected.
///
/// The root of the device is set first. A revert runs in the exact reverse order, which then never
/// sends a packet to a link that is down or gone.
///
/// Modules come before everything else. With the [`Modules`](hosttune_modules::Modules) backend,
/// modules that are not loaded are loaded as steps of the plan and unloaded again by a revert.
/// Without it, the kernel loads by itself what it can, and a revert leaves that loaded. A kernel
/// that certainly lacks what is requested is reported beforehand, and nothing is touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Shaper {
    /// Name of the device.
    pub device: String,
    /// Name of the IFB, at most 15 bytes. The name that [`ifb_for`](Self::ifb_for) gives is only a
    /// preference: a renamed device keeps the IFB that it has.
    pub ifb: String,
    /// Whether [`ifb`](Self::ifb) is only a preference. If another device or another program uses
    /// that IFB, the one that [`ifb_for`](Self::ifb_for) names is used.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prefers_ifb: bool,
    /// Root qdisc of the device, for egress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Qdisc>,
    /// Root qdisc of the IFB, for ingress of the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Qdisc>,
    /// Permanent address of the card. Another card with the device's name is not shaped. If `None`,
    /// the name alone decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permanent_address: Option<HardwareAddress>,
    /// Consent to lose a root qdisc that could not be restored, and to shape a device whose
    /// queueing disciplines another program manages.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub discard: bool,
    /// Whether shaping may be left out on a host without the device or a kernel without the
    /// necessary parts. It is then skipped with a finding; otherwise that is an error.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

impl Shaper {
    /// A shaper for this device that does not shape anything yet.
    pub fn new(device: impl Into<String>) -> Self {
        let device = device.into();
        Self {
            ifb: Self::ifb_for(&device),
            device,
            prefers_ifb: false,
            egress: None,
            ingress: None,
            permanent_address: None,
            discard: false,
            optional: false,
        }
    }

    /// The default name of the IFB for a device: `ifb-` and the device's name. A long name is cut
    /// and gets a hash, which distinguishes it from others with the same beginning.
    pub fn ifb_for(device: &str) -> String {
        let name = format!("ifb-{device}");
        if name.len() <= LONGEST_NAME {
            return name;
        }
        let hash = crate::link::hash(device.as_bytes()) & 0xffff;
        let longest = LONGEST_NAME - 4;
        let cut = (0..=longest).rev().find(|at| name.is_char_boundary(*at));
        format!("{}{hash:04x}", &name[..cut.unwrap_or(0)])
    }

    /// The same shaper for another device.
    #[must_use]
    pub fn for_device(&self, device: impl Into<String>) -> Self {
        let device = device.into();
        let is_own = self.ifb == Self::ifb_for(&self.device);
        Self {
            ifb: if is_own {
                Self::ifb_for(&device)
            } else {
                self.ifb.clone()
            },
            device,
            permanent_address: None,
            ..self.clone()
        }
    }

    /// Sets the root qdisc of the device.
    #[must_use]
    pub fn egress(mut self, qdisc: impl Into<Qdisc>) -> Self {
        self.egress = Some(qdisc.into());
        self
    }

    /// Sets the root qdisc of the IFB.
    #[must_use]
    pub fn ingress(mut self, qdisc: impl Into<Qdisc>) -> Self {
        self.ingress = Some(qdisc.into());
        self
    }

    /// Sets the name of the IFB.
    #[must_use]
    pub fn through(mut self, ifb: impl Into<String>) -> Self {
        self.ifb = ifb.into();
        self.prefers_ifb = false;
        self
    }

    /// Sets the preferred name of the IFB. If another device or another program uses that IFB, [one
    /// of its own](Self::ifb_for) is used.
    #[must_use]
    pub fn prefer_ifb(mut self, ifb: impl Into<String>) -> Self {
        self.ifb = ifb.into();
        self.prefers_ifb = true;
        self
    }

    /// Restricts shaping to the card with this permanent address.
    #[must_use]
    pub fn permanent_address(mut self, address: HardwareAddress) -> Self {
        self.permanent_address = Some(address);
        self
    }

    /// Consents to losing a root qdisc that could not be restored, and to shaping a device whose
    /// queueing disciplines another program manages.
    #[must_use]
    pub fn discard(mut self) -> Self {
        self.discard = true;
        self
    }

    /// Allows hosts that lack the device, and kernels that lack the parts for shaping.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Rejects what is wrong on any host.
    fn check(&self) -> Result<(), Error> {
        for name in [&self.device, &self.ifb] {
            if let Some(unsupported) = unusable_name(name) {
                return Err(Error::tuning(
                    unsupported.why,
                    unsupported.hint.unwrap_or_default(),
                ));
            }
        }
        if self.device == self.ifb {
            return Err(Error::tuning(
                format!("{} cannot be its own IFB", self.device),
                "give another name for the IFB",
            ));
        }
        for qdisc in self.egress.iter().chain(&self.ingress) {
            qdisc.check(&self.device)?;
        }
        match &self.ingress {
            Some(qdisc) => qdisc.check_for_ingress(&self.device),
            None => Ok(()),
        }
    }

    /// Why nothing can be shaped here; `None` if something can.
    fn obstacle(&self, at: &Planner<'_>) -> Result<Option<Unsupported>, Error> {
        let backend = match View::of(at.host()) {
            Ok(backend) => backend,
            Err(error) => {
                return Ok(Some(
                    Unsupported::new(UnsupportedKind::NoBackend, error.to_string())
                        .hint("shape the running system, not an image of one"),
                ));
            }
        };
        let link = backend.link(&self.device).map_err(HostError::from)?;
        Ok(match link {
            None => Some(circumstances::no_device(
                at.host(),
                &self.device,
                self.permanent_address.as_ref(),
            )?),
            Some(link) if link.kind == "ifb" => Some(
                Unsupported::new(
                    UnsupportedKind::Other,
                    format!("{} is an IFB itself", self.device),
                )
                .hint("name the device that the packets come from"),
            ),
            Some(_) if self.device == "lo" => Some(
                Unsupported::new(UnsupportedKind::Other, "loopback traffic cannot be shaped")
                    .hint("name the device that leads to the network"),
            ),
            Some(link) => circumstances::another_card(&link, self.permanent_address.as_ref()),
        })
    }

    /// Why a part of it cannot be set, unless another step of the plan provides what is missing.
    ///
    /// Used where shaping is optional: it is then left out entirely, and the rest of the plan is
    /// not refused because of it.
    fn refusal(&self, at: &mut Planner<'_>, parts: &Parts) -> Result<Option<Unsupported>, Error> {
        let mut unsupported = Vec::new();
        let modules = parts.modules(at.host())?;
        let mut provided: Vec<AnyKnob> = modules.iter().map(AnyKnob::of).collect();
        provided.push(AnyKnob::of(&IfbLink::new(&self.ifb)));
        provided.push(AnyKnob::of(&IngressHook::new(&self.device)));
        for module in modules {
            unsupported.push(at.unsupported(&module, &ModuleState::Loaded)?);
        }
        let sides = [(&self.device, &self.egress), (&self.ifb, &self.ingress)];
        for (link, qdisc) in sides {
            let Some(qdisc) = qdisc else { continue };
            let root = RootQdisc::new(link);
            let now = at.now(&root)?;
            let wanted = root.wanted(Some(&now), qdisc, self.discard);
            unsupported.push(at.unsupported(&root, &wanted)?);
        }
        if self.ingress.is_some() {
            let ifb = IfbLink::new(&self.ifb);
            unsupported.push(at.unsupported(&ifb, &ifb.for_device(&self.device))?);
            let hook = IngressHook::new(&self.device);
            let wanted = match at.now(&hook)? {
                HookState::Clsact => HookState::Clsact,
                _ => HookState::Ingress,
            };
            unsupported.push(at.unsupported(&hook, &wanted)?);
            let redirect = Redirect::new(&self.device, &self.ifb);
            unsupported.push(at.unsupported(&redirect, &RedirectState::Present)?);
        }
        let is_cured = |unsupported: &Unsupported| {
            let cure = unsupported.cure.as_ref();
            cure.is_some_and(|(cure, _)| provided.contains(cure))
        };
        Ok(unsupported
            .into_iter()
            .flatten()
            .find(|unsupported| !is_cured(unsupported)))
    }

    fn ingress_of(&self, at: &mut Planner<'_>, qdisc: &Qdisc) -> Result<(), Error> {
        let ifb = IfbLink::new(&self.ifb);
        let root = RootQdisc::new(&self.ifb);
        let hook = IngressHook::new(&self.device);
        let redirect = Redirect::new(&self.device, &self.ifb);

        at.want(&ifb, &ifb.for_device(&self.device))
            .why("incoming packets can be queued only where they leave again")
            .required();
        // Until the IFB exists, nothing is known about its root.
        let now = at.now(&root).ok();
        let wanted = root.wanted(now.as_ref(), qdisc, self.discard);
        at.want(&root, &wanted)
            .why("keeps the download queue on this host instead of at the provider")
            .required();
        let wanted = match at.now(&hook)? {
            HookState::Clsact => HookState::Clsact,
            _ => HookState::Ingress,
        };
        at.want(&hook, &wanted)
            .why("ingress filters are attached to it")
            .required();
        let earlier = self.earlier_filters(View::of(at.host())?)?;
        let device = &self.device;
        if let Some(filter) = &earlier.takes_all {
            at.note(format!(
                "not in effect: {filter} takes every packet before the redirect, so ingress is not shaped; see tc filter show dev {device} ingress"
            ));
        }
        for filter in &earlier.unknown {
            at.note(format!(
                "{filter} comes before the redirect: packets that it takes are not shaped"
            ));
        }
        let takes_all = match earlier.takes_all {
            Some(filter) => Some(filter),
            None => self.program_that_takes_all(at)?,
        };
        at.want(&redirect, &RedirectState::Present)
            .why("sends incoming packets through the IFB")
            .required()
            .overridden_by(takes_all.map(|filter| format!("{filter}, which takes every packet")));
        Ok(())
    }
}

impl Shaper {
    /// The BPF program that takes every packet before the redirect, if there is one; notes what is
    /// known of such programs.
    fn program_that_takes_all(&self, at: &mut Planner<'_>) -> Result<Option<String>, Error> {
        let device = &self.device;
        Ok(match self.programs_before(at.host())? {
            Before::Nothing => None,
            Before::Untold(note) => {
                at.note(note);
                None
            }
            Before::TakesAll(who) => {
                at.note(format!(
                    "not in effect: {who} takes every packet before the redirect, so ingress is not shaped; see bpftool net show dev {device}"
                ));
                Some(who)
            }
        })
    }
}

impl Tuning for Shaper {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        self.check()?;
        if !at.is_selected() {
            return Ok(());
        }
        let chosen = self.with_ifb_chosen(at.host())?;
        if chosen.ifb != self.ifb {
            at.note(ifb_choice::note(self, &chosen.ifb, at.host())?);
        }
        chosen.declare_chosen(at)
    }
}

impl Shaper {
    fn declare_chosen(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        let parts = Parts::of(self, at.host())?;
        let mut unsupported = self.obstacle(at)?.or_else(|| parts.unsupported());
        if unsupported.is_none() {
            unsupported = circumstances::look(self, at)?;
        }
        if unsupported.is_none() && self.optional {
            unsupported = self.refusal(at, &parts)?;
        }
        if let Some(unsupported) = unsupported {
            let skipped = at.skip(&format!("shaping of {}", self.device), unsupported);
            if self.optional {
                skipped.optional();
            } else {
                skipped.required();
            }
            return Ok(());
        }
        parts.want(at)?;
        if let Some(qdisc) = &self.egress {
            let root = RootQdisc::new(&self.device);
            let now = at.now(&root)?;
            if let crate::RootState::Default {
                shows: Some(kind), ..
            } = &now
                && kind == "mq"
                && qdisc.kind != CAKE_MQ
            {
                at.note(format!(
                    "{} has several queues; a single shaper makes them share one lock",
                    self.device
                ));
            }
            let wanted = root.wanted(Some(&now), qdisc, self.discard);
            at.want(&root, &wanted)
                .why("keeps the upload queue on this host instead of in the modem")
                .required();
        }
        if let Some(qdisc) = &self.ingress {
            self.ingress_of(at, qdisc)?;
        }
        self.note_health(at)
    }
}
