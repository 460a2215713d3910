//! What the profiler of PipeWire measures: the quantum and the rate at which each driver runs.
//!
//! A *driver* is the node whose clock starts each cycle of a graph: a sound card, usually. The
//! metadata repeats whatever was written to it, so only a driver shows which quantum is in effect.
//!
//! The profiler (`PipeWire:Interface:Profiler`, `spa/param/profiler.h`) sends one object per driver
//! and cycle. Its parts are structures that newer versions extend at the end.

use crate::protocol::pod::{Members, Pod, PodError};

/// `SPA_TYPE_OBJECT_Profiler`.
const PROFILER: u32 = 0x4000a;
/// `SPA_PROFILER_clock`.
const CLOCK: u32 = 0x10002;
/// `SPA_PROFILER_driverBlock`.
const DRIVER: u32 = 0x10003;

/// The most cycles of one message that are read: PipeWire up to 0.3.74 sends those of a whole
/// second in one message, which are 48,000 at the smallest quantum and rate that make sense.
const MOST_CYCLES: usize = 64 * 1024;

/// A cycle of a driver.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DriverCycle {
    /// The id of the driver's node.
    pub id: u32,
    /// The name of the node, such as `alsa_output.pci-0000_00_1f.3.analog-stereo`.
    pub name: String,
    /// The name of its clock.
    pub clock: String,
    /// The quantum that is in effect, in frames.
    pub duration: u64,
    /// The rate at which the graph runs, in frames per second: numerator and denominator of the
    /// duration of one frame in seconds.
    pub rate: (u32, u32),
}

impl DriverCycle {
    /// The rate of the graph in Hz; 0 if the driver gives none.
    #[must_use]
    pub fn hertz(&self) -> u32 {
        match self.rate {
            (0, _) => 0,
            (numerator, denominator) => denominator / numerator,
        }
    }

    /// The length of a cycle in microseconds; `None` if the driver gives no rate.
    #[must_use]
    pub fn period(&self) -> Option<u64> {
        let (numerator, denominator) = self.rate;
        let frames = u128::from(self.duration) * u128::from(numerator) * 1_000_000;
        let period = frames.checked_div(u128::from(denominator))?;
        u64::try_from(period).ok().filter(|period| *period > 0)
    }
}

/// The cycles in the body of a profile message. Objects that are not those of the profiler are
/// skipped.
///
/// # Errors
/// If the message has another form, or a part of an object does not have the members that the first
/// version of the profiler has.
pub(crate) fn cycles(body: &[u8]) -> Result<Vec<DriverCycle>, PodError> {
    let mut objects = Members::of(body)?.pod()?.members()?;
    let mut cycles: Vec<DriverCycle> = Vec::new();
    for _ in 0..MOST_CYCLES {
        if objects.is_empty() {
            break;
        }
        let object = objects.pod()?;
        let Some(cycle) = cycle(object)? else {
            continue;
        };
        // The last one of each driver, so that the result stays short.
        match cycles.iter_mut().find(|known| known.id == cycle.id) {
            Some(known) => *known = cycle,
            None => cycles.push(cycle),
        }
    }
    Ok(cycles)
}

fn cycle(object: Pod<'_>) -> Result<Option<DriverCycle>, PodError> {
    let Ok(properties) = object.object(PROFILER) else {
        return Ok(None);
    };
    let (mut clock, mut driver) = (None, None);
    for (key, value) in properties {
        match key {
            CLOCK => clock = Some(read_clock(value)?),
            DRIVER => {
                let mut members = value.members()?;
                driver = Some((
                    members.id()?,
                    members.text()?.unwrap_or_default().into_owned(),
                ));
            }
            _ => {}
        }
    }
    Ok(clock.zip(driver).map(|(clock, (id, name))| DriverCycle {
        id,
        name,
        clock: clock.name,
        duration: clock.duration,
        rate: clock.rate,
    }))
}

struct Clock {
    name: String,
    rate: (u32, u32),
    duration: u64,
}

fn read_clock(value: Pod<'_>) -> Result<Clock, PodError> {
    let mut members = value.members()?;
    members.int()?; // Flags.
    members.int()?; // The id of the clock.
    let name = members.text()?.unwrap_or_default().into_owned();
    members.long()?; // The time of this cycle.
    let rate = members.fraction()?;
    members.long()?; // The position in frames.
    let duration = u64::try_from(members.long()?).unwrap_or(0);
    Ok(Clock {
        name,
        rate,
        duration,
    })
}
