//! A set of sysctls that somebody wants, as plain data.

use hosttune_core::file::{ConfigFile, Directory, DirectoryState, FileState};
use hosttune_core::host::{FileContent, RootKind};
use hosttune_core::{Error, Host, Lack, LackKind, Planner, Requirement, Tuning, When, Why, Wish};
use serde::{Deserialize, Serialize};

use crate::catalogue;
use crate::conf::{Document, Entry};
use crate::consent;
use crate::key::{Key, KeyPattern};
use crate::modules_load;
use crate::nearest::unknown;
use crate::on_host::OnHost;
use crate::pair::SysctlPair;
use crate::plain::{Sysctl, SysctlState, only_trying_tells};
use crate::reach;
use crate::sources::{Loader, Sources};
use crate::value::Value;

/// Where files of our own go. In the middle of the numbers, so that a vendor's file stays below
/// and an administrator's `99-` above.
const DIRECTORY: &str = "/etc/sysctl.d";

/// One key, or all that match a glob, and the value it is wanted to have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The key as a user writes it, dotted or slashed; globs are expanded when it is planned.
    pub key: String,
    /// The value as a user writes it; checked against the catalogue when it is planned.
    pub value: String,
    /// Why.
    #[serde(default)]
    pub why: Why,
    /// What becomes of it where it does not apply.
    #[serde(default)]
    pub requirement: Requirement,
    /// It takes effect after this, and is not turned now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deferred: Option<When>,
    /// The consent to a value that the kernel does not take back before a reboot.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_way: bool,
    /// The consent to what the value does outside `/proc/sys`, which no revert restores:
    /// [`catalogue::side_effects`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accept_side_effects: bool,
    /// Why it is not kept for the next boot although the set is: what it is right with is not kept
    /// either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_reboot: Option<String>,
}

impl Wanted {
    /// A key and its value.
    pub fn new(key: impl Into<String>, value: impl std::fmt::Display) -> Self {
        Self {
            key: key.into(),
            value: value.to_string(),
            why: Why::default(),
            requirement: Requirement::Plain,
            deferred: None,
            one_way: false,
            accept_side_effects: false,
            until_reboot: None,
        }
    }

    /// Says why.
    #[must_use]
    pub fn why(mut self, why: impl Into<Why>) -> Self {
        self.why = why.into();
        self
    }

    /// Where it does not apply, that is an error.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.requirement = Requirement::Required;
        self
    }

    /// Where it does not apply, that is never an error.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.requirement = Requirement::Optional;
        self
    }

    /// It takes effect later, and is not turned now.
    #[must_use]
    pub fn deferred(mut self, when: When) -> Self {
        self.deferred = Some(when);
        self
    }

    /// Consents to a value that the kernel does not take back before a reboot.
    #[must_use]
    pub fn one_way(mut self) -> Self {
        self.one_way = true;
        self
    }

    /// Consents to what the value does outside `/proc/sys`: addresses, routes and sessions that
    /// no revert restores.
    #[must_use]
    pub fn accept_side_effects(mut self) -> Self {
        self.accept_side_effects = true;
        self
    }

    /// Leaves it out of the file that keeps the set, and says why: a value that is right only beside
    /// another setting must not outlive it.
    #[must_use]
    pub fn until_reboot(mut self, why: impl Into<String>) -> Self {
        self.until_reboot = Some(why.into());
        self
    }

    fn on<'p, 'a>(&self, wish: Wish<'p, 'a>) -> Wish<'p, 'a> {
        let wish = wish.why(self.why.clone());
        let wish = match self.requirement {
            Requirement::Plain => wish,
            Requirement::Required => wish.required(),
            Requirement::Optional => wish.optional(),
        };
        match self.deferred {
            Some(when) => wish.deferred(when),
            None => wish,
        }
    }
}

/// A set of sysctls, and whether a file keeps them across a reboot.
///
/// ```
/// use hosttune_sysctl::{SysctlSet, Wanted};
///
/// let set = SysctlSet::new([
///     Wanted::new("vm.swappiness", 100).why("zram is swap here"),
///     Wanted::new("net.ipv4.tcp_rmem", "4096 1048576 33554432").required(),
/// ])
/// .persisted_as("gaming");
/// # let _ = set;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SysctlSet {
    /// What is wanted, in this order.
    pub wanted: Vec<Wanted>,
    /// The host's name in `/etc/sysctl.d/60-hosttune-<host>.conf`, where the values are kept for
    /// the next boot; `None` keeps them nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persist: Option<String>,
}

/// A wanted key after its text was read and its globs expanded.
struct Resolved<'w> {
    wanted: &'w Wanted,
    key: Key,
    value: Value,
}

impl SysctlSet {
    /// A set that lasts until the next boot.
    pub fn new(wanted: impl IntoIterator<Item = Wanted>) -> Self {
        Self {
            wanted: wanted.into_iter().collect(),
            persist: None,
        }
    }

    /// Keeps the values for the next boot in `/etc/sysctl.d/60-hosttune-<host>.conf`.
    #[must_use]
    pub fn persisted_as(mut self, host: impl Into<String>) -> Self {
        self.persist = Some(host.into());
        self
    }

    /// The file that keeps the values of a host.
    pub fn file(host: &str) -> String {
        format!("{DIRECTORY}/60-hosttune-{host}.conf")
    }

    fn resolve(&self, host: &Host) -> Result<Vec<Resolved<'_>>, Error> {
        let mut resolved = Vec::new();
        for wanted in &self.wanted {
            let pattern: KeyPattern = wanted.key.parse().map_err(|error| {
                Error::tuning(
                    format!("'{}' is no sysctl key: {error}", wanted.key),
                    "write it like vm.swappiness or vm/swappiness",
                )
            })?;
            let keys = match pattern.as_key() {
                Some(key) => {
                    if wanted.requirement != Requirement::Optional
                        && let Some(unknown) = unknown(host, &key)?
                    {
                        return Err(Error::tuning(
                            unknown.to_string(),
                            "check its spelling; where only some kernels have it, make it optional",
                        ));
                    }
                    vec![key]
                }
                None => crate::plain::existing(host, &pattern)?,
            };
            for key in keys {
                let value = value(wanted, &key)?;
                resolved.push(Resolved { wanted, key, value });
            }
        }
        Ok(resolved)
    }

    fn declare_persisted(
        &self,
        at: &mut Planner<'_>,
        name: &str,
        resolved: &[Resolved<'_>],
    ) -> Result<(), Error> {
        let path = Self::file(name);
        let file = ConfigFile::new(&path)?;
        let resolved = &kept(at, resolved)[..];
        modules_load::declare(at, name, resolved.iter().map(|one| (&one.key, &one.value)))?;
        if resolved.is_empty() {
            // One of an earlier set would go on setting what is not wanted any more.
            at.want(&file, &FileState::Absent)
                .why("there is nothing to keep after a reboot");
            return Ok(());
        }
        let bytes = render(name, resolved)?;
        let directory = Directory::new(DIRECTORY)?;
        if at.now(&directory)? == DirectoryState::Absent {
            at.pass(&directory, &DirectoryState::Empty)
                .why("the file needs it");
        }
        let beaten = beaten(at.host(), &path, &bytes, resolved)?;
        for by in &beaten {
            at.note(format!("after a reboot {by}"));
        }
        // What is there keeps its mode, owner and label; only the bytes are ours to say.
        let content = match at.now(&file)? {
            FileState::Present(present) => FileContent { bytes, ..present },
            FileState::Absent | FileState::HalfWritten(_) => FileContent::new(bytes),
        };
        at.want(&file, &FileState::Present(content))
            .why("keeps the values after a reboot")
            .overridden_by((!beaten.is_empty()).then(|| beaten.join("; ")));
        Ok(())
    }
}

impl Tuning for SysctlSet {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        let resolved = self.resolve(at.host())?;
        let image = at.host().root_kind() == RootKind::Image;
        if !image {
            for one in &resolved {
                declare(at, one)?;
                if let Some(module) = only_trying_tells(at.host(), &one.key, &one.value)?
                    && !shows(at.host(), &one.key, &one.value)
                {
                    at.note(format!(
                        "nothing here lists this kernel's modules: whether it has {module}, which {} = {} needs, only trying tells",
                        one.key, one.value
                    ));
                }
            }
            for wanted in &self.wanted {
                if !resolved.iter().any(|one| one.wanted == wanted) {
                    let lack = Lack::new(LackKind::Missing, "no key of this kernel matches");
                    wanted.on(at.skip(&wanted.key, lack));
                }
            }
        }
        match &self.persist {
            Some(name) => self.declare_persisted(at, name, &resolved),
            None => Ok(()),
        }
    }
}

fn declare(at: &mut Planner<'_>, one: &Resolved<'_>) -> Result<(), Error> {
    let Resolved { wanted, key, value } = one;
    if shows(at.host(), key, value) {
        // Nothing is done, so there is nothing to consent to.
    } else if let Some(lack) = consent::lacking(wanted, key, value)
        && (wanted.deferred.is_none() || lack.kind != LackKind::SideEffects)
    {
        // What takes effect later is not done now.
        wanted.on(at.skip(&key.to_string(), lack));
        return Ok(());
    } else if wanted.deferred.is_none()
        && let Some(what) = catalogue::side_effects(key, value)
    {
        at.note(format!(
            "{key} = {value} changes more than this setting: {what}"
        ));
    }
    if let Some(note) = reach::note(at.host(), key, value)? {
        at.note(note);
    }
    let wish = match SysctlPair::of(key) {
        Some(pair) => {
            let state = pair.state(key, value.clone());
            at.want(&pair, &state)
        }
        None => at.want(&Sysctl::new(key), &SysctlState::Value(value.clone())),
    };
    wanted.on(wish);
    Ok(())
}

fn shows(host: &Host, key: &Key, value: &Value) -> bool {
    crate::plain::read(host, key).is_ok_and(|seen| seen.as_ref() == Some(value))
}

fn value(wanted: &Wanted, key: &Key) -> Result<Value, Error> {
    let value_type = catalogue::value_type(key);
    Value::parse_wanted(&value_type, &wanted.value).map_err(|error| {
        let mut message = format!("{key} cannot be {:?}: {error}", wanted.value);
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Error::tuning(
            message,
            "give it a value that the kernel takes as it is written",
        )
    })
}

/// What goes into the file. What was not consented to is not done at the next boot either, and what
/// is right only beside another setting does not outlive it.
fn kept<'r, 'w>(at: &mut Planner<'_>, resolved: &'r [Resolved<'w>]) -> Vec<&'r Resolved<'w>> {
    let mut kept = Vec::new();
    for one in resolved {
        let Resolved { wanted, key, value } = one;
        if let Some(why) = &wanted.until_reboot {
            at.note(format!("{key} = {value} is not kept across reboots: {why}"));
        } else if consent::lacking(wanted, key, value).is_some() {
            at.note(format!(
                "{key} = {value} is not kept across reboots: it needs consent"
            ));
        } else {
            kept.push(one);
        }
    }
    kept
}

/// The file's text: each value below its why. A key that this or the next kernel lacks must not
/// make the loader's unit fail, so only what is required fails loudly.
fn render(name: &str, resolved: &[&Resolved<'_>]) -> Result<Vec<u8>, Error> {
    let header = format!(
        "Written by hosttune for '{name}'. Taken back by what wrote it: its command revert.\nLines that begin with '-' may fail without failing the boot: sysctl.d(5)."
    );
    let entries: Vec<Entry> = resolved
        .iter()
        .map(|one| Entry {
            key: one.key.clone(),
            value: one.value.clone(),
            comment: Some(one.wanted.why.text.clone()).filter(|why| !why.is_empty()),
            ignore_failure: one.wanted.requirement != Requirement::Required,
        })
        .collect();
    Document::render(&header, &entries)
        .map(|document| document.bytes())
        .map_err(|error| {
            Error::tuning(
                format!("a value cannot be kept in a file: {error}"),
                "give it a value that stands on one line",
            )
        })
}

/// For each key that another file will have the last word on with another value: who says what.
fn beaten(
    host: &Host,
    path: &str,
    bytes: &[u8],
    resolved: &[&Resolved<'_>],
) -> Result<Vec<String>, Error> {
    let files = OnHost::new(host).with_file(path, bytes);
    let sources = Sources::collect(&files, Loader::Systemd).map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        Error::tuning(
            format!("{error}: {}", cause.unwrap_or_default()),
            "without it nobody can tell which file wins",
        )
    })?;
    let mut beaten = Vec::new();
    for one in resolved {
        let value_type = catalogue::value_type(&one.key);
        for setting in sources.who_sets(&one.key) {
            let theirs = setting.value.as_deref().unwrap_or_default();
            let same = Value::parse_wanted(&value_type, theirs).is_ok_and(|v| v == one.value);
            if setting.is_winner() && setting.place.file != path && !same {
                beaten.push(format!(
                    "{} is {theirs}: {}:{} comes later",
                    one.key, setting.place.file, setting.place.line
                ));
            }
        }
    }
    Ok(beaten)
}
