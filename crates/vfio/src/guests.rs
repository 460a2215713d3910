//! Virtual machines that have devices open which vfio-pci has already: whether such a device may be lent.
//!
//! A group can be opened once, so what another virtual machine has is not to be had. vfio-pci would be
//! bound as wanted all the same, and only the start of the guest would fail, with EBUSY.

use hosttune_core::{Knob, OwnedChange, Planner, Unsupported, UnsupportedKind};
use hosttune_pci::Address;
use serde_json::Value;

use crate::assessment::Assessment;
use crate::bound_driver::BoundDriver;
use crate::lend::Lend;

/// Refuses each lent device that another virtual machine has open. Whether any is refused.
///
/// It is no other one if this program has lent the device or the machine has the name of the guest.
pub(crate) fn refuse(at: &mut Planner<'_>, lend: &Lend, assessment: &Assessment) -> bool {
    let mut is_refused = false;
    for (address, holder) in &assessment.guests {
        if lend.is_for(holder.guest.as_deref()) || is_lent_by_us(at.changes_in_effect(), *address) {
            continue;
        }
        is_refused = true;
        let unsupported = Unsupported::new(
            UnsupportedKind::Busy,
            format!("vfio-pci has it already, and it is in use by {holder}"),
        )
        .hint(match &holder.guest {
            Some(guest) => format!("shut the virtual machine {guest} down, then run it again"),
            None => format!(
                "end process {} (ps -fp {0} shows it), then run it again",
                holder.process
            ),
        });
        at.skip(&address.to_string(), unsupported)
            .required()
            .why(lend.reason());
    }
    is_refused
}

/// Whether a journal of this program says that it has bound the device: its own, or that of the commands that
/// it runs tuned, which is named after it.
fn is_lent_by_us(changes: &[OwnedChange], address: Address) -> bool {
    let own = changes.iter().find(|change| change.is_own);
    let program = |owner: &str| owner.strip_suffix(".run").unwrap_or(owner).to_owned();
    let own = own.map(|change| program(&change.owner));
    changes.iter().any(|change| {
        change.knob.kind == BoundDriver::NAME
            && change.knob.id == Value::String(address.to_string())
            && (change.is_own || own.as_deref() == Some(&*program(&change.owner)))
    })
}
