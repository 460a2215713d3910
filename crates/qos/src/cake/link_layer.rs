//! What a packet costs on the link beyond its own bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::choice::Framing;

/// A number of bytes that is out of range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{number} is outside of {least}..={most} bytes")]
#[non_exhaustive]
pub struct BytesError {
    /// The number.
    pub number: i64,
    /// The minimum.
    pub least: i16,
    /// The maximum.
    pub most: i16,
}

/// Bytes that the link adds to each packet: −64 to 256, as in `tc`.
///
/// The kernel accepts any number and truncates it to 16 bits, so that 70000 becomes 4464.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "i64", into = "i64")]
pub struct Overhead(i16);

impl Overhead {
    /// −64 bytes.
    pub const MINIMUM: Self = Self(-64);
    /// 256 bytes.
    pub const MAXIMUM: Self = Self(256);

    /// The overhead of this many bytes.
    ///
    /// # Errors
    ///
    /// If it is out of range.
    pub const fn new(bytes: i64) -> Result<Self, BytesError> {
        if bytes < Self::MINIMUM.0 as i64 || bytes > Self::MAXIMUM.0 as i64 {
            return Err(BytesError {
                number: bytes,
                least: Self::MINIMUM.0,
                most: Self::MAXIMUM.0,
            });
        }
        #[expect(clippy::cast_possible_truncation, reason = "it is in the range")]
        Ok(Self(bytes as i16))
    }

    /// The overhead in bytes.
    pub const fn bytes(self) -> i16 {
        self.0
    }
}

impl TryFrom<i64> for Overhead {
    type Error = BytesError;

    fn try_from(bytes: i64) -> Result<Self, BytesError> {
        Self::new(bytes)
    }
}

impl From<Overhead> for i64 {
    fn from(overhead: Overhead) -> Self {
        overhead.0.into()
    }
}

impl fmt::Display for Overhead {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The minimum size of a packet on the link in bytes, including the overhead: 0 to 256, as in `tc`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "i64", into = "i64")]
pub struct MinimumPacket(i16);

impl MinimumPacket {
    /// No minimum. The kernel's default.
    pub const NONE: Self = Self(0);
    /// 256 bytes.
    pub const MAXIMUM: Self = Self(256);

    /// The minimum of this many bytes.
    ///
    /// # Errors
    ///
    /// If it is out of range.
    pub const fn new(bytes: i64) -> Result<Self, BytesError> {
        if bytes < 0 || bytes > Self::MAXIMUM.0 as i64 {
            return Err(BytesError {
                number: bytes,
                least: 0,
                most: Self::MAXIMUM.0,
            });
        }
        #[expect(clippy::cast_possible_truncation, reason = "it is in the range")]
        Ok(Self(bytes as i16))
    }

    /// The minimum in bytes.
    pub const fn bytes(self) -> u16 {
        self.0.unsigned_abs()
    }
}

impl TryFrom<i64> for MinimumPacket {
    type Error = BytesError;

    fn try_from(bytes: i64) -> Result<Self, BytesError> {
        Self::new(bytes)
    }
}

impl From<MinimumPacket> for i64 {
    fn from(minimum: MinimumPacket) -> Self {
        minimum.0.into()
    }
}

impl fmt::Display for MinimumPacket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What one of `tc`'s keywords for a kind of link changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Effect {
    /// Added to the overhead so far.
    pub(super) overhead: i16,
    /// Unchanged if `None`.
    pub(super) framing: Option<Framing>,
    /// Unchanged if `None`.
    pub(super) minimum: Option<i16>,
}

const fn effect(overhead: i16, framing: Option<Framing>, minimum: Option<i16>) -> Effect {
    Effect {
        overhead,
        framing,
        minimum,
    }
}

/// A kind of link that `tc` has a keyword for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkLayer {
    /// ADSL: IP over ATM, VC multiplexing. +8 bytes, ATM.
    IpoaVcmux,
    /// ADSL: IP over ATM with LLC/SNAP. +16 bytes, ATM.
    IpoaLlcsnap,
    /// ADSL: bridged, VC multiplexing. +24 bytes, ATM.
    BridgedVcmux,
    /// ADSL: bridged with LLC/SNAP. +32 bytes, ATM.
    BridgedLlcsnap,
    /// ADSL: PPP over ATM, VC multiplexing. +10 bytes, ATM.
    PppoaVcmux,
    /// ADSL: PPP over ATM with LLC. +14 bytes, ATM.
    PppoaLlc,
    /// ADSL: PPP over Ethernet, VC multiplexing. +32 bytes, ATM.
    PppoeVcmux,
    /// ADSL: PPP over Ethernet with LLC/SNAP. +40 bytes, ATM.
    PppoeLlcsnap,
    /// VDSL2 with PPP over Ethernet. +30 bytes, PTM.
    PppoePtm,
    /// VDSL2, bridged. +22 bytes, PTM.
    BridgedPtm,
    /// Cable. +18 bytes, packets of at least 64 bytes, no framing.
    Docsis,
    /// Ethernet with its preamble and gaps. +38 bytes, packets of at least 84 bytes. The framing is
    /// unchanged.
    Ethernet,
    /// An 802.1Q tag. +4 bytes. Use it twice for two tags.
    EtherVlan,
}

impl LinkLayer {
    /// All kinds of link.
    pub const ALL: [Self; 13] = [
        Self::IpoaVcmux,
        Self::IpoaLlcsnap,
        Self::BridgedVcmux,
        Self::BridgedLlcsnap,
        Self::PppoaVcmux,
        Self::PppoaLlc,
        Self::PppoeVcmux,
        Self::PppoeLlcsnap,
        Self::PppoePtm,
        Self::BridgedPtm,
        Self::Docsis,
        Self::Ethernet,
        Self::EtherVlan,
    ];

    /// `tc`'s keyword for it.
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::IpoaVcmux => "ipoa-vcmux",
            Self::IpoaLlcsnap => "ipoa-llcsnap",
            Self::BridgedVcmux => "bridged-vcmux",
            Self::BridgedLlcsnap => "bridged-llcsnap",
            Self::PppoaVcmux => "pppoa-vcmux",
            Self::PppoaLlc => "pppoa-llc",
            Self::PppoeVcmux => "pppoe-vcmux",
            Self::PppoeLlcsnap => "pppoe-llcsnap",
            Self::PppoePtm => "pppoe-ptm",
            Self::BridgedPtm => "bridged-ptm",
            Self::Docsis => "docsis",
            Self::Ethernet => "ethernet",
            Self::EtherVlan => "ether-vlan",
        }
    }

    /// The kind of link with this keyword in `tc`.
    pub fn from_keyword(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.keyword() == word)
    }

    pub(super) const fn effect(self) -> Effect {
        const ATM: Option<Framing> = Some(Framing::Atm);
        const PTM: Option<Framing> = Some(Framing::Ptm);
        match self {
            Self::IpoaVcmux => effect(8, ATM, None),
            Self::IpoaLlcsnap => effect(16, ATM, None),
            Self::BridgedVcmux => effect(24, ATM, None),
            Self::BridgedLlcsnap | Self::PppoeVcmux => effect(32, ATM, None),
            Self::PppoaVcmux => effect(10, ATM, None),
            Self::PppoaLlc => effect(14, ATM, None),
            Self::PppoeLlcsnap => effect(40, ATM, None),
            Self::PppoePtm => effect(30, PTM, None),
            Self::BridgedPtm => effect(22, PTM, None),
            Self::Docsis => effect(18, Some(Framing::Whole), Some(64)),
            Self::Ethernet => effect(38, None, Some(84)),
            Self::EtherVlan => effect(4, None, None),
        }
    }
}

impl fmt::Display for LinkLayer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.keyword())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_tcs() {
        for (bytes, fits) in [
            (-65, false),
            (-64, true),
            (256, true),
            (257, false),
            (70_000, false),
        ] {
            assert_eq!(Overhead::new(bytes).is_ok(), fits, "{bytes}");
        }
        for (bytes, fits) in [
            (-1, false),
            (0, true),
            (256, true),
            (257, false),
            (65_536, false),
        ] {
            assert_eq!(MinimumPacket::new(bytes).is_ok(), fits, "{bytes}");
        }
        assert!(serde_json::from_str::<Overhead>("257").is_err());
        assert!(serde_json::from_str::<MinimumPacket>("-1").is_err());
    }
}
