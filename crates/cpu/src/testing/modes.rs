//! Switches for all policies: modes and boost.

use hosttune_core::testing::{Behaviour, Memory, Tree};

use super::{EINVAL, Scaling, answering, digit, limits, policies, start};
use crate::policy::{CPUFREQ, PolicyNumber};

const INTEL: &str = "/sys/devices/system/cpu/intel_pstate";
const AMD: &str = "/sys/devices/system/cpu/amd_pstate";

/// `intel_pstate`: `status`, and `no_turbo` for all.
pub(super) fn intel(memory: Memory, mode: &str) -> Memory {
    let status = answering(|tree, value| {
        let to = match value.trim() {
            "active" => Scaling::IntelActive,
            "passive" => Scaling::IntelPassive,
            // `off` is EBUSY with HWP, and nothing here writes it.
            _ => return Err(EINVAL),
        };
        switch(tree, INTEL, value.trim(), to);
        Ok(())
    });
    let no_turbo = answering(|tree, value| {
        let off = digit(value)?;
        tree.set(format!("{INTEL}/no_turbo"), &u8::from(off).to_string());
        let (without, with) = Scaling::of(tree).ends();
        for policy in policies(tree) {
            limits::end(tree, policy, if off { without } else { with });
        }
        Ok(())
    });
    memory.file(format!("{INTEL}/status"), mode, status).file(
        format!("{INTEL}/no_turbo"),
        "0",
        no_turbo,
    )
}

/// `amd_pstate`: `status`, and boost for all and for each policy, as in Linux 7.2.
pub(super) fn amd(memory: Memory, policies: u32, mode: &str) -> Memory {
    let status = answering(|tree, value| {
        let to = match value.trim() {
            "active" => Scaling::AmdActive,
            "passive" | "guided" => Scaling::AmdPassive,
            _ => return Err(EINVAL),
        };
        switch(tree, AMD, value.trim(), to);
        Ok(())
    });
    let boost = answering(|tree, value| {
        let on = digit(value)?;
        tree.set(format!("{CPUFREQ}/boost"), &u8::from(on).to_string());
        for policy in super::policies(tree) {
            set_boost(tree, policy, on);
        }
        Ok(())
    });
    (0..policies).fold(
        memory.file(format!("{AMD}/status"), mode, status).file(
            format!("{CPUFREQ}/boost"),
            "1",
            boost,
        ),
        |memory, number| {
            let policy = PolicyNumber(number);
            memory.file(policy.file("boost"), "1", policy_boost(policy))
        },
    )
}

/// `store_local_boost`: refused while boost is off for all policies.
pub(super) fn policy_boost(policy: PolicyNumber) -> Behaviour {
    answering(move |tree, value| {
        let on = digit(value)?;
        if tree.get(format!("{CPUFREQ}/boost")).as_deref() == Some("0") {
            return Err(EINVAL);
        }
        set_boost(tree, policy, on);
        Ok(())
    })
}

/// Returns the highest frequency of a policy for the present boost state.
pub(super) fn end(tree: &Tree, policy: PolicyNumber, scaling: Scaling) -> u32 {
    let (without, with) = scaling.ends();
    let is = |path: String, digit: &str| tree.get(path).as_deref() == Some(digit);
    if is(policy.file("boost"), "0") || is(format!("{INTEL}/no_turbo"), "1") {
        without
    } else {
        with
    }
}

fn set_boost(tree: &mut Tree, policy: PolicyNumber, on: bool) {
    let digit = u8::from(on).to_string();
    if tree.get(policy.file("boost")) == Some(digit.clone()) {
        return;
    }
    tree.set(policy.file("boost"), &digit);
    let (without, with) = Scaling::of(tree).ends();
    limits::end(tree, policy, if on { with } else { without });
}

/// Adds boost for all policies over a table of frequencies, as in Linux 6.1: `cpufreq/boost` with
/// `cpufreq_boost_set_sw`.
#[must_use]
pub fn with_overwriting_boost(memory: Memory, nominal: u32, boosted: u32) -> Memory {
    let boost = answering(move |tree, value| {
        let on = digit(value)?;
        tree.set(format!("{CPUFREQ}/boost"), &u8::from(on).to_string());
        for policy in policies(tree) {
            limits::end(tree, policy, if on { boosted } else { nominal });
            limits::overwrite(tree, policy);
        }
        Ok(())
    });
    memory.file(format!("{CPUFREQ}/boost"), "1", boost)
}

fn switch(tree: &mut Tree, driver: &str, word: &str, to: Scaling) {
    if tree.get(format!("{driver}/status")).as_deref() == Some(word) {
        return;
    }
    tree.set(format!("{driver}/status"), word);
    let count = policies(tree).len();
    start(tree, to, u32::try_from(count).unwrap_or_default());
}
