//! How fast processors run: governors, energy-performance preference, frequency limits and boost.
//!
//! ```no_run
//! use hosttune_boot::Modules;
//! use hosttune_core::{Session, Tuning};
//! use hosttune_cpu::{EnergyPreference, Frequency, Governor, Processors};
//!
//! let fast = Processors::new()
//!     .governor(Governor::Performance)
//!     .energy_preference(EnergyPreference::Performance)
//!     .minimum(Frequency::megahertz(2000))
//!     .why("a game's threads sleep and wake too often for the clock to follow");
//!
//! let mut session = Session::live("gaming")?
//!     .with(hosttune_cpu::knobs)
//!     .plug(Modules::live()); // for governors that are modules
//! for step in &fast.plan(&session)?.steps {
//!     println!("{}: {} → {}", step.knob, step.from_text, step.to_text);
//! }
//! fast.apply(&mut session)?; // every policy, or nothing
//! fast.revert(&mut session)?; // each policy to what it had, not all to one governor
//! # Ok::<(), hosttune_core::Error>(())
//! ```
//!
//! # Vocabulary
//! - [`Policy`]: processors that share a clock, `/sys/devices/system/cpu/cpufreq/policyN`; every
//!   knob but the last two belongs to one of them.
//! - [`PolicyGovernor`], [`PolicyPreference`], [`FrequencyLimit`], [`GovernorTunable`]: its knobs.
//! - [`Boost`], [`DriverMode`]: what is switched for all of them, or by policy.
//! - [`Processors`]: the tuning.
//! - [`irqbalance`]: whether irqbalance runs, and what it would undo.
//!
//! What the driver does not offer is said beforehand: `intel_pstate` and `amd_pstate` in active
//! mode have two governors of their own and none of the kernel's others, in passive mode it is
//! the other way round.

mod attribute;
mod boost;
mod frequency;
mod governor;
pub mod irqbalance;
mod mode;
mod policy;
mod preference;
mod processors;
#[cfg(feature = "testing")]
pub mod testing;
mod tunable;

pub use attribute::Attribute;
pub use boost::{Boost, BoostState};
pub use frequency::{Bound, Frequency, FrequencyLimit, Limit};
pub use governor::{Governor, PolicyGovernor};
pub use mode::{DriverMode, Mode, ModeState};
pub use policy::{Driver, Policy, PolicyNumber};
pub use preference::{EnergyPreference, PolicyPreference};
pub use processors::Processors;
pub use tunable::{GovernorTunable, TunableState};

/// Makes this crate's kinds of knob, and the modules that governors are, known to a session.
pub fn knobs(registry: &mut hosttune_core::Registry) {
    hosttune_boot::knobs(registry);
    registry.add::<PolicyGovernor>();
    registry.add::<PolicyPreference>();
    registry.add::<FrequencyLimit>();
    registry.add::<GovernorTunable>();
    registry.add::<Boost>();
    registry.add::<DriverMode>();
}
