//! What is to be known of a device beside the knobs: whether it is the card that is meant, who else
//! manages it, whether it has a carrier.

use hosttune_core::{Error, Host, HostError, Lack, LackKind, Planner};

use crate::hardware_address::HardwareAddress;
use crate::manager::Manager;
use crate::netlink::{INGRESS_FILTERS, Link, Netlink, View};
use crate::shaper::Shaper;

/// That there is no such device, and which name the card has now that is meant.
pub(crate) fn no_device(
    host: &Host,
    device: &str,
    card: Option<&HardwareAddress>,
) -> Result<Lack, HostError> {
    let lack = crate::ingress::no_device(device);
    let Some(card) = card else { return Ok(lack) };
    Ok(match host.wire::<Netlink>()?.link_of_card(card)? {
        Some(link) => lack.hint(format!("the card {card} is {} now", link.name)),
        None => lack.hint(format!("there is no card {card} either: is it plugged in?")),
    })
}

/// Why a link of the right name is not the card that is meant, if it is not.
pub(crate) fn another_card(link: &Link, card: Option<&HardwareAddress>) -> Option<Lack> {
    let wanted = card?;
    let name = &link.name;
    let why = match &link.permanent_address {
        Some(seen) if seen == wanted => return None,
        Some(seen) => format!("{name} is another card now: {wanted} is wanted, {seen} is there"),
        None => format!("{name} has no permanent address: the card {wanted} is wanted"),
    };
    Some(Lack::new(LackKind::Other, why).hint(
        "give the device's name as ip link shows it with this permaddr, or no permanent address",
    ))
}

/// Notes what a person should know; answers why it must not be shaped, if it must not.
pub(crate) fn look(shaper: &Shaper, at: &mut Planner<'_>) -> Result<Option<Lack>, Error> {
    let host = at.host();
    let wire = View::of(host)?;
    let device = &shaper.device;
    let Some(link) = wire.link(device).map_err(HostError::from)? else {
        return Ok(None);
    };
    for manager in Manager::all_of(host, device, link.index)? {
        if manager.sets.is_some() && !shaper.discard {
            return Ok(Some(manager.lack(device)));
        }
        at.note(manager.note(device));
    }
    if link.is_up() && !link.has_carrier() {
        at.note(format!(
            "{device} has no carrier: it is shaped all the same"
        ));
    }
    if shaper.ingress.is_some() {
        let filters = wire
            .filters(link.index, INGRESS_FILTERS)
            .map_err(HostError::from)?;
        if filters
            .iter()
            .any(|filter| filter.is_ours() && filter.is_in_hardware())
        {
            at.note(format!(
                "the hardware of {device} has taken over the redirect: what it handles itself does not come to the IFB"
            ));
        }
    }
    Ok(None)
}
