//! The attributes of a request queue: what they mean, what they take, and what the kernel makes of
//! what they are given.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An attribute of a disk's queue, a file beneath `/sys/block/NAME/queue`, all of them numbers.
///
/// In the order in which they are turned: what resets another one comes before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Attribute {
    /// How many requests may wait, of reads and writes each: at least 4. Without a scheduler no more
    /// than the device has tags, with one no more than 2048.
    NrRequests,
    /// How many asynchronous requests a scheduler lets through at a time; at most `nr_requests`,
    /// which moves it. Of the queue since 7.0; before that mq-deadline has one among its own.
    AsyncDepth,
    /// The latency that writeback is throttled to keep, in µs; 0 is no throttling. Since 4.10,
    /// with `CONFIG_BLK_WBT_MQ`.
    WbtLatUsec,
    /// Where a request is completed: 0 anywhere, 1 in the group of processors that submitted it, 2 on
    /// that very processor.
    RqAffinity,
    /// Whether requests are merged: 0 yes, 1 only where it costs nothing, 2 not at all.
    Nomerges,
    /// Whether its interrupts feed the kernel's randomness: 0 or 1.
    AddRandom,
    /// Whether it counts what it does: 0 or 1.
    Iostats,
    /// The largest request that the file system may make, in KiB: at least a page, and at most
    /// `max_hw_sectors_kb`.
    MaxSectorsKb,
    /// How far is read ahead, in KiB, in whole pages; 0 is not at all.
    ReadAheadKb,
}

/// A value that an attribute does not take, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub why: String,
    /// What to do about it.
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

    /// What its number counts; nothing where it only says which.
    pub fn unit(self) -> &'static str {
        match self {
            Self::NrRequests | Self::AsyncDepth => "requests",
            Self::WbtLatUsec => "µs",
            Self::MaxSectorsKb | Self::ReadAheadKb => "KiB",
            Self::RqAffinity | Self::Nomerges | Self::AddRandom | Self::Iostats => "",
        }
    }

    /// Whether it is about requests. A multipath NVMe namespace has those on its paths, and what
    /// is about bios on the whole.
    pub fn is_of_requests(self) -> bool {
        !matches!(self, Self::Iostats | Self::ReadAheadKb)
    }

    /// What the kernel makes of a value: itself, or what it rounds it to.
    ///
    /// `page` is the size of a page in KiB, `most` the device's own limit where it is known
    /// (`max_hw_sectors_kb`). Up to 6.8 the kernel refuses what is above that and clamps it
    /// since; here it is always clamped, before it is written.
    ///
    /// # Errors
    /// Where the kernel refuses it, keeps what it had, or takes it for something else than it says.
    pub fn predict(self, value: u64, page: u64, most: Option<u64>) -> Result<u64, Refused> {
        let choice = |most: u64| {
            if value <= most {
                Ok(value)
            } else {
                Err(Refused::new(
                    format!(
                        "{} is 0 to {most}, and the kernel makes something else of {value}",
                        self.file()
                    ),
                    format!("want one of 0 to {most}"),
                ))
            }
        };
        let number = |most: u64| {
            if value <= most {
                Ok(value)
            } else {
                Err(Refused::new(
                    format!("the kernel takes no {} of more than {most}", self.file()),
                    format!("want {most} or less"),
                ))
            }
        };
        match self {
            // queue_requests_store(): BLKDEV_MIN_RQ.
            Self::NrRequests => number(u64::from(u32::MAX)).map(|value| value.max(4)),
            Self::AsyncDepth if value == 0 => Err(Refused::new(
                "no asynchronous request could be made any more with async_depth 0",
                "want 1 or more",
            )),
            Self::AsyncDepth => number(u64::from(u32::MAX)),
            // Kept in ns.
            Self::WbtLatUsec => number(i64::MAX as u64 / 1000),
            // Greater ones are taken and change nothing.
            Self::RqAffinity => choice(2),
            // Greater ones are taken for 1.
            Self::Nomerges => choice(2),
            Self::AddRandom | Self::Iostats => choice(1),
            // 0 is the default again since 6.9, whatever that is.
            Self::MaxSectorsKb if value < page => Err(Refused::new(
                format!("a request is at least a page, so max_sectors_kb is {page} or more"),
                format!("want {page} or more"),
            )),
            Self::MaxSectorsKb => Ok(most.map_or(value, |most| value.min(most))),
            Self::ReadAheadKb => match number(u64::from(u32::MAX))? / page * page {
                0 if value != 0 => Err(Refused::new(
                    format!(
                        "the kernel rounds read_ahead_kb to pages of {page} KiB, and {value} to 0: nothing would be read ahead"
                    ),
                    format!("want {page} or more, or 0 for no read-ahead"),
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
