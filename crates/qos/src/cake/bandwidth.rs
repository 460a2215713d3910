//! The rate that CAKE shapes to, or that it does not shape.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::quantity::QuantityError;
use crate::rate::Rate;

/// The rate that CAKE shapes to. It must be below that of the bottleneck, so that the queue is in
/// CAKE and not in the bottleneck. `950mbit` or `unlimited` in JSON.
///
/// Below 512bit the kernel shapes to 512bit, but shows the value that was set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Bandwidth {
    /// No shaping: packets are sent as fast as the link accepts them. The kernel's default.
    #[default]
    Unlimited,
    /// At most this rate.
    Limited(Rate),
}

impl Bandwidth {
    /// The rate in bytes per second as the kernel stores it, with zero for unlimited.
    pub const fn as_bytes_per_second(self) -> u64 {
        match self {
            Self::Unlimited => 0,
            Self::Limited(rate) => rate.as_bytes_per_second(),
        }
    }

    /// The meaning of this many bytes per second in the kernel.
    ///
    /// # Errors
    ///
    /// If it is above [`Rate::MAXIMUM`].
    pub fn from_bytes_per_second(bytes: u64) -> Result<Self, QuantityError> {
        match bytes {
            0 => Ok(Self::Unlimited),
            bytes => Rate::bytes_per_second(bytes).map(Self::Limited),
        }
    }
}

impl From<Rate> for Bandwidth {
    fn from(rate: Rate) -> Self {
        Self::Limited(rate)
    }
}

impl FromStr for Bandwidth {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        match text {
            "unlimited" => Ok(Self::Unlimited),
            rate => rate.parse().map(Self::Limited),
        }
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => formatter.write_str("unlimited"),
            Self::Limited(rate) => rate.fmt(formatter),
        }
    }
}

impl TryFrom<String> for Bandwidth {
    type Error = QuantityError;

    fn try_from(text: String) -> Result<Self, QuantityError> {
        text.parse()
    }
}

impl From<Bandwidth> for String {
    fn from(bandwidth: Bandwidth) -> Self {
        bandwidth.to_string()
    }
}
