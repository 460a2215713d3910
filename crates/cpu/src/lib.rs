//! CPU frequency scaling: governors, energy-performance preference, frequency limits and boost.
//!
//! ```no_run
//! use hosttune_cpu::{EnergyPreference, Frequency, Governor, Modules, Processors, Session, Tuning};
//!
//! let fast = Processors::new()
//!     .governor(Governor::Performance)
//!     .energy_preference(EnergyPreference::Performance)
//!     .minimum(Frequency::megahertz(2000))
//!     .why("a game's threads sleep and wake too often for the clock to follow");
//!
//! let mut session = Session::live("gaming")?
//!     .with(hosttune_cpu::knobs)
//!     .with_backend(Modules::live()); // for governors that are modules
//! for step in &fast.plan(&session)?.steps {
//!     println!("{}: {} → {}", step.knob, step.from_text, step.to_text);
//! }
//! println!("{}", fast.apply(&mut session)?); // all policies or none
//! println!("{}", fast.revert(&mut session)?); // each policy to its own original values
//! # Ok::<(), hosttune_cpu::Error>(())
//! ```
//!
//! # Vocabulary
//! - [`Policy`]: processors that share a clock, `/sys/devices/system/cpu/cpufreq/policyN`. All knobs
//!   except the last two belong to one policy.
//! - [`PolicyGovernor`], [`PolicyPreference`], [`FrequencyLimit`], [`GovernorTunable`]: its knobs.
//! - [`Boost`], [`DriverMode`]: switched for all policies, or per policy.
//! - [`Processors`]: the tuning.
//! - [`kept_free`]: processors without interrupts and without the tasks of others.
//! - [`managers`]: services that set governors by themselves.
//! - [`irqbalance`]: whether irqbalance is running and which settings it would overwrite.
//!
//! What the driver does not support is reported before anything is changed. In active mode, `intel_pstate`
//! and `amd_pstate` have two governors of their own and none of the kernel's; in passive mode they have the
//! kernel's governors only.
//!
//! # First kernel version
//! | Feature | Linux |
//! | --- | --- |
//! | schedutil | 4.7 |
//! | `amd_pstate`, passive mode only | 5.17 |
//! | `amd_pstate`: active mode, and switching modes | 6.3 |
//! | `amd_pstate`: guided mode | 6.4 |
//! | a change of boost keeps the upper frequency limit (6.1 overwrites it, 7.2 does not) | after 6.1 |

mod attribute;
mod boost;
mod frequency;
mod governor;
pub mod irqbalance;
pub mod kept_free;
pub mod managers;
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

// One dependency is enough for a program that uses only this crate.
pub use hosttune_core::{Error, Session, Tuning};
pub use hosttune_modules::Modules;

/// Registers this crate's knob types, and the kernel module knob for governors that are modules.
pub fn knobs(registry: &mut hosttune_core::Registry) {
    hosttune_modules::knobs(registry);
    registry.add::<PolicyGovernor>();
    registry.add::<PolicyPreference>();
    registry.add::<FrequencyLimit>();
    registry.add::<GovernorTunable>();
    registry.add::<Boost>();
    registry.add::<DriverMode>();
    registry.add::<kept_free::Controller>();
    registry.add::<kept_free::CpusetProcessors>();
    registry.add::<kept_free::Partition>();
    registry.add::<kept_free::InterruptAffinity>();
}
