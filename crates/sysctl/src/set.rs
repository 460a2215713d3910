//! A set of requested sysctls, as plain data.

use hosttune_core::file::{ConfigFile, FileState};
use hosttune_core::host::RootKind;
use hosttune_core::{
    Error, Host, Planner, Request, Requirement, Tuning, Unsupported, UnsupportedKind, When, Why,
};
use hosttune_modules::module::Availability;
use serde::{Deserialize, Serialize};

use crate::catalogue;
use crate::conf::{Document, Entry};
use crate::consent;
use crate::key::{Key, KeyPattern};
use crate::modules_load;
use crate::nearest::unknown;
use crate::on_host::OnHost;
use crate::pair::SysctlPair;
use crate::plain::{Sysctl, SysctlState, has_no_list, needed_modules};
use crate::reach;
use crate::sources::{Loader, Sources};
use crate::value::Value;

/// The directory of the generated file. The file is numbered 60, so that it overrides the files of
/// vendors and an administrator's `99-` file overrides it.
const DIRECTORY: &str = "/etc/sysctl.d";

/// The requested value of one key, or of all keys that match a glob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The key as written by the user, dotted or slashed; globs are expanded when it is planned.
    pub key: String,
    /// The value as written by the user; it is checked against the catalogue when it is planned.
    pub value: String,
    /// The reason for the value.
    #[serde(default)]
    pub why: Why,
    /// Whether it is an error if the request does not apply.
    #[serde(default)]
    pub requirement: Requirement,
    /// When the value takes effect, if it is not set now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deferred: Option<When>,
    /// Consent to a value that cannot be changed again before a reboot.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_way: bool,
    /// Consent to the side effects of the value outside `/proc/sys`, which no revert restores; see
    /// [`catalogue::side_effects`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accept_side_effects: bool,
    /// Why the value is not kept across reboots although the set is: another setting on which it
    /// depends is not kept either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_reboot: Option<String>,
}

impl Wanted {
    /// Requests a value for a key.
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

    /// Sets the reason for the value.
    #[must_use]
    pub fn why(mut self, why: impl Into<Why>) -> Self {
        self.why = why.into();
        self
    }

    /// Makes it an error if the request does not apply.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.requirement = Requirement::Required;
        self
    }

    /// Never makes it an error, even in strict mode, if the request does not apply.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.requirement = Requirement::Optional;
        self
    }

    /// Defers the request: the value takes effect later and is not set now.
    #[must_use]
    pub fn deferred(mut self, when: When) -> Self {
        self.deferred = Some(when);
        self
    }

    /// Consents to a value that cannot be changed again before a reboot.
    #[must_use]
    pub fn one_way(mut self) -> Self {
        self.one_way = true;
        self
    }

    /// Consents to the side effects of the value outside `/proc/sys`: changes of addresses, routes
    /// and sessions that no revert restores.
    #[must_use]
    pub fn accept_side_effects(mut self) -> Self {
        self.accept_side_effects = true;
        self
    }

    /// Excludes the value from the file that keeps the set across reboots, and gives the reason: a
    /// value that is correct only together with another setting must not outlive it.
    #[must_use]
    pub fn until_reboot(mut self, why: impl Into<String>) -> Self {
        self.until_reboot = Some(why.into());
        self
    }

    fn on<'p, 'a>(&self, request: Request<'p, 'a>) -> Request<'p, 'a> {
        let request = request.why(self.why.clone()).requirement(self.requirement);
        match self.deferred {
            Some(when) => request.deferred(when),
            None => request,
        }
    }
}

/// A set of sysctls, which a file can keep across reboots.
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
    /// The requested values, in order.
    pub wanted: Vec<Wanted>,
    /// The host name in `/etc/sysctl.d/60-hosttune-<host>.conf`, the file that keeps the values
    /// across reboots; `None` if they are not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persist: Option<String>,
}

/// A requested key whose text has been parsed and whose globs have been expanded.
struct Resolved<'w> {
    wanted: &'w Wanted,
    key: Key,
    value: Value,
}

impl SysctlSet {
    /// Creates a set that lasts until the next boot.
    pub fn new(wanted: impl IntoIterator<Item = Wanted>) -> Self {
        Self {
            wanted: wanted.into_iter().collect(),
            persist: None,
        }
    }

    /// Keeps the values across reboots in `/etc/sysctl.d/60-hosttune-<host>.conf`.
    #[must_use]
    pub fn persisted_as(mut self, host: impl Into<String>) -> Self {
        self.persist = Some(host.into());
        self
    }

    /// The path of the file that keeps the values of a host.
    pub fn file(host: &str) -> String {
        format!("{DIRECTORY}/60-hosttune-{host}.conf")
    }

    fn resolve(&self, host: &Host) -> Result<Vec<Resolved<'_>>, Error> {
        let mut resolved = Vec::new();
        for wanted in &self.wanted {
            let pattern: KeyPattern = wanted.key.parse().map_err(|error| {
                Error::tuning(
                    format!("'{}' is not a sysctl key: {error}", wanted.key),
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
                            "check the spelling; if only some kernels have the key, make it optional",
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
            // The file of an earlier set would still set values that are no longer requested.
            at.want(&file, &FileState::Absent)
                .why("no settings are kept across reboots");
            return Ok(());
        }
        let bytes = render(name, resolved)?;
        let beaten = beaten(at.host(), &path, &bytes, resolved)?;
        for by in &beaten {
            at.note(format!("after a reboot, overridden by {by}"));
        }
        at.want_file(&file, bytes, "required by the sysctl.d file")?
            .why("keeps the values across reboots")
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
                let modules = declare(at, one)?;
                let unknown = modules.iter().find(|(_, is)| *is == Availability::Unknown);
                if let Some((module, _)) = unknown
                    && has_no_list(&one.key)
                {
                    at.note(format!(
                        "this host has no list of the kernel's modules: whether it has {module}, which {} = {} requires, cannot be determined before apply",
                        one.key, one.value
                    ));
                }
            }
            for wanted in &self.wanted {
                if !resolved.iter().any(|one| one.wanted == wanted) {
                    let unsupported =
                        Unsupported::new(UnsupportedKind::Missing, "no key of this kernel matches");
                    wanted.on(at.skip(&wanted.key, unsupported));
                }
            }
        }
        match &self.persist {
            Some(name) => self.declare_persisted(at, name, &resolved),
            None => Ok(()),
        }
    }
}

/// Requests a value, and returns the modules that it needs if it is not set already.
fn declare(at: &mut Planner<'_>, one: &Resolved<'_>) -> Result<Vec<(String, Availability)>, Error> {
    let Resolved { wanted, key, value } = one;
    if shows(at.host(), key, value) {
        // Nothing is changed, so no consent is needed.
    } else if let Some(unsupported) = consent::unsupported(wanted, key, value)
        && (wanted.deferred.is_none() || unsupported.kind != UnsupportedKind::SideEffects)
    {
        // The side effects of a deferred value do not happen now.
        wanted.on(at.skip(&key.to_string(), unsupported));
        return Ok(Vec::new());
    } else if wanted.deferred.is_none()
        && let Some(what) = catalogue::side_effects(key, value)
    {
        at.note(format!("{key} = {value} has side effects: {what}"));
    }
    if let Some(note) = reach::note(at.host(), key, value)? {
        at.note(note);
    }
    let exists = || crate::plain::read(at.host(), key).is_ok_and(|seen| seen.is_some());
    let modules = if !shows(at.host(), key, value) && exists() {
        needed_modules(at.host(), key, value)?
    } else {
        Vec::new()
    };
    if wanted.deferred.is_none() {
        let loaded = modules
            .iter()
            .filter(|(_, is)| *is == Availability::Loadable);
        for (module, _) in loaded {
            at.note(format!(
                "the kernel loads the module {module} for {key} = {value}, and it stays loaded after a revert (modprobe -r {module} unloads it)"
            ));
        }
    }
    let request = match SysctlPair::of(key) {
        Some(pair) => {
            let state = pair.state(key, value.clone());
            at.want(&pair, &state)
        }
        None => at.want(&Sysctl::new(key), &SysctlState::Value(value.clone())),
    };
    wanted.on(request);
    Ok(modules)
}

fn shows(host: &Host, key: &Key, value: &Value) -> bool {
    crate::plain::read(host, key).is_ok_and(|seen| seen.as_ref() == Some(value))
}

fn value(wanted: &Wanted, key: &Key) -> Result<Value, Error> {
    let value_type = catalogue::value_type(key);
    Value::parse_wanted(&value_type, &wanted.value).map_err(|error| {
        let mut message = format!("{key} cannot be set to {:?}: {error}", wanted.value);
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Error::tuning(message, "use a value that the kernel accepts unchanged")
    })
}

/// The values that go into the file. Values without the consent they need are not set at the next
/// boot either, and values that are correct only together with another setting must not outlive it.
fn kept<'r, 'w>(at: &mut Planner<'_>, resolved: &'r [Resolved<'w>]) -> Vec<&'r Resolved<'w>> {
    let mut kept = Vec::new();
    for one in resolved {
        let Resolved { wanted, key, value } = one;
        if let Some(why) = &wanted.until_reboot {
            at.note(format!("{key} = {value} is not kept across reboots: {why}"));
        } else if consent::unsupported(wanted, key, value).is_some() {
            at.note(format!(
                "{key} = {value} is not kept across reboots: it needs consent"
            ));
        } else {
            kept.push(one);
        }
    }
    kept
}

/// The text of the file, with each value below its reason. A key that this or a later kernel does
/// not have must not make the loader's unit fail, so only required values may fail.
fn render(name: &str, resolved: &[&Resolved<'_>]) -> Result<Vec<u8>, Error> {
    let header = format!(
        "Written by hosttune for '{name}'. Use the revert command of the program that wrote it to remove it.\nFailures of lines that begin with '-' are ignored at boot: see sysctl.d(5)."
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
                format!("a value cannot be kept across reboots: {error}"),
                "use a value that fits on one line",
            )
        })
}

/// The file, line and assignment that overrides each key whose value will come from another file.
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
            "make it readable: all sysctl.d files are needed to determine which one takes effect",
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
                    "{1}:{2}: {0} = {theirs}",
                    one.key, setting.place.file, setting.place.line
                ));
            }
        }
    }
    Ok(beaten)
}
