//! One event, as it is told.

use std::collections::BTreeMap;
use std::fmt;

/// What happened to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UeventAction {
    /// It is new.
    Add,
    /// It is gone.
    Remove,
    /// Something about it changed.
    Change,
    /// It has another name or another parent.
    Move,
    /// It is in use again.
    Online,
    /// It is no longer in use.
    Offline,
    /// A driver has taken it.
    Bind,
    /// A driver has let go of it.
    Unbind,
    /// One that is newer than this.
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

    /// As it is told.
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

/// One thing that was told of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uevent {
    /// What happened.
    pub action: UeventAction,
    /// Its path beneath `/sys`, with a leading slash.
    pub devpath: String,
    /// What is told of it, `ACTION` and `DEVPATH` among it: `SUBSYSTEM`, `DEVTYPE`, `DEVNAME`,
    /// `DISKSEQ`; from udev also what its rules have found out.
    pub properties: BTreeMap<String, String>,
}

/// Why a message is no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// There is no `ACTION` or no `DEVPATH`.
    #[error("it does not say what happened to which device")]
    Unnamed,
    /// It does not begin with udev's header, or the header points out of it.
    #[error("it is no message of udev")]
    Header,
}

/// What udev's messages begin with: `struct monitor_netlink_header`, systemd's
/// `src/libsystemd/sd-device/device-monitor.c`.
const PREFIX: &[u8] = b"libudev\0";
/// In the byte order of the network, unlike the numbers behind it.
const MAGIC: [u8; 4] = [0xfe, 0xed, 0xca, 0xfe];
const OFFSET: usize = 16;
const LENGTH: usize = 20;

impl Uevent {
    /// Reads what the kernel tells: `add@/devices/...`, then `NAME=value`, each with a NUL behind it.
    ///
    /// What has no `=` is passed over, and what is not UTF-8 is read as near to it as can be: some
    /// drivers tell of serial numbers as they find them.
    ///
    /// # Errors
    /// Where it does not say what happened to which device.
    pub fn from_kernel(message: &[u8]) -> Result<Self, Malformed> {
        let end = message.iter().position(|byte| *byte == 0);
        let (first, rest) = message.split_at(end.unwrap_or(message.len()));
        let first = String::from_utf8_lossy(first);
        let (action, devpath) = first.split_once('@').ok_or(Malformed::Unnamed)?;
        let mut properties = properties(rest);
        // The first line is what the kernel itself goes by.
        for (name, value) in [("ACTION", action), ("DEVPATH", devpath)] {
            properties.insert(name.to_owned(), value.to_owned());
        }
        Self::of(properties)
    }

    /// Reads what udev tells once its rules have been carried out: a header, then `NAME=value`.
    ///
    /// # Errors
    /// Where it is no such message, or does not say what happened to which device.
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

    /// A property.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }

    /// The kernel's name of the device: the last segment of its path.
    pub fn kernel(&self) -> String {
        let name = self.devpath.rsplit('/').next().unwrap_or_default();
        name.replace('!', "/")
    }

    /// Whether it is about a whole disk: no partition, controller or anything else.
    pub fn is_disk(&self) -> bool {
        self.get("SUBSYSTEM") == Some("block") && self.get("DEVTYPE") == Some("disk")
    }

    /// Whether it is about a device of device-mapper.
    pub fn is_device_mapper(&self) -> bool {
        self.is_disk()
            && (self.devpath.contains("/virtual/block/dm-") || self.get("DM_NAME").is_some())
    }

    /// Whether this event has brought a disk that is ready to be tuned.
    ///
    /// A disk is ready when it is added, or when it is told of anew: another medium, another size. A
    /// device of device-mapper is not: it is added without a table, and is ready when it is
    /// activated, which is a change. Which change that was, udev's rules say by `DM_ACTIVATION`; the
    /// kernel says it only to whom activates, so each of its changes counts. One that turns it
    /// read-only does not, and neither does what its maker wants nobody else to touch.
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

    /// Whether `DM_UDEV_DISABLE_OTHER_RULES_FLAG` is set: by udev as a property, by the kernel in the
    /// upper half of the cookie.
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
