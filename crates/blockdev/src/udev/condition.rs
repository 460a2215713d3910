//! Conditions that a disk has to meet for a rule of ours.

use hosttune_udev_rules::{Key, Operator, Pattern, Token, UnwritableError};

/// A condition on a disk.
///
/// Match by what the disk is rather than by its name: names are given in order of discovery, and
/// name patterns miss the eleventh controller and the 27th disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    key: Key,
    attribute: Option<String>,
    text: String,
    is_pattern: bool,
    negated: bool,
}

impl Condition {
    fn new(key: Key, attribute: Option<&str>, text: &str) -> Self {
        Self {
            key,
            attribute: attribute.map(str::to_owned),
            text: text.to_owned(),
            is_pattern: false,
            negated: false,
        }
    }

    /// A file in the disk's directory holds this text. A disk without the file never matches, not
    /// even if the condition is [`negated`](Self::negated).
    pub fn attribute(path: &str, text: &str) -> Self {
        Self::new(Key::Attr, Some(path), text)
    }

    /// A file in the directory of the disk or of one of its parents holds this text.
    pub fn parent_attribute(path: &str, text: &str) -> Self {
        Self::new(Key::Attrs, Some(path), text)
    }

    /// A udev property has this value. Most properties come from `60-persistent-storage.rules` and
    /// `55-dm.rules`, which udev reads before the file of
    /// [`GeneratedRules::file_name`](super::GeneratedRules::file_name).
    pub fn property(name: &str, text: &str) -> Self {
        Self::new(Key::Env, Some(name), text)
    }

    /// A parent has this subsystem: `nvme`, `usb`, `virtio`, `mmc`, `scsi`. SATA disks and USB
    /// disks have `scsi` too.
    pub fn below(subsystem: &str) -> Self {
        Self::new(Key::Subsystems, None, subsystem)
    }

    /// Whether the kernel reports the disk as rotational. A virtio disk is, whatever backs it.
    pub fn rotational(rotational: bool) -> Self {
        Self::attribute("queue/rotational", if rotational { "1" } else { "0" })
    }

    /// The place in the device tree, from `/devices` on. This is always a pattern in the syntax of
    /// udev(7), including `|` and `*`.
    pub fn place(pattern: &str) -> Self {
        Self::new(Key::Devpath, None, pattern).as_pattern()
    }

    /// The kernel name, with `/` where sysfs has `!`: for names reserved to one driver, such as
    /// `loop*`.
    pub fn kernel_name(name: &str) -> Self {
        Self::new(Key::Kernel, None, name)
    }

    /// One of the disk's links in `/dev` has this name, without `/dev/`: `disk/by-id/ata-…`.
    pub fn link(name: &str) -> Self {
        Self::new(Key::Symlink, None, name)
    }

    /// The property `ID_BUS`: `ata`, `scsi`, `usb`. NVMe and virtio disks have none.
    pub fn bus(bus: &str) -> Self {
        Self::property("ID_BUS", bus)
    }

    /// Takes the text as a pattern in the syntax of udev(7), including `|` and `*`.
    #[must_use]
    pub fn as_pattern(mut self) -> Self {
        self.is_pattern = true;
        self
    }

    /// Inverts the condition.
    #[must_use]
    pub fn negated(mut self) -> Self {
        self.negated = !self.negated;
        self
    }

    pub(super) fn token(&self) -> Result<Token, UnwritableError> {
        let value = if self.is_pattern {
            self.text.clone()
        } else {
            Pattern::literal(&self.text)?
        };
        let operator = if self.negated {
            Operator::Unequal
        } else {
            Operator::Equal
        };
        if let Some(attribute) = &self.attribute
            && (attribute.is_empty()
                || attribute.contains(['$', '%'])
                || attribute.starts_with('['))
        {
            return Err(UnwritableError {
                what: "attribute",
                text: attribute.clone(),
                why: "it is empty, or has a special meaning to udevd",
            });
        }
        Ok(Token {
            attribute: self.attribute.clone(),
            ..Token::new(self.key.clone(), operator, value)
        })
    }
}
