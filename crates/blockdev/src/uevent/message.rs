//! Parsing one event.

use std::collections::BTreeMap;
use std::fmt;

/// What happened to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UeventAction {
    /// The device was added.
    Add,
    /// The device was removed.
    Remove,
    /// Something about the device changed.
    Change,
    /// The device has a new name or parent.
    Move,
    /// The device is in use again.
    Online,
    /// The device is no longer in use.
    Offline,
    /// A driver was bound to the device.
    Bind,
    /// A driver was unbound from the device.
    Unbind,
    /// An action that is newer than this list.
    Other(String),
}

impl UeventAction {
    fn named(name: &str) -> Self {
        match name {
            "add" => Self::Add,
            "remove" => Self::Remove,
            "change" => Self::Change,
            "move" => Self::Move,
            "online" => Self::Online,
            "offline" => Self::Offline,
            "bind" => Self::Bind,
            "unbind" => Self::Unbind,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The word used in events.
    pub fn name(&self) -> &str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Change => "change",
            Self::Move => "move",
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Bind => "bind",
            Self::Unbind => "unbind",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for UeventAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One event about a device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uevent {
    /// What happened.
    pub action: UeventAction,
    /// The device's path beneath `/sys`, with a leading slash.
    pub devpath: String,
    /// All properties, including `ACTION` and `DEVPATH`: `SUBSYSTEM`, `DEVTYPE`, `DEVNAME`,
    /// `DISKSEQ`; from udev also those that its rules have set.
    pub properties: BTreeMap<String, String>,
}

/// Why a message is not an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// There is no `ACTION` or no `DEVPATH`.
    #[error("the message does not say what happened to which device")]
    Unnamed,
    /// It does not begin with udev's header, or the header points outside the message.
    #[error("the message is not from udev")]
    Header,
}

/// The beginning of udev's messages: `struct monitor_netlink_header` in systemd's
/// `src/libsystemd/sd-device/device-monitor.c`.
const PREFIX: &[u8] = b"libudev\0";
/// In network byte order, unlike the numbers after it.
const MAGIC: [u8; 4] = [0xfe, 0xed, 0xca, 0xfe];
const OFFSET: usize = 16;
const LENGTH: usize = 20;

impl Uevent {
    /// Parses a message of the kernel: `add@/devices/...`, then `NAME=value` pairs, each terminated
    /// by a NUL.
    ///
    /// Entries without `=` are skipped, and bytes that are not UTF-8 are replaced: some drivers
    /// pass on serial numbers as they find them.
    ///
    /// # Errors
    /// If the message does not say what happened to which device.
    pub fn from_kernel(message: &[u8]) -> Result<Self, Malformed> {
        let end = message.iter().position(|byte| *byte == 0);
        let (first, rest) = message.split_at(end.unwrap_or(message.len()));
        let first = String::from_utf8_lossy(first);
        let (action, devpath) = first.split_once('@').ok_or(Malformed::Unnamed)?;
        let mut properties = properties(rest);
        // The first line takes precedence, as it is what the kernel itself uses.
        for (name, value) in [("ACTION", action), ("DEVPATH", devpath)] {
            properties.insert(name.to_owned(), value.to_owned());
        }
        Self::of(properties)
    }

    /// Parses a message that udev sends after it has processed its rules: a header, then
    /// `NAME=value` pairs.
    ///
    /// # Errors
    /// If it is not such a message, or does not say what happened to which device.
    pub fn from_udev(message: &[u8]) -> Result<Self, Malformed> {
        if !message.starts_with(PREFIX) || message.get(8..12) != Some(&MAGIC) {
            return Err(Malformed::Header);
        }
        let number = |at: usize| -> Option<usize> {
            let bytes = message.get(at..at + 4)?.try_into().ok()?;
            usize::try_from(u32::from_ne_bytes(bytes)).ok()
        };
        let inside = || {
            let offset = number(OFFSET)?;
            message.get(offset..offset.checked_add(number(LENGTH)?)?)
        };
        Self::of(properties(inside().ok_or(Malformed::Header)?))
    }

    fn of(properties: BTreeMap<String, String>) -> Result<Self, Malformed> {
        let named = |name: &str| properties.get(name).filter(|value| !value.is_empty());
        let (Some(action), Some(devpath)) = (named("ACTION"), named("DEVPATH")) else {
            return Err(Malformed::Unnamed);
        };
        if !devpath.starts_with('/') {
            return Err(Malformed::Unnamed);
        }
        Ok(Self {
            action: UeventAction::named(action),
            devpath: devpath.clone(),
            properties,
        })
    }

    /// The value of a property.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }

    /// The kernel name of the device: the last segment of its path, with `!` replaced by `/`.
    pub fn kernel(&self) -> String {
        let name = self.devpath.rsplit('/').next().unwrap_or_default();
        name.replace('!', "/")
    }

    /// Whether the event is about a whole disk, and not a partition, controller or anything else.
    pub fn is_disk(&self) -> bool {
        self.get("SUBSYSTEM") == Some("block") && self.get("DEVTYPE") == Some("disk")
    }

    /// Whether the event is about a device-mapper device.
    pub fn is_device_mapper(&self) -> bool {
        self.is_disk()
            && (self.devpath.contains("/virtual/block/dm-") || self.get("DM_NAME").is_some())
    }

    /// Whether a disk is ready to be tuned after this event.
    ///
    /// A disk is ready when it is added, or when it has a later event such as a new medium or size.
    /// A device-mapper device is added without a table and is ready only when it is activated,
    /// which is a `change` event. udev's rules mark that event with `DM_ACTIVATION`; the kernel
    /// marks it only for the process that activates the device, so each `change` of the kernel
    /// counts. Exceptions are a change to read-only, and devices whose creator has disabled other
    /// rules.
    pub fn brings_disk(&self) -> bool {
        if !self.is_disk() {
            return false;
        }
        if !self.is_device_mapper() {
            return matches!(
                self.action,
                UeventAction::Add
                    | UeventAction::Change
                    | UeventAction::Move
                    | UeventAction::Online
            );
        }
        if self.action != UeventAction::Change || self.is_left_alone() {
            return false;
        }
        match self.get("DM_UDEV_RULES_VSN") {
            Some(_) => self.get("DM_ACTIVATION") == Some("1"),
            None => self.get("DISK_RO") != Some("1"),
        }
    }

    /// Whether `DM_UDEV_DISABLE_OTHER_RULES_FLAG` is set: by udev as a property, by the kernel in
    /// the upper half of the cookie.
    fn is_left_alone(&self) -> bool {
        const DISABLE_OTHER_RULES: u32 = 0x0008 << 16;
        let cookie = self.get("DM_COOKIE").and_then(|cookie| cookie.parse().ok());
        self.get("DM_UDEV_DISABLE_OTHER_RULES_FLAG") == Some("1")
            || cookie.is_some_and(|cookie: u32| cookie & DISABLE_OTHER_RULES != 0)
    }
}

fn properties(bytes: &[u8]) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    for line in bytes.split(|byte| *byte == 0) {
        let line = String::from_utf8_lossy(line);
        if let Some((name, value)) = line.split_once('=')
            && !name.is_empty()
        {
            properties.insert(name.to_owned(), value.to_owned());
        }
    }
    properties
}
