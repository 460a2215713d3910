//! Limits: the requests, which are hidden, and their outcome.

use std::time::Duration;

use hosttune_core::testing::{Behaviour, Tree};

use super::{EINVAL, HIDDEN, LOWEST, LOWEST_EFFICIENT, Scaling, TABLE, answering};
use crate::policy::PolicyNumber;

pub(super) const MINIMUM: &str = "minimum";
pub(super) const MAXIMUM: &str = "maximum";

fn kept(policy: PolicyNumber, which: &str) -> String {
    format!("{HIDDEN}/{policy}/{which}")
}

fn number(tree: &Tree, path: &str) -> u32 {
    let text = tree.get(path).unwrap_or_default();
    text.parse().unwrap_or_default()
}

/// No requests: `FREQ_QOS_MIN_DEFAULT_VALUE` and `FREQ_QOS_MAX_DEFAULT_VALUE`.
pub(super) fn start(tree: &mut Tree, policy: PolicyNumber, _: Scaling) {
    tree.set(kept(policy, MINIMUM), "0");
    tree.set(kept(policy, MAXIMUM), &i32::MAX.to_string());
    show(tree, policy);
}

/// `store_scaling_min_freq` and `store_scaling_max_freq`: `freq_qos_update_request` with an unsigned number
/// that is stored as a signed 32-bit one; a negative one is refused.
pub(super) fn request(policy: PolicyNumber, which: &'static str) -> Behaviour {
    answering(move |tree, value| {
        let asked: i64 = value.trim().parse().map_err(|_| EINVAL)?;
        let asked = i32::try_from(asked).map_err(|_| EINVAL)?;
        if asked < 0 {
            return Err(EINVAL);
        }
        tree.set(kept(policy, which), &asked.to_string());
        show_later(tree, policy);
        Ok(())
    })
}

/// Changes the highest frequency of the hardware.
pub(super) fn end(tree: &mut Tree, policy: PolicyNumber, kilohertz: u32) {
    tree.set(policy.file("cpuinfo_max_freq"), &kilohertz.to_string());
    if tree.get(kept(policy, MAXIMUM)).is_some() {
        show_later(tree, policy);
    }
}

/// `cpufreq_boost_set_sw` of Linux 6.1: requests the present hardware maximum, replacing any earlier
/// request.
pub(super) fn overwrite(tree: &mut Tree, policy: PolicyNumber) {
    let end = number(tree, &policy.file("cpuinfo_max_freq"));
    tree.set(kept(policy, MAXIMUM), &end.to_string());
    show_later(tree, policy);
}

/// `cpufreq_notifier_min` and `cpufreq_notifier_max` leave it to a worker, so the write returns first.
fn show_later(tree: &mut Tree, policy: PolicyNumber) {
    let worker = answering(move |tree, _| {
        show(tree, policy);
        Ok(())
    });
    tree.later(Duration::from_millis(3), kept(policy, MAXIMUM), "", worker);
}

/// `cpufreq_set_policy`: clamps the requests to the range of the hardware (`cpufreq_verify_within_limits`),
/// then rounds them to frequencies of the table.
fn show(tree: &mut Tree, policy: PolicyNumber) {
    let scaling = Scaling::of(tree);
    let (lowest, highest) = (LOWEST, number(tree, &policy.file("cpuinfo_max_freq")));
    let mut minimum = number(tree, &kept(policy, MINIMUM));
    // `amd_pstate_verify` in Linux 7.2.
    if matches!(scaling, Scaling::AmdActive | Scaling::AmdPassive) && minimum == 0 {
        minimum = LOWEST_EFFICIENT;
    }
    let mut minimum = minimum.clamp(lowest, highest);
    let mut maximum = number(tree, &kept(policy, MAXIMUM)).clamp(lowest, highest);
    minimum = minimum.min(maximum);
    if scaling == Scaling::Acpi {
        let up = TABLE.iter().rev().find(|one| **one >= minimum);
        let down = TABLE.iter().find(|one| **one <= maximum);
        minimum = up.copied().unwrap_or(minimum);
        maximum = down.copied().unwrap_or(maximum);
        minimum = minimum.min(maximum);
    }
    tree.set(policy.file("scaling_min_freq"), &minimum.to_string());
    tree.set(policy.file("scaling_max_freq"), &maximum.to_string());
}
