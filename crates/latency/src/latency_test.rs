//! The run: one phase after another, with the queues drained in between.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope};
use std::time::{Duration, Instant, SystemTime};

use super::connection::{ANSWER, Control, bits_per_second};
use super::error::MeasureError;
use super::load::Load;
use super::measurement::{Configured, Measurement, Sent, Window, summarise};
use super::phase::{Direction, Phase};
use super::probes::{LATEST, Probes};
use super::round_trips::{milliseconds, percentile};

/// Interval at which a run reports its progress and checks whether to end.
const TICK: Duration = Duration::from_millis(50);

/// Number of probes that decide whether the queues have drained.
const DRAINED_PROBES: usize = 10;

/// Margin over the idle round-trip time within which the queues count as drained, at least.
const DRAINED_WITHIN: Duration = Duration::from_millis(5);

/// A latency-under-load test.
///
/// The phases are [`Phase::ALL`], in that order. Each phase under load first waits until round
/// trips take no longer than on the idle path, then warms up until the senders have found their
/// rate, and only then counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatencyTest {
    server: String,
    flows: u8,
    phase: Duration,
    warm_up: Duration,
    drain: Duration,
    interval: Duration,
    configured: Configured,
}

/// Progress of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The phase that is being measured.
    pub phase: Phase,
    /// What is being done for the phase.
    pub stage: Stage,
    /// How long the stage has lasted.
    pub elapsed: Duration,
    /// How long the stage lasts at most.
    pub of: Duration,
    /// Round-trip time of the last answered probe.
    pub round_trip: Option<Duration>,
}

/// A stage of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Waits for the queues to drain.
    Draining,
    /// Lets the senders find their rate.
    WarmingUp,
    /// Counts.
    Measuring,
    /// Waits for outstanding answers.
    Finishing,
}

impl LatencyTest {
    /// A test against the responder at `HOST:PORT`: ten seconds per phase after two seconds of
    /// warm-up, with four connections in each direction and a probe every 20 ms.
    pub fn new(server: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            flows: 4,
            phase: Duration::from_secs(10),
            warm_up: Duration::from_secs(2),
            drain: Duration::from_secs(10),
            interval: Duration::from_millis(20),
            configured: Configured::default(),
        }
    }

    /// Sets the number of connections in each direction, at least one.
    #[must_use]
    pub fn flows(mut self, flows: u8) -> Self {
        self.flows = flows.max(1);
        self
    }

    /// Sets the duration of a phase.
    #[must_use]
    pub fn phase(mut self, phase: Duration) -> Self {
        self.phase = phase;
        self
    }

    /// Sets how long the load runs before a phase is counted.
    #[must_use]
    pub fn warm_up(mut self, warm_up: Duration) -> Self {
        self.warm_up = warm_up;
        self
    }

    /// Sets how long to wait for the queues to drain, at most.
    #[must_use]
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Sets the interval between probes, at least a millisecond.
    #[must_use]
    pub fn probe_every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets the rates of the link. Without them there is no grade: without a known limit there is
    /// no telling whether it was reached, and a path that something else slows down, such as a poor
    /// radio or a busy responder, never fills the queue in question and would look good.
    #[must_use]
    pub fn configured(mut self, configured: Configured) -> Self {
        self.configured = configured;
        self
    }

    /// The longest duration once connected.
    pub fn longest(&self) -> Duration {
        let loaded = self.drain + self.warm_up + self.phase + ANSWER * 2;
        self.phase + loaded * 3 + LATEST
    }

    /// Runs the test. `tell` is called with the progress twenty times a second, and may end the
    /// run.
    ///
    /// Resolving the name takes as long as the system's resolver does; everything else has a time
    /// limit. However the run ends, it leaves no thread and no connection.
    ///
    /// # Errors
    /// If the responder cannot be reached, is another program or another version, rejects this
    /// client, answers no probe, or goes away during the run; if this host has no socket or thread
    /// left; or if `tell` ends the run. A path that can be measured but not graded is not an error.
    pub fn run(
        &self,
        tell: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Measurement, MeasureError> {
        let begun = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let control = Control::begin(&self.server)?;
        let needed = self.longest();
        if needed > control.limit {
            return Err(MeasureError::TooLong {
                needed,
                allowed: control.limit,
            });
        }
        let probes =
            Probes::new(control.responder, control.token, self.interval).map_err(|source| {
                MeasureError::Local {
                    what: "open a UDP socket",
                    source,
                }
            })?;
        let (probes, control, over) = (&probes, &control, &AtomicBool::new(false));
        let windows = thread::scope(|scope| {
            let _ends_threads = Ends(over);
            let is_over = || over.load(Ordering::Relaxed);
            for job in [
                Box::new(move || probes.send(is_over)) as Box<dyn FnOnce() + Send>,
                Box::new(move || probes.receive(is_over)),
                Box::new(move || control.listen(is_over)),
            ] {
                let thread = thread::Builder::new().spawn_scoped(scope, job);
                thread.map_err(|source| MeasureError::Local {
                    what: "start a thread",
                    source,
                })?;
            }
            Run {
                test: self,
                control,
                probes,
                over,
                tell,
                round_trip: None,
            }
            .phases(scope)
        })?;
        let sent = probes.sent();
        Ok(Measurement {
            server: self.server.clone(),
            begun_unix_seconds: begun.map_or(0, |since| since.as_secs()),
            flows: self.flows,
            probe_interval_milliseconds: milliseconds(self.interval),
            configured: self.configured,
            phases: summarise(&sent, &windows, self.configured),
            series: sent.into_iter().map(Into::into).collect(),
        })
    }
}

/// Ends the threads of a run, however it is left.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A run in progress.
struct Run<'a> {
    test: &'a LatencyTest,
    control: &'a Control,
    probes: &'a Probes,
    over: &'a AtomicBool,
    tell: &'a mut dyn FnMut(&Progress) -> ControlFlow<()>,
    round_trip: Option<Duration>,
}

impl Run<'_> {
    fn phases<'scope>(
        mut self,
        scope: &'scope Scope<'scope, '_>,
    ) -> Result<Vec<Window>, MeasureError>
    where
        Self: 'scope,
    {
        let idle = self.idle()?;
        // A path that answers no probe would show nothing in the remaining phases either.
        let base = self.base(&idle).ok_or(MeasureError::NoEcho {
            address: self.control.responder,
        })?;
        let mut windows = vec![idle];
        for phase in Phase::ALL.into_iter().skip(1) {
            let window = self.loaded(scope, phase, base)?;
            windows.push(window);
        }
        let end = self.probes.now();
        self.wait(Phase::Both, Stage::Finishing, LATEST, None, |run| {
            !run.probes.awaits_any_before(end)
        })?;
        Ok(windows)
    }

    fn idle(&mut self) -> Result<Window, MeasureError> {
        let begin = self.probes.now();
        self.wait(Phase::Idle, Stage::Measuring, self.test.phase, None, |_| {
            false
        })?;
        let end = self.probes.now();
        // A late answer on an idle path is late for a reason, but none may be missing only because
        // the phase ended before it arrived.
        self.wait(Phase::Idle, Stage::Finishing, LATEST, None, |run| {
            !run.probes.awaits_any_before(end)
        })?;
        Ok(Window {
            phase: Phase::Idle,
            begin,
            end,
            download_bits_per_second: None,
            upload_bits_per_second: None,
            undrained: None,
        })
    }

    /// The longest round trip that counts as drained.
    fn base(&self, idle: &Window) -> Option<Duration> {
        let mut took: Vec<Duration> = self
            .probes
            .sent()
            .iter()
            .filter(|probe| (idle.begin..idle.end).contains(&probe.at))
            .filter_map(|probe| probe.took)
            .collect();
        took.sort_unstable();
        let margin = DRAINED_WITHIN.max(percentile(&took, 50)? / 10);
        percentile(&took, 95)?.checked_add(margin)
    }

    fn loaded<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        phase: Phase,
        base: Duration,
    ) -> Result<Window, MeasureError>
    where
        Self: 'scope,
    {
        let since = self.probes.now();
        let drained = self.wait(phase, Stage::Draining, self.test.drain, None, |run| {
            is_drained(&run.probes.sent_since(since), base, run.probes.now())
        })?;
        let undrained = (!drained).then_some(self.test.drain);

        let load = Load::begin(
            scope,
            self.control,
            phase.loads(),
            self.test.flows,
            self.over,
        )
        .map_err(|error| in_mid_run(phase, error))?;
        let load = Some(&load);
        self.wait(phase, Stage::WarmingUp, self.test.warm_up, load, |_| false)?;
        let (first, last) = (phase as u64 * 2, phase as u64 * 2 + 1);
        let counts = |run: &Self| (run.probes.now(), load.map_or(0, Load::taken));

        self.request(phase, first)?;
        let (begin, taken_before) = counts(self);
        self.wait(phase, Stage::Measuring, self.test.phase, load, |_| false)?;
        let (end, taken) = counts(self);
        self.request(phase, last)?;
        // The load goes on meanwhile: what is counted until the answer arrives then arrives at the
        // same rate.
        if phase.loads().contains(&Direction::Upload) {
            self.wait(phase, Stage::Finishing, ANSWER, load, |run| {
                run.control.report(last).is_some()
            })?;
        }
        let loads = |direction, rate: Option<u64>| {
            let is_loaded = phase.loads().contains(&direction);
            is_loaded.then_some(rate).flatten()
        };
        let download = bits_per_second(taken - taken_before, end.saturating_sub(begin));
        let reports = self.control.report(first).zip(self.control.report(last));
        let upload = reports.and_then(|(first, last)| first.rate_until(last));
        Ok(Window {
            phase,
            begin,
            end,
            download_bits_per_second: loads(Direction::Download, download),
            upload_bits_per_second: loads(Direction::Upload, upload),
            undrained,
        })
    }

    fn request(&self, phase: Phase, number: u64) -> Result<(), MeasureError> {
        self.control
            .request(number)
            .map_err(|source| MeasureError::Gone { phase, source })
    }

    /// Waits until `is_done`, for at most `of`. Returns whether it is done.
    fn wait(
        &mut self,
        phase: Phase,
        stage: Stage,
        of: Duration,
        load: Option<&Load<'_>>,
        is_done: impl Fn(&Self) -> bool,
    ) -> Result<bool, MeasureError> {
        let begun = Instant::now();
        loop {
            if let Some(source) = load.and_then(Load::failed).or_else(|| self.control.ended()) {
                return Err(MeasureError::Gone { phase, source });
            }
            if is_done(self) {
                return Ok(true);
            }
            let elapsed = begun.elapsed();
            let recent = self.probes.now().saturating_sub(TICK * 4);
            let answered = self.probes.sent_since(recent);
            let latest = answered.iter().rev().find_map(|probe| probe.took);
            self.round_trip = latest.or(self.round_trip);
            let progress = Progress {
                phase,
                stage,
                elapsed: elapsed.min(of),
                of,
                round_trip: self.round_trip,
            };
            if (self.tell)(&progress).is_break() {
                return Err(MeasureError::Interrupted);
            }
            match of.checked_sub(elapsed) {
                None | Some(Duration::ZERO) => return Ok(false),
                Some(left) => thread::sleep(left.min(TICK)),
            }
        }
    }
}

/// Whether most of the last probes took no longer than `base`. A probe that was sent less than
/// `base` ago says nothing, because it may still be answered.
fn is_drained(sent: &[Sent], base: Duration, now: Duration) -> bool {
    let decided = &sent[..sent.partition_point(|probe| probe.at + base <= now)];
    let Some(first) = decided.len().checked_sub(DRAINED_PROBES) else {
        return false;
    };
    let within = |probe: &&Sent| probe.took.is_some_and(|took| took <= base);
    decided[first..].iter().filter(within).count() * 10 >= DRAINED_PROBES * 8
}

/// A connection that can no longer be established means that the responder is gone.
fn in_mid_run(phase: Phase, error: MeasureError) -> MeasureError {
    match error {
        MeasureError::Connect { source, .. } | MeasureError::NoAnswer { source, .. } => {
            MeasureError::Gone { phase, source }
        }
        MeasureError::NotAResponder { .. } => MeasureError::Gone {
            phase,
            source: std::io::ErrorKind::ConnectionReset.into(),
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probes(took: impl Iterator<Item = Option<u64>>) -> Vec<Sent> {
        let numbered = took.enumerate();
        numbered
            .map(|(number, took)| Sent {
                at: Duration::from_millis(20 * number as u64),
                took: took.map(Duration::from_millis),
            })
            .collect()
    }

    #[test]
    fn drained_is_when_most_of_what_can_be_answered_is_in_time() {
        let base = Duration::from_millis(150);
        let now = Duration::from_millis(20 * 20);
        // A long path: the last seven cannot have been answered yet.
        let long = (0..20).map(|number| (number < 13).then_some(149));
        assert!(is_drained(&probes(long), base, now));
        // The overdue ones wait in a queue.
        let overdue = (0..20).map(|number| (number < 8).then_some(149));
        assert!(!is_drained(&probes(overdue), base, now));
        let slow = (0..20).map(|_| Some(151));
        assert!(!is_drained(&probes(slow), base, now));
        let two_lost = (0..20).map(|number| (number % 5 != 0).then_some(20));
        assert!(is_drained(&probes(two_lost), base, now));
        let too_early = (0..9).map(|_| Some(1));
        assert!(!is_drained(&probes(too_early), base, now));
    }
}
