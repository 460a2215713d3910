//! A rule: which disks it selects, and what it sets on them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use hosttune_core::{Error, Why};
use hosttune_facts::Transport;
use serde::{Deserialize, Serialize};

use crate::attribute::Attribute;
use crate::disk::{Disk, DiskKind, Facts};
use crate::scheduler::SchedulerName;

/// A shell pattern: `*`, `?` and bracket expressions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Glob(glob::Pattern);

/// A text that is not a valid pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// The pattern is empty and would match nothing.
    #[error("an empty pattern matches no disk")]
    Empty,
    /// A bracket is not closed, or `*` is repeated in a way that has no meaning.
    #[error("'{pattern}' is not a valid pattern: {why}")]
    Malformed {
        /// The pattern as given.
        pattern: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl Glob {
    /// Whether the pattern matches the whole text.
    pub fn matches(&self, text: &str) -> bool {
        self.0.matches(text)
    }

    /// The pattern.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for Glob {
    type Err = GlobError;

    fn from_str(pattern: &str) -> Result<Self, GlobError> {
        if pattern.trim().is_empty() {
            return Err(GlobError::Empty);
        }
        let parsed = glob::Pattern::new(pattern).map_err(|error| GlobError::Malformed {
            pattern: pattern.to_owned(),
            why: error.msg,
        })?;
        Ok(Self(parsed))
    }
}

impl TryFrom<String> for Glob {
    type Error = GlobError;

    fn try_from(pattern: String) -> Result<Self, GlobError> {
        pattern.parse()
    }
}

impl From<Glob> for String {
    fn from(glob: Glob) -> Self {
        glob.as_str().to_owned()
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Selects disks. Every condition that is given has to hold.
///
/// Selecting disks by what they can do is more reliable than by name: `nvme[0-9]n[0-9]` misses
/// `nvme10n1`, `sd[a-z]` misses `sdaa`, and either name can belong to another disk after the next
/// boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[non_exhaustive]
pub struct Conditions {
    /// Any of these kinds; if empty, hardware disks only. Loop devices, zram and everything else
    /// that is not hardware by its place in the device tree is matched only if its kind is listed
    /// here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kind: Vec<DiskKind>,
    /// Attached by any of these transports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub transport: Vec<Transport>,
    /// Whether the disk is rotational.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotational: Option<bool>,
    /// Minimum size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_at_least: Option<u64>,
    /// Maximum size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_at_most: Option<u64>,
    /// The model name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Glob>,
    /// One of the disk's names in `/dev/disk/by-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_id: Option<Glob>,
    /// The kernel name, for when nothing else identifies the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Glob>,
}

/// A condition that a disk does not meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Condition {
    /// [`Conditions::kind`].
    Kind,
    /// [`Conditions::transport`].
    Transport,
    /// [`Conditions::rotational`].
    Rotational,
    /// [`Conditions::size_at_least`] and [`Conditions::size_at_most`].
    Size,
    /// [`Conditions::model`].
    Model,
    /// [`Conditions::by_id`].
    ById,
    /// [`Conditions::name`].
    Name,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kind => "kind",
            Self::Transport => "transport",
            Self::Rotational => "rotational",
            Self::Size => "size",
            Self::Model => "model",
            Self::ById => "by-id",
            Self::Name => "name",
        })
    }
}

/// Match result of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The disk meets every condition.
    Matches,
    /// The disk meets every condition but this one.
    NearMiss(Condition),
    /// The disk fails more than one condition.
    No,
}

impl Conditions {
    /// Compares a disk with the conditions. An unknown fact meets no condition.
    pub fn standing(&self, disk: &Disk) -> Standing {
        let pattern = |wanted: &Option<Glob>, seen: Option<&str>| {
            wanted
                .as_ref()
                .is_none_or(|glob| seen.is_some_and(|seen| glob.matches(seen)))
        };
        let kind = if self.kind.is_empty() {
            disk.kind == DiskKind::Disk
        } else {
            self.kind.contains(&disk.kind)
        };
        let least = self.size_at_least.unwrap_or(0);
        let most = self.size_at_most.unwrap_or(u64::MAX);
        let size = self.size_at_least.or(self.size_at_most).is_none()
            || disk.size.is_some_and(|size| (least..=most).contains(&size));
        let by_id = self
            .by_id
            .as_ref()
            .is_none_or(|glob| disk.by_id.iter().any(|name| glob.matches(name)));
        let checks = [
            (kind, Condition::Kind),
            (
                self.transport.is_empty() || self.transport.contains(&disk.transport),
                Condition::Transport,
            ),
            (
                self.rotational.is_none() || self.rotational == disk.rotational,
                Condition::Rotational,
            ),
            (size, Condition::Size),
            (
                pattern(&self.model, disk.model.as_deref()),
                Condition::Model,
            ),
            (by_id, Condition::ById),
            (
                pattern(&self.name, Some(disk.name.as_str())),
                Condition::Name,
            ),
        ];
        let mut failed = checks.into_iter().filter(|(met, _)| !met);
        match (failed.next(), failed.next()) {
            (None, _) => Standing::Matches,
            // A loop device that is not a hardware disk is not worth a note, as there may be eight
            // of them. `DiskKind::Other` is worth one, because its name does not show the kind and
            // a person may take it for a disk.
            (Some((_, Condition::Kind)), None)
                if self.kind.is_empty() && disk.kind != DiskKind::Other =>
            {
                Standing::No
            }
            (Some((_, condition)), None) => Standing::NearMiss(condition),
            _ => Standing::No,
        }
    }

    /// The number of conditions that are given.
    pub(crate) fn stated(&self) -> usize {
        let said = [
            !self.kind.is_empty(),
            !self.transport.is_empty(),
            self.rotational.is_some(),
            self.size_at_least.or(self.size_at_most).is_some(),
            self.model.is_some(),
            self.by_id.is_some(),
            self.name.is_some(),
        ];
        said.into_iter().filter(|said| *said).count()
    }

    /// The facts needed to evaluate the conditions.
    pub fn facts(&self) -> Facts {
        Facts {
            rotational: self.rotational.is_some(),
            size: self.size_at_least.or(self.size_at_most).is_some(),
            model: self.model.is_some(),
            by_id: self.by_id.is_some(),
            ..Facts::default()
        }
    }

    /// What a condition requires, as text: `sata or nvme`, `100 bytes or more`.
    pub(crate) fn required(&self, condition: Condition) -> String {
        let any = |names: Vec<String>| names.join(" or ");
        let pattern = |glob: &Option<Glob>| glob.as_ref().map_or_else(String::new, Glob::to_string);
        match condition {
            Condition::Kind if self.kind.is_empty() => DiskKind::Disk.to_string(),
            Condition::Kind => any(self.kind.iter().map(DiskKind::to_string).collect()),
            Condition::Transport => any(self.transport.iter().map(Transport::to_string).collect()),
            Condition::Rotational => self
                .rotational
                .map_or_else(String::new, |is| is.to_string()),
            Condition::Size => match (self.size_at_least, self.size_at_most) {
                (Some(least), Some(most)) => format!("from {least} to {most} bytes"),
                (Some(least), None) => format!("{least} bytes or more"),
                (None, Some(most)) => format!("{most} bytes or less"),
                (None, None) => String::new(),
            },
            Condition::Model => pattern(&self.model),
            Condition::ById => pattern(&self.by_id),
            Condition::Name => pattern(&self.name),
        }
    }

    /// What the disk has for a condition, as text.
    pub(crate) fn seen(disk: &Disk, condition: Condition) -> String {
        let known = |seen: Option<String>| seen.unwrap_or_else(|| "unknown".to_owned());
        match condition {
            Condition::Kind => disk.kind.to_string(),
            Condition::Transport => disk.transport.to_string(),
            Condition::Rotational => known(disk.rotational.map(|rotates| rotates.to_string())),
            Condition::Size => known(disk.size.map(|size| format!("{size} bytes"))),
            Condition::Model => known(disk.model.clone()),
            Condition::ById if disk.by_id.is_empty() => "none".to_owned(),
            Condition::ById => disk.by_id.join(" "),
            Condition::Name => disk.name.to_string(),
        }
    }
}

/// What a rule sets on the disks that it selects. Whatever is not given stays unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[non_exhaustive]
pub struct Settings {
    /// The I/O scheduler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<SchedulerName>,
    /// Queue attributes, in their own units.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub queue: BTreeMap<Attribute, u64>,
    /// Tunables of the scheduler; they require `scheduler`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tunables: BTreeMap<String, i64>,
}

/// Which disks to set, and to what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Rule {
    /// The name of the rule, and of the part of the plan that has its requests.
    pub name: String,
    /// Which disks it selects.
    #[serde(default)]
    pub disks: Conditions,
    /// What it sets on them.
    #[serde(default)]
    pub set: Settings,
    /// The reason, shown in plans.
    #[serde(default)]
    pub why: Why,
}

impl Rule {
    /// Whether it sets anything that concerns requests, and so is at the paths of a multipath NVMe
    /// namespace.
    pub(crate) fn sets_requests(&self) -> bool {
        let mut attributes = self.set.queue.keys();
        self.set.scheduler.is_some() || attributes.any(|attribute| attribute.is_of_requests())
    }

    /// A rule that selects every hardware disk and sets nothing yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            disks: Conditions::default(),
            set: Settings::default(),
            why: Why::default(),
        }
    }

    /// Selects disks of this kind, in addition to kinds given before; kinds that are not given are
    /// excluded.
    #[must_use]
    pub fn kind(mut self, kind: DiskKind) -> Self {
        self.disks.kind.push(kind);
        self
    }

    /// Selects disks with this transport, in addition to transports given before.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.disks.transport.push(transport);
        self
    }

    /// Selects disks that are rotational, or that are not.
    #[must_use]
    pub fn rotational(mut self, rotational: bool) -> Self {
        self.disks.rotational = Some(rotational);
        self
    }

    /// Selects disks of at least this many bytes.
    #[must_use]
    pub fn size_at_least(mut self, bytes: u64) -> Self {
        self.disks.size_at_least = Some(bytes);
        self
    }

    /// Selects disks of at most this many bytes.
    #[must_use]
    pub fn size_at_most(mut self, bytes: u64) -> Self {
        self.disks.size_at_most = Some(bytes);
        self
    }

    /// Selects disks whose model matches.
    #[must_use]
    pub fn model(mut self, model: Glob) -> Self {
        self.disks.model = Some(model);
        self
    }

    /// Selects disks that have a matching name in `/dev/disk/by-id`.
    #[must_use]
    pub fn by_id(mut self, name: Glob) -> Self {
        self.disks.by_id = Some(name);
        self
    }

    /// Selects disks by kernel name, for when nothing better identifies them.
    #[must_use]
    pub fn kernel_name(mut self, name: Glob) -> Self {
        self.disks.name = Some(name);
        self
    }

    /// Sets the scheduler.
    #[must_use]
    pub fn scheduler(mut self, name: SchedulerName) -> Self {
        self.set.scheduler = Some(name);
        self
    }

    /// Sets a queue attribute.
    #[must_use]
    pub fn queue(mut self, attribute: Attribute, value: u64) -> Self {
        self.set.queue.insert(attribute, value);
        self
    }

    /// Sets a tunable of the scheduler.
    #[must_use]
    pub fn tunable(mut self, name: impl Into<String>, value: i64) -> Self {
        self.set.tunables.insert(name.into(), value);
        self
    }

    /// Gives the reason.
    #[must_use]
    pub fn why(mut self, why: impl Into<Why>) -> Self {
        self.why = why.into();
        self
    }

    /// Reports errors in the rule that do not depend on any disk.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let name = &self.name;
        if name.is_empty() || name.contains('/') || name.chars().any(char::is_control) {
            return Err(Error::tuning(
                format!(
                    "'{}' is not a valid name for a disk rule",
                    name.escape_debug()
                ),
                "use letters, digits and dashes",
            ));
        }
        if let (Some(least), Some(most)) = (self.disks.size_at_least, self.disks.size_at_most)
            && least > most
        {
            return Err(Error::tuning(
                format!(
                    "rule {name} selects disks of at least {least} and at most {most} bytes, which is impossible"
                ),
                format!("swap the two: size-at-least {most}, size-at-most {least}"),
            ));
        }
        if self.set.scheduler.is_none() && !self.set.tunables.is_empty() {
            return Err(Error::tuning(
                format!("rule {name} sets scheduler tunables but no scheduler"),
                "also set the scheduler that has them",
            ));
        }
        if self.set == Settings::default() {
            return Err(Error::tuning(
                format!("rule {name} sets nothing"),
                "give it a scheduler or an attribute, or remove it",
            ));
        }
        Ok(())
    }
}
