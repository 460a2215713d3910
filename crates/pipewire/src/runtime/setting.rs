//! The knob for one setting of a running daemon.

use std::fmt;
use std::path::{Path, PathBuf};

use hosttune_core::{Host, HostError, Knob, Operation, Unsupported, UnsupportedKind};
use serde::{Deserialize, Serialize};

use super::key::SettingKey;
use super::pipewire::{
    DaemonView, format_daemon, no_backend, not_running, out_of_reach, set_at, view_at,
};

/// A setting of the running daemon: one key of its metadata `settings`, except for the rate and the
/// allowed rates, which are one knob ([`RuntimeRates`](super::RuntimeRates)).
///
/// A revert writes the old value back with its type. It removes a key only if the key was absent
/// before; every daemon has all keys at its start, so another program has removed it then.
///
/// The change ends with the daemon. If another daemon runs at the same socket at the time of the
/// revert, its value is left as it is, whatever it is. A daemon at another socket is another one, and
/// says nothing about the first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Named", into = "Named")]
pub struct RuntimeSetting {
    key: SettingKey,
    socket: Option<PathBuf>,
}

/// The form in journals.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Named {
    key: SettingKey,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    socket: Option<PathBuf>,
}

impl TryFrom<Named> for RuntimeSetting {
    type Error = String;

    fn try_from(named: Named) -> Result<Self, String> {
        let Named { key, socket } = named;
        let setting = Self::new(key).map(|setting| Self { socket, ..setting });
        setting.ok_or_else(|| format!("{key} is set together with another"))
    }
}

impl From<RuntimeSetting> for Named {
    fn from(setting: RuntimeSetting) -> Self {
        let RuntimeSetting { key, socket } = setting;
        Self { key, socket }
    }
}

/// The state of a setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SettingState {
    /// No daemon runs.
    NotRunning,
    /// A daemon runs, and its metadata does not have the key.
    Absent,
    /// The metadata has the key.
    Set(SettingValue),
}

/// The value of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingValue {
    /// The value.
    pub value: String,
    /// The type: empty for the daemon's own values. `None` is no type, and in a request: the type
    /// stays as it is.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

impl SettingValue {
    /// A value whose type stays as it is.
    pub fn new(value: impl Into<String>) -> Self {
        Self {
            value: value.into(),
            kind: None,
        }
    }

    /// The value of a key as a daemon shows it; `None` if the metadata does not have the key.
    pub(super) fn shown(view: &DaemonView, key: SettingKey) -> Result<Option<Self>, HostError> {
        let subject = || format!("{key} of the running PipeWire");
        let Some(settings) = &view.settings else {
            return Err(HostError::not_applicable(
                Operation::Backend,
                subject(),
                hidden(),
            ));
        };
        let Some(found) = settings.get(key.as_str()) else {
            return Ok(None);
        };
        match &found.text {
            Some(value) => Ok(Some(Self {
                value: value.clone(),
                kind: found.kind.clone(),
            })),
            None => Err(HostError::malformed(
                subject(),
                "its value is not UTF-8 text, and could not be restored",
            )),
        }
    }
}

impl SettingState {
    /// A value whose type stays as it is.
    pub fn value(value: impl Into<String>) -> Self {
        Self::Set(SettingValue::new(value))
    }
}

impl RuntimeSetting {
    /// The setting with this key, of the daemon that the environment names; `None` for the rate and
    /// the allowed rates.
    #[must_use]
    pub fn new(key: SettingKey) -> Option<Self> {
        let alone = !matches!(key, SettingKey::Rate | SettingKey::AllowedRates);
        alone.then_some(Self { key, socket: None })
    }

    /// The same of the daemon at a socket, by its absolute path. A change is then reverted there,
    /// whatever the environment of the revert names.
    #[must_use]
    pub fn at(self, socket: Option<PathBuf>) -> Self {
        Self { socket, ..self }
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> SettingKey {
        self.key
    }

    fn state_in(&self, view: Option<&DaemonView>) -> Result<SettingState, HostError> {
        let Some(view) = view else {
            return Ok(SettingState::NotRunning);
        };
        let shown = SettingValue::shown(view, self.key)?;
        Ok(shown.map_or(SettingState::Absent, SettingState::Set))
    }

    /// Why the state cannot be requested from any daemon.
    fn impossible(&self, to: &SettingState, seen: &SettingState) -> Option<Unsupported> {
        match to {
            SettingState::NotRunning => Some(Unsupported::new(
                UnsupportedKind::ValueUnavailable,
                "a setting cannot end the daemon",
            )),
            SettingState::Absent if *seen == SettingState::Absent => None,
            SettingState::Absent => Some(
                Unsupported::new(
                    UnsupportedKind::ValueUnavailable,
                    "every daemon has this key, and it is not removed",
                )
                .hint("request a value instead; 0 turns a forced value off"),
            ),
            SettingState::Set(to) => self.key.refuse(&to.value).map(|why| {
                Unsupported::new(UnsupportedKind::ValueUnavailable, why)
                    .hint("write the number in plain decimal digits")
            }),
        }
    }
}

fn hidden() -> Unsupported {
    Unsupported::new(
        UnsupportedKind::NoBackend,
        "the daemon does not show its settings to this program",
    )
    .hint("programs in a sandbox are not shown them; run this outside of it")
}

/// Why this program cannot change the settings of a daemon; `None` if it can.
pub(super) fn not_changeable(view: &DaemonView) -> Option<Unsupported> {
    let Some(settings) = &view.settings else {
        return Some(hidden());
    };
    if !view.is_writable {
        return Some(
            Unsupported::new(
                UnsupportedKind::ReadOnly,
                "the daemon lets this program only read its settings",
            )
            .hint("programs in a sandbox may only read them; run this outside of it"),
        );
    }
    // Removing one key sets what the daemon uses to its default, and removing all of them at once
    // leaves it as it was, which nothing shows then. The clock's keys and this one are there from
    // the start.
    (!settings.contains_key("log.level")).then(|| {
        Unsupported::new(
            UnsupportedKind::OneWay,
            "another program has emptied the daemon's settings, so that they do not show what the daemon uses",
        )
        .hint("restart the daemon: systemctl --user restart pipewire.service")
    })
}

/// Sets a value, or removes a key that was absent before.
pub(super) fn write(
    host: &mut Host,
    socket: Option<&Path>,
    key: SettingKey,
    to: Option<&SettingValue>,
) -> Result<(), HostError> {
    let (value, kind) = (
        to.map(|to| to.value.as_str()),
        to.and_then(|to| to.kind.as_deref()),
    );
    set_at(host, socket, key.as_str(), kind, value)
}

/// The identity of the daemon behind the settings.
pub(super) fn identity(host: &Host, socket: Option<&Path>) -> Result<Option<String>, HostError> {
    if no_backend(host).is_some() {
        return Ok(None);
    }
    let view = view_at(host, socket)?;
    Ok(view.map(|view| format!("cookie {:08x}", view.core.cookie)))
}

impl fmt::Display for RuntimeSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let daemon = format_daemon(self.socket.as_deref());
        write!(f, "{} of {daemon}", self.key)
    }
}

impl Knob for RuntimeSetting {
    const NAME: &'static str = "pipewire-setting";
    /// So that a stored plan for a daemon that has ended is stale. Nothing is renamed.
    const CAN_BE_RENAMED: bool = true;
    const REPLACED: &'static str = "the daemon that had it has ended, and another runs now";
    type State = SettingState;

    fn read(&self, host: &Host) -> Result<SettingState, HostError> {
        if let Some(unsupported) = no_backend(host) {
            return Err(HostError::not_applicable(
                Operation::Backend,
                self.to_string(),
                unsupported,
            ));
        }
        self.state_in(view_at(host, self.socket.as_deref())?.as_ref())
    }

    fn set(&self, host: &mut Host, to: &SettingState) -> Result<(), HostError> {
        // Nothing is read here: that would connect to another daemon if the one that the value is
        // for has ended.
        match to {
            SettingState::NotRunning => Err(HostError::not_applicable(
                Operation::Backend,
                self.to_string(),
                not_running(),
            )),
            SettingState::Absent => write(host, self.socket.as_deref(), self.key, None),
            SettingState::Set(to) => write(host, self.socket.as_deref(), self.key, Some(to)),
        }
    }

    fn satisfies(&self, seen: &SettingState, wanted: &SettingState) -> bool {
        match (seen, wanted) {
            (SettingState::Set(seen), SettingState::Set(wanted)) => {
                self.key.means_the_same(&seen.value, &wanted.value)
            }
            _ => seen == wanted,
        }
    }

    /// The metadata keeps every value as it was written. Another value is another program's.
    fn rounds(&self, _: &SettingState, _: &SettingState) -> bool {
        false
    }

    fn unsupported(
        &self,
        host: &Host,
        to: &SettingState,
    ) -> Result<Option<Unsupported>, HostError> {
        if let Some(unsupported) = no_backend(host) {
            return Ok(Some(unsupported));
        }
        let view = view_at(host, self.socket.as_deref())?;
        let Some(view) = &view else {
            return Ok(Some(not_running()));
        };
        if let Some(unsupported) = not_changeable(view) {
            return Ok(Some(unsupported));
        }
        let seen = self.state_in(Some(view))?;
        Ok(self.impossible(to, &seen))
    }

    fn is_gone(&self, seen: &SettingState) -> bool {
        *seen == SettingState::NotRunning
    }

    fn out_of_reach(
        &self,
        host: &Host,
        _: Option<&str>,
        _: &SettingState,
    ) -> Result<Option<String>, HostError> {
        out_of_reach(host, self.socket.as_deref())
    }

    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        identity(host, self.socket.as_deref())
    }

    fn show(&self, state: &SettingState) -> String {
        match state {
            SettingState::NotRunning => "not running".to_owned(),
            SettingState::Absent => "absent".to_owned(),
            SettingState::Set(value) => value.value.clone(),
        }
    }
}
