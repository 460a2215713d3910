//! Names of processor designs, by vendor, family and model.
//!
//! Intel's names are those in Linux's `arch/x86/include/asm/intel-family.h`, with the steppings from the
//! comments there. AMD's from Zen on are the ranges by which `bsp_init_amd()` in
//! `arch/x86/kernel/cpu/amd.c` distinguishes the generations (Linux 6.18, and the ranges for Zen 6 that
//! were added since). Zen+ and the designs before Zen are from AMD's revision guides for each family.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::x86_64_level::X86_64Level;

macro_rules! microarchitectures {
    ($($(#[$revert_note:meta])* $variant:ident = $name:literal,)+) => {
        /// The design of a processor.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Microarchitecture { $(
            #[doc = concat!($name, ".")]
            #[serde(rename = $name)]
            $(#[$revert_note])*
            $variant,
        )+ }

        impl Microarchitecture {
            /// All known designs.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Returns its name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

microarchitectures! {
    NetBurst = "NetBurst",
    PentiumM = "Pentium M",
    Merom = "Merom",
    Penryn = "Penryn",
    Nehalem = "Nehalem",
    Westmere = "Westmere",
    SandyBridge = "Sandy Bridge",
    IvyBridge = "Ivy Bridge",
    Haswell = "Haswell",
    Broadwell = "Broadwell",
    Skylake = "Skylake",
    CascadeLake = "Cascade Lake",
    CooperLake = "Cooper Lake",
    KabyLake = "Kaby Lake",
    CoffeeLake = "Coffee Lake",
    WhiskeyLake = "Whiskey Lake",
    CometLake = "Comet Lake",
    CannonLake = "Cannon Lake",
    IceLake = "Ice Lake",
    RocketLake = "Rocket Lake",
    TigerLake = "Tiger Lake",
    SapphireRapids = "Sapphire Rapids",
    EmeraldRapids = "Emerald Rapids",
    GraniteRapids = "Granite Rapids",
    DiamondRapids = "Diamond Rapids",
    Lakefield = "Lakefield",
    AlderLake = "Alder Lake",
    RaptorLake = "Raptor Lake",
    BartlettLake = "Bartlett Lake",
    MeteorLake = "Meteor Lake",
    ArrowLake = "Arrow Lake",
    LunarLake = "Lunar Lake",
    PantherLake = "Panther Lake",
    WildcatLake = "Wildcat Lake",
    NovaLake = "Nova Lake",
    Bonnell = "Bonnell",
    Saltwell = "Saltwell",
    Silvermont = "Silvermont",
    Airmont = "Airmont",
    Goldmont = "Goldmont",
    GoldmontPlus = "Goldmont Plus",
    Tremont = "Tremont",
    Gracemont = "Gracemont",
    Crestmont = "Crestmont",
    KnightsLanding = "Knights Landing",
    KnightsMill = "Knights Mill",
    K8 = "K8",
    K10 = "K10",
    Bobcat = "Bobcat",
    Jaguar = "Jaguar",
    Puma = "Puma",
    Bulldozer = "Bulldozer",
    Piledriver = "Piledriver",
    Steamroller = "Steamroller",
    Excavator = "Excavator",
    Zen = "Zen",
    ZenPlus = "Zen+",
    Zen2 = "Zen 2",
    Zen3 = "Zen 3",
    Zen4 = "Zen 4",
    Zen5 = "Zen 5",
    Zen6 = "Zen 6",
}

impl Microarchitecture {
    /// Returns the design for the `vendor_id`, `cpu family`, `model` and `stepping` of `/proc/cpuinfo`.
    #[must_use]
    pub fn of(vendor: &str, family: u32, model: u32, stepping: Option<u32>) -> Option<Self> {
        match vendor {
            "GenuineIntel" => intel(family, model, stepping),
            "AuthenticAMD" => amd(family, model),
            // Dhyana is a licensed Zen.
            "HygonGenuine" if family == 0x18 => Some(Self::Zen),
            _ => None,
        }
    }
}

impl Microarchitecture {
    /// Returns the highest level of x86-64 that any processor of the design supports.
    pub(crate) fn highest_level(self) -> X86_64Level {
        match self {
            Self::NetBurst
            | Self::PentiumM
            | Self::Merom
            | Self::Penryn
            | Self::Bonnell
            | Self::Saltwell
            | Self::K8
            | Self::K10
            | Self::Bobcat => X86_64Level::V1,
            Self::Nehalem
            | Self::Westmere
            | Self::SandyBridge
            | Self::IvyBridge
            | Self::Lakefield
            | Self::Silvermont
            | Self::Airmont
            | Self::Goldmont
            | Self::GoldmontPlus
            | Self::Tremont
            | Self::Jaguar
            | Self::Puma
            | Self::Bulldozer
            | Self::Piledriver
            | Self::Steamroller => X86_64Level::V2,
            Self::Haswell
            | Self::Broadwell
            | Self::KabyLake
            | Self::CoffeeLake
            | Self::WhiskeyLake
            | Self::CometLake
            | Self::Gracemont
            | Self::Crestmont
            | Self::Excavator
            | Self::Zen
            | Self::ZenPlus
            | Self::Zen2
            | Self::Zen3 => X86_64Level::V3,
            // The others have AVX-512, or had it before it was fused off.
            _ => X86_64Level::V4,
        }
    }
}

fn intel(family: u32, model: u32, stepping: Option<u32>) -> Option<Microarchitecture> {
    use Microarchitecture as M;
    Some(match (family, model) {
        (6, 0x09 | 0x0d | 0x0e) => M::PentiumM,
        (6, 0x0f | 0x16) => M::Merom,
        (6, 0x17 | 0x1d) => M::Penryn,
        (6, 0x1a | 0x1e | 0x1f | 0x2e) => M::Nehalem,
        (6, 0x25 | 0x2c | 0x2f) => M::Westmere,
        (6, 0x2a | 0x2d) => M::SandyBridge,
        (6, 0x3a | 0x3e) => M::IvyBridge,
        (6, 0x3c | 0x3f | 0x45 | 0x46) => M::Haswell,
        (6, 0x3d | 0x47 | 0x4f | 0x56) => M::Broadwell,
        (6, 0x4e | 0x5e) => M::Skylake,
        // Three generations of servers share one model number.
        (6, 0x55) => match stepping? {
            0..=4 => M::Skylake,
            5..=7 => M::CascadeLake,
            10.. => M::CooperLake,
            _ => return None,
        },
        (6, 0x8e) => match stepping? {
            0..=9 => M::KabyLake,
            10 => M::CoffeeLake,
            11.. => M::WhiskeyLake,
        },
        (6, 0x9e) => match stepping? {
            0..=9 => M::KabyLake,
            10.. => M::CoffeeLake,
        },
        (6, 0xa5 | 0xa6) => M::CometLake,
        (6, 0x66) => M::CannonLake,
        (6, 0x6a | 0x6c | 0x7d | 0x7e | 0x9d) => M::IceLake,
        (6, 0xa7) => M::RocketLake,
        (6, 0x8c | 0x8d) => M::TigerLake,
        (6, 0x8f) => M::SapphireRapids,
        (6, 0xcf) => M::EmeraldRapids,
        (6, 0xad | 0xae) => M::GraniteRapids,
        (19, 0x01) => M::DiamondRapids,
        (6, 0x8a) => M::Lakefield,
        (6, 0x97 | 0x9a) => M::AlderLake,
        (6, 0xb7 | 0xba | 0xbf) => M::RaptorLake,
        (6, 0xd7) => M::BartlettLake,
        (6, 0xaa | 0xac) => M::MeteorLake,
        (6, 0xb5 | 0xc5 | 0xc6) => M::ArrowLake,
        (6, 0xbd) => M::LunarLake,
        (6, 0xcc) => M::PantherLake,
        (6, 0xd5) => M::WildcatLake,
        (18, 0x01) => M::NovaLake,
        (6, 0x1c | 0x26) => M::Bonnell,
        (6, 0x27 | 0x35 | 0x36) => M::Saltwell,
        (6, 0x37 | 0x4a | 0x4d) => M::Silvermont,
        (6, 0x4c | 0x5a | 0x75) => M::Airmont,
        (6, 0x5c | 0x5f) => M::Goldmont,
        (6, 0x7a) => M::GoldmontPlus,
        (6, 0x86 | 0x96 | 0x9c) => M::Tremont,
        (6, 0xbe) => M::Gracemont,
        (6, 0xaf | 0xb6) => M::Crestmont,
        (6, 0x57) => M::KnightsLanding,
        (6, 0x85) => M::KnightsMill,
        (15, _) => M::NetBurst,
        _ => return None,
    })
}

fn amd(family: u32, model: u32) -> Option<Microarchitecture> {
    use Microarchitecture as M;
    Some(match (family, model) {
        (0x0f | 0x11, _) => M::K8,
        (0x10 | 0x12, _) => M::K10,
        (0x14, _) => M::Bobcat,
        (0x15, 0x00 | 0x01) => M::Bulldozer,
        (0x15, 0x02 | 0x10..=0x1f) => M::Piledriver,
        (0x15, 0x30..=0x3f) => M::Steamroller,
        (0x15, 0x60..=0x7f) => M::Excavator,
        (0x16, 0x00..=0x0f) => M::Jaguar,
        (0x16, 0x30..=0x3f) => M::Puma,
        (0x17, 0x08 | 0x18) => M::ZenPlus,
        (0x17, 0x00..=0x2f | 0x50..=0x5f) => M::Zen,
        (0x17, 0x30..=0x4f | 0x60..=0x7f | 0x90 | 0x91 | 0xa0..=0xaf) => M::Zen2,
        (0x19, 0x00..=0x0f | 0x20..=0x5f) => M::Zen3,
        (0x19, 0x10..=0x1f | 0x60..=0xaf) => M::Zen4,
        (0x1a, 0x00..=0x2f | 0x40..=0x4f | 0x60..=0x7f) => M::Zen5,
        (0x1a, 0x50..=0x5f | 0x80..=0xaf | 0xc0..=0xef) => M::Zen6,
        _ => return None,
    })
}

impl fmt::Display for Microarchitecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn processors_that_people_have_are_named() {
        use Microarchitecture as M;
        for (vendor, family, model, stepping, expected) in [
            // Core i7-6700K.
            ("GenuineIntel", 6, 94, Some(3), Some(M::Skylake)),
            // Core i9-9900K.
            ("GenuineIntel", 6, 158, Some(12), Some(M::CoffeeLake)),
            // Xeon Platinum 8259CL.
            ("GenuineIntel", 6, 85, Some(7), Some(M::CascadeLake)),
            // Core i9-13900K.
            ("GenuineIntel", 6, 183, Some(1), Some(M::RaptorLake)),
            // Ryzen 7 2700X, Ryzen 7 5800X, EPYC 9004, Ryzen 7 9800X3D.
            ("AuthenticAMD", 23, 8, Some(2), Some(M::ZenPlus)),
            ("AuthenticAMD", 25, 33, Some(0), Some(M::Zen3)),
            ("AuthenticAMD", 25, 17, Some(1), Some(M::Zen4)),
            ("AuthenticAMD", 26, 68, Some(0), Some(M::Zen5)),
            // QEMU's own model, which was never manufactured.
            ("AuthenticAMD", 6, 6, Some(3), None),
            ("GenuineIntel", 6, 85, None, None),
            ("GenuineIntel", 6, 255, Some(0), None),
            ("CentaurHauls", 6, 94, Some(3), None),
        ] {
            let found = M::of(vendor, family, model, stepping);
            assert_eq!(found, expected, "{vendor} {family} {model} {stepping:?}");
        }
    }

    #[test]
    fn every_name_is_given_to_some_processor_and_to_one_design() {
        let mut given = BTreeSet::new();
        for vendor in ["GenuineIntel", "AuthenticAMD", "HygonGenuine"] {
            for (family, model, stepping) in
                (0..32).flat_map(|f| (0..256).flat_map(move |m| (0..16).map(move |s| (f, m, s))))
            {
                let found = Microarchitecture::of(vendor, family, model, Some(stepping));
                given.extend(found.map(Microarchitecture::name));
            }
        }
        let all: BTreeSet<&str> = Microarchitecture::ALL
            .iter()
            .map(|one| one.name())
            .collect();
        assert_eq!(all.len(), Microarchitecture::ALL.len());
        assert_eq!(given, all);
    }
}
