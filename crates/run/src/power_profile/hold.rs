//! Taking the hold of a power profile, and giving it back.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::bus::{Bus, CallError, To};
use super::message::Argument;

/// The names that such a daemon can have, the newer one first. power-profiles-daemon has both since 0.20, and older
/// releases the second one (its interface description, `src/*.xml.in`).
pub(super) const NAMES: [To<'static>; 2] = [
    To {
        name: "org.freedesktop.UPower.PowerProfiles",
        path: "/org/freedesktop/UPower/PowerProfiles",
        interface: "org.freedesktop.UPower.PowerProfiles",
    },
    To {
        name: "net.hadess.PowerProfiles",
        path: "/net/hadess/PowerProfiles",
        interface: "net.hadess.PowerProfiles",
    },
];

/// The name under which the daemon lists the hold.
const APPLICATION: &str = "hosttune";

/// The socket of the system's message bus; below `root` for a tree.
///
/// The environment can name another one (`DBUS_SYSTEM_BUS_ADDRESS`), and is not asked: it is the caller's, and this
/// process may be root.
pub fn system_bus(root: Option<&Path>) -> PathBuf {
    root.unwrap_or(Path::new("/"))
        .join("run/dbus/system_bus_socket")
}

/// A power profile that is held until this is released or dropped, or the process ends.
#[derive(Debug)]
pub struct Hold {
    bus: Bus,
    daemon: To<'static>,
    profile: String,
    cookie: u32,
    active: Option<String>,
}

/// Why no profile is held although a daemon owns it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HoldError {
    /// The bus does not answer as one, or not in time.
    #[error("the message bus cannot be asked")]
    Bus(#[from] io::Error),
    /// The daemon refused, for example because this machine does not have the profile.
    #[error("{daemon} does not hold the profile {profile}: {why}")]
    Refused {
        /// The daemon's name on the bus.
        daemon: &'static str,
        /// The profile.
        profile: String,
        /// What it said.
        why: String,
    },
}

/// How a hold ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Released {
    /// By the release.
    Now,
    /// Before: the daemon ends all holds when a user chooses a profile, and when it ends itself. What it says.
    EndedBefore(String),
}

/// The daemon that would hold a profile: its name on the bus, or `None` if none runs. Nothing is changed or started.
///
/// # Errors
/// If the bus refuses this process or does not answer by `until`.
pub fn holder(socket: &Path, until: Instant) -> Result<Option<&'static str>, HoldError> {
    Ok(found(socket, until)?.map(|(_, daemon)| daemon.name))
}

fn found(socket: &Path, until: Instant) -> io::Result<Option<(Bus, To<'static>)>> {
    let Some(mut bus) = Bus::connect(socket, until)? else {
        return Ok(None);
    };
    for daemon in NAMES {
        if bus.has_owner(daemon.name, until)? {
            return Ok(Some((bus, daemon)));
        }
    }
    Ok(None)
}

impl Hold {
    /// Takes the hold of a profile, `performance` or `power-saver`, from the daemon that owns it; `None` if none runs.
    /// `reason` is what the daemon shows to all users.
    ///
    /// # Errors
    /// If the daemon refuses, or does not answer by `until`. Nothing is held then.
    pub fn take(
        socket: &Path,
        profile: &str,
        reason: &str,
        until: Instant,
    ) -> Result<Option<Self>, HoldError> {
        let Some((mut bus, daemon)) = found(socket, until)? else {
            return Ok(None);
        };
        let arguments = [profile, reason, APPLICATION];
        let arguments = arguments.map(|text| Argument::Text(text.to_owned()));
        let refused = |why: String| HoldError::Refused {
            daemon: daemon.name,
            profile: profile.to_owned(),
            why,
        };
        let held = bus.call(daemon, "HoldProfile", arguments.to_vec(), until);
        let cookie = match held.as_deref() {
            Ok([Argument::Number(cookie)]) => *cookie,
            Ok(_) => return Err(refused("its answer is not a number".to_owned())),
            Err(CallError::Answered { name, .. }) if is_gone(name) => return Ok(None),
            Err(CallError::Answered { .. }) => {
                let why = held.err().map(|error| error.to_string());
                return Err(refused(why.unwrap_or_default()));
            }
            Err(CallError::Lost(_)) => {
                return Err(HoldError::Bus(match held {
                    Err(CallError::Lost(error)) => error,
                    _ => io::ErrorKind::Other.into(),
                }));
            }
        };
        let mut hold = Self {
            bus,
            daemon,
            profile: profile.to_owned(),
            cookie,
            active: None,
        };
        hold.active = hold.read_active(until);
        Ok(Some(hold))
    }

    /// The daemon's name on the bus.
    pub fn daemon(&self) -> &'static str {
        self.daemon.name
    }

    /// The profile that is held.
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// The profile that was in effect after the hold was taken; `None` if the daemon did not tell. It is another one
    /// than [`profile`](Self::profile) while another program holds `power-saver`.
    pub fn active(&self) -> Option<&str> {
        self.active.as_deref()
    }

    /// Gives the profile back.
    ///
    /// # Errors
    /// If the bus cannot be asked, or nothing answers by `until`. The connection is closed in any case, and with it
    /// the hold ends.
    pub fn release(mut self, until: Instant) -> Result<Released, HoldError> {
        let cookie = vec![Argument::Number(self.cookie)];
        let released = self.bus.call(self.daemon, "ReleaseProfile", cookie, until);
        match released {
            Ok(_) => Ok(Released::Now),
            Err(CallError::Answered { name, .. }) if is_gone(&name) => Ok(Released::EndedBefore(
                format!("{} has ended", self.daemon.name),
            )),
            Err(CallError::Answered { message, .. }) => Ok(Released::EndedBefore(format!(
                "{message} (a change of the profile ends all holds)"
            ))),
            Err(CallError::Lost(error)) => Err(error.into()),
        }
    }

    fn read_active(&mut self, until: Instant) -> Option<String> {
        let properties = To {
            interface: "org.freedesktop.DBus.Properties",
            ..self.daemon
        };
        let asked = [self.daemon.interface, "ActiveProfile"];
        let asked = asked.map(|text| Argument::Text(text.to_owned()));
        let body = self
            .bus
            .call(properties, "Get", asked.to_vec(), until)
            .ok()?;
        match body.into_iter().next()? {
            Argument::Variant(value) => match *value {
                Argument::Text(profile) => Some(profile),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Whether an error says that nobody has the name any more. With `NO_AUTO_START` no program is started for it.
fn is_gone(error: &str) -> bool {
    [
        "org.freedesktop.DBus.Error.ServiceUnknown",
        "org.freedesktop.DBus.Error.NameHasNoOwner",
        // It has ended before it answered.
        "org.freedesktop.DBus.Error.NoReply",
    ]
    .contains(&error)
}
