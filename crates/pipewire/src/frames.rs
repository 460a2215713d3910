//! Numbers of frames and rates.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A number of frames. A frame is one sample of every channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Frames(pub u32);

impl Frames {
    /// How long these frames last at a rate; zero at the rate 0.
    ///
    /// ```
    /// use hosttune_pipewire::{Frames, SampleRate};
    /// assert_eq!(Frames(64).at(SampleRate(48000)).as_micros(), 1333);
    /// ```
    pub fn at(self, rate: SampleRate) -> Duration {
        if rate.0 == 0 {
            return Duration::ZERO;
        }
        Duration::from_nanos(u64::from(self.0) * 1_000_000_000 / u64::from(rate.0))
    }
}

impl fmt::Display for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 frame"),
            frames => write!(f, "{frames} frames"),
        }
    }
}

/// A sample rate in hertz: frames per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SampleRate(pub u32);

impl fmt::Display for SampleRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kilohertz, rest) = (self.0 / 1000, self.0 % 1000);
        let rest = format!("{rest:03}");
        match rest.trim_end_matches('0') {
            "" => write!(f, "{kilohertz} kHz"),
            rest => write!(f, "{kilohertz}.{rest} kHz"),
        }
    }
}

/// A quantum at a rate: what a graph runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Period {
    /// The frames in one cycle.
    pub quantum: Frames,
    /// The rate of the graph.
    pub rate: SampleRate,
}

impl Period {
    /// How long a cycle takes.
    pub fn duration(self) -> Duration {
        self.quantum.at(self.rate)
    }
}

/// `64 frames at 48 kHz: 1.33 ms`.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.duration().as_secs_f64() * 1000.0;
        write!(f, "{} at {}: {milliseconds:.2} ms", self.quantum, self.rate)
    }
}
