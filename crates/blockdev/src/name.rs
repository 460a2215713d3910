//! A disk's kernel name, and the order of names.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a disk in `/sys/block`: `sda`, `nvme0n1`, `cciss!c0d0`.
///
/// The same name can belong to a different disk after each boot. Names are in natural order: `sdz`
/// comes before `sdaa`, and `nvme2n1` before `nvme10n1`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DiskName(String);

/// A text that is not a disk name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is not a disk name: expected 1 to 31 characters without '/' or blanks, as in /sys/block", .0.escape_debug())]
pub struct DiskNameError(String);

/// `DISK_NAME_LEN` without the terminating NUL.
const LONGEST: usize = 31;

/// Drivers that number their disks with letters.
const LETTERED: [&str; 4] = ["sd", "vd", "xvd", "hd"];

impl DiskName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its directory in sysfs.
    pub fn directory(&self) -> String {
        format!("/sys/block/{}", self.0)
    }

    /// A file of its request queue.
    pub(crate) fn queue(&self, file: &str) -> String {
        format!("/sys/block/{}/queue/{file}", self.0)
    }

    /// For a path of a multipath NVMe namespace, `nvme0c1n2`, the name of the namespace: `nvme0n2`.
    pub fn head(&self) -> Option<Self> {
        let (subsystem, rest) = number(self.0.strip_prefix("nvme")?)?;
        let (_, rest) = number(rest.strip_prefix('c')?)?;
        let (namespace, rest) = number(rest.strip_prefix('n')?)?;
        rest.is_empty()
            .then(|| Self(format!("nvme{subsystem}n{namespace}")))
    }
}

/// The leading digits, and the rest.
fn number(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

impl FromStr for DiskName {
    type Err = DiskNameError;

    fn from_str(text: &str) -> Result<Self, DiskNameError> {
        let usable = !text.is_empty()
            && text.len() <= LONGEST
            && !text.starts_with('.')
            && !text
                .chars()
                .any(|one| one == '/' || one.is_whitespace() || one.is_control());
        if usable {
            Ok(Self(text.to_owned()))
        } else {
            Err(DiskNameError(text.to_owned()))
        }
    }
}

impl TryFrom<String> for DiskName {
    type Error = DiskNameError;

    fn try_from(text: String) -> Result<Self, DiskNameError> {
        text.parse()
    }
}

impl From<DiskName> for String {
    fn from(name: DiskName) -> Self {
        name.0
    }
}

impl fmt::Display for DiskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Ord for DiskName {
    fn cmp(&self, other: &Self) -> Ordering {
        let (one, two) = (self.0.as_str(), other.0.as_str());
        for driver in LETTERED {
            if let (Some(one), Some(two)) = (one.strip_prefix(driver), two.strip_prefix(driver)) {
                return one.len().cmp(&two.len()).then_with(|| one.cmp(two));
            }
        }
        natural(one, two)
    }
}

impl PartialOrd for DiskName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Digits compare as numbers, everything else by its bytes.
fn natural(one: &str, two: &str) -> Ordering {
    let (mut left, mut right) = (one, two);
    loop {
        match (number(left), number(right)) {
            (Some((first, rest)), Some((second, other))) => {
                let [first, second] = [first, second].map(|digits| digits.trim_start_matches('0'));
                let order = first.len().cmp(&second.len()).then(first.cmp(second));
                if order.is_ne() {
                    return order;
                }
                (left, right) = (rest, other);
            }
            _ => {
                let mut chars = (left.chars(), right.chars());
                match (chars.0.next(), chars.1.next()) {
                    (Some(first), Some(second)) if first == second => {
                        (left, right) = (chars.0.as_str(), chars.1.as_str());
                    }
                    // `01` and `1` are equal as numbers but are different names.
                    (None, None) => return one.cmp(two),
                    (first, second) => return first.cmp(&second),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> DiskName {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_in_natural_order() {
        let wanted = [
            "dm-2",
            "dm-10",
            "md126",
            "mmcblk0",
            "nvme0c0n1",
            "nvme0n1",
            "nvme0n10",
            "nvme10n1",
            "sda",
            "sdb",
            "sdz",
            "sdaa",
            "sdab",
            "sdaaa",
            "vda",
            "vdaa",
        ];
        let mut sorted = wanted.map(name);
        sorted.reverse();
        sorted.sort();
        assert_eq!(sorted, wanted.map(name));
    }

    #[test]
    fn a_path_of_a_namespace_knows_its_head() {
        for (path, head) in [
            ("nvme0c1n2", Some("nvme0n2")),
            ("nvme10c0n12", Some("nvme10n12")),
            ("nvme0n1", None),
            ("nvme0c0n1p1", None),
            ("nvme0", None),
            ("nvmec0n1", None),
            ("sda", None),
        ] {
            assert_eq!(name(path).head(), head.map(name), "{path}");
        }
    }

    #[test]
    fn what_names_no_disk_is_refused() {
        for text in [
            "",
            ".",
            "..",
            "a/b",
            "/dev/sda",
            "sd a",
            "sda\n",
            "a\0",
            &"x".repeat(32),
        ] {
            assert!(text.parse::<DiskName>().is_err(), "{text:?}");
        }
        assert!(name("cciss!c0d0").directory().ends_with("cciss!c0d0"));
        assert!(serde_json::from_str::<DiskName>("\"../../etc\"").is_err());
    }

    proptest! {
        #[test]
        fn the_order_is_one(names in prop::array::uniform3("(sd|vd|nvme|a|0){0,2}[a-c0-9]{1,4}")) {
            let [a, b, c] = names.map(|text| name(&text));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            prop_assert_eq!(a.cmp(&b).is_eq(), a == b);
            if a < b && b < c {
                prop_assert!(a < c);
            }
        }
    }
}
