//! Shaping of what leaves a device and of what arrives at it.

use hosttune_boot::ModuleState;
use hosttune_core::{AnyKnob, Error, HostError, Lack, LackKind, Planner, Tuning};
use serde::{Deserialize, Serialize};

use crate::circumstances;
use crate::hardware_address::HardwareAddress;
use crate::ifb_choice;
use crate::ingress::{HookState, IngressHook};
use crate::kernel_part::Parts;
use crate::link::{IfbLink, unusable_name};
use crate::netlink::{LONGEST_NAME, View};
use crate::qdisc::{CAKE_MQ, Qdisc};
use crate::redirect::{Redirect, RedirectState};
use crate::root_qdisc::RootQdisc;

/// Shapes what leaves a device at its root, and what arrives at the root of an IFB that all of it
/// is sent through.
///
/// The root of the device is turned first: its exact reverse, in which everything is put back, is
/// then an order in which no packet is ever sent to a link that is down or gone.
///
/// The modules for all of it come first. Where [`Modules`](hosttune_boot::Modules) is plugged into
/// the host, those that are not loaded are loaded as steps of the plan, and unloaded again by a
/// revert. Where it is not, the kernel loads by itself what it may, and that stays. A kernel that
/// certainly has not what is wanted is told beforehand, and nothing is touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Shaper {
    /// The device.
    pub device: String,
    /// The name of the IFB, at most 15 bytes. The one that [`ifb_for`](Self::ifb_for) names is only
    /// a preference: a renamed device keeps the one that it has.
    pub ifb: String,
    /// Whether [`ifb`](Self::ifb) is only a preference: where another device or another program has
    /// it, the IFB is the one that [`ifb_for`](Self::ifb_for) names.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prefers_ifb: bool,
    /// The root of the device, for what leaves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Qdisc>,
    /// The root of the IFB, for what arrives at the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Qdisc>,
    /// The permanent address of the card that is meant; another card of the device's name is not
    /// shaped. By the name alone where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permanent_address: Option<HardwareAddress>,
    /// The consent to losing a root that could not be put back, and to shaping a device whose
    /// queueing disciplines somebody else manages.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub discard: bool,
    /// Whether a host without the device, or a kernel without what shapes, is as good: then it is
    /// skipped there with a finding, and is an error where it is not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

impl Shaper {
    /// Shapes nothing yet.
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

    /// The name of the IFB for a device where none is given: `ifb-` and the device's name, of a
    /// long one its beginning and what tells it from others that begin so.
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

    /// The same for another device.
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

    /// With this at the root of the device.
    #[must_use]
    pub fn egress(mut self, qdisc: impl Into<Qdisc>) -> Self {
        self.egress = Some(qdisc.into());
        self
    }

    /// With this at the root of the IFB.
    #[must_use]
    pub fn ingress(mut self, qdisc: impl Into<Qdisc>) -> Self {
        self.ingress = Some(qdisc.into());
        self
    }

    /// With an IFB of this name.
    #[must_use]
    pub fn through(mut self, ifb: impl Into<String>) -> Self {
        self.ifb = ifb.into();
        self.prefers_ifb = false;
        self
    }

    /// With an IFB of this name where no other device and no other program has it, and with
    /// [one of its own](Self::ifb_for) where one has.
    #[must_use]
    pub fn prefer_ifb(mut self, ifb: impl Into<String>) -> Self {
        self.ifb = ifb.into();
        self.prefers_ifb = true;
        self
    }

    /// Of the card with this permanent address only.
    #[must_use]
    pub fn permanent_address(mut self, address: HardwareAddress) -> Self {
        self.permanent_address = Some(address);
        self
    }

    /// Consents to losing a root that could not be put back, and to shaping a device whose queueing
    /// disciplines somebody else manages.
    #[must_use]
    pub fn discard(mut self) -> Self {
        self.discard = true;
        self
    }

    /// For hosts that may lack the device, and kernels that may lack what shapes.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// What is wrong with it on any host.
    fn check(&self) -> Result<(), Error> {
        for name in [&self.device, &self.ifb] {
            if let Some(lack) = unusable_name(name) {
                return Err(Error::tuning(lack.why, lack.hint.unwrap_or_default()));
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

    /// Why nothing can be shaped here, if nothing can.
    fn obstacle(&self, at: &Planner<'_>) -> Result<Option<Lack>, Error> {
        let wire = match View::of(at.host()) {
            Ok(wire) => wire,
            Err(error) => {
                return Ok(Some(
                    Lack::new(LackKind::NoWire, error.to_string())
                        .hint("shape the running system, not an image of one"),
                ));
            }
        };
        let link = wire.link(&self.device).map_err(HostError::from)?;
        Ok(match link {
            None => Some(circumstances::no_device(
                at.host(),
                &self.device,
                self.permanent_address.as_ref(),
            )?),
            Some(link) if link.kind == "ifb" => Some(
                Lack::new(LackKind::Other, format!("{} is an IFB itself", self.device))
                    .hint("name the device that the packets come from"),
            ),
            Some(_) if self.device == "lo" => Some(
                Lack::new(LackKind::Other, "what is sent to lo leaves no machine")
                    .hint("name the device that leads out"),
            ),
            Some(link) => circumstances::another_card(&link, self.permanent_address.as_ref()),
        })
    }

    /// Why a part of it cannot be set, where no other step of the plan provides what is lacking.
    ///
    /// Asked where it is optional: then all of it is left out, and nothing else of the plan is
    /// refused because of it.
    fn refusal(&self, at: &mut Planner<'_>, parts: &Parts) -> Result<Option<Lack>, Error> {
        let mut lacks = Vec::new();
        let modules = parts.modules(at.host())?;
        let mut provided: Vec<AnyKnob> = modules.iter().map(AnyKnob::of).collect();
        provided.push(AnyKnob::of(&IfbLink::new(&self.ifb)));
        provided.push(AnyKnob::of(&IngressHook::new(&self.device)));
        for module in modules {
            lacks.push(at.lacks(&module, &ModuleState::Loaded)?);
        }
        let sides = [(&self.device, &self.egress), (&self.ifb, &self.ingress)];
        for (link, qdisc) in sides {
            let Some(qdisc) = qdisc else { continue };
            let root = RootQdisc::new(link);
            let now = at.now(&root)?;
            let wanted = root.wanted(Some(&now), qdisc, self.discard);
            lacks.push(at.lacks(&root, &wanted)?);
        }
        if self.ingress.is_some() {
            let ifb = IfbLink::new(&self.ifb);
            lacks.push(at.lacks(&ifb, &ifb.for_device(&self.device))?);
            let hook = IngressHook::new(&self.device);
            let wanted = match at.now(&hook)? {
                HookState::Clsact => HookState::Clsact,
                _ => HookState::Ingress,
            };
            lacks.push(at.lacks(&hook, &wanted)?);
            let redirect = Redirect::new(&self.device, &self.ifb);
            lacks.push(at.lacks(&redirect, &RedirectState::Present)?);
        }
        let is_cured = |lack: &Lack| {
            let cure = lack.cure.as_ref();
            cure.is_some_and(|(cure, _)| provided.contains(cure))
        };
        Ok(lacks.into_iter().flatten().find(|lack| !is_cured(lack)))
    }

    fn ingress_of(&self, at: &mut Planner<'_>, qdisc: &Qdisc) -> Result<(), Error> {
        let ifb = IfbLink::new(&self.ifb);
        let root = RootQdisc::new(&self.ifb);
        let hook = IngressHook::new(&self.device);
        let redirect = Redirect::new(&self.device, &self.ifb);

        at.want(&ifb, &ifb.for_device(&self.device))
            .why("what arrives can be queued only where it leaves again")
            .required();
        // Before the IFB is there nothing is known of its root.
        let now = at.now(&root).ok();
        let wanted = root.wanted(now.as_ref(), qdisc, self.discard);
        at.want(&root, &wanted)
            .why("the queue of what arrives is to be here, and not at the provider's")
            .required();
        let wanted = match at.now(&hook)? {
            HookState::Clsact => HookState::Clsact,
            _ => HookState::Ingress,
        };
        at.want(&hook, &wanted)
            .why("filters of what arrives stand at it")
            .required();
        let earlier = self.earlier_filters(View::of(at.host())?)?;
        let device = &self.device;
        if let Some(filter) = &earlier.takes_all {
            at.note(format!(
                "not in effect: {filter} takes every packet before the redirect, so nothing that arrives is shaped; see tc filter show dev {device} ingress"
            ));
        }
        for filter in &earlier.unknown {
            at.note(format!(
                "{filter} comes before the redirect: the packets that it takes are not shaped"
            ));
        }
        let takes_all = earlier.takes_all;
        at.want(&redirect, &RedirectState::Present)
            .why("sends what arrives through the IFB")
            .required()
            .overridden_by(takes_all.map(|filter| format!("{filter}, which takes every packet")));
        Ok(())
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
        let mut lack = self.obstacle(at)?.or_else(|| parts.lack());
        if lack.is_none() {
            lack = circumstances::look(self, at)?;
        }
        if lack.is_none() && self.optional {
            lack = self.refusal(at, &parts)?;
        }
        if let Some(lack) = lack {
            let skipped = at.skip(&format!("shaping of {}", self.device), lack);
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
                    "{} has several queues; under one shaper they share one lock",
                    self.device
                ));
            }
            let wanted = root.wanted(Some(&now), qdisc, self.discard);
            at.want(&root, &wanted)
                .why("the queue of what leaves is to be here, and not at the modem's")
                .required();
        }
        if let Some(qdisc) = &self.ingress {
            self.ingress_of(at, qdisc)?;
        }
        self.note_health(at)
    }
}
