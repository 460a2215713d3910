//! Generations of GPUs, by PCI device id, and which drivers support them.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::version::ModuleKind;

/// A generation of GPUs, in order of age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Generation {
    /// GeForce 8 to 300, and older.
    OlderThanFermi,
    /// GTX 400, GTX 500, and some of the GT 600 and GT 700.
    Fermi,
    /// GTX 600, GTX 700.
    Kepler,
    /// GTX 750, GTX 900.
    Maxwell,
    /// GTX 1000.
    Pascal,
    /// Titan V, V100.
    Volta,
    /// GTX 1600, RTX 2000.
    Turing,
    /// RTX 3000, A100.
    Ampere,
    /// H100.
    Hopper,
    /// RTX 4000.
    Ada,
    /// RTX 5000, B200.
    Blackwell,
    /// A device id behind all known ones: Turing or newer.
    TuringOrNewer,
}

/// Where a generation's device ids are. Ids are not in order of age: 2182 to 21d1 are Turing and
/// 20xx Ampere. Source: the list of supported GPUs in the README of the open kernel modules, 515 to
/// 595, for Turing and newer; pci.ids of April 2023 for the others.
const IDS: &[(RangeInclusive<u16>, Generation)] = &[
    (0x0000..=0x06bf, Generation::OlderThanFermi),
    (0x06c0..=0x06df, Generation::Fermi),
    (0x06e0..=0x0dbf, Generation::OlderThanFermi),
    (0x0dc0..=0x0fbf, Generation::Fermi),
    (0x0fc0..=0x103f, Generation::Kepler),
    (0x1040..=0x10bf, Generation::Fermi),
    (0x10c0..=0x113f, Generation::OlderThanFermi),
    (0x1140..=0x117f, Generation::Fermi),
    (0x1180..=0x11ff, Generation::Kepler),
    (0x1200..=0x127f, Generation::Fermi),
    (0x1280..=0x133f, Generation::Kepler),
    (0x1340..=0x13fb, Generation::Maxwell),
    (0x1401..=0x1436, Generation::Maxwell),
    (0x15f0..=0x15f9, Generation::Pascal),
    (0x1617..=0x1667, Generation::Maxwell),
    (0x1720..=0x172f, Generation::Pascal),
    (0x174d..=0x179c, Generation::Maxwell),
    (0x17c2..=0x17fd, Generation::Maxwell),
    (0x1b00..=0x1d56, Generation::Pascal),
    (0x1d81..=0x1d81, Generation::Volta),
    (0x1db1..=0x1df6, Generation::Volta),
    (0x1e02..=0x1ff9, Generation::Turing),
    (0x2080..=0x20ff, Generation::Ampere),
    (0x2182..=0x21d1, Generation::Turing),
    (0x2200..=0x22ff, Generation::Ampere),
    (0x2300..=0x23ff, Generation::Hopper),
    (0x2400..=0x25ff, Generation::Ampere),
    (0x2600..=0x28ff, Generation::Ada),
    (0x2900..=0x29ff, Generation::Blackwell),
    (0x2b00..=0x2fff, Generation::Blackwell),
    (0x3100..=0x31ff, Generation::Blackwell),
];

/// All listed ids of Turing and newer are at least this.
const FIRST_WITH_SYSTEM_PROCESSOR: u16 = 0x1e00;

impl Generation {
    /// The generation of a device id of NVIDIA's display controllers; `None` if it is in no known
    /// range.
    pub fn of_device(device: u16) -> Option<Self> {
        let known = IDS.iter().find(|(range, _)| range.contains(&device));
        known
            .map(|(_, generation)| *generation)
            .or_else(|| (device >= FIRST_WITH_SYSTEM_PROCESSOR).then_some(Self::TuringOrNewer))
    }

    /// The last branch that supports it, if support has ended.
    ///
    /// Source: NixOS/nixos-hardware#1880 and the messages of the drivers after 580 for Maxwell,
    /// Pascal and Volta; siderolabs/talos#8764 for Kepler, whose last branch this is. Fermi ended
    /// with 390, and what is older with 340 or before.
    pub fn last_branch(self) -> Option<u16> {
        match self {
            Self::OlderThanFermi => Some(340),
            Self::Fermi => Some(390),
            Self::Kepler => Some(470),
            Self::Maxwell | Self::Pascal | Self::Volta => Some(580),
            _ => None,
        }
    }

    /// The first branch that supports it.
    ///
    /// Source: the list of supported GPUs in the README of the open kernel modules for Blackwell;
    /// the others are as NVIDIA announced them and were not compared with the drivers.
    pub fn first_branch(self) -> u16 {
        match self {
            Self::OlderThanFermi
            | Self::Fermi
            | Self::Kepler
            | Self::Maxwell
            | Self::Pascal
            | Self::Volta => 0,
            Self::Turing | Self::TuringOrNewer => 410,
            Self::Ampere => 450,
            Self::Hopper | Self::Ada => 525,
            Self::Blackwell => 570,
        }
    }

    /// Whether it has the GPU System Processor that the open module needs.
    pub fn has_system_processor(self) -> bool {
        self >= Self::Turing
    }

    /// Whether the proprietary module does not support it.
    pub fn needs_open_module(self) -> bool {
        self == Self::Blackwell
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OlderThanFermi => "a generation before Fermi",
            Self::Fermi => "Fermi",
            Self::Kepler => "Kepler",
            Self::Maxwell => "Maxwell",
            Self::Pascal => "Pascal",
            Self::Volta => "Volta",
            Self::Turing => "Turing",
            Self::Ampere => "Ampere",
            Self::Hopper => "Hopper",
            Self::Ada => "Ada",
            Self::Blackwell => "Blackwell",
            Self::TuringOrNewer => "Turing or newer",
        })
    }
}

/// Whether a driver supports a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Support {
    /// It does.
    Supported,
    /// It does not.
    Unsupported {
        /// Why not.
        why: String,
        /// What to install instead.
        hint: String,
    },
}

/// Whether a branch, with this kind of module, supports a generation.
pub fn support(generation: Generation, branch: u16, kind: ModuleKind) -> Support {
    let unsupported = |why: String, hint: String| Support::Unsupported { why, hint };
    if let Some(last) = generation.last_branch() {
        let packages = match generation {
            Generation::OlderThanFermi => "nvidia-340xx-dkms or nvidia-legacy-340xx-driver",
            Generation::Fermi => "nvidia-390xx-dkms or nvidia-legacy-390xx-driver",
            Generation::Kepler => "nvidia-470xx-dkms or nvidia-tesla-470-driver",
            _ => "nvidia-580xx-dkms, nvidia-driver-580, or legacy_580 on NixOS",
        };
        if branch > last {
            return unsupported(
                format!(
                    "drivers after branch {last} do not support {generation}, and the installed one is of branch {branch}"
                ),
                format!("install branch {last} (the package is named {packages})"),
            );
        }
        if kind == ModuleKind::Open {
            return unsupported(
                format!(
                    "the open module needs the GPU System Processor, which {generation} does not have"
                ),
                format!(
                    "install the proprietary module of branch {last} or older (the package is named {packages})"
                ),
            );
        }
    }
    let first = generation.first_branch();
    if branch < first {
        return unsupported(
            format!(
                "{generation} needs branch {first} or later, and the installed driver is of branch {branch}"
            ),
            format!("install a driver of branch {first} or later"),
        );
    }
    if generation.needs_open_module() && kind == ModuleKind::Proprietary {
        return unsupported(
            format!("{generation} needs the open module, and the proprietary one is installed"),
            "install the package of the open module (its name ends in -open)".to_owned(),
        );
    }
    Support::Supported
}
