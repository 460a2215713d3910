//! The knob for the rate and the allowed rates of a running daemon.

use std::fmt;
use std::path::PathBuf;

use hosttune_core::{Host, HostError, Knob, Operation, Unsupported, UnsupportedKind};
use serde::{Deserialize, Serialize};

use super::key::{SettingKey, number, rates};
use super::pipewire::{DaemonView, format_daemon, no_backend, not_running, out_of_reach, view_at};
use super::setting::{SettingValue, identity, not_changeable, write};

/// The rate and the allowed rates of the running daemon.
///
/// They are one knob because the daemon reads the list only when it is written, and replaces a list
/// that does not contain the rate of that moment by its default list, although the metadata shows
/// the list (`src/pipewire/settings.c`). The rate is therefore always written first, also on revert.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Option<Named>", into = "Option<Named>")]
pub struct RuntimeRates {
    socket: Option<PathBuf>,
}

/// The form in journals: null for the daemon that the environment names.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Named {
    socket: PathBuf,
}

impl From<Option<Named>> for RuntimeRates {
    fn from(named: Option<Named>) -> Self {
        Self::new().at(named.map(|named| named.socket))
    }
}

impl From<RuntimeRates> for Option<Named> {
    fn from(rates: RuntimeRates) -> Self {
        rates.socket.map(|socket| Named { socket })
    }
}

impl RuntimeRates {
    /// The rates of the daemon that the environment names.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same of the daemon at a socket, by its absolute path. A change is then reverted there,
    /// whatever the environment of the revert names.
    #[must_use]
    pub fn at(self, socket: Option<PathBuf>) -> Self {
        Self { socket }
    }
}

/// The state of the two settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RatesState {
    /// No daemon runs.
    NotRunning,
    /// A daemon runs.
    Set {
        /// `clock.rate`; `None` if the metadata does not have the key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate: Option<SettingValue>,
        /// `clock.allowed-rates`; `None` if the metadata does not have the key.
        #[serde(
            default,
            rename = "allowed-rates",
            skip_serializing_if = "Option::is_none"
        )]
        allowed_rates: Option<SettingValue>,
    },
}

fn state_in(view: Option<&DaemonView>) -> Result<RatesState, HostError> {
    let Some(view) = view else {
        return Ok(RatesState::NotRunning);
    };
    Ok(RatesState::Set {
        rate: SettingValue::shown(view, SettingKey::Rate)?,
        allowed_rates: SettingValue::shown(view, SettingKey::AllowedRates)?,
    })
}

fn same(key: SettingKey, one: Option<&SettingValue>, other: Option<&SettingValue>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => key.means_the_same(&one.value, &other.value),
        (one, other) => one == other,
    }
}

fn impossible(to: &RatesState) -> Option<Unsupported> {
    let refused = |why: String, hint: &str| {
        Some(Unsupported::new(UnsupportedKind::ValueUnavailable, why).hint(hint))
    };
    let RatesState::Set {
        rate: Some(rate),
        allowed_rates: Some(allowed_rates),
    } = to
    else {
        return refused(
            "every daemon has a rate and allowed rates, and they are not removed".to_owned(),
            "request values instead",
        );
    };
    for (key, to) in [
        (SettingKey::Rate, rate),
        (SettingKey::AllowedRates, allowed_rates),
    ] {
        if let Some(why) = key.refuse(&to.value) {
            return refused(why, "write the numbers in plain decimal digits");
        }
    }
    let contains = rates(&allowed_rates.value)?.contains(&number(&rate.value)?);
    if contains {
        return None;
    }
    refused(
        format!(
            "the rate {} is not one of the allowed rates {}, and the daemon would allow its default rates instead",
            rate.value, allowed_rates.value
        ),
        "add the rate to the allowed rates",
    )
}

impl fmt::Display for RuntimeRates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let daemon = format_daemon(self.socket.as_deref());
        write!(f, "clock.rate and clock.allowed-rates of {daemon}")
    }
}

impl Knob for RuntimeRates {
    const NAME: &'static str = "pipewire-rates";
    /// So that a stored plan for a daemon that has ended is stale. Nothing is renamed.
    const CAN_BE_RENAMED: bool = true;
    const REPLACED: &'static str = "the daemon that had it has ended, and another runs now";
    type State = RatesState;

    fn read(&self, host: &Host) -> Result<RatesState, HostError> {
        if let Some(unsupported) = no_backend(host) {
            return Err(HostError::not_applicable(
                Operation::Backend,
                self.to_string(),
                unsupported,
            ));
        }
        state_in(view_at(host, self.socket.as_deref())?.as_ref())
    }

    fn set(&self, host: &mut Host, to: &RatesState) -> Result<(), HostError> {
        // Nothing is read here: that would connect to another daemon if the one that the values are
        // for has ended. The daemon does not look at an equal value again.
        let refused = |unsupported| {
            HostError::not_applicable(Operation::Backend, self.to_string(), unsupported)
        };
        let RatesState::Set {
            rate,
            allowed_rates,
        } = to
        else {
            return Err(refused(not_running()));
        };
        let Some(allowed_rates) = allowed_rates else {
            return Err(refused(without_list()));
        };
        let socket = self.socket.as_deref();
        write(host, socket, SettingKey::Rate, rate.as_ref())?;
        write(host, socket, SettingKey::AllowedRates, Some(allowed_rates))
    }

    fn satisfies(&self, seen: &RatesState, wanted: &RatesState) -> bool {
        match (seen, wanted) {
            (
                RatesState::Set {
                    rate: seen_rate,
                    allowed_rates: seen_allowed,
                },
                RatesState::Set {
                    rate,
                    allowed_rates,
                },
            ) => {
                same(SettingKey::Rate, seen_rate.as_ref(), rate.as_ref())
                    && same(
                        SettingKey::AllowedRates,
                        seen_allowed.as_ref(),
                        allowed_rates.as_ref(),
                    )
            }
            _ => seen == wanted,
        }
    }

    /// The metadata keeps every value as it was written. Another value is another program's.
    fn rounds(&self, _: &RatesState, _: &RatesState) -> bool {
        false
    }

    /// The rate is written before the list, when the state is set and when it is reverted.
    fn is_partial_write(&self, seen: &RatesState, from: &RatesState, to: &RatesState) -> bool {
        let mixed = |rate_of: &RatesState, list_of: &RatesState| match (rate_of, list_of) {
            (RatesState::Set { rate, .. }, RatesState::Set { allowed_rates, .. }) => {
                let mixed = RatesState::Set {
                    rate: rate.clone(),
                    allowed_rates: allowed_rates.clone(),
                };
                self.satisfies(seen, &mixed)
            }
            _ => false,
        };
        mixed(to, from) || mixed(from, to)
    }

    fn unsupported(&self, host: &Host, to: &RatesState) -> Result<Option<Unsupported>, HostError> {
        if let Some(unsupported) = no_backend(host) {
            return Ok(Some(unsupported));
        }
        let view = view_at(host, self.socket.as_deref())?;
        let Some(view) = &view else {
            return Ok(Some(not_running()));
        };
        if let Some(unsupported) = not_changeable(view).or_else(|| impossible(to)) {
            return Ok(Some(unsupported));
        }
        let RatesState::Set {
            rate: Some(rate),
            allowed_rates: Some(allowed),
        } = state_in(Some(view))?
        else {
            return Ok(Some(without_list()));
        };
        // What the daemon allows now is only known if it has taken the list.
        let configured = || view.core.property("default.clock.rate").and_then(number);
        let rate_now = number(&rate.value)
            .filter(|rate| *rate != 0)
            .or_else(configured);
        let taken = rates(&allowed.value).zip(rate_now);
        if taken.is_some_and(|(allowed, rate)| allowed.contains(&rate)) {
            return Ok(None);
        }
        Ok(Some(
            Unsupported::new(
                UnsupportedKind::OneWay,
                format!(
                    "clock.allowed-rates is {} and clock.rate is {}, so the settings do not show which rates the daemon allows",
                    allowed.value, rate.value
                ),
            )
            .hint("restart the daemon: systemctl --user restart pipewire.service"),
        ))
    }

    fn is_gone(&self, seen: &RatesState) -> bool {
        *seen == RatesState::NotRunning
    }

    fn out_of_reach(
        &self,
        host: &Host,
        _: Option<&str>,
        _: &RatesState,
    ) -> Result<Option<String>, HostError> {
        out_of_reach(host, self.socket.as_deref())
    }

    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        identity(host, self.socket.as_deref())
    }

    fn show(&self, state: &RatesState) -> String {
        let text = |value: &Option<SettingValue>| match value {
            Some(value) => value.value.clone(),
            None => "absent".to_owned(),
        };
        match state {
            RatesState::NotRunning => "not running".to_owned(),
            RatesState::Set {
                rate,
                allowed_rates,
            } => format!("{} of {}", text(rate), text(allowed_rates)),
        }
    }
}

/// Daemons end when this key is removed: they take the length of its value without checking that
/// there is one (`src/pipewire/settings.c`).
fn without_list() -> Unsupported {
    Unsupported::new(
        UnsupportedKind::OneWay,
        "another program has removed clock.rate or clock.allowed-rates, and removing the latter on revert would end the daemon",
    )
    .hint("restart the daemon: systemctl --user restart pipewire.service")
}
