//! The header that makes a device swap, as mkswap writes it.

use std::fmt;

use hosttune_core::{Host, HostError, HostErrorKind, Knob, Operation, Unsupported};
use serde::{Deserialize, Serialize};

use super::backend::{Zram, node};
use super::device::no_device;
use crate::swap::Area;

/// End of the first page (`union swap_header` in `include/linux/swap.h`).
const SIGNATURE: &[u8; 10] = b"SWAPSPACE2";

/// Offsets of the fields, after 1024 bytes for boot loaders.
const VERSION: usize = 1024;
const LAST_PAGE: usize = 1028;
const UUID: usize = 1036;
const LABEL: usize = 1052;

/// Maximum length of a label in bytes, without the terminating NUL.
pub(super) const LONGEST_LABEL: usize = 15;

/// A swap header.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SwapHeader {
    /// Its label, at most 15 bytes.
    pub label: String,
    /// Its UUID.
    pub uuid: [u8; 16],
    /// Number of the last page; the first one holds the header.
    pub last_page: u32,
}

impl SwapHeader {
    /// Returns the first page, `page_size` bytes long, exactly as `mkswap --label` of util-linux writes it:
    /// numbers in native byte order, no bad pages.
    #[must_use]
    pub fn to_page(&self, page_size: usize) -> Vec<u8> {
        let mut page = vec![0; page_size.max(4096)];
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        put(VERSION, &1u32.to_ne_bytes());
        put(LAST_PAGE, &self.last_page.to_ne_bytes());
        put(UUID, &self.uuid);
        let label = self.label.as_bytes();
        put(LABEL, &label[..label.len().min(LONGEST_LABEL)]);
        let end = page.len() - SIGNATURE.len();
        page[end..].copy_from_slice(SIGNATURE);
        page
    }

    /// Parses the header in a first page. Returns `None` if it has none or one of another version.
    #[must_use]
    pub fn of_page(page: &[u8]) -> Option<Self> {
        if page.len() < 4096 || !page.ends_with(SIGNATURE) {
            return None;
        }
        let number = |at: usize| -> Option<u32> {
            Some(u32::from_ne_bytes(page.get(at..at + 4)?.try_into().ok()?))
        };
        let label = page.get(LABEL..LABEL + LONGEST_LABEL + 1)?;
        let label = label.split(|byte| *byte == 0).next()?;
        (number(VERSION)? == 1).then_some(())?;
        Some(Self {
            label: String::from_utf8_lossy(label).into_owned(),
            uuid: page.get(UUID..UUID + 16)?.try_into().ok()?,
            last_page: number(LAST_PAGE)?,
        })
    }

    /// Returns the header of our device. Its UUID is the boot id combined with the device's number, so that
    /// it can be recognised without stored state.
    pub(super) fn ours(
        host: &Host,
        number: u32,
        label: &str,
        pages: u64,
    ) -> Result<Self, HostError> {
        let boot = host.boot_id()?;
        let digits: String = boot.chars().filter(char::is_ascii_hexdigit).collect();
        let mut uuid = u128::from_str_radix(&digits, 16)
            .unwrap_or_default()
            .to_be_bytes();
        // The last group of a UUID, which is random and holds nothing else.
        for (byte, of_number) in uuid[12..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= of_number;
        }
        uuid[10] ^= 0x5a;
        Ok(Self {
            label: label.to_owned(),
            uuid,
            last_page: u32::try_from(pages.saturating_sub(1)).unwrap_or(u32::MAX),
        })
    }
}

/// The first page of a device, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Header(pub u32);

/// State of a first page.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeaderState {
    /// The device does not exist.
    Missing,
    /// Only zeros here and where other programs have their first block, or the device has no size yet.
    Blank,
    /// A swap header.
    Swap(SwapHeader),
    /// Other data, such as a file system.
    Other,
}

impl Header {
    fn refused(self, kind: HostErrorKind, why: &str) -> HostError {
        HostError::new(Operation::Write, node(self.0), kind).detail(why)
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zram{} swap header", self.0)
    }
}

impl Knob for Header {
    const NAME: &'static str = "zram-swap-header";
    type State = HeaderState;

    fn read(&self, host: &Host) -> Result<HeaderState, HostError> {
        // Without the backend the page cannot be read, and devices cannot be created either.
        let Ok(zram) = host.backend::<Zram>() else {
            return Ok(HeaderState::Missing);
        };
        let page = match zram.devices().first_page(self.0) {
            Ok(page) => page,
            Err(error) if matches!(error.kind(), HostErrorKind::Missing | HostErrorKind::Gone) => {
                return Ok(HeaderState::Missing);
            }
            Err(error) => return Err(error),
        };
        Ok(if page.iter().all(|byte| *byte == 0) {
            match zram.devices().has_data_after_first_page(self.0)? {
                true => HeaderState::Other,
                false => HeaderState::Blank,
            }
        } else {
            SwapHeader::of_page(&page).map_or(HeaderState::Other, HeaderState::Swap)
        })
    }

    fn set(&self, host: &mut Host, to: &HeaderState) -> Result<(), HostError> {
        if Area::all(host)?
            .iter()
            .any(|area| area.zram() == Some(self.0))
        {
            return Err(self.refused(HostErrorKind::Busy, "it is in use as swap"));
        }
        let page_size = host.backend::<Zram>()?.devices().page_size();
        let number = self.0;
        let page = match to {
            HeaderState::Swap(header) => header.to_page(page_size),
            // Pages that were swapped out here can still be on the device.
            HeaderState::Blank => {
                return host.change::<Zram, ()>(|zram| zram.devices_mut().erase(number));
            }
            HeaderState::Missing | HeaderState::Other => {
                return Err(self.refused(
                    HostErrorKind::Refused,
                    "the data that another program had there was not saved",
                ));
            }
        };
        host.change::<Zram, ()>(|zram| zram.devices_mut().write_first_page(number, &page))
    }

    fn unsupported(&self, host: &Host, to: &HeaderState) -> Result<Option<Unsupported>, HostError> {
        if !matches!(to, HeaderState::Swap(_)) {
            return Ok(None);
        }
        no_device(host, self.0)
    }

    fn is_gone(&self, seen: &HeaderState) -> bool {
        *seen == HeaderState::Missing
    }

    fn show(&self, state: &HeaderState) -> String {
        match state {
            HeaderState::Missing => "missing".to_owned(),
            HeaderState::Blank => "blank".to_owned(),
            HeaderState::Swap(header) if header.label.is_empty() => "swap".to_owned(),
            HeaderState::Swap(header) => format!("swap '{}'", header.label.escape_debug()),
            HeaderState::Other => "other data".to_owned(),
        }
    }
}
