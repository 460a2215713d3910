//! What to type if the helper does not tune the host, as a function of what this process sees.

use std::path::Path;

use hosttune_helper::client::Unavailable;
use hosttune_helper::{GROUP, SOCKET};
use hosttune_run::account::Account;

/// What is around this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Surroundings {
    /// The user's name, or `$USER` if it is not known.
    pub(super) user: String,
    pub(super) membership: Membership,
    pub(super) sandbox: Option<Sandbox>,
}

/// Whether the user is in the group of the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Membership {
    /// There is no such group.
    NoGroup,
    /// The group does not list the user.
    Outside,
    /// The group lists the user, but the session has begun before.
    NotInThisSession,
    /// This process is in the group.
    Member,
}

/// A sandbox that hides the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sandbox {
    /// Flatpak, with the application's ID.
    Flatpak(String),
    /// The container of the Steam runtime.
    PressureVessel,
}

impl Surroundings {
    /// Those of this process.
    pub(super) fn of_this_process() -> Self {
        let uid = rustix::process::getuid().as_raw();
        let (passwd, group) = (own_file("/etc/passwd"), own_file("/etc/group"));
        let account = Account::find(&uid.to_string(), &passwd, &group);
        let mut own: Vec<u32> = rustix::process::getgroups()
            .unwrap_or_default()
            .iter()
            .map(|gid| gid.as_raw())
            .collect();
        own.push(rustix::process::getegid().as_raw());
        let membership = membership(group_id(&group, GROUP), account.as_ref(), &own);
        let is_there = |path: &str| rustix::fs::stat(path).is_ok();
        let sandbox = match application(&own_file("/.flatpak-info")) {
            Some(application) => Some(Sandbox::Flatpak(application)),
            None if is_there("/run/pressure-vessel") => Some(Sandbox::PressureVessel),
            None => None,
        };
        Self {
            user: account.map_or_else(|| "$USER".to_owned(), |account| account.name),
            membership,
            sandbox,
        }
    }
}

/// The ID of a group, from `/etc/group` (`name:password:gid:members`, `group(5)`).
pub(super) fn group_id(group: &str, name: &str) -> Option<u32> {
    group.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then_some(())?;
        fields.nth(1)?.parse().ok()
    })
}

fn membership(group: Option<u32>, account: Option<&Account>, own: &[u32]) -> Membership {
    match group {
        None => Membership::NoGroup,
        Some(group) if own.contains(&group) => Membership::Member,
        Some(group) if account.is_some_and(|account| account.groups.contains(&group)) => {
            Membership::NotInThisSession
        }
        Some(_) => Membership::Outside,
    }
}

/// The application's ID, from `/.flatpak-info` (`flatpak-metadata(5)`).
fn application(info: &str) -> Option<String> {
    let mut section = "";
    for line in info.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section == "[Application]"
            && let Some(name) = line.strip_prefix("name=")
        {
            return Some(name.to_owned());
        }
    }
    None
}

/// What to type.
pub(super) fn hint(why: &Unavailable, host: &str, around: &Surroundings) -> Option<String> {
    let directory = Path::new(SOCKET).parent().unwrap_or(Path::new("/"));
    let directory = directory.display();
    let user = &around.user;
    Some(match (why, &around.sandbox) {
        (Unavailable::Missing(_), Some(Sandbox::Flatpak(application))) => format!(
            "the sandbox may hide it: flatpak override --user --filesystem={directory} {application}, then \
             start the application again"
        ),
        (Unavailable::Missing(_), Some(Sandbox::PressureVessel)) => format!(
            "the Steam runtime may hide it: PRESSURE_VESSEL_FILESYSTEMS_RW={directory} in the launch options"
        ),
        (Unavailable::Missing(_), None) => format!(
            "root sets it up: hosttune install-units {host}, and what that prints; or run it as root: sudo \
             {host} run"
        ),
        (Unavailable::Denied(_), _) => match around.membership {
            Membership::NoGroup => format!(
                "there is no group {GROUP}: sudo groupadd --system {GROUP}, then sudo usermod -aG {GROUP} \
                 {user}"
            ),
            Membership::Outside => format!(
                "join the group {GROUP}: sudo usermod -aG {GROUP} {user}, then end all sessions and log in \
                 again (loginctl terminate-user {user})"
            ),
            Membership::NotInThisSession => format!(
                "{user} is in the group {GROUP}, and this session began before that: end all sessions and log \
                 in again (loginctl terminate-user {user})"
            ),
            Membership::Member => format!(
                "root lets the group pass: chmod 0711 {directory}; systemctl restart hosttuned.socket"
            ),
        },
        (Unavailable::NobodyListens(_), _) => "sudo systemctl restart hosttuned.socket".to_owned(),
        (Unavailable::NotRoots { .. }, _) => {
            "end that process, then: sudo systemctl restart hosttuned.socket".to_owned()
        }
        (Unavailable::Late(_) | Unavailable::Closed, _) => {
            "see the helper's log: journalctl -u hosttuned".to_owned()
        }
        (Unavailable::Garbled(_), _) => {
            format!("install the helper and {host} of one release")
        }
        (Unavailable::Refused(refusal), _) => return refusal.hint.clone(),
        _ => return None,
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "it describes this process's user and sandbox and not the tuned host, so --root does not apply"
)]
fn own_file(path: &str) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: &str = "root:x:0:\nhosttuned:x:7:\nhosttune:x:990:mia\n";

    fn around(membership: Membership, sandbox: Option<Sandbox>) -> Surroundings {
        Surroundings {
            user: "mia".into(),
            membership,
            sandbox,
        }
    }

    fn said(why: &Unavailable, around: &Surroundings) -> String {
        hint(why, "gaming", around).unwrap()
    }

    #[test]
    fn a_user_outside_of_the_group_is_told_what_to_type() {
        assert_eq!(group_id(GROUPS, GROUP), Some(990));
        assert_eq!(group_id("hosttuned:x:7:\nhosttune:x\n", GROUP), None);
        let passwd = "mia:x:1000:1000::/home/mia:\ntom:x:1001:1001::/home/tom:\n";
        let of = |name: &str, own: &[u32]| {
            let account = Account::find(name, passwd, GROUPS);
            membership(group_id(GROUPS, GROUP), account.as_ref(), own)
        };
        assert_eq!(of("tom", &[1001]), Membership::Outside);
        assert_eq!(of("mia", &[1000]), Membership::NotInThisSession);
        assert_eq!(of("mia", &[1000, 990]), Membership::Member);
        assert_eq!(membership(None, None, &[0]), Membership::NoGroup);
        let denied = Unavailable::Denied(SOCKET.into());
        for (membership, part) in [
            (Membership::Outside, "sudo usermod -aG hosttune mia"),
            (Membership::NotInThisSession, "this session began before"),
            (Membership::NoGroup, "groupadd --system hosttune"),
            (Membership::Member, "chmod 0711 /run/hosttune"),
        ] {
            let said = said(&denied, &around(membership, None));
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn a_sandbox_is_told_how_to_show_the_socket() {
        let info = "[Application]\nruntime=x\nname=com.valvesoftware.Steam\n[Instance]\nname=no\n";
        let steam = application(info).unwrap();
        assert_eq!(application("[Instance]\nname=no\n"), None);
        let missing = Unavailable::Missing(SOCKET.into());
        let around = |sandbox| around(Membership::Outside, sandbox);
        assert!(
            said(&missing, &around(Some(Sandbox::Flatpak(steam)))).contains(
                "flatpak override --user --filesystem=/run/hosttune com.valvesoftware.Steam"
            )
        );
        assert!(
            said(&missing, &around(Some(Sandbox::PressureVessel)))
                .contains("PRESSURE_VESSEL_FILESYSTEMS_RW=/run/hosttune")
        );
        assert!(said(&missing, &around(None)).contains("hosttune install-units gaming"));
    }
}
