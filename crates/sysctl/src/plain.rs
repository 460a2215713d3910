//! One kernel variable as a knob.

use std::fmt;

use hosttune_core::{
    AnyKnob, Host, HostError, HostErrorKind, Knob, Operation, Unsupported, UnsupportedKind,
    attribute,
};
use hosttune_modules::module::{self, Availability};
use serde::{Deserialize, Serialize};

use crate::catalogue::{self, Access, CatalogueEntry, Need, Scope};
use crate::key::{Key, KeyPattern};
use crate::pair::SysctlPair;
use crate::value::{Value, ValueType};

/// One kernel variable, by its canonical key.
///
/// A variable that excludes another belongs to a [`SysctlPair`] instead. [`knob`] returns the right
/// one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sysctl(Key);

/// The state of a variable.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SysctlState {
    /// This kernel, or this namespace, has no such variable.
    Missing,
    /// The variable has this value.
    Value(Value),
}

impl Sysctl {
    /// The variable of a key, which may be any of its names.
    pub fn new(key: &Key) -> Self {
        Self(key.canonical())
    }

    /// The canonical key of the variable.
    pub fn key(&self) -> &Key {
        &self.0
    }
}

/// The knob that a key belongs to, as data.
pub fn knob(key: &Key) -> AnyKnob {
    match SysctlPair::of(key) {
        Some(pair) => AnyKnob::of(&pair),
        None => AnyKnob::of(&Sysctl::new(key)),
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why no state without a value can be set.
pub(crate) const NOT_REMOVED: &str = "a kernel variable cannot be removed";

impl Knob for Sysctl {
    const NAME: &'static str = "sysctl";
    type State = SysctlState;

    fn read(&self, host: &Host) -> Result<SysctlState, HostError> {
        Ok(read(host, &self.0)?.map_or(SysctlState::Missing, SysctlState::Value))
    }

    fn set(&self, host: &mut Host, to: &SysctlState) -> Result<(), HostError> {
        match to {
            SysctlState::Value(value) => write(host, &self.0, value),
            SysctlState::Missing => Err(attribute::no_value(self.0.path(), NOT_REMOVED)),
        }
    }

    fn unsupported(&self, host: &Host, to: &SysctlState) -> Result<Option<Unsupported>, HostError> {
        match to {
            SysctlState::Value(value) => unsupported(host, &self.0, value),
            SysctlState::Missing => Ok(None),
        }
    }

    fn side_effects(&self, host: &Host, _: &SysctlState) -> Result<Vec<AnyKnob>, HostError> {
        let mut knobs: Vec<AnyKnob> = Vec::new();
        for pattern in catalogue::resets(&self.0) {
            for key in existing(host, &pattern)? {
                let knob = knob(&key);
                if key.canonical() != self.0 && !knobs.contains(&knob) {
                    knobs.push(knob);
                }
            }
        }
        Ok(knobs)
    }

    /// A key that is not in the catalogue is compared as the kernel would parse it: the amount of
    /// blanks does not matter, and numbers are compared as numbers.
    fn satisfies(&self, seen: &SysctlState, wanted: &SysctlState) -> bool {
        match (seen, wanted) {
            (SysctlState::Value(seen), SysctlState::Value(wanted)) => {
                seen == wanted
                    || catalogue::value_type(&self.0) == ValueType::Raw && seen.reads_as(wanted)
            }
            _ => seen == wanted,
        }
    }

    /// Only numbers can be rounded, each separately: if the kernel reads fewer fields than were
    /// written, or truncates a word, the request has failed. The kernel allocates as many huge
    /// pages as it finds memory for, and fewer than requested are not rounding either.
    fn rounds(&self, seen: &SysctlState, wanted: &SysctlState) -> bool {
        let (SysctlState::Value(seen), SysctlState::Value(wanted)) = (seen, wanted) else {
            return false;
        };
        let is_number = |field: &str| field.parse::<i128>().is_ok();
        !["/vm/nr_hugepages", "/vm/nr_hugepages_mempolicy"]
            .iter()
            .any(|pages| self.0.path().ends_with(pages))
            && seen.fields().count() == wanted.fields().count()
            && seen.fields().all(is_number)
    }

    fn is_partial_write(&self, seen: &SysctlState, from: &SysctlState, to: &SysctlState) -> bool {
        match (seen, from, to) {
            (SysctlState::Value(seen), SysctlState::Value(from), SysctlState::Value(to)) => {
                Value::is_partial_write(seen, from, to)
                    || catalogue::value_type(&self.0) == ValueType::Raw
                        && Value::is_partial_write_as_read(seen, from, to)
            }
            _ => false,
        }
    }

    fn is_of_network_namespace(&self) -> bool {
        is_of_network_namespace(&self.0)
    }

    /// The module was unloaded or the interface removed; a new one starts from its own default.
    fn is_gone(&self, seen: &SysctlState) -> bool {
        *seen == SysctlState::Missing
    }

    fn show(&self, state: &SysctlState) -> String {
        match state {
            SysctlState::Missing => "missing".to_owned(),
            SysctlState::Value(value) => value.text().to_owned(),
        }
    }
}

/// Whether a key is not the same, or not there, in every network namespace. `/proc/sys/net` shows the
/// keys of the namespace of the reader; a key in it that the catalogue does not know is taken for one
/// per namespace.
pub(crate) fn is_of_network_namespace(key: &Key) -> bool {
    key.slashed().starts_with("net/")
        && catalogue::find(key).is_none_or(|entry| entry.scope != Scope::Global)
}

/// The value of a key; `None` if the key does not exist.
pub(crate) fn read(host: &Host, key: &Key) -> Result<Option<Value>, HostError> {
    let entry = catalogue::find(key);
    if entry.is_some_and(|entry| entry.access == Access::WriteOnly) {
        let unsupported = write_only(entry);
        return Err(HostError::not_applicable(
            Operation::Read,
            key.path(),
            unsupported,
        ));
    }
    match host.read(key.path()) {
        Ok(bytes) => match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Some(Value::parse_seen(&catalogue::value_type(key), text))),
            // As text it could not be restored byte for byte.
            Err(_) => Err(HostError::malformed(key.path(), "it is not UTF-8 text")),
        },
        Err(error) if *error.kind() == HostErrorKind::Missing => Ok(None),
        Err(error) if *error.kind() == HostErrorKind::Denied => {
            // The kernel applies the owner's permission bits to root as well: 0200 is never readable.
            match host.entry(key.path())? {
                Some(file) if !file.owner_may_read() => Err(HostError::not_applicable(
                    Operation::Read,
                    key.path(),
                    write_only(None),
                )),
                _ => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// Sets a key with a single write.
pub(crate) fn write(host: &mut Host, key: &Key, value: &Value) -> Result<(), HostError> {
    let path = key.path();
    let error = match host.write_value(&path, &value.bytes_to_write(&catalogue::value_type(key))) {
        Ok(()) => return Ok(()),
        Err(error) => error.wanted(value.text()),
    };
    // ENOENT for a key that exists refers to the value, or to the module that provides it.
    if *error.kind() == HostErrorKind::Missing && host.exists(&path)? {
        let unsupported = unavailable(host, key, unknown_word(host, key, value), None)?;
        return Err(error.with_kind(HostErrorKind::NotApplicable(unsupported)));
    }
    // EPERM for a word comes from the namespace, which may set only the words in the allowed list.
    if *error.kind() == HostErrorKind::Denied
        && matches!(
            catalogue::find(key).and_then(|entry| entry.needs),
            Some(Need::ModuleForValue { .. })
        )
        && let Ok(allowed) = "net.ipv4.tcp_allowed_congestion_control".parse::<Key>()
        && let Some(allowed) = read(host, &allowed)?
        && !allowed.fields().any(|word| word == value.text())
    {
        let unsupported = Unsupported::new(
            UnsupportedKind::NotInThisNamespace,
            format!("this network namespace allows only {allowed}"),
        )
        .hint("add it to net.ipv4.tcp_allowed_congestion_control in the initial network namespace");
        return Err(error.with_kind(HostErrorKind::NotApplicable(unsupported)));
    }
    Err(match error.kind() {
        HostErrorKind::Refused => match catalogue::find(key) {
            Some(entry) => error.detail(format!("the kernel rejects it; {}", entry.meaning)),
            None => error.detail("the kernel rejects this value"),
        },
        _ => error,
    })
}

/// The keys that a pattern matches on this host.
///
/// A path that is not a directory, has been removed, or may not be listed by this user has no keys.
/// Any other error is returned, because unreadable keys would otherwise be taken for missing ones.
pub(crate) fn existing(host: &Host, pattern: &KeyPattern) -> Result<Vec<Key>, HostError> {
    let mut failed = None;
    let expansion = pattern.expand(|directory| match host.list(directory) {
        Ok(names) => names,
        Err(error) => {
            if *error.kind() == HostErrorKind::Other && !error.is_not_a_directory() {
                failed.get_or_insert(error);
            }
            Vec::new()
        }
    });
    failed.map_or(Ok(expansion.keys), Err)
}

/// The word of a value that is not in the kernel's list of available words, or the whole value if
/// the list does not tell.
fn unknown_word<'v>(host: &Host, key: &Key, value: &'v Value) -> &'v str {
    let needs = catalogue::find(key).and_then(|entry| entry.needs);
    let Some(Need::ModuleForValue { offered, .. }) = needs else {
        return value.text();
    };
    let list = offered.and_then(|list| list.parse::<Key>().ok());
    let list = list.and_then(|list| read(host, &list).ok().flatten());
    let is_offered = |word: &&str| {
        list.as_ref()
            .is_some_and(|list| list.fields().any(|known| known == *word))
    };
    let mut words = words(key, value).into_iter();
    words
        .find(|word| !is_offered(word))
        .unwrap_or_else(|| value.text())
}

/// Why a key cannot be set to a value on this host, or `None` if it can.
pub(crate) fn unsupported(
    host: &Host,
    key: &Key,
    value: &Value,
) -> Result<Option<Unsupported>, HostError> {
    let entry = catalogue::find(key);
    if entry.is_some_and(|entry| entry.access == Access::WriteOnly) {
        return Ok(Some(write_only(entry)));
    }
    let scope = entry.map(|entry| entry.scope);
    let Some(file) = host.entry(key.path())? else {
        return missing(host, entry).map(Some);
    };
    if !file.owner_may_write() {
        return Ok(Some(match scope {
            Some(Scope::ReadOnlyOutsideInitialNetworkNamespace) => Unsupported::new(
                UnsupportedKind::NotInThisNamespace,
                "it is read-only in this network namespace",
            )
            .hint("run this in the initial network namespace"),
            _ => Unsupported::new(UnsupportedKind::ReadOnly, "it is read-only on this kernel"),
        }));
    }
    if let Some(unsupported) = host.unwritable_here(key.path())? {
        return Ok(Some(unsupported));
    }
    match entry.and_then(|entry| entry.needs) {
        Some(Need::ModuleForValue { offered, .. }) => offers(host, key, value, offered),
        _ => Ok(None),
    }
}

fn write_only(entry: Option<&CatalogueEntry>) -> Unsupported {
    let what = entry.map_or("writing it triggers an action", |entry| entry.meaning);
    Unsupported::new(
        UnsupportedKind::WriteOnly,
        format!("it cannot be read, so it could not be reverted ({what})"),
    )
}

/// Why a key does not exist.
///
/// A network namespace other than the initial one has no `netdev_max_backlog`, and on older kernels
/// it also lacks the keys that are read-only there on newer ones.
fn missing(host: &Host, entry: Option<&CatalogueEntry>) -> Result<Unsupported, HostError> {
    let elsewhere = [
        Scope::InitialNetworkNamespaceOnly,
        Scope::ReadOnlyOutsideInitialNetworkNamespace,
        Scope::PerNetworkNamespaceOnNewerKernels,
    ];
    if entry.is_some_and(|entry| elsewhere.contains(&entry.scope))
        && host.exists("/proc/sys/net/core/somaxconn")?
        && !host.exists("/proc/sys/net/core/netdev_max_backlog")?
    {
        return Ok(Unsupported::new(
            UnsupportedKind::NotInThisNamespace,
            "this network namespace has no such key",
        )
        .hint("run this in the initial network namespace"));
    }
    if !host.exists("/proc/sys")? {
        return Ok(Unsupported::new(
            UnsupportedKind::Missing,
            "this tree does not contain /proc/sys, so it is unknown whether the key exists",
        )
        .hint("capture /proc/sys as well"));
    }
    let unsupported = Unsupported::new(UnsupportedKind::Missing, "this kernel has no such key");
    let Some(entry) = entry else {
        return Ok(unsupported.hint("check the spelling: the key is not in the catalogue either"));
    };
    Ok(match (entry.needs, entry.since) {
        (Some(Need::ModuleForKey { module }), _) => Unsupported::new(
            UnsupportedKind::Missing,
            format!("it requires the module {module}"),
        )
        .hint(format!("load it first: modprobe {module}"))
        .module(module),
        (_, Some((major, minor))) => Unsupported::new(
            UnsupportedKind::Missing,
            format!("this kernel has no such key; Linux has had it since {major}.{minor}"),
        ),
        _ => unsupported,
    })
}

/// Why the kernel does not have a value, or `None` if it has it or can load a module that provides
/// it.
fn offers(
    host: &Host,
    key: &Key,
    value: &Value,
    offered: Option<&str>,
) -> Result<Option<Unsupported>, HostError> {
    let offered: Option<Vec<String>> = match offered.and_then(|list| list.parse::<Key>().ok()) {
        Some(list) => read(host, &list)?.map(|list| list.fields().map(str::to_owned).collect()),
        None => None,
    };
    for word in words(key, value) {
        if offered
            .as_ref()
            .is_some_and(|offered| offered.iter().any(|known| known == word))
        {
            continue;
        }
        let Some(module) = module_for(key, word) else {
            continue;
        };
        match module::find(host, &module)? {
            // Setting the value loads the module, if the kernel can start modprobe.
            Availability::Loadable | Availability::Present => {}
            // Without a list of available values this cannot be determined before apply.
            Availability::Unknown if offered.is_none() => {}
            Availability::Absent | Availability::Unknown => {
                return unavailable(host, key, word, offered.as_deref()).map(Some);
            }
        }
    }
    Ok(None)
}

/// The names in a value that the kernel looks up: each word of a set, or the whole value.
fn words<'v>(key: &Key, value: &'v Value) -> Vec<&'v str> {
    match catalogue::value_type(key) {
        ValueType::WordSet => value.fields().collect(),
        _ => vec![value.text()],
    }
}

/// The modules that a value needs, and whether the kernel has them.
///
/// It loads them for everyone when the value is set, so they are not steps of ours, and a revert leaves
/// them.
pub(crate) fn needed_modules(
    host: &Host,
    key: &Key,
    value: &Value,
) -> Result<Vec<(String, Availability)>, HostError> {
    let modules = words(key, value)
        .into_iter()
        .filter_map(|word| module_for(key, word));
    modules
        .map(|module| {
            let found = module::find(host, &module)?;
            Ok((module, found))
        })
        .collect()
}

/// Whether no list of the kernel's tells which values of a key are available, so that the modules do.
pub(crate) fn has_no_list(key: &Key) -> bool {
    let needs = catalogue::find(key).and_then(|entry| entry.needs);
    matches!(needs, Some(Need::ModuleForValue { offered: None, .. }))
}

fn module_for(key: &Key, word: &str) -> Option<String> {
    catalogue::find(key)?.needs?.module_for(word)
}

fn unavailable(
    host: &Host,
    key: &Key,
    word: &str,
    offered: Option<&[String]>,
) -> Result<Unsupported, HostError> {
    let module = module_for(key, word);
    let mut why = match offered {
        Some(offered) => format!("this kernel offers {}", offered.join(", ")),
        None => format!("this kernel does not support {word}"),
    };
    let Some(module) = module else {
        return Ok(Unsupported::new(UnsupportedKind::ValueUnavailable, why));
    };
    let (what, hint) = match module::find(host, &module)? {
        Availability::Loadable => (
            "could not be loaded",
            format!("load it manually to see why: modprobe {module}"),
        ),
        _ => (
            "is not available",
            format!("install a kernel that has {module}"),
        ),
    };
    why.push_str(&format!("; module {module} {what}"));
    Ok(Unsupported::new(UnsupportedKind::ValueUnavailable, why)
        .hint(hint)
        .module(module))
}
