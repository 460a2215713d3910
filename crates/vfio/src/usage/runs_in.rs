//! What a process that uses a device belongs to, so that a user knows what to end: a unit of systemd, a
//! session, the services of a user.

use hosttune_core::{Host, HostError};

use super::disks::quoted;
use super::nodes::is_absent;

/// What a process belongs to, from its control group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RunsIn {
    /// A service of the system, such as a display manager or nvidia-persistenced.
    Unit(String),
    /// A session of logind, by its ID.
    Session(String),
    /// The services of a user, by the user ID.
    User(u32),
    /// None of these, or it cannot be told.
    #[default]
    Unknown,
}

const SESSIONS: &str = "/run/systemd/sessions";
/// It holds the nodes of the screens for the sessions on a seat.
const LOGIND: &str = "systemd-logind";

impl RunsIn {
    /// Reads what a process belongs to. For logind, which opens the nodes of the screen for a session,
    /// it is that session.
    pub(crate) fn of(host: &Host, process: u32, name: &str) -> Result<Self, HostError> {
        if name == LOGIND {
            return Ok(active_session(host)?.map_or(Self::Unknown, Self::Session));
        }
        let groups = match host.read(format!("/proc/{process}/cgroup")) {
            Ok(groups) => groups,
            Err(error) if is_absent(&error) => return Ok(Self::Unknown),
            // The process has ended (ESRCH).
            Err(error) if error.errno() == Some(3) => return Ok(Self::Unknown),
            Err(error) => return Err(error),
        };
        Ok(Self::parse(&String::from_utf8_lossy(&groups)))
    }

    /// Lines `ID:CONTROLLERS:PATH`: the unified hierarchy, or that of systemd among several.
    fn parse(groups: &str) -> Self {
        let of_systemd = |line: &&str| line.starts_with("0::") || line.contains(":name=systemd:");
        let mut lines = groups.lines().filter(of_systemd);
        let path = lines.find_map(|line| line.splitn(3, ':').nth(2));
        let path = path.unwrap_or_default();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let number = |part: &str, before: &str, after: &str| -> Option<u32> {
            let digits = part.strip_prefix(before)?.strip_suffix(after)?;
            digits.parse().ok()
        };
        // A user may make groups below `user@UID.service` and give them any name, also that of a session
        // or a unit; only those above are named by systemd.
        if let ["user.slice", slice, below, ..] = parts[..]
            && let Some(user) = number(slice, "user-", ".slice")
        {
            if number(below, "user@", ".service") == Some(user) {
                return Self::User(user);
            }
            let session = below.strip_prefix("session-");
            return match session.and_then(|session| session.strip_suffix(".scope")) {
                // Of logind's session IDs; audit's are digits, its own have a letter before them.
                Some(session)
                    if !session.is_empty()
                        && session.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
                {
                    Self::Session(session.to_owned())
                }
                _ => Self::Unknown,
            };
        }
        if !parts
            .first()
            .is_some_and(|first| first.ends_with(".slice") && *first != "user.slice")
        {
            return Self::Unknown;
        }
        // The first one: a unit may have groups of its own below it and name them.
        let mut units = parts[1..]
            .iter()
            .skip_while(|part| part.ends_with(".slice"));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"@._:\\-".contains(&byte);
        match units.next() {
            Some(unit) if unit.ends_with(".service") && unit.bytes().all(plain) => {
                Self::Unit((*unit).to_owned())
            }
            _ => Self::Unknown,
        }
    }

    /// The command that ends what a process belongs to.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Unit(unit) => format!(
                "stop its unit: systemctl stop {}; it is never killed",
                quoted(unit)
            ),
            Self::Session(session) => format!(
                "close that program, or end its session: loginctl terminate-session {session}; it is never killed"
            ),
            Self::User(user) => format!(
                "close that program, or end what user {user} runs: loginctl terminate-user {user}; it is never killed"
            ),
            Self::Unknown => "close that program; it is never killed".to_owned(),
        }
    }
}

/// The session that is shown on a seat, from logind's own files, `NAME=VALUE` in each line.
fn active_session(host: &Host) -> Result<Option<String>, HostError> {
    let names = match host.list_if_there(SESSIONS) {
        Ok(names) => names,
        Err(error) if is_absent(&error) => Vec::new(),
        Err(error) => return Err(error),
    };
    for name in names.into_iter().filter(|name| !name.ends_with(".ref")) {
        // A session may end while the list is read.
        let text = host
            .read_text(format!("{SESSIONS}/{name}"))
            .unwrap_or_default();
        let has = |wanted: &str| text.lines().any(|line| line.starts_with(wanted));
        if has("SEAT=") && has("ACTIVE=1") {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cat /proc/PID/cgroup` on Debian 12, and on a host with several hierarchies.
    #[test]
    fn control_groups_name_units_and_sessions() {
        for (groups, runs_in) in [
            (
                "0::/system.slice/nvidia-persistenced.service\n",
                RunsIn::Unit("nvidia-persistenced.service".to_owned()),
            ),
            (
                "0::/user.slice/user-1000.slice/session-2.scope\n",
                RunsIn::Session("2".to_owned()),
            ),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/ollama.service\n",
                RunsIn::User(1000),
            ),
            (
                "12:pids:/system.slice/x\n1:name=systemd:/system.slice/sddm.service\n0::/\n",
                RunsIn::Unit("sddm.service".to_owned()),
            ),
            (
                "0::/user.slice/user-1000.slice/session-c3.scope/x\n",
                RunsIn::Session("c3".to_owned()),
            ),
            // Below `user@1000.service` the user makes groups and names them.
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/session-1.scope\n",
                RunsIn::User(1000),
            ),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/session-2; reboot #.scope\n",
                RunsIn::User(1000),
            ),
            (
                "0::/user.slice/user-1000.slice/session-2; reboot #.scope\n",
                RunsIn::Unknown,
            ),
            (
                "0::/user.slice/user-1000.slice/user@0.service\n",
                RunsIn::Unknown,
            ),
            // A unit may delegate its group as well, to a container.
            (
                "0::/system.slice/docker.service/a/sshd.service\n",
                RunsIn::Unit("docker.service".to_owned()),
            ),
            (
                "0::/system.slice/system-getty.slice/getty@tty1.service\n",
                RunsIn::Unit("getty@tty1.service".to_owned()),
            ),
            ("0::/lxc/a/session-2.scope\n", RunsIn::Unknown),
            ("0::/init.scope\n", RunsIn::Unknown),
            ("0::/user.slice/user@x.service/a\n", RunsIn::Unknown),
            ("", RunsIn::Unknown),
            ("rubbish", RunsIn::Unknown),
        ] {
            assert_eq!(RunsIn::parse(groups), runs_in, "{groups}");
        }
    }
}
