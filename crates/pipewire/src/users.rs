//! The users for whom PipeWire may run, found without asking any daemon.

use std::fmt;

use hosttune_core::host::RootKind;
use hosttune_core::{Host, HostError, HostErrorKind};

/// The directory with a runtime directory for each user who is logged in, made by systemd-logind or
/// elogind.
const RUNTIME: &str = "/run/user";

/// A user who is logged in and has a socket of PipeWire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedIn {
    /// The user ID.
    pub uid: u32,
    /// The name in `/etc/passwd`; `None` if it is not there, as with users of a directory service.
    pub name: Option<String>,
}

impl fmt::Display for LoggedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => write!(f, "the user {}", self.uid),
        }
    }
}

/// The users of the running system who are logged in and have a socket of PipeWire, by user ID.
///
/// No socket is opened, so no daemon is started. A runtime directory that this process may not look
/// into counts as one with a socket. A tree or an image has no users who are logged in.
///
/// # Errors
/// If a directory or a file exists and cannot be read.
pub fn logged_in(host: &Host) -> Result<Vec<LoggedIn>, HostError> {
    if host.root_kind() != RootKind::Live {
        return Ok(Vec::new());
    }
    let directories = match host.list(RUNTIME) {
        Err(error) if *error.kind() == HostErrorKind::Missing => return Ok(Vec::new()),
        other => other?,
    };
    let mut uids = Vec::new();
    for directory in directories {
        let Ok(uid) = directory.parse::<u32>() else {
            continue;
        };
        match host.exists(format!("{RUNTIME}/{directory}/pipewire-0")) {
            Ok(false) => {}
            Ok(true) => uids.push(uid),
            Err(error) if *error.kind() == HostErrorKind::Denied => uids.push(uid),
            Err(error) => return Err(error),
        }
    }
    uids.sort_unstable();
    let passwd = match host.read_text("/etc/passwd") {
        Err(error) if *error.kind() == HostErrorKind::Missing => String::new(),
        other => other?,
    };
    let user = |uid| LoggedIn {
        uid,
        name: name_of(&passwd, uid),
    };
    Ok(uids.into_iter().map(user).collect())
}

/// The name of a user in a text of the form of passwd(5).
fn name_of(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let of = fields.nth(1)?.parse::<u32>().ok()?;
        (of == uid).then(|| name.to_owned())
    })
}
