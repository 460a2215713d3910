//! Governors: which are available, module loading on demand, and tunables.

use hosttune_core::testing::{Behaviour, Memory, Tree};

use super::{BUILT_IN, EINVAL, MODULES, Scaling, answering, governor_of, offer_all, preferences};
use crate::policy::{CPUFREQ, PolicyNumber};

/// The tunables of each governor and their initial values.
const TUNABLES: [(&str, &str, &str); 4] = [
    ("schedutil", "rate_limit_us", "10000"),
    ("ondemand", "up_threshold", "95"),
    ("ondemand", "sampling_down_factor", "1"),
    ("conservative", "freq_step", "5"),
];

pub(super) fn tunables(memory: Memory, policies: u32) -> Memory {
    let memory = TUNABLES.iter().fold(memory, |memory, (governor, name, _)| {
        memory.behaving(
            format!("{CPUFREQ}/{governor}/{name}"),
            Behaviour::integer(1..=1_000_000),
        )
    });
    (0..policies)
        .map(PolicyNumber)
        .fold(memory, |memory, policy| {
            memory.behaving(
                policy.file("scaling_setspeed"),
                answering(move |tree, value| {
                    if governor_is(tree, policy).as_deref() != Some("userspace") {
                        return Err(EINVAL);
                    }
                    let speed: u32 = value.trim().parse().map_err(|_| EINVAL)?;
                    tree.set(policy.file("scaling_setspeed"), &speed.to_string());
                    Ok(())
                }),
            )
        })
}

fn governor_is(tree: &Tree, policy: PolicyNumber) -> Option<String> {
    tree.get(policy.file("scaling_governor"))
}

/// `store_scaling_governor`: takes the first word, at most 15 bytes of it, in any case, and loads the
/// module that provides it.
pub(super) fn governor(policy: PolicyNumber) -> Behaviour {
    answering(move |tree, value| {
        let word = value.split_whitespace().next().ok_or(EINVAL)?;
        let word: String = word.chars().take(15).collect::<String>().to_lowercase();
        let offers = |tree: &Tree| {
            let offered = tree.get(policy.file("scaling_available_governors"));
            let offered = offered.unwrap_or_default();
            offered.split_whitespace().any(|one| one == word)
        };
        if !offers(tree) && !Scaling::of(tree).has_own_governors() {
            let module = format!("cpufreq_{word}");
            if MODULES.iter().any(|one| one.name == module) {
                tree.set(format!("/sys/module/{module}/initstate"), "live");
                offer_all(tree);
            }
        }
        if !offers(tree) {
            return Err(EINVAL);
        }
        switch(tree, policy, &word);
        Ok(())
    })
}

/// `show_scaling_available_governors`: all registered governors, or the driver's own two.
pub(super) fn offer(tree: &mut Tree, policy: PolicyNumber, scaling: Scaling) {
    let mut words: Vec<&str> = if scaling.has_own_governors() {
        vec!["performance", "powersave"]
    } else {
        let loaded = MODULES.iter().filter(|module| {
            let state = format!("/sys/module/{}/initstate", module.name);
            tree.get(state).is_some()
        });
        BUILT_IN
            .into_iter()
            .chain(loaded.map(|module| governor_of(module.name)))
            .collect()
    };
    words.sort_unstable();
    tree.set(policy.file("scaling_available_governors"), &words.join(" "));
}

/// Switches a policy's governor. The tunables of the old one are freed with the last policy that uses it.
pub(super) fn switch(tree: &mut Tree, policy: PolicyNumber, to: &str) {
    let old = governor_is(tree, policy).unwrap_or_default();
    if old == to {
        return;
    }
    tree.set(policy.file("scaling_governor"), to);
    let own = Scaling::of(tree).has_own_governors();
    if own {
        preferences::governor_is(tree, policy, &old, to);
    }
    // `userspace` starts with the present frequency.
    let speed = match to {
        "userspace" => "800000",
        _ => "<unsupported>",
    };
    tree.set(policy.file("scaling_setspeed"), speed);
    let is_used = |tree: &Tree, governor: &str| {
        let all = super::policies(tree);
        all.iter()
            .any(|policy| governor_is(tree, *policy).as_deref() == Some(governor))
    };
    for (governor, name, default) in TUNABLES {
        let path = format!("{CPUFREQ}/{governor}/{name}");
        let used = !own && is_used(tree, governor);
        if used && tree.get(&path).is_none() {
            tree.set(&path, default);
        } else if !used {
            tree.remove(&path);
            tree.remove(format!("{CPUFREQ}/{governor}"));
        }
    }
}
