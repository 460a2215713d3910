//! The machine as its firmware describes it (SMBIOS). Serial numbers are never read.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::source::Source;

const DIRECTORY: &str = "/sys/class/dmi/id";
const SUPPLIES: &str = "/sys/class/power_supply";

/// The files that are read; see [`Facts::sources`](crate::Facts::sources). `product_serial`,
/// `product_uuid`, `board_serial`, `chassis_serial` and the asset tags identify this machine and are never
/// read.
pub(crate) const SOURCES: &[&str] = &[
    "/sys/class/dmi/id/bios_date",
    "/sys/class/dmi/id/bios_vendor",
    "/sys/class/dmi/id/bios_version",
    "/sys/class/dmi/id/board_name",
    "/sys/class/dmi/id/board_vendor",
    "/sys/class/dmi/id/chassis_type",
    "/sys/class/dmi/id/product_family",
    "/sys/class/dmi/id/product_name",
    "/sys/class/dmi/id/product_version",
    "/sys/class/dmi/id/sys_vendor",
    SUPPLIES,
    "/sys/class/power_supply/*",
    "/sys/class/power_supply/*/scope",
    "/sys/class/power_supply/*/type",
];

/// Placeholders that manufacturers leave in fields.
const PLACEHOLDERS: [&str; 14] = [
    "default string",
    "empty",
    "n/a",
    "none",
    "not applicable",
    "not available",
    "not specified",
    "o.e.m.",
    "oem",
    "system manufacturer",
    "system product name",
    "system version",
    "to be filled by o.e.m.",
    "unknown",
];

/// Manufacturer, product and form of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Machine {
    /// Its manufacturer.
    pub manufacturer: Option<String>,
    /// Its product name.
    pub product: Option<String>,
    /// The product version; some manufacturers put the marketing name here.
    pub product_version: Option<String>,
    /// The product family.
    pub product_family: Option<String>,
    /// The manufacturer of the main board.
    pub board_manufacturer: Option<String>,
    /// The product name of the main board.
    pub board: Option<String>,
    /// The vendor of the firmware.
    pub firmware_manufacturer: Option<String>,
    /// The firmware's version.
    pub firmware_version: Option<String>,
    /// The firmware's date in month/day/year order: `07/16/2024`.
    pub firmware_date: Option<String>,
    /// The SMBIOS chassis type (DSP0134, table 17).
    pub chassis_type: Option<u8>,
    /// The form according to the chassis type. If that is "other" or missing, a machine with a battery is a
    /// laptop.
    pub form: Option<Form>,
    /// Whether it has its own battery; that of a peripheral such as a mouse does not count.
    pub battery: Option<bool>,
}

/// The form of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Form {
    /// A desktop, including all-in-one and stick PCs.
    Desktop,
    /// A laptop, including convertible and detachable ones.
    Laptop,
    /// A tablet.
    Tablet,
    /// A handheld device.
    Handheld,
    /// A rack or blade server.
    Server,
    /// An embedded device.
    Embedded,
}

impl Machine {
    pub(crate) fn of(source: Source<'_>) -> Self {
        let field = |name: &str| {
            let value = source.value(format!("{DIRECTORY}/{name}"))?;
            (!PLACEHOLDERS.contains(&value.to_lowercase().as_str())).then_some(value)
        };
        let chassis_type = source.number(format!("{DIRECTORY}/chassis_type"));
        let battery = has_battery(source);
        Self {
            manufacturer: field("sys_vendor"),
            product: field("product_name"),
            product_version: field("product_version"),
            product_family: field("product_family"),
            board_manufacturer: field("board_vendor"),
            board: field("board_name"),
            firmware_manufacturer: field("bios_vendor"),
            firmware_version: field("bios_version"),
            firmware_date: field("bios_date"),
            chassis_type,
            form: form(chassis_type, battery),
            battery,
        }
    }
}

fn has_battery(source: Source<'_>) -> Option<bool> {
    let supplies = source.names(SUPPLIES)?;
    let mut supplies = supplies.iter();
    Some(supplies.any(|name| {
        let file = |field: &str| source.value(format!("{SUPPLIES}/{name}/{field}"));
        file("type").as_deref() == Some("Battery") && file("scope").as_deref() != Some("Device")
    }))
}

/// Maps the chassis types of DSP0134 (SMBIOS 3.7), table 17.
fn form(chassis_type: Option<u8>, battery: Option<bool>) -> Option<Form> {
    Some(match chassis_type {
        Some(3..=7 | 13 | 15 | 16 | 24 | 35 | 36) => Form::Desktop,
        Some(8..=10 | 14 | 31 | 32) => Form::Laptop,
        Some(30) => Form::Tablet,
        Some(11) => Form::Handheld,
        Some(17 | 23 | 25 | 28 | 29) => Form::Server,
        Some(33 | 34) => Form::Embedded,
        _ if battery == Some(true) => Form::Laptop,
        _ => return None,
    })
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Desktop => "desktop",
            Self::Laptop => "laptop",
            Self::Tablet => "tablet",
            Self::Handheld => "handheld",
            Self::Server => "server",
            Self::Embedded => "embedded",
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |name: &str, parts: [&Option<String>; 2]| {
            let parts: Vec<&str> = parts.into_iter().filter_map(Option::as_deref).collect();
            (!parts.is_empty()).then(|| format!("{name}{}", parts.join(" ")))
        };
        let all = [
            joined("", [&self.manufacturer, &self.product]),
            joined("board ", [&self.board_manufacturer, &self.board]),
            joined(
                "firmware ",
                [&self.firmware_manufacturer, &self.firmware_version],
            ),
            self.form.map(|form| form.to_string()),
            (self.battery == Some(true)).then(|| "battery".to_owned()),
        ];
        let all: Vec<String> = all.into_iter().flatten().collect();
        match all.is_empty() {
            true => f.write_str("unknown"),
            false => f.write_str(&all.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_battery_decides_only_where_the_chassis_does_not() {
        assert_eq!(form(Some(3), Some(true)), Some(Form::Desktop));
        assert_eq!(form(Some(10), Some(false)), Some(Form::Laptop));
        assert_eq!(form(Some(1), Some(true)), Some(Form::Laptop));
        assert_eq!(form(None, Some(true)), Some(Form::Laptop));
        assert_eq!(form(Some(1), Some(false)), None);
        assert_eq!(form(Some(255), None), None);
    }
}
