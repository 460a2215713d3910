//! The levels of x86-64.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A level of x86-64 as defined by the psABI (x86-64 psABI 1.0, table 3.1), such as a compiler may use with
/// `-march=x86-64-v3`. Each level includes the previous ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum X86_64Level {
    /// The baseline of all 64-bit processors.
    V1,
    /// Up to SSE 4.2: Nehalem, Bulldozer.
    V2,
    /// Up to AVX2 and FMA: Haswell, Excavator, Zen.
    V3,
    /// AVX-512 as in Skylake servers and Zen 4.
    V4,
}

/// The features of each level by their names in `/proc/cpuinfo`: SSE3 is `pni`, LZCNT is `abm`, and `xsave`
/// is shown only if the kernel allows programs to use it, which is OSXSAVE.
const LEVELS: [(X86_64Level, &[&str]); 4] = [
    (
        X86_64Level::V1,
        &[
            "lm", "cmov", "cx8", "fpu", "fxsr", "mmx", "syscall", "sse", "sse2",
        ],
    ),
    (
        X86_64Level::V2,
        &[
            "cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3",
        ],
    ),
    (
        X86_64Level::V3,
        &[
            "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave",
        ],
    ),
    (
        X86_64Level::V4,
        &["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"],
    ),
];

impl X86_64Level {
    /// Returns the highest level whose features, with those of all lower levels, are present.
    pub(crate) fn of(flags: &BTreeSet<&str>) -> Option<Self> {
        let has_all = |(_, features): &&(Self, &[&str])| {
            features.iter().all(|feature| flags.contains(feature))
        };
        let reached = LEVELS.iter().take_while(has_all);
        reached.last().map(|(level, _)| *level)
    }
}

impl fmt::Display for X86_64Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "x86-64-v{}", *self as u8 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_of_a_level_is_needed_for_it() {
        let all: BTreeSet<&str> = LEVELS
            .iter()
            .flat_map(|(_, features)| *features)
            .copied()
            .collect();
        assert_eq!(X86_64Level::of(&all), Some(X86_64Level::V4));
        for (place, (_, features)) in LEVELS.iter().enumerate() {
            let below = place.checked_sub(1).map(|place| LEVELS[place].0);
            for feature in *features {
                let mut without = all.clone();
                without.remove(feature);
                assert_eq!(X86_64Level::of(&without), below, "without {feature}");
            }
        }
        assert_eq!(X86_64Level::V3.to_string(), "x86-64-v3");
    }
}
