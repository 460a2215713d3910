//! The parameters of the driver's kernel modules, by branch.
//!
//! Source: the open kernel modules' `nv-reg.h`, `nv-procfs.c`, `nvidia-drm-linux.c` and
//! `nvidia-modeset-linux.c` of the branches 515 to 610. The list changes with every branch, so
//! what the installed module declares is asked as well; see [`ModuleInfo`](crate::ModuleInfo).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::version::ModuleKind;

/// One of the driver's kernel modules, by the name that the kernel shows. On disk it can have
/// another name, such as `nvidia-current`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriverModule {
    /// `nvidia`: the resource manager, whose parameters begin with `NVreg_`.
    Nvidia,
    /// `nvidia_drm`: kernel mode setting.
    Drm,
    /// `nvidia_modeset`.
    Modeset,
    /// `nvidia_uvm`: unified memory for CUDA.
    Uvm,
}

impl DriverModule {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Nvidia, Self::Drm, Self::Modeset, Self::Uvm];

    /// The name in `/sys/module`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nvidia => "nvidia",
            Self::Drm => "nvidia_drm",
            Self::Modeset => "nvidia_modeset",
            Self::Uvm => "nvidia_uvm",
        }
    }

    /// What the names of its parameters begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Nvidia => "NVreg_",
            Self::Drm | Self::Modeset | Self::Uvm => "",
        }
    }
}

impl fmt::Display for DriverModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The values that a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Values {
    /// Any 32 bits.
    Number,
    /// 0 to this number.
    UpTo(u32),
    /// 0, 1, or all bits set, which leaves the choice to the driver.
    SwitchOrAutomatic,
    /// A truth value.
    Truth,
    /// A text.
    Text,
}

/// A value of a table that holds from a branch on.
type FromBranch<T> = (u16, T);

/// A parameter that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parameter {
    /// The module.
    pub module: DriverModule,
    /// The name without `NVreg_`.
    pub name: &'static str,
    /// The values.
    pub values: Values,
    /// The defaults, each from a branch on; empty if the default is not known.
    defaults: &'static [FromBranch<u32>],
    /// The first branch that has it; 0 if that is older than this table.
    pub since: u16,
    /// The first branch that does not have it any more.
    pub until: Option<u16>,
    /// The only kind of module on which it acts.
    pub only: Option<ModuleKind>,
    /// Its name in `/proc/driver/nvidia/params`; `None` if it is not there.
    pub shown: Option<&'static str>,
    /// What the driver's own choice (all bits set) amounts to on every host; `None` if that depends on
    /// the host or is not known.
    pub automatic: Option<u32>,
    /// What it risks, or why it has no effect.
    pub caution: Option<&'static str>,
}

impl Parameter {
    /// Whether a branch has it.
    pub fn is_in(&self, branch: u16) -> bool {
        branch >= self.since && self.until.is_none_or(|until| branch < until)
    }

    /// The default in a branch. Distributions change some of them.
    pub fn default_in(&self, branch: u16) -> Option<u32> {
        let of_branch = self.defaults.iter().rev().find(|(from, _)| branch >= *from);
        of_branch.map(|(_, default)| *default)
    }

    /// The name as a module option.
    pub fn option(&self) -> String {
        format!("{}{}", self.module.prefix(), self.name)
    }

    const fn default(mut self, defaults: &'static [FromBranch<u32>]) -> Self {
        self.defaults = defaults;
        self
    }

    const fn values(mut self, values: Values) -> Self {
        self.values = values;
        self
    }

    const fn since(mut self, branch: u16) -> Self {
        self.since = branch;
        self
    }

    const fn until(mut self, branch: u16) -> Self {
        self.until = Some(branch);
        self
    }

    const fn only(mut self, kind: ModuleKind) -> Self {
        self.only = Some(kind);
        self
    }

    const fn automatic_is(mut self, value: u32) -> Self {
        self.automatic = Some(value);
        self
    }

    const fn hidden(mut self) -> Self {
        self.shown = None;
        self
    }

    const fn shown_as(mut self, name: &'static str) -> Self {
        self.shown = Some(name);
        self
    }

    const fn caution(mut self, caution: &'static str) -> Self {
        self.caution = Some(caution);
        self
    }
}

const fn number(name: &'static str) -> Parameter {
    Parameter {
        module: DriverModule::Nvidia,
        name,
        values: Values::Number,
        defaults: &[(0, 0)],
        since: 0,
        until: None,
        only: None,
        shown: Some(name),
        automatic: None,
        caution: None,
    }
}

const fn switch(name: &'static str, default: &'static [FromBranch<u32>]) -> Parameter {
    number(name).values(Values::UpTo(1)).default(default)
}

const fn text(name: &'static str) -> Parameter {
    number(name).values(Values::Text).default(&[])
}

const fn truth(
    module: DriverModule,
    name: &'static str,
    default: &'static [FromBranch<u32>],
) -> Parameter {
    let mut parameter = number(name).values(Values::Truth).default(default).hidden();
    parameter.module = module;
    parameter
}

const OFF: &[FromBranch<u32>] = &[(0, 0)];
const ON: &[FromBranch<u32>] = &[(0, 1)];
const AUTOMATIC: &[FromBranch<u32>] = &[(0, u32::MAX)];
const ESX_ONLY: &str = "acts only under VMware ESXi";

/// All parameters that are known here, in the order of the driver's own table.
pub const PARAMETERS: &[Parameter] = &[
    number("ResmanDebugLevel").default(AUTOMATIC),
    switch("RmLogonRC", ON),
    switch("ModifyDeviceFiles", ON),
    number("DeviceFileUID"),
    number("DeviceFileGID"),
    number("DeviceFileMode")
        .default(&[(0, 0o666)])
        .caution("who may open the device files may use the GPU"),
    switch("InitializeSystemMemoryAllocations", ON).caution(
        "with 0, memory is handed to programs with the contents that another program left in it",
    ),
    number("UsePageAttributeTable")
        .values(Values::SwitchOrAutomatic)
        .default(AUTOMATIC)
        .automatic_is(1)
        .until(610)
        .caution("the default already uses the kernel's page attribute table"),
    switch("EnableMSI", ON),
    switch("EnablePCIeGen3", OFF)
        .caution("for Kepler Quadro, Tesla and NVS only, and not supported by NVIDIA"),
    number("MemoryPoolSize").caution(ESX_ONLY),
    number("KMallocHeapMaxSize").caution(ESX_ONLY),
    number("VMallocHeapMaxSize").caution(ESX_ONLY),
    switch("IgnoreMMIOCheck", OFF),
    number("TCEBypassMode").until(570),
    switch("EnableStreamMemOPs", OFF).caution("a hint for CUDA, without effect on games"),
    switch("EnableUserNUMAManagement", ON),
    switch("NvLinkDisable", OFF),
    switch("RestrictProfilingToAdminUsers", ON)
        .shown_as("RmProfilingAdminOnly")
        .caution("with 0, every user can read performance counters of other users' programs"),
    number("PreserveVideoMemoryAllocations")
        .values(Values::UpTo(2))
        .default(&[(0, 0), (595, 2)])
        .caution("without the suspend services or notifiers, suspending fails"),
    switch("UseKernelSuspendNotifiers", OFF)
        .since(595)
        .only(ModuleKind::Open),
    switch("EnableS0ixPowerManagement", OFF),
    number("S0ixPowerManagementVideoMemoryThreshold").default(&[(0, 256)]),
    number("DynamicPowerManagement")
        .values(Values::UpTo(3))
        .default(&[(0, 3)])
        .caution("2 outside of a notebook took GPUs off the bus"),
    number("DynamicPowerManagementVideoMemoryThreshold")
        .values(Values::UpTo(200))
        .default(&[(0, 200)]),
    number("TegraGpuPgMask")
        .default(&[(590, u32::MAX), (610, 0)])
        .since(590),
    switch("RegisterPCIDriver", ON).caution("with 0, the driver uses no PCI device"),
    switch("RegisterPlatformDeviceDriver", ON)
        .since(580)
        .hidden(),
    switch("EnablePCIERelaxedOrderingMode", OFF),
    switch("EnableResizableBar", OFF)
        .since(530)
        .caution("if putting the windows back fails, the GPU cannot be used until the next boot"),
    number("EnableGpuFirmware")
        .default(&[(0, 0x12)])
        .only(ModuleKind::Proprietary)
        .caution("the open module needs the GPU System Processor and ignores it"),
    number("EnableGpuFirmwareLogs")
        .values(Values::UpTo(2))
        .default(&[(0, 2)]),
    switch("EnableDbgBreakpoint", OFF),
    switch("OpenRmEnableUnsupportedGpus", ON).caution("ignored by the driver"),
    switch("DmaRemapPeerMmio", ON),
    number("RmNvlinkBandwidthLinkCount").since(565),
    switch("EnableNonblockingOpen", ON).since(550).hidden(),
    number("ImexChannelCount").default(&[(0, 2048)]).since(550),
    switch("CreateImexChannel0", OFF).since(555),
    number("GrdmaPciTopoCheckOverride").since(570).until(610),
    number("EnableSystemMemoryPools")
        .default(&[(0, 0x211)])
        .since(590),
    switch("ExcludeAllGpus", OFF).since(595).hidden(),
    switch("GpuInitOnProbe", OFF).since(595).hidden(),
    switch("EnableDebuggerInterface", OFF).since(610),
    switch("EnableAutomaticGpuRecovery", ON).since(610),
    switch("OsEnableCxlSupport", ON).since(610),
    text("CoherentGPUMemoryMode").since(580),
    text("RegistryDwords").caution("which keys act is not documented, and nothing shows it"),
    text("RegistryDwordsPerDevice")
        .caution("which keys act is not documented, and nothing shows it"),
    text("RmMsg"),
    text("GpuBlacklist").caution("deprecated: use ExcludedGpus"),
    text("TemporaryFilePath"),
    text("ExcludedGpus"),
    text("RmNvlinkBandwidth").hidden(),
    truth(DriverModule::Drm, "modeset", &[(0, 0), (595, 1)]),
    truth(DriverModule::Drm, "fbdev", &[(545, 0), (570, 1)]).since(545),
    truth(DriverModule::Modeset, "output_rounding_fix", ON),
    truth(DriverModule::Modeset, "disable_hdmi_frl", OFF).since(545),
    truth(DriverModule::Modeset, "disable_vrr_memclk_switch", OFF).since(545),
    truth(
        DriverModule::Modeset,
        "hdmi_deepcolor",
        &[(545, 0), (570, 1)],
    )
    .since(545),
    truth(
        DriverModule::Modeset,
        "vblank_sem_control",
        &[(550, 0), (570, 1)],
    )
    .since(550)
    .until(595),
    truth(DriverModule::Modeset, "opportunistic_display_sync", ON).since(550),
    truth(DriverModule::Modeset, "enable_overlay_layers", ON).since(570),
    truth(DriverModule::Modeset, "conceal_vrr_caps", OFF).since(575),
    truth(DriverModule::Uvm, "uvm_disable_hmm", OFF),
];

/// Finds a parameter by its module and its name, with or without `NVreg_`.
pub fn find(module: DriverModule, name: &str) -> Option<&'static Parameter> {
    let name = name.strip_prefix(module.prefix()).unwrap_or(name);
    PARAMETERS
        .iter()
        .find(|known| known.module == module && known.name == name)
}

/// The known name that is most like a misspelt one, if one is like it at all.
pub(crate) fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let distances = known
        .into_iter()
        .map(|known| (distance(name, known), known));
    let (distance, nearest) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= name.len().max(6) / 3).then_some(nearest)
}

/// The number of letters to insert, remove or replace, without regard to case (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let lower = |text: &str| text.to_ascii_lowercase().into_bytes();
    let (one, other) = (lower(one), lower(other));
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (place, letter) in one.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], place + 1);
        for column in 0..other.len() {
            let replaced = diagonal + usize::from(*letter != other[column]);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}
