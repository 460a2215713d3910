//! Frequency scaling of a simulated machine, modelled on the kernel sources.
//!
//! The effects of a write are taken from `drivers/cpufreq` of Linux 6.1 and 7.2: `cpufreq.c`
//! (`cpufreq_set_policy`, `store_scaling_governor`), `cpufreq_governor.c` and `cpufreq_schedutil.c`
//! (lifetime of the tunables), `intel_pstate.c` and `amd-pstate.c` (preferences, modes, boost). The last
//! two exist only here, because no stock kernel in an emulated machine has them.
//!
//! State that the kernel keeps but does not show, the requested limits, is below [`HIDDEN`]. A revert that
//! leaves it changed is not complete.

mod governors;
mod kept_free;
mod limits;
mod modes;
mod preferences;

pub use kept_free::{GROUP, MANAGED, MOVABLE, with_kept_free};
pub use modes::with_overwriting_boost;

use hosttune_core::testing::{Behaviour, Memory, Tree};
use hosttune_modules::testing::{Beside, Described, with_modules};

use crate::policy::{CPUFREQ, PolicyNumber};

/// Directory of the state that the kernel keeps but does not show.
pub const HIDDEN: &str = "/kept-by-the-kernel";

const EBUSY: i32 = 16;
const EINVAL: i32 = 22;

/// A driver in one of its modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    /// `acpi-cpufreq`: a table of frequencies, and the kernel's governors.
    Acpi,
    /// `intel_pstate` in active mode, with HWP.
    IntelActive,
    /// `intel_pstate` in passive mode.
    IntelPassive,
    /// `amd_pstate` in active mode.
    AmdActive,
    /// `amd_pstate` in passive mode.
    AmdPassive,
}

impl Scaling {
    /// All drivers and modes.
    pub const ALL: [Self; 5] = [
        Self::Acpi,
        Self::IntelActive,
        Self::IntelPassive,
        Self::AmdActive,
        Self::AmdPassive,
    ];

    fn driver(self) -> &'static str {
        match self {
            Self::Acpi => "acpi-cpufreq",
            Self::IntelActive => "intel_pstate",
            Self::IntelPassive => "intel_cpufreq",
            Self::AmdActive => "amd-pstate-epp",
            Self::AmdPassive => "amd-pstate",
        }
    }

    fn of(tree: &Tree) -> Self {
        let driver = tree.get(format!("{CPUFREQ}/policy0/scaling_driver"));
        let driver = driver.unwrap_or_default();
        Self::ALL
            .into_iter()
            .find(|one| one.driver() == driver)
            .unwrap_or(Self::Acpi)
    }

    fn has_own_governors(self) -> bool {
        matches!(self, Self::IntelActive | Self::AmdActive)
    }

    /// `intel_cpufreq` has a preference as well if the processor has HWP.
    fn has_preference(self) -> bool {
        matches!(
            self,
            Self::IntelActive | Self::IntelPassive | Self::AmdActive
        )
    }

    /// Returns the highest frequencies without and with boost, in kHz.
    fn ends(self) -> (u32, u32) {
        match self {
            Self::Acpi => (3_600_000, 3_600_000),
            _ => (4_000_000, 5_200_000),
        }
    }
}

/// The lowest frequency, in kHz.
const LOWEST: u32 = 800_000;

/// The initial minimum of `amd_pstate`. Below it a processor gets slower without saving energy.
const LOWEST_EFFICIENT: u32 = 1_200_000;

const TABLE: [u32; 4] = [3_600_000, 3_000_000, 2_000_000, 800_000];

const MODULES: [Described; 4] = [
    Described::alone("cpufreq_ondemand"),
    Described::alone("cpufreq_conservative"),
    Described::alone("cpufreq_powersave"),
    Described::alone("cpufreq_userspace"),
];

/// The governors that Debian builds into the kernel.
const BUILT_IN: [&str; 2] = ["performance", "schedutil"];

/// Creates a freshly booted machine with this number of policies, one processor each.
pub fn machine(scaling: Scaling, policies: u32) -> Memory {
    let mut memory = with_modules(
        Memory::new(),
        &MODULES,
        &["cpufreq_performance", "cpufreq_schedutil"],
    );
    for number in 0..policies {
        memory = policy(memory, PolicyNumber(number));
    }
    memory = governors::tunables(memory, policies);
    memory = match scaling {
        Scaling::Acpi => memory,
        Scaling::IntelActive => modes::intel(memory, "active"),
        Scaling::IntelPassive => modes::intel(memory, "passive"),
        Scaling::AmdActive => modes::amd(memory, policies, "active"),
        Scaling::AmdPassive => modes::amd(memory, policies, "passive"),
    };
    memory.change(|tree| start(tree, scaling, policies));
    memory
}

/// Sets how the files of a policy answer, whether they exist or not.
fn policy(memory: Memory, policy: PolicyNumber) -> Memory {
    memory
        .behaving(policy.file("scaling_governor"), governors::governor(policy))
        .behaving(
            policy.file("scaling_min_freq"),
            limits::request(policy, limits::MINIMUM),
        )
        .behaving(
            policy.file("scaling_max_freq"),
            limits::request(policy, limits::MAXIMUM),
        )
        .behaving(
            policy.file("energy_performance_preference"),
            preferences::preference(policy),
        )
        .behaving(policy.file("boost"), modes::policy_boost(policy))
}

/// Registers a driver: every policy is created again with the kernel's defaults.
fn start(tree: &mut Tree, scaling: Scaling, policies: u32) {
    for number in 0..policies {
        let policy = PolicyNumber(number);
        let set = |tree: &mut Tree, name: &str, value: &str| tree.set(policy.file(name), value);
        set(tree, "scaling_driver", scaling.driver());
        set(tree, "related_cpus", &number.to_string());
        set(tree, "affected_cpus", &number.to_string());
        set(tree, "cpuinfo_min_freq", &LOWEST.to_string());
        let end = modes::end(tree, policy, scaling);
        limits::end(tree, policy, end);
        if scaling == Scaling::Acpi {
            let table = TABLE.map(|one| one.to_string()).join(" ");
            set(tree, "scaling_available_frequencies", &table);
        }
        tree.remove(policy.file("energy_performance_preference"));
        tree.remove(policy.file("energy_performance_available_preferences"));
        if scaling.has_preference() {
            set(tree, "energy_performance_preference", "balance_performance");
            preferences::offer(tree, policy, false);
        }
        limits::start(tree, policy, scaling);
        governors::offer(tree, policy, scaling);
        set(tree, "scaling_governor", "");
        let default = if scaling.has_own_governors() {
            "powersave"
        } else {
            "schedutil"
        };
        governors::switch(tree, policy, default);
    }
}

/// Returns all policies.
fn policies(tree: &Tree) -> Vec<PolicyNumber> {
    (0..)
        .map(PolicyNumber)
        .take_while(|policy| tree.get(policy.file("scaling_driver")).is_some())
        .collect()
}

/// The governor side of a module: available once loaded, in use while a policy has it.
#[derive(Debug)]
pub struct GovernorModules(pub Memory);

impl Beside for GovernorModules {
    fn uses(&self, module: &str) -> usize {
        let governor = governor_of(module);
        self.0.change(|tree| {
            let has = |policy: &PolicyNumber| {
                tree.get(policy.file("scaling_governor")).as_deref() == Some(governor)
            };
            policies(tree).iter().filter(|policy| has(policy)).count()
        })
    }

    fn loaded(&mut self, _: &str, _: &[String]) {
        self.0.change(offer_all);
    }

    fn unloaded(&mut self, _: &str) {
        self.0.change(offer_all);
    }
}

fn offer_all(tree: &mut Tree) {
    let scaling = Scaling::of(tree);
    for policy in policies(tree) {
        governors::offer(tree, policy, scaling);
    }
}

fn governor_of(module: &str) -> &str {
    module.strip_prefix("cpufreq_").unwrap_or(module)
}

/// Parses a switch that holds 0 or 1.
fn digit(value: &str) -> Result<bool, i32> {
    match value.trim() {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(EINVAL),
    }
}

/// Creates a behaviour that depends only on the tree and the value.
fn answering(
    answer: impl Fn(&mut Tree, &str) -> Result<(), i32> + Send + Sync + 'static,
) -> Behaviour {
    Behaviour::new(move |tree, _, value| answer(tree, value))
}
