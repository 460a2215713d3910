//! The knob: a clock of a GPU that is locked from here.

use std::fmt;

use hosttune_core::host::FileContent;
use hosttune_core::{
    Host, HostError, HostErrorKind, Knob, Operation, Unsupported, UnsupportedKind,
};
use serde::{Deserialize, Serialize};

use super::address::GpuAddress;
use super::identity;
use super::library::{ClockRange, GpuClock};
use super::library_error::LibraryError;
use super::management::GpuManagement;
use super::other_lockers::others_that_lock_clocks;
use super::presence::{ASLEEP, Presence};
use super::state::{self, GpuState};
use crate::generation::Generation;
use crate::gpu::{hexadecimal, optional};

/// Whether a clock was locked from here, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClockLock {
    /// It was not. Whether another program has locked it is unknown.
    NotFromHere,
    /// It was, in this range.
    Locked(ClockRange),
    /// A program was killed while it wrote the record, before it changed the clock; with the range that
    /// was recorded before.
    HalfRecorded(Option<ClockRange>),
}

/// A clock of a GPU that is locked in a range: the graphics clock from Volta on, the memory clock from
/// Ampere on.
///
/// NVML has no getter. A file in `/run` records what was locked, before it is locked; it is what
/// [`read`](Knob::read) reads, without asking the GPU. A revert resets the clock to unlocked, because
/// what was there before cannot be known, and then removes the record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LockedClocks {
    /// The GPU.
    pub gpu: GpuAddress,
    /// The clock.
    pub clock: GpuClock,
}

impl LockedClocks {
    /// That of a clock of a GPU.
    pub fn new(gpu: GpuAddress, clock: GpuClock) -> Self {
        Self { gpu, clock }
    }

    /// The file that records the range.
    pub fn record(&self) -> String {
        format!("/run/hosttune-nvidia-{}-{}-clock", self.gpu, self.clock)
    }

    /// What shows that the clock is not locked as recorded: it runs faster than the range. `None` if
    /// nothing does, which proves nothing: it may also be slow for want of work or of power.
    ///
    /// # Errors
    /// If a file cannot be read. A GPU that does not answer shows nothing.
    pub fn contradicted(&self, host: &Host) -> Result<Option<String>, HostError> {
        let GpuState::Value(ClockLock::Locked(range)) = self.read(host)? else {
            return Ok(None);
        };
        if Presence::of(host, &self.gpu)? != Presence::Awake {
            return Ok(None);
        }
        let clock = GpuManagement::ask(host, self, |library| {
            library.current_clock(&self.gpu, self.clock)
        });
        // The driver rounds to the steps of the GPU, of 15 MHz at most.
        Ok(match clock {
            Ok(clock) if clock > range.highest.saturating_add(15) => Some(format!(
                "another program, or a suspend that reset it: it runs at {clock} MHz"
            )),
            _ => None,
        })
    }

    /// Why this GPU cannot lock the clock; which ones can is not to be asked.
    fn not_offered(&self, host: &Host) -> Result<Option<Unsupported>, HostError> {
        let first = match self.clock {
            GpuClock::Graphics => Generation::Volta,
            GpuClock::Memory => Generation::Ampere,
        };
        let device = hexadecimal(
            host,
            &format!("{}/{}/device", crate::gpu::DEVICES, self.gpu),
        )?;
        let device = device.and_then(|device| u16::try_from(device).ok());
        let generation = device.and_then(Generation::of_device);
        Ok(generation
            .filter(|generation| *generation < first)
            .map(|generation| {
                Unsupported::new(
                    UnsupportedKind::Missing,
                    format!(
                        "a GPU of {generation} cannot lock its {} clock, which needs {first} or newer",
                        self.clock
                    ),
                )
                .hint("omit it")
            }))
    }
}

impl fmt::Display for LockedClocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GPU {} locked {} clock", self.gpu, self.clock)
    }
}

impl Knob for LockedClocks {
    const NAME: &'static str = "nvidia-locked-clocks";
    const REPLACED: &'static str = "another GPU is at its address now";
    type State = GpuState<ClockLock>;

    fn read(&self, host: &Host) -> Result<GpuState<ClockLock>, HostError> {
        let text = optional(host, &self.record())?;
        let half = host.half_written(self.record())?;
        let Some(text) = text else {
            if half {
                return Ok(GpuState::Value(ClockLock::HalfRecorded(None)));
            }
            return Ok(match Presence::of(host, &self.gpu)? {
                Presence::Missing => GpuState::Missing,
                Presence::Asleep | Presence::Awake => GpuState::Value(ClockLock::NotFromHere),
            });
        };
        // With a record it is a value even if the driver is gone, so that a revert removes the record.
        match serde_json::from_str(&text) {
            Ok(range) if half => Ok(GpuState::Value(ClockLock::HalfRecorded(Some(range)))),
            Ok(range) => Ok(GpuState::Value(ClockLock::Locked(range))),
            Err(error) => Err(HostError::malformed(self.record(), error.to_string())
                .with_hint("remove the file; it records the range in which the clock is locked")),
        }
    }

    fn set(&self, host: &mut Host, to: &GpuState<ClockLock>) -> Result<(), HostError> {
        match to.settable(self)? {
            ClockLock::Locked(range) => {
                let text = serde_json::to_string(range)
                    .map_err(|error| HostError::malformed(self.to_string(), error.to_string()))?;
                let before = host.file(self.record())?;
                // The record comes first: a lock without a record would stay after a kill.
                host.put_file(self.record(), &FileContent::new(text))?;
                let locked = GpuManagement::make(host, self, |library| {
                    library.lock_clock(&self.gpu, self.clock, *range)
                });
                // A GPU that does not offer it was not locked.
                if let Err(error) = &locked
                    && matches!(error.kind(), HostErrorKind::NotApplicable(_))
                {
                    match before {
                        Some(before) => host.put_file(self.record(), &before)?,
                        None => host.remove(self.record())?,
                    }
                }
                locked
            }
            ClockLock::NotFromHere => {
                GpuManagement::make(host, self, |library| {
                    match library.unlock_clock(&self.gpu, self.clock) {
                        // There is no lock where there is no GPU, or none that can be locked.
                        Err(
                            LibraryError::NotSupported
                            | LibraryError::DriverNotLoaded
                            | LibraryError::NotFound,
                        ) => Ok(()),
                        unlocked => unlocked,
                    }
                })?;
                match host.exists(self.record())? || host.half_written(self.record())? {
                    true => host.remove(self.record()),
                    false => Ok(()),
                }
            }
            ClockLock::HalfRecorded(_) => {
                Err(
                    HostError::new(Operation::Create, self.to_string(), HostErrorKind::Refused)
                        .detail("a half-written record is not a state that can be set"),
                )
            }
        }
    }

    fn unsupported(
        &self,
        host: &Host,
        to: &GpuState<ClockLock>,
    ) -> Result<Option<Unsupported>, HostError> {
        if let Some(unsupported) = state::unusable(host, &self.gpu)? {
            return Ok(Some(unsupported));
        }
        if let Some(ClockLock::Locked(range)) = to.value()
            && (range.lowest > range.highest || range.highest == 0)
        {
            let why = format!(
                "{} to {} MHz is no range of clocks",
                range.lowest, range.highest
            );
            return Ok(Some(
                Unsupported::new(UnsupportedKind::ValueUnavailable, why)
                    .hint("see nvidia-smi --query-supported-clocks=graphics,memory --format=csv"),
            ));
        }
        if let Some(unsupported) = self.not_offered(host)? {
            return Ok(Some(unsupported));
        }
        if let Some(other) = others_that_lock_clocks(host)?.first() {
            return Ok(Some(
                Unsupported::new(
                    UnsupportedKind::Managed,
                    format!(
                        "{other} locks clocks of GPUs, and locked clocks cannot be read: a revert would reset its lock"
                    ),
                )
                .hint("set the clocks there, or remove that setting first"),
            ));
        }
        state::not_kept(host, &self.gpu)
    }

    fn is_partial_write(
        &self,
        seen: &GpuState<ClockLock>,
        _: &GpuState<ClockLock>,
        _: &GpuState<ClockLock>,
    ) -> bool {
        matches!(seen, GpuState::Value(ClockLock::HalfRecorded(_)))
    }

    /// The next write removes a record that was never renamed into place.
    fn original(&self, seen: &GpuState<ClockLock>) -> Option<GpuState<ClockLock>> {
        Some(match seen.value()? {
            ClockLock::HalfRecorded(Some(range)) => GpuState::Value(ClockLock::Locked(*range)),
            ClockLock::HalfRecorded(None) => GpuState::Value(ClockLock::NotFromHere),
            whole => GpuState::Value(*whole),
        })
    }

    fn is_gone(&self, seen: &GpuState<ClockLock>) -> bool {
        seen.is_missing()
    }

    /// The record can be read while the GPU sleeps, and unlocking would wake it.
    fn out_of_reach(
        &self,
        host: &Host,
        _: Option<&str>,
        _: &GpuState<ClockLock>,
    ) -> Result<Option<String>, HostError> {
        let presence = Presence::of(host, &self.gpu)?;
        Ok((presence == Presence::Asleep).then(|| ASLEEP.to_owned()))
    }

    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        identity::identity(host, &self.gpu)
    }

    fn is_same_thing(identity: &str, other: &str) -> bool {
        identity::is_same(identity, other)
    }

    fn revert_note(&self, _: &Host, _: &GpuState<ClockLock>) -> Option<String> {
        Some(
            "it was reset to unlocked: whether it was locked before cannot be known, because NVML has no getter"
                .to_owned(),
        )
    }

    fn show(&self, state: &GpuState<ClockLock>) -> String {
        state.show(|lock| match lock {
            ClockLock::NotFromHere => "not locked from here".to_owned(),
            ClockLock::Locked(range) => range.to_string(),
            ClockLock::HalfRecorded(_) => "half recorded by a program that was killed".to_owned(),
        })
    }
}
