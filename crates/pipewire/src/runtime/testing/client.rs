//! The fake daemon as one process of this program sees it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hosttune_core::testing::CrashPoint;
use hosttune_core::{HostError, HostErrorKind, Operation};

use super::{MemoryDaemon, Playing};
use crate::profiler::DriverCycle;
use crate::protocol::CoreInfo;
use crate::runtime::pipewire::{Daemon, DaemonView, RunningDriver};

const NAME: &str = "the fake PipeWire";
const EACCES: i32 = 13;

/// The daemon as one process of this program sees it.
pub struct MemoryClient {
    daemon: MemoryDaemon,
    crash_point: CrashPoint,
    /// The cookie of the daemon that the connection is with.
    connected: Cell<Option<u32>>,
}

impl fmt::Debug for MemoryClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryClient").finish_non_exhaustive()
    }
}

impl MemoryClient {
    pub(super) fn new(daemon: MemoryDaemon, crash_point: CrashPoint) -> Self {
        Self {
            daemon,
            crash_point,
            connected: Cell::new(None),
        }
    }

    fn reads(&self) -> Result<(), HostError> {
        let read = self.crash_point.reads();
        read.map_err(|errno| HostError::from_errno(Operation::Backend, NAME, errno))
    }
}

impl Daemon for MemoryClient {
    fn view(&self) -> Result<Option<DaemonView>, HostError> {
        self.reads()?;
        let state = self.daemon.state();
        let Some(running) = &state.running else {
            self.connected.set(None);
            return Ok(None);
        };
        self.connected.set(Some(running.cookie));
        let names = [
            "default.clock.rate",
            "default.clock.allowed-rates",
            "default.clock.quantum",
            "default.clock.min-quantum",
            "default.clock.max-quantum",
            "default.clock.quantum-limit",
            "default.clock.quantum-floor",
            "clock.power-of-two-quantum",
            "settings.check-quantum",
            "settings.check-rate",
            "cpu.vm.name",
        ];
        let properties = names.iter().filter_map(|name| {
            let value = state.property(name)?;
            Some(((*name).to_owned(), value.to_owned()))
        });
        Ok(Some(DaemonView {
            core: CoreInfo {
                cookie: running.cookie,
                version: state.version.to_owned(),
                properties: properties.collect(),
                ..CoreInfo::default()
            },
            settings: state.shows_settings.then(|| running.metadata.clone()),
            is_writable: state.is_writable,
        }))
    }

    fn set(&mut self, key: &str, kind: Option<&str>, value: Option<&str>) -> Result<(), HostError> {
        let mut state = self.daemon.state();
        let gone = || {
            HostError::new(Operation::Backend, NAME, HostErrorKind::Gone)
                .detail("the daemon has closed the connection")
        };
        let connected = self.connected.get();
        let running = state.running.as_ref().map(|running| running.cookie);
        if connected.is_none() || connected != running {
            return Err(gone());
        }
        if !state.is_writable {
            return Err(HostError::from_errno(Operation::Backend, NAME, EACCES));
        }
        state.set(key, kind, value);
        if state.running.is_none() {
            return Err(gone());
        }
        Ok(())
    }

    fn drivers(&self, _: Duration) -> Result<Option<Vec<RunningDriver>>, HostError> {
        self.reads()?;
        let state = self.daemon.state();
        let Some(running) = &state.running else {
            return Ok(None);
        };
        let in_force = &running.in_force;
        let hertz = match in_force.force_rate {
            0 => in_force.rate,
            forced => forced,
        };
        let driver = |(number, playing): (usize, &Playing)| RunningDriver {
            cycle: DriverCycle {
                id: 30 + u32::try_from(number).unwrap_or(0),
                name: playing.name.clone(),
                clock: "fake".to_owned(),
                duration: state.quantum(in_force, playing, hertz),
                rate: (1, hertz),
            },
            properties: match playing.keeps {
                Some(_) => {
                    BTreeMap::from([("device.profile.name".to_owned(), "pro-audio".to_owned())])
                }
                None => BTreeMap::new(),
            },
            fixed_by: Vec::new(),
        };
        Ok(Some(state.playing.iter().enumerate().map(driver).collect()))
    }
}
