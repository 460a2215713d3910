//! What is known of the NVIDIA GPUs of a host and of their driver, without waking a GPU.

use std::fmt;

use hosttune_core::{Host, HostError};
use serde::{Deserialize, Serialize};

use crate::driver::loaded;
use crate::gpu::{Fact, Gpu, gpus};
use crate::version::LoadedDriver;

/// The NVIDIA GPUs of a host, and the driver that is loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NvidiaFacts {
    /// The loaded driver; `None` if none is.
    pub driver: Option<LoadedDriver>,
    /// The GPUs, by address.
    pub gpus: Vec<Gpu>,
}

impl NvidiaFacts {
    /// Reads them.
    ///
    /// # Errors
    /// If a file exists and cannot be read.
    pub fn of(host: &Host) -> Result<Self, HostError> {
        Ok(Self {
            driver: loaded(host)?,
            gpus: gpus(host)?,
        })
    }
}

/// One line for each GPU, and none without a GPU.
impl fmt::Display for NvidiaFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for gpu in &self.gpus {
            write!(f, "{} {}", gpu.address, Told(&gpu.model, "model"))?;
            match gpu.generation {
                Some(generation) => write!(f, ", {generation}")?,
                None => write!(f, ", generation unknown")?,
            }
            match &self.driver {
                Some(driver) => write!(f, ", driver {} ({})", driver.version, driver.kind)?,
                None => write!(f, ", NVIDIA's driver is not loaded")?,
            }
            writeln!(f, ", video BIOS {}", Told(&gpu.video_bios, "version"))?;
        }
        Ok(())
    }
}

/// A fact, or why it is unknown.
struct Told<'f>(&'f Fact, &'static str);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.0 {
            Fact::Known(value) => return f.write_str(value),
            Fact::Asleep => "asleep",
            Fact::NotAsked => "not asked, because the GPU may be asleep",
            Fact::NotOpenedYet => "no program has opened the GPU yet",
            Fact::NoDriver => "the driver does not use this GPU",
        };
        write!(f, "{} unknown ({why})", self.1)
    }
}
