//! A rule: which disks it is about, and what it wants of them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use hosttune_core::{Error, Why};
use hosttune_facts::Transport;
use serde::{Deserialize, Serialize};

use crate::attribute::Attribute;
use crate::disk::{Disk, DiskKind, Facts};
use crate::scheduler::SchedulerName;

/// A shell pattern: `*`, `?` and sets in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Glob(glob::Pattern);

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// It would match nothing.
    #[error("an empty pattern matches no disk")]
    Empty,
    /// A bracket is not closed, or there are more stars than mean anything.
    #[error("'{pattern}' is no pattern: {why}")]
    Malformed {
        /// As given.
        pattern: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl Glob {
    /// Whether the whole of a text is matched.
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

/// Which disks a rule is about. All that is said has to hold.
///
/// What a disk can do is a better question than what it is called: `nvme[0-9]n[0-9]` misses
/// `nvme10n1`, `sd[a-z]` misses `sdaa`, and both names go to another disk with the next boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[non_exhaustive]
pub struct Conditions {
    /// Any of these; a disk of hardware where nothing is said. Loop devices, zram and everything
    /// else that is no hardware by its place in the tree of devices is set only where its kind is
    /// named here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kind: Vec<DiskKind>,
    /// Attached by any of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub transport: Vec<Transport>,
    /// Whether it rotates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotational: Option<bool>,
    /// It has at least so many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_at_least: Option<u64>,
    /// It has at most so many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_at_most: Option<u64>,
    /// What its maker calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Glob>,
    /// One of its names in `/dev/disk/by-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_id: Option<Glob>,
    /// Its kernel name, where nothing else tells.
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

/// How a disk stands to a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It meets every condition.
    Matches,
    /// It meets every condition but one.
    NearMiss(Condition),
    /// It fails by more.
    No,
}

impl Conditions {
    /// How a disk stands to them. A fact that is not known meets no condition.
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
            // That a loop device is no disk is not worth a line, for each of eight. What the name
            // does not tell is: a person may take it for a disk.
            (Some((_, Condition::Kind)), None)
                if self.kind.is_empty() && disk.kind != DiskKind::Other =>
            {
                Standing::No
            }
            (Some((_, condition)), None) => Standing::NearMiss(condition),
            _ => Standing::No,
        }
    }

    /// How many conditions are said.
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

    /// The facts that are needed to tell.
    pub fn facts(&self) -> Facts {
        Facts {
            rotational: self.rotational.is_some(),
            size: self.size_at_least.or(self.size_at_most).is_some(),
            model: self.model.is_some(),
            by_id: self.by_id.is_some(),
            ..Facts::default()
        }
    }

    /// What a disk shows of a condition, in words.
    pub(crate) fn seen(disk: &Disk, condition: Condition) -> String {
        let known = |seen: Option<String>| seen.unwrap_or_else(|| "not known".to_owned());
        match condition {
            Condition::Kind => disk.kind.to_string(),
            Condition::Transport => disk.transport.to_string(),
            Condition::Rotational => known(disk.rotational.map(|rotates| rotates.to_string())),
            Condition::Size => known(disk.size.map(|size| format!("{size} bytes"))),
            Condition::Model => known(disk.model.clone()),
            Condition::ById if disk.by_id.is_empty() => "without any".to_owned(),
            Condition::ById => disk.by_id.join(" "),
            Condition::Name => disk.name.to_string(),
        }
    }
}

/// What a rule wants of the disks that it is about. What is not said stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[non_exhaustive]
pub struct Settings {
    /// The I/O scheduler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<SchedulerName>,
    /// Attributes of the queue, in their own units.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub queue: BTreeMap<Attribute, u64>,
    /// Tunables of the scheduler, which has to be named then.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tunables: BTreeMap<String, i64>,
}

/// What some disks are to be set to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Rule {
    /// Its name: the part of the plan that its wishes are in.
    pub name: String,
    /// Which disks.
    #[serde(default)]
    pub disks: Conditions,
    /// What is wanted of them.
    #[serde(default)]
    pub set: Settings,
    /// Why.
    #[serde(default)]
    pub why: Why,
}

impl Rule {
    /// A rule that is about every disk and wants nothing yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            disks: Conditions::default(),
            set: Settings::default(),
            why: Why::default(),
        }
    }

    /// About disks of this kind too, and no others than those named so.
    #[must_use]
    pub fn kind(mut self, kind: DiskKind) -> Self {
        self.disks.kind.push(kind);
        self
    }

    /// About disks that are attached so, or as said before.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.disks.transport.push(transport);
        self
    }

    /// About disks that rotate, or do not.
    #[must_use]
    pub fn rotational(mut self, rotational: bool) -> Self {
        self.disks.rotational = Some(rotational);
        self
    }

    /// About disks of at least so many bytes.
    #[must_use]
    pub fn size_at_least(mut self, bytes: u64) -> Self {
        self.disks.size_at_least = Some(bytes);
        self
    }

    /// About disks of at most so many bytes.
    #[must_use]
    pub fn size_at_most(mut self, bytes: u64) -> Self {
        self.disks.size_at_most = Some(bytes);
        self
    }

    /// About disks whose model is like this.
    #[must_use]
    pub fn model(mut self, model: Glob) -> Self {
        self.disks.model = Some(model);
        self
    }

    /// About disks that have such a name in `/dev/disk/by-id`.
    #[must_use]
    pub fn by_id(mut self, name: Glob) -> Self {
        self.disks.by_id = Some(name);
        self
    }

    /// About disks of such a kernel name, where nothing better tells.
    #[must_use]
    pub fn kernel_name(mut self, name: Glob) -> Self {
        self.disks.name = Some(name);
        self
    }

    /// Wants this scheduler.
    #[must_use]
    pub fn scheduler(mut self, name: SchedulerName) -> Self {
        self.set.scheduler = Some(name);
        self
    }

    /// Wants an attribute to be this.
    #[must_use]
    pub fn queue(mut self, attribute: Attribute, value: u64) -> Self {
        self.set.queue.insert(attribute, value);
        self
    }

    /// Wants a tunable of the scheduler to be this.
    #[must_use]
    pub fn tunable(mut self, name: impl Into<String>, value: i64) -> Self {
        self.set.tunables.insert(name.into(), value);
        self
    }

    /// Says why.
    #[must_use]
    pub fn why(mut self, why: impl Into<Why>) -> Self {
        self.why = why.into();
        self
    }

    /// What is wrong with the rule whatever disks there are.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let name = &self.name;
        if name.is_empty() || name.contains('/') || name.chars().any(char::is_control) {
            return Err(Error::tuning(
                format!("'{}' is no name for a rule of disks", name.escape_debug()),
                "give it one of letters, digits and dashes",
            ));
        }
        if let (Some(least), Some(most)) = (self.disks.size_at_least, self.disks.size_at_most)
            && least > most
        {
            return Err(Error::tuning(
                format!(
                    "the rule {name} wants disks of at least {least} and at most {most} bytes, and there is no such size"
                ),
                format!("exchange them: size-at-least {most}, size-at-most {least}"),
            ));
        }
        if self.set.scheduler.is_none() && !self.set.tunables.is_empty() {
            return Err(Error::tuning(
                format!(
                    "the rule {name} sets tunables and no scheduler, and they are a scheduler's"
                ),
                "name the scheduler that has them",
            ));
        }
        if self.set == Settings::default() {
            return Err(Error::tuning(
                format!("the rule {name} wants nothing of its disks"),
                "give it a scheduler or an attribute, or leave it out",
            ));
        }
        Ok(())
    }
}
