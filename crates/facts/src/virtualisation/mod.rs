//! Whether the machine is a virtual one, and whether this is a container on it.

mod container;
mod hypervisor;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cpu::CpuInfo;
use crate::source::Source;

pub use container::Container;
pub use hypervisor::Hypervisor;

/// What is read; see [`Facts::sources`](crate::Facts::sources).
pub(crate) const SOURCES: [&[&str]; 2] = [container::SOURCES, hypervisor::SOURCES];

/// What stands between this system and the hardware. The words are those of `systemd-detect-virt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Virtualisation {
    /// What the machine runs on; [`Hypervisor::None`] for hardware. Unknown of an image.
    pub hypervisor: Option<Hypervisor>,
    /// What this system is contained in; [`Container::None`] for nothing. Unknown of an image.
    pub container: Option<Container>,
}

impl Virtualisation {
    pub(crate) fn of(source: Source<'_>, cpu: &CpuInfo) -> Self {
        Self {
            hypervisor: Hypervisor::of(source, cpu),
            container: Container::of(source),
        }
    }
}

impl fmt::Display for Virtualisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hypervisor {
            Some(Hypervisor::None) => f.write_str("no virtual machine")?,
            Some(hypervisor) => write!(f, "virtual machine ({hypervisor})")?,
            None => f.write_str("unknown")?,
        }
        match self.container {
            Some(Container::None) => f.write_str(", no container"),
            Some(container) => write!(f, ", container ({container})"),
            None => Ok(()),
        }
    }
}

/// An enum whose values are words, in JSON and for people, and that can be found by its word.
macro_rules! words {
    ($(#[$remark:meta])* $name:ident { $($(#[$of:meta])+ $variant:ident = $word:literal,)+ }) => {
        $(#[$remark])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        #[non_exhaustive]
        pub enum $name { $(
            $(#[$of])+
            #[serde(rename = $word)]
            $variant,
        )+ }

        impl $name {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its word.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}
pub(crate) use words;
