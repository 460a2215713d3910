//! Energy-performance preferences of `intel_pstate` with HWP and of `amd_pstate`.

use hosttune_core::testing::{Behaviour, Tree};

use super::{EBUSY, EINVAL, HIDDEN, Scaling, answering};
use crate::policy::PolicyNumber;

const WORDS: [&str; 4] = [
    "performance",
    "balance_performance",
    "balance_power",
    "power",
];

/// The driver's initial value, which `default` selects.
const DEFAULT: &str = "balance_performance";

fn saved(policy: PolicyNumber) -> String {
    format!("{HIDDEN}/{policy}/preference")
}

/// `show_energy_performance_available_preferences`: `amd_pstate` offers only one while the governor fixes
/// it there.
pub(super) fn offer(tree: &mut Tree, policy: PolicyNumber, held: bool) {
    let words = if held {
        "performance".to_owned()
    } else {
        format!("default {}", WORDS.join(" "))
    };
    let file = policy.file("energy_performance_available_preferences");
    tree.set(file, &words);
}

/// `store_energy_performance_preference` of both drivers.
pub(super) fn preference(policy: PolicyNumber) -> Behaviour {
    answering(move |tree, value| {
        let scaling = Scaling::of(tree);
        let value = value.trim();
        let shown = match value {
            "default" => DEFAULT.to_owned(),
            word if WORDS.contains(&word) => word.to_owned(),
            number => {
                let number: u8 = number.parse().map_err(|_| EINVAL)?;
                match (scaling, number) {
                    // amd_pstate shows a number again as a number.
                    (Scaling::AmdActive, number) => number.to_string(),
                    (_, 0) => "performance".to_owned(),
                    (_, 0x80) => "balance_performance".to_owned(),
                    (_, 0xC0) => "balance_power".to_owned(),
                    (_, 0xFF) => "power".to_owned(),
                    (_, number) => number.to_string(),
                }
            }
        };
        let governor = tree.get(policy.file("scaling_governor"));
        let held = scaling.has_own_governors() && governor.as_deref() == Some("performance");
        if held && shown != "performance" && shown != "0" {
            return Err(EBUSY);
        }
        tree.set(policy.file("energy_performance_preference"), &shown);
        Ok(())
    })
}

/// Effect of a change of the driver's own governor: `intel_pstate_hwp_set` saves and restores the
/// preference, `amd_pstate_epp_update_limit` leaves it at performance.
pub(super) fn governor_is(tree: &mut Tree, policy: PolicyNumber, old: &str, to: &str) {
    let scaling = Scaling::of(tree);
    let file = policy.file("energy_performance_preference");
    let now = tree.get(&file).unwrap_or_default();
    if to == "performance" {
        if scaling == Scaling::IntelActive {
            tree.set(saved(policy), &now);
        }
        tree.set(&file, "performance");
    } else if old == "performance" && scaling == Scaling::IntelActive && now == "performance" {
        let before = tree.get(saved(policy)).unwrap_or(now);
        tree.set(&file, &before);
        tree.remove(saved(policy));
    }
    if scaling == Scaling::AmdActive {
        offer(tree, policy, to == "performance");
    }
}
