//! Facts about a device besides its knobs: whether it is the requested card, which other program
//! manages it, and whether it has a carrier.

use hosttune_core::{Error, Host, HostError, Planner, Unsupported, UnsupportedKind};

use crate::hardware_address::HardwareAddress;
use crate::manager::Manager;
use crate::netlink::{INGRESS_FILTERS, Link, Netlink, View};
use crate::shaper::Shaper;

/// The error for a missing device, with the name that the requested card has now.
pub(crate) fn no_device(
    host: &Host,
    device: &str,
    card: Option<&HardwareAddress>,
) -> Result<Unsupported, HostError> {
    let unsupported = crate::ingress::no_device(device);
    let Some(card) = card else {
        return Ok(unsupported);
    };
    Ok(match host.backend::<Netlink>()?.link_of_card(card)? {
        Some(link) => unsupported.hint(format!("the card {card} is now named {}", link.name)),
        None => unsupported.hint(format!("the card {card} is missing too: is it plugged in?")),
    })
}

/// Why a link of the right name is not the requested card, or `None` if it is.
pub(crate) fn another_card(link: &Link, card: Option<&HardwareAddress>) -> Option<Unsupported> {
    let wanted = card?;
    let name = &link.name;
    let why = match &link.permanent_address {
        Some(seen) if seen == wanted => return None,
        Some(seen) => {
            format!("{name} is now a different card: its address is {seen}, not {wanted}")
        }
        None => format!("{name} has no permanent address, but the card {wanted} was requested"),
    };
    Some(Unsupported::new(UnsupportedKind::Other, why).hint(
        "use the name that ip link shows with this permaddr, or leave the permanent address out",
    ))
}

/// Adds notes for the user to the plan. Returns why the device must not be shaped, if so.
pub(crate) fn look(shaper: &Shaper, at: &mut Planner<'_>) -> Result<Option<Unsupported>, Error> {
    let host = at.host();
    let backend = View::of(host)?;
    let device = &shaper.device;
    let Some(link) = backend.link(device).map_err(HostError::from)? else {
        return Ok(None);
    };
    for manager in Manager::all_of(host, device, link.index)? {
        if manager.sets.is_some() && !shaper.discard {
            return Ok(Some(manager.unsupported(device)));
        }
        at.note(manager.note(device));
    }
    if link.is_up() && !link.has_carrier() {
        at.note(format!("{device} has no carrier; it is shaped anyway"));
    }
    if shaper.ingress.is_some() {
        let filters = backend
            .filters(link.index, INGRESS_FILTERS)
            .map_err(HostError::from)?;
        if filters
            .iter()
            .any(|filter| filter.is_ours() && filter.is_in_hardware())
        {
            at.note(format!(
                "{device} has offloaded the redirect to hardware: packets that the hardware handles do not reach the IFB"
            ));
        }
    }
    Ok(None)
}
