//! The configuration of a zram device.

use std::fmt;
use std::time::Duration;

use hosttune_core::{
    AnyKnob, Host, HostError, HostErrorKind, Knob, Operation, Unsupported, UnsupportedKind,
    attribute,
};
use serde::{Deserialize, Serialize};

use super::backend::{file, node};
use super::device::no_device;
use super::header::{Header, HeaderState};
use super::swap::is_ours;
use crate::total;

/// The algorithm, the limit and the size of a device, by its number.
///
/// They are one knob because the kernel accepts an algorithm only before a size, accepts a size only once,
/// and clears all three together (`reset`). The size is written last, so a process killed on the way leaves
/// a device without a size and therefore without data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Configuration(pub u32);

/// State of a device's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfigurationState {
    /// The device does not exist.
    Missing,
    /// The device has this configuration.
    Is {
        /// The compression algorithm.
        algorithm: String,
        /// Limit on the memory it uses, in bytes; 0 for no limit.
        limit: u64,
        /// Uncompressed capacity in bytes; 0 if it is not configured yet.
        size: u64,
    },
}

/// How long another process may keep a device open during a reset. udev probes a device after writes.
const GRACE: Duration = Duration::from_secs(2);

impl Configuration {
    fn write(self, host: &mut Host, name: &str, value: &str) -> Result<(), HostError> {
        host.write_value(file(self.0, name), format!("{value}\n").as_bytes())
    }

    /// Refuses to discard what another process has put on the device.
    fn check_data(self, host: &Host) -> Result<(), HostError> {
        match Header(self.0).read(host)? {
            HeaderState::Missing | HeaderState::Blank => Ok(()),
            HeaderState::Swap(header) if is_ours(host, self.0, &header)? => Ok(()),
            HeaderState::Swap(_) | HeaderState::Other => {
                Err(
                    HostError::new(Operation::Write, file(self.0, "reset"), HostErrorKind::Busy)
                        .detail("another process has put data on the device, which would be lost")
                        .with_hint(format!(
                            "if it is not needed, remove it: blkdiscard {}",
                            node(self.0)
                        )),
                )
            }
        }
    }

    /// Discards all data on the device. The kernel refuses this while the device is open and changes
    /// nothing then, so it is retried for a while.
    fn reset(self, host: &mut Host) -> Result<(), HostError> {
        let mut waited = Duration::ZERO;
        let mut pause = Duration::from_millis(5);
        loop {
            match self.write(host, "reset", "1") {
                Err(error) if *error.kind() == HostErrorKind::Busy && waited < GRACE => {
                    host.pause(pause);
                    waited += pause;
                    pause *= 2;
                }
                Err(error) if *error.kind() == HostErrorKind::Busy => {
                    return Err(error.detail("it is in use or open in another process"));
                }
                other => return other,
            }
        }
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zram{} configuration", self.0)
    }
}

/// Parses a list like `lzo [lzo-rle] zstd` into the algorithms and the selected one.
fn algorithms(text: &str) -> (Vec<String>, String) {
    let mut chosen = String::new();
    let words = text.split_whitespace().map(|word| {
        match word
            .strip_prefix('[')
            .and_then(|word| word.strip_suffix(']'))
        {
            Some(word) => {
                word.clone_into(&mut chosen);
                word.to_owned()
            }
            None => word.to_owned(),
        }
    });
    let words = words.collect();
    (words, chosen)
}

impl Knob for Configuration {
    const NAME: &'static str = "zram-configuration";
    type State = ConfigurationState;

    fn read(&self, host: &Host) -> Result<ConfigurationState, HostError> {
        let text = |name: &str| match host.read_text(file(self.0, name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if matches!(error.kind(), HostErrorKind::Missing | HostErrorKind::Gone) => {
                Ok(None)
            }
            Err(error) => Err(error),
        };
        let (Some(offered), Some(size), Some(counts)) =
            (text("comp_algorithm")?, text("disksize")?, text("mm_stat")?)
        else {
            return Ok(ConfigurationState::Missing);
        };
        let number = |name: &str, text: Option<&str>| {
            text.and_then(|text| text.trim().parse().ok())
                .ok_or_else(|| {
                    HostError::malformed(file(self.0, name), "it does not hold a number")
                })
        };
        Ok(ConfigurationState::Is {
            algorithm: algorithms(&offered).1,
            // `mem_limit` is write-only; its value is the fourth column here.
            limit: number("mm_stat", counts.split_whitespace().nth(3))?,
            size: number("disksize", Some(&size))?,
        })
    }

    fn set(&self, host: &mut Host, to: &ConfigurationState) -> Result<(), HostError> {
        let ConfigurationState::Is {
            algorithm,
            limit,
            size,
        } = to
        else {
            return Err(attribute::no_value(
                node(self.0),
                "the configuration can only be removed with the device",
            ));
        };
        if let ConfigurationState::Is { size: 1.., .. } = self.read(host)? {
            self.check_data(host)?;
            self.reset(host)?;
        }
        if let ConfigurationState::Is {
            algorithm: now_algorithm,
            limit: now_limit,
            ..
        } = self.read(host)?
        {
            if now_algorithm != *algorithm {
                let written = self.write(host, "comp_algorithm", algorithm);
                if let Err(error) = written {
                    let text = host.read_text(file(self.0, "comp_algorithm"))?;
                    let unsupported = not_offered(algorithm, &algorithms(&text).0);
                    return Err(match error.kind() {
                        HostErrorKind::Refused => error
                            .detail(unsupported.why)
                            .with_hint(unsupported.hint.unwrap_or_default()),
                        _ => error,
                    });
                }
            }
            if now_limit != *limit {
                self.write(host, "mem_limit", &limit.to_string())?;
            }
        }
        if *size > 0 {
            let written = self.write(host, "disksize", &size.to_string());
            written.map_err(|error| match error.kind() {
                HostErrorKind::Refused => error
                    .detail(format!("the kernel cannot compress with {algorithm}"))
                    .with_hint(format!(
                        "load its module (modprobe {algorithm}), or use another algorithm"
                    )),
                _ => error,
            })?;
        }
        Ok(())
    }

    fn unsupported(
        &self,
        host: &Host,
        to: &ConfigurationState,
    ) -> Result<Option<Unsupported>, HostError> {
        let ConfigurationState::Is { algorithm, .. } = to else {
            return Ok(None);
        };
        if self.read(host)? == ConfigurationState::Missing {
            // The supported algorithms can be read only once the device exists.
            return no_device(host, self.0);
        }
        let text = host.read_text(file(self.0, "comp_algorithm"))?;
        let (offered, _) = algorithms(&text);
        Ok(if offered.contains(algorithm) {
            host.unwritable_here(file(self.0, "disksize"))?
        } else {
            Some(not_offered(algorithm, &offered))
        })
    }

    /// A size is set only on a device without one, and a reset discards all data.
    fn destroys(&self, _: &Host, _: &ConfigurationState) -> Result<Vec<AnyKnob>, HostError> {
        Ok(vec![AnyKnob::of(&Header(self.0))])
    }

    /// A device without a size is between two configurations.
    fn is_partial_write(
        &self,
        seen: &ConfigurationState,
        from: &ConfigurationState,
        to: &ConfigurationState,
    ) -> bool {
        let limit = |state: &ConfigurationState| match state {
            ConfigurationState::Missing => None,
            ConfigurationState::Is { limit, .. } => Some(*limit),
        };
        match seen {
            ConfigurationState::Is {
                limit: seen,
                size: 0,
                ..
            } => *seen == 0 || limit(from) == Some(*seen) || limit(to) == Some(*seen),
            _ => false,
        }
    }

    fn is_gone(&self, seen: &ConfigurationState) -> bool {
        *seen == ConfigurationState::Missing
    }

    fn show(&self, state: &ConfigurationState) -> String {
        match state {
            ConfigurationState::Missing => "missing".to_owned(),
            ConfigurationState::Is { size: 0, .. } => "nothing".to_owned(),
            ConfigurationState::Is {
                algorithm,
                limit: 0,
                size,
            } => format!("{} with {algorithm}", total::shown(*size)),
            ConfigurationState::Is {
                algorithm,
                limit,
                size,
            } => format!(
                "{} with {algorithm}, using at most {}",
                total::shown(*size),
                total::shown(*limit)
            ),
        }
    }
}

/// The reason for an algorithm that the kernel does not support.
fn not_offered(algorithm: &str, offered: &[String]) -> Unsupported {
    Unsupported::new(
        UnsupportedKind::ValueUnavailable,
        format!(
            "this kernel's zram supports {}, but not '{}'",
            offered.join(", "),
            algorithm.escape_debug()
        ),
    )
    .hint("use one of these")
}
