//! A fake of NVML and of its GPUs, for a machine in memory.
//!
//! Its answers are reconstructed from `nvml.h` of branches 470 to 610 and from public reports; no GPU was
//! asked. Each setting of a GPU is a file, so a copy of the files is a copy of the machine. As the driver
//! does, it
//! - forgets limits, locks, offsets and modes when the last program closes the GPU while persistence mode
//!   is off, and each call ends with the library closing it;
//! - has no getter for locked clocks;
//! - refuses what is out of bounds, and offers only what the kind of GPU and the branch have;
//! - wakes a GPU that it is asked about.

use hosttune_core::host::FileContent;
use hosttune_core::testing::Memory;

use super::address::GpuAddress;
use super::library::{
    ClockOffset, ClockRange, GpuClock, ManagementLibrary, PowerLimits, PowerMizer, PowerMizerMode,
};
use super::library_error::LibraryError;

/// Where the fake has the driver's state.
const DRIVER: &str = "/run/nvml/fake";

/// The power limits of the fake's GPUs, in milliwatts: default, lowest, highest.
pub const POWER: [u32; 3] = [320_000, 150_000, 400_000];

/// The lowest and the highest offset of the fake's clocks, in MHz.
pub const OFFSETS: [i32; 2] = [-1000, 1000];

/// The performance states in which the fake's GPUs have offsets.
pub const STATES: [u8; 2] = [0, 2];

/// The management library of a machine in memory.
#[derive(Debug)]
pub struct MemoryLibrary(Memory);

/// A GPU of the fake.
#[derive(Clone, Debug)]
pub struct FakeGpu<'t> {
    /// The address.
    pub address: &'t str,
    /// The PCI device id.
    pub device: u16,
    /// What `power/runtime_status` shows.
    pub status: &'t str,
    /// The UUID.
    pub uuid: &'t str,
    /// Whether persistence mode is on.
    pub persistence_mode: bool,
    /// Whether another program has it open.
    pub is_open: bool,
}

/// A machine with the driver of this branch loaded, and its GPUs.
#[must_use]
pub fn with_gpus(memory: Memory, branch: u16, gpus: &[FakeGpu<'_>]) -> Memory {
    let put = |memory: Memory, path: String, text: String| {
        memory.content(path, FileContent::new(format!("{text}\n")))
    };
    let mut memory = memory.directory("/run").directory("/etc/systemd/system");
    memory = put(
        memory,
        "/proc/sys/kernel/osrelease".into(),
        "6.12.0-fake".into(),
    );
    memory = put(memory, format!("{DRIVER}/branch"), branch.to_string());
    for gpu in gpus {
        let device = format!("/sys/bus/pci/devices/{}", gpu.address);
        for (file, text) in [
            ("vendor", "0x10de".to_owned()),
            ("class", "0x030000".to_owned()),
            ("device", format!("0x{:04x}", gpu.device)),
            ("power/runtime_status", gpu.status.to_owned()),
        ] {
            memory = put(memory, format!("{device}/{file}"), text);
        }
        memory = put(
            memory,
            format!("/proc/driver/nvidia/gpus/{}/information", gpu.address),
            format!("Model: \t\t NVIDIA fake\nGPU UUID: \t {}", gpu.uuid),
        );
        let on = |on: bool| if on { "1" } else { "0" }.to_owned();
        let setting = |name: &str| format!("{DRIVER}/{}/{name}", gpu.address);
        memory = put(memory, setting("persistence"), on(gpu.persistence_mode));
        memory = put(memory, setting("open"), on(gpu.is_open));
        MemoryLibrary(memory.clone()).forget(gpu.address);
    }
    memory
}

impl MemoryLibrary {
    /// The library of the machine with these files.
    #[must_use]
    pub fn new(memory: Memory) -> Self {
        Self(memory)
    }

    /// A setting of a GPU as the driver has it, such as `power`, `lock-graphics` or `mizer`; `None` if
    /// there is no such GPU.
    #[must_use]
    pub fn setting(memory: &Memory, gpu: &str, name: &str) -> Option<String> {
        memory.get(format!("{DRIVER}/{gpu}/{name}"))
    }

    /// Another program sets a setting.
    pub fn becomes(memory: &Memory, gpu: &str, name: &str, value: &str) {
        memory.change(|tree| tree.set(format!("{DRIVER}/{gpu}/{name}"), value));
    }

    /// From now on every call fails with this error; `None`: they work again.
    pub fn fails_with(memory: &Memory, error: Option<&LibraryError>) {
        let path = format!("{DRIVER}/error");
        let text = error.map(|error| serde_json::to_string(error).unwrap_or_default());
        memory.change(|tree| match text {
            Some(text) => tree.set(path, &text),
            None => tree.remove(path),
        });
    }

    /// The driver is unloaded.
    pub fn unload(memory: &Memory, gpu: &str) {
        memory.change(|tree| {
            tree.remove(format!("/proc/driver/nvidia/gpus/{gpu}/information"));
            tree.remove(format!("/proc/driver/nvidia/gpus/{gpu}"));
            for name in NAMES {
                tree.remove(format!("{DRIVER}/{gpu}/{name}"));
            }
        });
    }

    fn branch(&self) -> u16 {
        let text = self.0.get(format!("{DRIVER}/branch"));
        text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    fn get(&self, gpu: &GpuAddress, name: &str) -> Option<String> {
        Self::setting(&self.0, gpu.as_str(), name)
    }

    /// The driver forgets everything but persistence mode.
    fn forget(&self, gpu: &str) {
        self.0.change(|tree| {
            let mut put = |name: &str, text: &str| {
                tree.set(format!("{DRIVER}/{gpu}/{name}"), text);
            };
            put("power", &POWER[0].to_string());
            put("mizer", "\"auto\"");
            for clock in GpuClock::ALL {
                put(&format!("lock-{clock}"), "");
                for state in STATES {
                    put(&format!("offset-{clock}-{state}"), "0");
                }
            }
        });
    }

    /// The library opens the GPU, which wakes it, if it is there and the function exists.
    fn open(&self, gpu: &GpuAddress, since: u16) -> Result<(), LibraryError> {
        if let Some(text) = self.0.get(format!("{DRIVER}/error")) {
            let parsed = serde_json::from_str(&text);
            return Err(parsed.unwrap_or(LibraryError::Other(text)));
        }
        if self.get(gpu, "persistence").is_none() {
            return Err(LibraryError::NotFound);
        }
        let status = format!("/sys/bus/pci/devices/{gpu}/power/runtime_status");
        if self
            .0
            .get(&status)
            .is_some_and(|text| text.trim() != "active")
        {
            self.0.change(|tree| tree.set(&status, "active"));
        }
        if self.branch() < since {
            return Err(LibraryError::NoFunction("undefined symbol".to_owned()));
        }
        Ok(())
    }

    /// The library sets a setting and closes the GPU.
    fn set(&self, gpu: &GpuAddress, name: &str, value: &str) {
        self.0
            .change(|tree| tree.set(format!("{DRIVER}/{gpu}/{name}"), value));
        self.close(gpu);
    }

    fn close(&self, gpu: &GpuAddress) {
        let is_on = |name: &str| self.get(gpu, name).as_deref() == Some("1");
        if !is_on("persistence") && !is_on("open") {
            self.forget(gpu.as_str());
        }
    }

    fn device(&self, gpu: &GpuAddress) -> u16 {
        let text = self.0.get(format!("/sys/bus/pci/devices/{gpu}/device"));
        let digits = text.unwrap_or_default();
        u16::from_str_radix(digits.trim().trim_start_matches("0x"), 16).unwrap_or(0)
    }
}

/// The settings of a GPU.
const NAMES: [&str; 10] = [
    "persistence",
    "open",
    "power",
    "mizer",
    "lock-graphics",
    "lock-memory",
    "offset-graphics-0",
    "offset-graphics-2",
    "offset-memory-0",
    "offset-memory-2",
];

fn number<T: std::str::FromStr>(text: Option<String>) -> Result<T, LibraryError> {
    let number = text.and_then(|text| text.parse().ok());
    number.ok_or(LibraryError::NotFound)
}

impl ManagementLibrary for MemoryLibrary {
    fn uuid(&self, gpu: &GpuAddress) -> Result<String, LibraryError> {
        self.open(gpu, 0)?;
        let text = self
            .0
            .get(format!("/proc/driver/nvidia/gpus/{gpu}/information"));
        crate::gpu::information(&text.unwrap_or_default())
            .remove("GPU UUID")
            .ok_or(LibraryError::NotFound)
    }

    fn persistence_mode(&self, gpu: &GpuAddress) -> Result<bool, LibraryError> {
        self.open(gpu, 0)?;
        Ok(self.get(gpu, "persistence").as_deref() == Some("1"))
    }

    fn set_persistence_mode(&mut self, gpu: &GpuAddress, on: bool) -> Result<(), LibraryError> {
        self.open(gpu, 0)?;
        self.set(gpu, "persistence", if on { "1" } else { "0" });
        Ok(())
    }

    fn power_limits(&self, gpu: &GpuAddress) -> Result<PowerLimits, LibraryError> {
        self.open(gpu, 0)?;
        let [_, lowest, highest] = POWER;
        let set = number(self.get(gpu, "power"))?;
        Ok(PowerLimits {
            set,
            lowest,
            highest,
        })
    }

    fn set_power_limit(&mut self, gpu: &GpuAddress, milliwatts: u32) -> Result<(), LibraryError> {
        self.open(gpu, 0)?;
        let [_, lowest, highest] = POWER;
        if !(lowest..=highest).contains(&milliwatts) {
            return Err(LibraryError::InvalidArgument);
        }
        self.set(gpu, "power", &milliwatts.to_string());
        Ok(())
    }

    /// The highest of the range in which the clock is locked, or 2100 MHz.
    fn current_clock(&self, gpu: &GpuAddress, clock: GpuClock) -> Result<u32, LibraryError> {
        self.open(gpu, 0)?;
        let lock = self.get(gpu, &format!("lock-{clock}")).unwrap_or_default();
        let range: Result<ClockRange, _> = serde_json::from_str(&lock);
        Ok(range.map_or(2100, |range| range.highest.min(2100)))
    }

    fn lock_clock(
        &mut self,
        gpu: &GpuAddress,
        clock: GpuClock,
        range: ClockRange,
    ) -> Result<(), LibraryError> {
        self.open(gpu, 0)?;
        let first = match clock {
            GpuClock::Graphics => 0x1d81,
            GpuClock::Memory => 0x2200,
        };
        if self.device(gpu) < first {
            return Err(LibraryError::NotSupported);
        }
        if range.lowest > range.highest {
            return Err(LibraryError::InvalidArgument);
        }
        let text = serde_json::to_string(&range)
            .map_err(|error| LibraryError::Other(error.to_string()))?;
        self.set(gpu, &format!("lock-{clock}"), &text);
        Ok(())
    }

    fn unlock_clock(&mut self, gpu: &GpuAddress, clock: GpuClock) -> Result<(), LibraryError> {
        self.open(gpu, 0)?;
        self.set(gpu, &format!("lock-{clock}"), "");
        Ok(())
    }

    fn clock_offsets(&self, gpu: &GpuAddress) -> Result<Vec<ClockOffset>, LibraryError> {
        self.open(gpu, 555)?;
        let [lowest, highest] = OFFSETS;
        let mut offsets = Vec::new();
        for performance_state in STATES {
            for clock in GpuClock::ALL {
                let name = format!("offset-{clock}-{performance_state}");
                offsets.push(ClockOffset {
                    clock,
                    performance_state,
                    megahertz: number(self.get(gpu, &name))?,
                    lowest,
                    highest,
                });
            }
        }
        Ok(offsets)
    }

    fn set_clock_offset(
        &mut self,
        gpu: &GpuAddress,
        clock: GpuClock,
        performance_state: u8,
        megahertz: i32,
    ) -> Result<(), LibraryError> {
        self.open(gpu, 555)?;
        let [lowest, highest] = OFFSETS;
        if !STATES.contains(&performance_state) || !(lowest..=highest).contains(&megahertz) {
            return Err(LibraryError::InvalidArgument);
        }
        let name = format!("offset-{clock}-{performance_state}");
        self.set(gpu, &name, &megahertz.to_string());
        Ok(())
    }

    fn power_mizer(&self, gpu: &GpuAddress) -> Result<PowerMizer, LibraryError> {
        self.open(gpu, 580)?;
        let text = self.get(gpu, "mizer").unwrap_or_default();
        let set =
            serde_json::from_str(&text).map_err(|error| LibraryError::Other(error.to_string()))?;
        Ok(PowerMizer {
            set,
            offered: vec![
                PowerMizerMode::Adaptive,
                PowerMizerMode::MaximumPerformance,
                PowerMizerMode::Auto,
            ],
        })
    }

    fn set_power_mizer_mode(
        &mut self,
        gpu: &GpuAddress,
        mode: PowerMizerMode,
    ) -> Result<(), LibraryError> {
        self.open(gpu, 580)?;
        if mode == PowerMizerMode::ConsistentPerformance {
            return Err(LibraryError::NotSupported);
        }
        let text =
            serde_json::to_string(&mode).map_err(|error| LibraryError::Other(error.to_string()))?;
        self.set(gpu, "mizer", &text);
        Ok(())
    }
}
