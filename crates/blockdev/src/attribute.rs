//! The attributes of a request queue: their meaning, their range, and how the kernel rounds values.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An attribute of a disk's queue: a file in `/sys/block/NAME/queue` that holds a number.
///
/// The variants are in the order in which they are set: an attribute that resets another one comes
/// before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Attribute {
    /// Maximum number of queued requests, for reads and writes each; at least 4. Without a
    /// scheduler the limit is the number of tags of the device, with one it is 2048.
    NrRequests,
    /// Maximum number of asynchronous requests that a scheduler admits at a time; at most
    /// `nr_requests`, and rescaled when that changes. A queue attribute since Linux 7.0; before
    /// that mq-deadline has a tunable of this name.
    AsyncDepth,
    /// The latency target of writeback throttling, in µs; 0 disables throttling. Since Linux 4.10,
    /// with `CONFIG_BLK_WBT_MQ`.
    WbtLatUsec,
    /// Where a request is completed: 0 on any CPU, 1 in the CPU group that submitted it, 2 on the
    /// submitting CPU.
    RqAffinity,
    /// Whether requests are merged: 0 yes, 1 only simple merges, 2 never.
    Nomerges,
    /// Whether the disk's interrupts feed the kernel's entropy pool: 0 or 1.
    AddRandom,
    /// Whether I/O statistics are collected: 0 or 1.
    Iostats,
    /// The largest request that a file system may issue, in KiB: at least a page, and at most
    /// `max_hw_sectors_kb`.
    MaxSectorsKb,
    /// Read-ahead in KiB, in whole pages; 0 disables it.
    ReadAheadKb,
}

/// A value that an attribute does not accept, and a suggestion.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// Why it is refused.
    pub why: String,
    /// A suggestion for the user.
    pub hint: String,
}

impl Refused {
    fn new(why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            hint: hint.into(),
        }
    }
}

impl Attribute {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::NrRequests,
        Self::AsyncDepth,
        Self::WbtLatUsec,
        Self::RqAffinity,
        Self::Nomerges,
        Self::AddRandom,
        Self::Iostats,
        Self::MaxSectorsKb,
        Self::ReadAheadKb,
    ];

    /// The name of its file.
    pub fn file(self) -> &'static str {
        match self {
            Self::NrRequests => "nr_requests",
            Self::AsyncDepth => "async_depth",
            Self::WbtLatUsec => "wbt_lat_usec",
            Self::RqAffinity => "rq_affinity",
            Self::Nomerges => "nomerges",
            Self::AddRandom => "add_random",
            Self::Iostats => "iostats",
            Self::MaxSectorsKb => "max_sectors_kb",
            Self::ReadAheadKb => "read_ahead_kb",
        }
    }

    /// The unit of its value; empty if the value is a choice.
    pub fn unit(self) -> &'static str {
        match self {
            Self::NrRequests | Self::AsyncDepth => "requests",
            Self::WbtLatUsec => "µs",
            Self::MaxSectorsKb | Self::ReadAheadKb => "KiB",
            Self::RqAffinity | Self::Nomerges | Self::AddRandom | Self::Iostats => "",
        }
    }

    /// Whether it concerns requests. For a multipath NVMe namespace, attributes of requests are on
    /// its paths, and attributes of bios are on the namespace.
    pub fn is_of_requests(self) -> bool {
        !matches!(self, Self::Iostats | Self::ReadAheadKb)
    }

    /// Returns the value that the kernel stores for a requested one: the same, or rounded.
    ///
    /// `page` is the page size in KiB, `most` the device's own limit (`max_hw_sectors_kb`) if
    /// known. Kernels up to 6.8 refuse a value above that limit and newer ones clamp it; here it is
    /// always clamped before it is written.
    ///
    /// # Errors
    /// If the kernel would refuse the value, ignore it, or store something with another meaning.
    pub fn predict(self, value: u64, page: u64, most: Option<u64>) -> Result<u64, Refused> {
        let choice = |most: u64| {
            if value <= most {
                Ok(value)
            } else {
                Err(Refused::new(
                    format!(
                        "{} must be 0 to {most}; the kernel would not store {value} as given",
                        self.file()
                    ),
                    format!("use 0 to {most}"),
                ))
            }
        };
        let number = |most: u64| {
            if value <= most {
                Ok(value)
            } else {
                Err(Refused::new(
                    format!("{} must be {most} or less", self.file()),
                    format!("use {most} or less"),
                ))
            }
        };
        match self {
            // queue_requests_store(): BLKDEV_MIN_RQ.
            Self::NrRequests => number(u64::from(u32::MAX)).map(|value| value.max(4)),
            Self::AsyncDepth if value == 0 => Err(Refused::new(
                "async_depth 0 would block all asynchronous requests",
                "use 1 or more",
            )),
            Self::AsyncDepth => number(u64::from(u32::MAX)),
            // The kernel stores it in ns.
            Self::WbtLatUsec => number(i64::MAX as u64 / 1000),
            // Larger values are accepted and ignored.
            Self::RqAffinity => choice(2),
            // Larger values are stored as 1.
            Self::Nomerges => choice(2),
            Self::AddRandom | Self::Iostats => choice(1),
            // Since Linux 6.9, 0 restores the default, whose value is not known in advance.
            Self::MaxSectorsKb if value < page => Err(Refused::new(
                format!("max_sectors_kb must be {page} or more: a request is at least one page"),
                format!("use {page} or more"),
            )),
            Self::MaxSectorsKb => Ok(most.map_or(value, |most| value.min(most))),
            Self::ReadAheadKb => match number(u64::from(u32::MAX))? / page * page {
                0 if value != 0 => Err(Refused::new(
                    format!(
                        "the kernel rounds read_ahead_kb down to pages of {page} KiB, so {value} would disable read-ahead"
                    ),
                    format!("use {page} or more, or 0 for no read-ahead"),
                )),
                rounded => Ok(rounded),
            },
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_the_kernels() {
        use Attribute as A;
        for (attribute, value, made) in [
            (A::ReadAheadKb, 5, Some(4)),
            (A::ReadAheadKb, 3, None),
            (A::ReadAheadKb, 0, Some(0)),
            (A::ReadAheadKb, 127, Some(124)),
            (A::ReadAheadKb, 4_294_967_296, None),
            (A::NrRequests, 0, Some(4)),
            (A::NrRequests, 1, Some(4)),
            (A::NrRequests, 5, Some(5)),
            (A::AsyncDepth, 0, None),
            (A::RqAffinity, 2, Some(2)),
            (A::RqAffinity, 9, None),
            (A::Nomerges, 3, None),
            (A::AddRandom, 2, None),
            (A::Iostats, 1, Some(1)),
            (A::MaxSectorsKb, 0, None),
            (A::MaxSectorsKb, 3, None),
            (A::MaxSectorsKb, 4, Some(4)),
            (A::WbtLatUsec, 0, Some(0)),
            (A::WbtLatUsec, u64::MAX, None),
        ] {
            let predicted = attribute.predict(value, 4, None);
            assert_eq!(
                predicted.clone().ok(),
                made,
                "{attribute} {value}: {predicted:?}"
            );
        }
        assert!(A::ReadAheadKb.predict(60, 64, None).is_err());
        assert_eq!(A::ReadAheadKb.predict(130, 64, None).unwrap(), 128);
        assert_eq!(
            A::MaxSectorsKb.predict(999_999, 4, Some(1280)).unwrap(),
            1280
        );
        assert_eq!(A::MaxSectorsKb.predict(64, 4, Some(1280)).unwrap(), 64);
    }
}
