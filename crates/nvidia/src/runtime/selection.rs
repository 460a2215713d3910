//! Which GPUs are meant.

use std::fmt;
use std::str::FromStr;

use hosttune_core::{Host, HostError, Unsupported, UnsupportedKind};
use serde::{Deserialize, Serialize};

use super::address::GpuAddress;
use super::identity::uuid;
use crate::gpu::OF_DRIVER;

/// Which GPUs a tuning is for: `all`, an index, a UUID, or a PCI address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum GpuSelection {
    /// All GPUs that the loaded driver uses.
    All,
    /// The GPU with this number, from 0, in the order of PCI addresses. It is the order of `nvidia-smi`,
    /// and changes when a card is added.
    Index(u32),
    /// The GPU with this UUID: `GPU-…`. It is known only while the GPU is awake.
    Uuid(String),
    /// The GPU at this address.
    Address(GpuAddress),
}

/// A text that selects no GPU.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' selects no GPU: write all, an index such as 0, a UUID (GPU-…), or an address such as 0000:01:00.0"
)]
pub struct SelectionError(String);

impl GpuSelection {
    /// The addresses of the GPUs, or why there are none.
    ///
    /// NVML is not asked: it would initialize GPUs that are not meant.
    ///
    /// # Errors
    /// If a directory or file exists and cannot be read.
    pub fn gpus(&self, host: &Host) -> Result<Result<Vec<GpuAddress>, Unsupported>, HostError> {
        let names = host.list_if_there(OF_DRIVER)?;
        let mut all: Vec<GpuAddress> = names.iter().filter_map(|name| name.parse().ok()).collect();
        all.sort_unstable();
        let missing = |why: String| {
            let hint = format!("see {OF_DRIVER} and nvidia-smi --list-gpus");
            Unsupported::new(UnsupportedKind::Missing, why)
                .hint(hint)
                .module("nvidia")
        };
        if all.is_empty() {
            return Ok(Err(missing(
                "no NVIDIA driver is loaded, or it uses no GPU".to_owned(),
            )));
        }
        let chosen = match self {
            Self::All => return Ok(Ok(all)),
            Self::Index(index) => {
                let index = usize::try_from(*index).unwrap_or(usize::MAX);
                all.get(index).cloned()
            }
            Self::Address(address) => all.iter().find(|known| *known == address).cloned(),
            Self::Uuid(wanted) => {
                let mut unknown = 0;
                let mut found = None;
                for gpu in &all {
                    match uuid(host, gpu)? {
                        Some(uuid) if uuid.eq_ignore_ascii_case(wanted) => {
                            found = Some(gpu.clone());
                        }
                        Some(_) => {}
                        None => unknown += 1,
                    }
                }
                if found.is_none() && unknown > 0 {
                    return Ok(Err(missing(format!(
                        "no GPU that is awake and in use has the UUID {wanted}, and the UUID of {unknown} others is not known yet"
                    ))));
                }
                found
            }
        };
        Ok(match chosen {
            Some(gpu) => Ok(vec![gpu]),
            None => Err(missing(format!(
                "the loaded driver has no GPU {self}: it has {}",
                all.iter()
                    .map(GpuAddress::as_str)
                    .collect::<Vec<_>>()
                    .join(", ")
            ))),
        })
    }
}

impl FromStr for GpuSelection {
    type Err = SelectionError;

    fn from_str(text: &str) -> Result<Self, SelectionError> {
        let is_uuid = |text: &str| {
            text.strip_prefix("GPU-").is_some_and(|digits| {
                !digits.is_empty()
                    && digits
                        .bytes()
                        .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
            })
        };
        match text {
            "all" => Ok(Self::All),
            _ if is_uuid(text) => Ok(Self::Uuid(text.to_owned())),
            _ => match (text.parse(), text.parse()) {
                (Ok(index), _) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                    Ok(Self::Index(index))
                }
                (_, Ok(address)) => Ok(Self::Address(address)),
                _ => Err(SelectionError(text.escape_debug().to_string())),
            },
        }
    }
}

impl TryFrom<String> for GpuSelection {
    type Error = SelectionError;

    fn try_from(text: String) -> Result<Self, SelectionError> {
        text.parse()
    }
}

impl From<GpuSelection> for String {
    fn from(selection: GpuSelection) -> Self {
        selection.to_string()
    }
}

impl fmt::Display for GpuSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Index(index) => write!(f, "{index}"),
            Self::Uuid(uuid) => f.write_str(uuid),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}
