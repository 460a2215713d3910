//! A fake of systemd's services, for a machine in memory.
//!
//! The state of each unit is a file, so a copy of the files is a copy of the machine. As systemd does, it starts and
//! stops only units that it has loaded, and a start of a unit that is masked is refused.

use hosttune_core::testing::{Behaviour, Memory};
use hosttune_core::{HostError, HostErrorKind, Operation};

use crate::{ServiceManager, ServiceState};

/// Where the fake has its units.
const UNITS: &str = "/run/systemd/fake";

/// The services of a machine in memory.
#[derive(Debug)]
pub struct MemoryServices(Memory);

fn file(unit: &str) -> String {
    format!("{UNITS}/{unit}")
}

/// The machine with systemd, and with these units: whether each runs.
#[must_use]
pub fn with_services(memory: Memory, units: &[(&str, bool)]) -> Memory {
    let memory = memory
        .file(
            "/proc/sys/kernel/osrelease",
            "6.12.0-fake",
            Behaviour::takes_all(),
        )
        .directory("/run/systemd/system")
        .directory(UNITS);
    units.iter().fold(memory, |memory, (unit, runs)| {
        let state = if *runs { "running" } else { "stopped" };
        memory.file(file(unit), state, Behaviour::takes_all())
    })
}

impl MemoryServices {
    /// The services of the machine with these files.
    #[must_use]
    pub fn new(memory: Memory) -> Self {
        Self(memory)
    }

    /// Another program starts or stops a unit, masks a stopped one (`masked`), or removes it (`None`).
    pub fn become_of(memory: &Memory, unit: &str, state: Option<&str>) {
        memory.change(|tree| match state {
            Some(state) => tree.set(file(unit), state),
            None => {
                tree.remove(file(unit));
            }
        });
    }

    fn set(&self, unit: &str, state: &str) -> Result<(), HostError> {
        let refused = |why: &str| {
            HostError::new(
                Operation::Backend,
                format!("service {unit}"),
                HostErrorKind::Other,
            )
            .detail(format!("systemctl: Unit {unit} {why}"))
        };
        match self.0.get(file(unit)).as_deref() {
            None => Err(refused("not found")),
            Some("masked") if state == "running" => Err(refused("is masked")),
            Some("masked") => Ok(()),
            Some(_) => {
                self.0.change(|tree| tree.set(file(unit), state));
                Ok(())
            }
        }
    }
}

impl ServiceManager for MemoryServices {
    fn state(&self, unit: &str) -> Result<ServiceState, HostError> {
        Ok(match self.0.get(file(unit)).as_deref() {
            None => ServiceState::Missing,
            Some("running") => ServiceState::Running,
            Some(_) => ServiceState::Stopped,
        })
    }

    fn start(&mut self, unit: &str) -> Result<(), HostError> {
        self.set(unit, "running")
    }

    fn stop(&mut self, unit: &str) -> Result<(), HostError> {
        self.set(unit, "stopped")
    }
}
