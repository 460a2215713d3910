//! A variable of the firmware with which the system and a boot loader tell each other something.

use std::fmt;

use hosttune_core::{Host, HostError, HostErrorKind, Knob, Lifetime, Unsupported, UnsupportedKind};
use serde::{Deserialize, Serialize};

/// Where efivarfs is mounted.
const DIRECTORY: &str = "/sys/firmware/efi/efivars";

/// The vendor of the boot loader interface (`systemd-efi.h`, <https://systemd.io/BOOT_LOADER_INTERFACE>).
const LOADER: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// `EFI_VARIABLE_NON_VOLATILE`, `…_BOOTSERVICE_ACCESS` and `…_RUNTIME_ACCESS`.
const ATTRIBUTES: [u8; 4] = [7, 0, 0, 0];

/// The bit of `LoaderFeatures` with which a loader says that it starts `LoaderEntryOneShot`
/// (`EFI_LOADER_FEATURE_ENTRY_ONESHOT`).
const STARTS_ONCE: u64 = 1 << 3;

/// A variable of the boot loader interface, which the loader can change at each boot. systemd-boot
/// removes `LoaderEntryOneShot` before it starts the entry, so its absence counts as ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EfiVariable {
    /// The name, without the vendor.
    pub name: String,
}

/// The state of a variable of the firmware.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EfiValue {
    /// It does not exist.
    Absent,
    /// Its file is there and empty: a write was interrupted, and there is no variable.
    Empty,
    /// Its attributes and its data, in hexadecimal.
    Present(String),
}

impl EfiVariable {
    /// The entry that is started by the next boot, and by no other.
    pub fn one_shot() -> Self {
        Self {
            name: "LoaderEntryOneShot".to_owned(),
        }
    }

    fn path(&self) -> String {
        format!("{DIRECTORY}/{}-{LOADER}", self.name)
    }
}

impl EfiValue {
    /// A text, with the attributes that make it last.
    pub fn of_text(text: &str) -> Self {
        let mut bytes = ATTRIBUTES.to_vec();
        let units = text.encode_utf16().chain([0]);
        bytes.extend(units.flat_map(u16::to_le_bytes));
        Self::of_bytes(&bytes)
    }

    /// The text, without its NUL; `None` if there is none.
    pub fn text(&self) -> Option<String> {
        let bytes = self.bytes()?;
        let pairs = bytes.get(ATTRIBUTES.len()..)?.chunks_exact(2);
        let units = pairs.map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
        String::from_utf16(&units).ok()
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        match bytes {
            [] => Self::Empty,
            bytes => Self::Present(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        }
    }

    fn bytes(&self) -> Option<Vec<u8>> {
        let Self::Present(digits) = self else {
            return None;
        };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let pairs = digits.as_bytes().chunks(2);
        pairs
            .map(|pair| match *pair {
                [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
                _ => None,
            })
            .collect()
    }
}

/// Why the loader of this host does not start an entry once, or why that is not known; `None` if it does.
///
/// # Errors
/// Any error from the host, except that there is no such variable.
pub(super) fn objection(host: &Host) -> Result<Option<Unsupported>, HostError> {
    let features = EfiVariable {
        name: "LoaderFeatures".to_owned(),
    };
    let bytes = match host.read(features.path()) {
        Err(error) if *error.kind() == HostErrorKind::Missing => {
            return Ok(Some(
                Unsupported::new(
                    UnsupportedKind::Missing,
                    format!(
                        "the boot loader does not say what it can do: there is no variable LoaderFeatures in {DIRECTORY}"
                    ),
                )
                .hint("if this host has EFI, mount it: mount -t efivarfs efivarfs /sys/firmware/efi/efivars; otherwise choose the entry in the boot menu"),
            ));
        }
        bytes => bytes?,
    };
    let data = bytes.get(ATTRIBUTES.len()..).unwrap_or_default();
    let features = data
        .iter()
        .take(8)
        .rev()
        .fold(0, |all, byte| all << 8 | u64::from(*byte));
    Ok((features & STARTS_ONCE == 0).then(|| {
        Unsupported::new(
            UnsupportedKind::ValueUnavailable,
            "the boot loader does not start an entry once: its variable LoaderFeatures says so",
        )
        .hint("choose the entry in the boot menu, or update the boot loader: bootctl update")
    }))
}

impl fmt::Display for EfiVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EFI variable {}", self.name)
    }
}

impl Knob for EfiVariable {
    const NAME: &'static str = "efi-variable";
    const LIFETIME: Lifetime = Lifetime::Disk;
    type State = EfiValue;

    fn read(&self, host: &Host) -> Result<EfiValue, HostError> {
        match host.read(self.path()) {
            Err(error) if *error.kind() == HostErrorKind::Missing => Ok(EfiValue::Absent),
            bytes => Ok(EfiValue::of_bytes(&bytes?)),
        }
    }

    fn set(&self, host: &mut Host, to: &EfiValue) -> Result<(), HostError> {
        match to.bytes() {
            Some(bytes) => host.put_firmware_variable(self.path(), &bytes),
            None => match host.remove_firmware_variable(self.path()) {
                Err(error) if *error.kind() == HostErrorKind::Missing => Ok(()),
                removed => removed,
            },
        }
    }

    fn unsupported(&self, host: &Host, _: &EfiValue) -> Result<Option<Unsupported>, HostError> {
        host.unwritable_here(self.path())
    }

    fn original(&self, seen: &EfiValue) -> Option<EfiValue> {
        Some(match seen {
            EfiValue::Empty => EfiValue::Absent,
            seen => seen.clone(),
        })
    }

    fn is_partial_write(&self, seen: &EfiValue, _: &EfiValue, to: &EfiValue) -> bool {
        let is_used_up = *seen == EfiValue::Absent && *to != EfiValue::Absent;
        is_used_up || *seen == EfiValue::Empty
    }

    /// The variables are not there while efivarfs is not mounted.
    fn out_of_reach(
        &self,
        host: &Host,
        _: Option<&str>,
        _: &EfiValue,
    ) -> Result<Option<String>, HostError> {
        if !host.list_if_there(DIRECTORY)?.is_empty() {
            return Ok(None);
        }
        Ok(Some(format!(
            "there are no variables in {DIRECTORY}: mount -t efivarfs efivarfs {DIRECTORY}, then revert again"
        )))
    }

    fn show(&self, state: &EfiValue) -> String {
        match state {
            EfiValue::Absent => "absent".to_owned(),
            EfiValue::Empty => "empty".to_owned(),
            EfiValue::Present(_) => state.text().unwrap_or_else(|| "not a text".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_is_utf_16_with_a_nul_behind_its_attributes() {
        let value = EfiValue::of_text("a.conf");
        let expected = "0700000061002e0063006f006e0066000000";
        assert_eq!(value, EfiValue::Present(expected.to_owned()));
        assert_eq!(EfiValue::of_bytes(b""), EfiValue::Empty);
    }

    proptest! {
        #[test]
        fn every_value_is_kept(bytes in prop::collection::vec(any::<u8>(), 1..20), text in "[^\0]{0,9}") {
            prop_assert_eq!(EfiValue::of_bytes(&bytes).bytes(), Some(bytes.clone()));
            let _ = EfiValue::of_bytes(&bytes).text();
            prop_assert_eq!(EfiValue::of_text(&text).text(), Some(text));
        }
    }
}
