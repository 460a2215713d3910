//! What a disk has to be like for a rule of ours.

use super::pattern::Pattern;
use super::token::{Key, Operator, Token, UnwritableError};

/// What a disk has to be like.
///
/// Better by what it is than by its name: names are given in the order of finding, and patterns of them
/// miss the eleventh controller and the 27th disk.
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

    /// A file of its directory holds this. A disk that does not have the file never matches, not
    /// even [`negated`](Self::negated).
    pub fn attribute(path: &str, text: &str) -> Self {
        Self::new(Key::Attr, Some(path), text)
    }

    /// A file of a directory of its own or of a parent's holds this.
    pub fn parent_attribute(path: &str, text: &str) -> Self {
        Self::new(Key::Attrs, Some(path), text)
    }

    /// A property that udev has of it is this. Most come from `60-persistent-storage.rules` and
    /// `55-dm.rules`, which [`OwnRules::file_name`](super::OwnRules::file_name) stands
    /// behind.
    pub fn property(name: &str, text: &str) -> Self {
        Self::new(Key::Env, Some(name), text)
    }

    /// A parent is of this subsystem: `nvme`, `usb`, `virtio`, `mmc`, `scsi`. A SATA disk has `scsi`
    /// too, and so has one of USB.
    pub fn below(subsystem: &str) -> Self {
        Self::new(Key::Subsystems, None, subsystem)
    }

    /// Whether it rotates, as the kernel says. A virtio disk says it does, whatever is behind it.
    pub fn rotational(rotational: bool) -> Self {
        Self::attribute("queue/rotational", if rotational { "1" } else { "0" })
    }

    /// Where it stands in the tree of devices, from `/devices` on. This is a pattern by its nature: the
    /// text as udev(7) has it, `|` and `*` included.
    pub fn place(pattern: &str) -> Self {
        Self::new(Key::Devpath, None, pattern).as_pattern()
    }

    /// Its kernel name, with `/` where sysfs has `!`: for what a driver keeps to itself, such as `loop*`.
    pub fn kernel_name(name: &str) -> Self {
        Self::new(Key::Kernel, None, name)
    }

    /// One of its links beneath `/dev` is this, without `/dev/`: `disk/by-id/ata-…`.
    pub fn link(name: &str) -> Self {
        Self::new(Key::Symlink, None, name)
    }

    /// `ID_BUS`: `ata`, `scsi`, `usb`. NVMe and virtio have none.
    pub fn bus(bus: &str) -> Self {
        Self::property("ID_BUS", bus)
    }

    /// Any of several, and shell patterns: the text as udev(7) has it, `|` and `*` included.
    #[must_use]
    pub fn as_pattern(mut self) -> Self {
        self.is_pattern = true;
        self
    }

    /// The opposite.
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
                why: "it is empty, or udevd would take it for something else",
            });
        }
        Ok(Token {
            attribute: self.attribute.clone(),
            ..Token::new(self.key.clone(), operator, value)
        })
    }
}
