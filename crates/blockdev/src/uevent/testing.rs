//! A fake source of events with its own clock.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use hosttune_core::HostError;

use super::{UeventMonitor, WaitOutcome};

/// Delivers the given events, each at its time, and then requests a stop.
#[derive(Debug, Clone, Default)]
pub struct ToldUevents {
    now: Duration,
    told: VecDeque<(Duration, WaitOutcome)>,
}

impl ToldUevents {
    /// Creates one from wait results, each with the time since opening at which it arrives; they
    /// are sorted by time.
    pub fn new(told: impl IntoIterator<Item = (Duration, WaitOutcome)>) -> Self {
        let mut told: Vec<_> = told.into_iter().collect();
        told.sort_by_key(|(at, _)| *at);
        Self {
            now: Duration::ZERO,
            told: told.into(),
        }
    }

    /// Advances the clock, as work between two waits does.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
    }
}

impl UeventMonitor for ToldUevents {
    fn now(&self) -> Duration {
        self.now
    }

    fn wait(
        &mut self,
        _: &[BorrowedFd<'_>],
        until: Option<Duration>,
    ) -> Result<WaitOutcome, HostError> {
        let next = self.told.front().map(|(at, _)| *at);
        match (next, until) {
            (Some(at), until) if until.is_none_or(|until| at.max(self.now) <= until) => {
                self.now = self.now.max(at);
                Ok(self
                    .told
                    .pop_front()
                    .map_or(WaitOutcome::Stopped, |(_, heard)| heard))
            }
            (_, Some(until)) => {
                self.now = self.now.max(until);
                Ok(WaitOutcome::Nothing)
            }
            (_, None) => Ok(WaitOutcome::Stopped),
        }
    }
}

/// Formats a message with these properties as udev does.
pub fn udev_message(properties: &[(&str, &str)]) -> Vec<u8> {
    const HEADER: u32 = 40;
    let mut body = Vec::new();
    for (name, value) in properties {
        body.extend_from_slice(format!("{name}={value}\0").as_bytes());
    }
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut message = b"libudev\0".to_vec();
    message.extend_from_slice(&0xfeed_cafe_u32.to_be_bytes());
    for number in [HEADER, HEADER, length, 0, 0, 0, 0] {
        message.extend_from_slice(&number.to_ne_bytes());
    }
    message.extend_from_slice(&body);
    message
}
