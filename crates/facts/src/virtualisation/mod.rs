//! Detection of virtual machines and containers.

mod container;
mod hypervisor;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cpu::CpuInfo;
use crate::source::Source;

pub use container::Container;
pub use hypervisor::Hypervisor;

/// The files that are read; see [`Facts::sources`](crate::Facts::sources).
pub(crate) const SOURCES: [&[&str]; 2] = [container::SOURCES, hypervisor::SOURCES];

/// The virtual machine and container that a system runs in, with the words of `systemd-detect-virt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Virtualisation {
    /// The hypervisor; [`Hypervisor::None`] for hardware. Unknown for an image.
    pub hypervisor: Option<Hypervisor>,
    /// The container; [`Container::None`] for none. Unknown for an image.
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

/// Defines an enum of words for JSON and display, with lookup by word.
macro_rules! words {
    ($(#[$revert_note:meta])* $name:ident { $($(#[$of:meta])+ $variant:ident = $word:literal,)+ }) => {
        $(#[$revert_note])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        #[non_exhaustive]
        pub enum $name { $(
            $(#[$of])+
            #[serde(rename = $word)]
            $variant,
        )+ }

        impl $name {
            /// All values.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Returns its word.
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
