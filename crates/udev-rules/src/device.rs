//! What rules can read of a device.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use hosttune_core::host::EntryKind;
use hosttune_core::{Host, HostError, HostErrorKind};

/// Sysfs files by absolute path: those of a host, or a map of captured ones.
pub trait Attributes {
    /// The value that udev has for an attribute: the text without trailing line ends; for a link
    /// named `driver`, `subsystem` or `module` the last segment of its target; `None` for other
    /// links, directories, and files that are missing or unreadable.
    ///
    /// # Errors
    /// If the value cannot be determined.
    fn attribute(&self, path: &str) -> Result<Option<String>, HostError>;

    /// The permission bits of the file at a path, following links; `None` if there is no file.
    ///
    /// # Errors
    /// If they cannot be determined.
    fn mode(&self, path: &str) -> Result<Option<u32>, HostError>;

    /// The names in a directory; empty if it does not exist.
    ///
    /// # Errors
    /// If the directory cannot be listed.
    fn names(&self, directory: &str) -> Result<Vec<String>, HostError>;
}

/// The links that udevd treats as attributes.
const LINKS: [&str; 3] = ["/driver", "/subsystem", "/module"];

impl Attributes for Host {
    fn attribute(&self, path: &str) -> Result<Option<String>, HostError> {
        let Some(entry) = self.entry(path)? else {
            return Ok(None);
        };
        match entry.kind {
            EntryKind::Link(target) if LINKS.iter().any(|name| path.ends_with(name)) => Ok(target
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())),
            EntryKind::File if entry.owner_may_read() => match self.read(path) {
                Ok(bytes) => Ok(Some(without_end(&String::from_utf8_lossy(&bytes)))),
                Err(error) if *error.kind() == HostErrorKind::Denied => Err(error),
                // To udevd an unreadable attribute is missing, whatever the reason.
                Err(_) => Ok(None),
            },
            _ => Ok(None),
        }
    }

    fn mode(&self, path: &str) -> Result<Option<u32>, HostError> {
        let mut path = PathBuf::from(path);
        // The kernel's limit on symbolic links.
        for _ in 0..40 {
            match self.entry(&path)? {
                None => return Ok(None),
                Some(entry) => match entry.kind {
                    EntryKind::Link(target) => path = beside(&path, &target),
                    _ => return Ok(Some(entry.mode)),
                },
            }
        }
        Ok(None)
    }

    fn names(&self, directory: &str) -> Result<Vec<String>, HostError> {
        self.list_if_there(directory)
    }
}

impl Attributes for BTreeMap<String, String> {
    fn attribute(&self, path: &str) -> Result<Option<String>, HostError> {
        Ok(self.get(path).map(|text| without_end(text)))
    }

    fn mode(&self, path: &str) -> Result<Option<u32>, HostError> {
        if self.contains_key(path) {
            return Ok(Some(0o644));
        }
        Ok((!self.names(path)?.is_empty()).then_some(0o755))
    }

    fn names(&self, directory: &str) -> Result<Vec<String>, HostError> {
        let inside = format!("{directory}/");
        let below = self.keys().filter_map(|path| path.strip_prefix(&inside));
        let mut names: Vec<String> = below
            .filter_map(|path| path.split('/').next())
            .map(str::to_owned)
            .collect();
        names.dedup();
        Ok(names)
    }
}

fn without_end(text: &str) -> String {
    text.trim_end_matches(['\n', '\r']).to_owned()
}

/// A device or one of its parents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Level {
    /// Its name, `sda`.
    pub kernel: String,
    /// Its subsystem.
    pub subsystem: Option<String>,
    /// Its driver.
    pub driver: Option<String>,
    /// Its directory, `/sys/devices/...`.
    pub path: String,
}

/// What rules can read of one device.
#[derive(Clone)]
pub struct Device<'a> {
    /// The device itself, then its parents, nearest first. Never empty.
    pub levels: Vec<Level>,
    /// The properties that the kernel sends with every event, as in the file `uevent`: `DEVTYPE`,
    /// `DEVNAME`, `MAJOR`, `DISKSEQ`.
    pub uevent: BTreeMap<String, String>,
    /// The properties of the device in udev's database; `None` if there is no database or the
    /// device is not in it.
    pub database: Option<BTreeMap<String, String>>,
    /// Whether the kernel hides the device: a path of native NVMe multipath (`nvme0c0n1`), which
    /// has the actual scheduler. It has no events, so no rule is processed for it.
    pub is_hidden: bool,
    /// Its partitions. Each is a device with events of its own, whose rules can reach the disk's
    /// attributes: `ATTR{../queue/scheduler}`.
    pub partitions: Vec<Device<'a>>,
    /// The files of the device and its parents.
    attributes: Option<&'a dyn Attributes>,
}

impl fmt::Debug for Device<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("levels", &self.levels)
            .field("uevent", &self.uevent)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

impl<'a> Device<'a> {
    /// A disk of this name without attributes or parents.
    pub fn disk(kernel: &str) -> Self {
        let level = Level {
            kernel: kernel.to_owned(),
            subsystem: Some("block".to_owned()),
            driver: None,
            path: format!("/sys/devices/virtual/block/{kernel}"),
        };
        let uevent = [("DEVTYPE", "disk"), ("DEVNAME", kernel)];
        Self {
            levels: vec![level],
            uevent: uevent
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            database: None,
            is_hidden: false,
            partitions: Vec::new(),
            attributes: None,
        }
    }

    /// Adds a partition of this name, about which nothing else is known.
    #[must_use]
    pub fn with_partition(mut self, kernel: &str) -> Self {
        let uevent = [("DEVTYPE", "partition"), ("DEVNAME", kernel)];
        let uevent = uevent.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let partition = self.partition(kernel, uevent.into(), None);
        self.partitions.push(partition);
        self
    }

    fn partition(
        &self,
        kernel: &str,
        uevent: BTreeMap<String, String>,
        database: Option<BTreeMap<String, String>>,
    ) -> Self {
        let level = Level {
            kernel: kernel.to_owned(),
            subsystem: Some("block".to_owned()),
            driver: None,
            path: format!("{}/{}", self.path(), kernel.replace('/', "!")),
        };
        let levels = std::iter::once(level).chain(self.levels.iter().cloned());
        Self {
            levels: levels.collect(),
            uevent,
            database,
            is_hidden: false,
            partitions: Vec::new(),
            attributes: self.attributes,
        }
    }

    /// Sets the sysfs files.
    #[must_use]
    pub fn with_attributes(mut self, attributes: &'a dyn Attributes) -> Self {
        self.attributes = Some(attributes);
        self
    }

    /// Sets the properties in udev's database.
    #[must_use]
    pub fn with_database<N: Into<String>, V: Into<String>>(
        mut self,
        properties: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let properties = properties.into_iter();
        self.database = Some(properties.map(|(n, v)| (n.into(), v.into())).collect());
        self
    }

    /// Reads the block device of this name; `None` if there is none.
    ///
    /// # Errors
    /// If the host cannot be read.
    pub fn block(host: &'a Host, kernel: &str) -> Result<Option<Self>, HostError> {
        let class = format!("/sys/class/block/{}", kernel.replace('/', "!"));
        let Some(entry) = host.entry(&class)? else {
            return Ok(None);
        };
        let path = match entry.kind {
            EntryKind::Link(target) => beside(Path::new(&class), &target),
            _ => PathBuf::from(&class),
        };
        let mut levels = Vec::new();
        for directory in path.ancestors() {
            let Some(name) = directory.file_name() else {
                break;
            };
            if directory == Path::new("/sys/devices") {
                break;
            }
            // Directories without `uevent` are not devices.
            if host.exists(directory.join("uevent"))? {
                let last = |name: &str| -> Result<Option<String>, HostError> {
                    match host.entry(directory.join(name))?.map(|entry| entry.kind) {
                        Some(EntryKind::Link(target)) => Ok(target
                            .file_name()
                            .map(|name| name.to_string_lossy().into_owned())),
                        _ => Ok(None),
                    }
                };
                levels.push(Level {
                    kernel: name.to_string_lossy().replace('!', "/"),
                    subsystem: last("subsystem")?,
                    driver: last("driver")?,
                    path: directory.to_string_lossy().into_owned(),
                });
            }
        }
        if levels.is_empty() {
            return Ok(None);
        }
        let uevent = assignments(&host.read_text(path.join("uevent"))?);
        let database = database(host, &uevent)?;
        let hidden = host.attribute(&path.join("hidden").to_string_lossy())?;
        let mut disk = Self {
            levels,
            uevent,
            database,
            is_hidden: hidden.as_deref() == Some("1"),
            partitions: Vec::new(),
            attributes: Some(host),
        };
        disk.partitions = disk.partitions_of(host, &path)?;
        Ok(Some(disk))
    }

    fn partitions_of(&self, host: &'a Host, directory: &Path) -> Result<Vec<Self>, HostError> {
        let Some(own) = directory.file_name().map(|name| name.to_string_lossy()) else {
            return Ok(Vec::new());
        };
        let mut partitions = Vec::new();
        for name in host.names(&directory.to_string_lossy())? {
            let below = directory.join(&name);
            if !name.starts_with(&*own) || !host.exists(below.join("partition"))? {
                continue;
            }
            let uevent = match host.read_text(below.join("uevent")) {
                Ok(text) => assignments(&text),
                // The partition has disappeared, or is not part of the capture.
                Err(error) if *error.kind() == HostErrorKind::Missing => continue,
                Err(error) => return Err(error),
            };
            let database = database(host, &uevent)?;
            partitions.push(self.partition(&name.replace('!', "/"), uevent, database));
        }
        Ok(partitions)
    }

    /// Its name.
    pub fn kernel(&self) -> &str {
        self.levels.first().map_or("", |level| &level.kernel)
    }

    /// Its directory in sysfs.
    pub fn path(&self) -> &str {
        self.levels.first().map_or("", |level| &level.path)
    }

    pub(super) fn attribute(&self, level: usize, name: &str) -> Result<Option<String>, HostError> {
        match (self.attributes, self.levels.get(level)) {
            (Some(_), _) if LINKS.iter().any(|link| name.ends_with(link)) => {
                let why = "versions of udev handle links in other directories differently";
                Err(HostError::malformed(name, why))
            }
            (Some(attributes), Some(level)) => {
                attributes.attribute(&lexical(&format!("{}/{name}", level.path)))
            }
            _ => Ok(None),
        }
    }

    pub(super) fn files(&self) -> Option<&'a dyn Attributes> {
        self.attributes
    }
}

/// Removes `.` and `..` from a path; in sysfs only the last segment can be a link.
pub(super) fn lexical(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    format!("/{}", segments.join("/"))
}

pub(super) fn beside(link: &Path, target: &Path) -> PathBuf {
    let directory = link.parent().unwrap_or(link);
    PathBuf::from(lexical(&directory.join(target).to_string_lossy()))
}

/// The properties of a device in udev's database; `None` if it is not there.
fn database(
    host: &Host,
    uevent: &BTreeMap<String, String>,
) -> Result<Option<BTreeMap<String, String>>, HostError> {
    let (Some(major), Some(minor)) = (uevent.get("MAJOR"), uevent.get("MINOR")) else {
        return Ok(None);
    };
    match host.read_text(format!("/run/udev/data/b{major}:{minor}")) {
        Ok(text) => {
            let properties = text.lines().filter_map(|line| line.strip_prefix("E:"));
            let properties: Vec<&str> = properties.collect();
            Ok(Some(assignments(&properties.join("\n"))))
        }
        Err(error) if *error.kind() == HostErrorKind::Missing => Ok(None),
        Err(error) => Err(error),
    }
}

fn assignments(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
