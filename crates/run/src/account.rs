//! As whom a command runs: accounts from `/etc/passwd` and `/etc/group`, and how a process becomes one.
//!
//! The files are parsed here and not through the C library, whose lookup loads shared objects and does not
//! work in a statically linked program. An account that only a directory service knows is used by the
//! numbers that sudo gives.

use std::io;

use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, capabilities, clear_ambient_capability_set, set_capabilities};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use serde::{Deserialize, Serialize};

/// An account of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Account {
    /// The name.
    pub name: String,
    /// The user ID.
    pub uid: u32,
    /// The primary group's ID.
    pub gid: u32,
    /// The IDs of all groups, with the primary one.
    pub groups: Vec<u32>,
    /// The home directory, or `None` if the account is not in `/etc/passwd`.
    pub home: Option<String>,
    /// The login shell, or `None` if the account is not in `/etc/passwd`.
    pub shell: Option<String>,
}

impl Account {
    /// The account of a name or of a user ID, from the content of `/etc/passwd` and `/etc/group`.
    pub fn find(who: &str, passwd: &str, group: &str) -> Option<Self> {
        let number = who.parse::<u32>().ok();
        let lines = || passwd.lines().filter_map(PasswdLine::parse);
        let by_name = lines().find(|line| line.name == who);
        let line = by_name.or_else(|| lines().find(|line| Some(line.uid) == number))?;
        Some(Self {
            name: line.name.to_owned(),
            uid: line.uid,
            gid: line.gid,
            groups: groups(line.name, line.gid, group),
            home: Some(line.home.to_owned()),
            shell: Some(line.shell.to_owned()).filter(|shell| !shell.is_empty()),
        })
    }

    /// An account that is not in `/etc/passwd`, with the groups that `/etc/group` lists for its name.
    pub fn unlisted(name: &str, uid: u32, gid: u32, group: &str) -> Self {
        Self {
            name: name.to_owned(),
            uid,
            gid,
            groups: groups(name, gid, group),
            home: None,
            shell: None,
        }
    }

    /// The variables of the account's own environment: what to set, and with `None` what to remove.
    ///
    /// `runtime` is its runtime directory (`/run/user/UID`) if that exists: sudo removes the variable that
    /// names it, and without it no program finds the sound server.
    pub fn environment(&self, runtime: Option<&str>) -> Vec<(String, Option<String>)> {
        let mut variables: Vec<(String, Option<String>)> = Vec::new();
        let mut set = |name: &str, value: Option<&str>| {
            variables.push((name.to_owned(), value.map(str::to_owned)));
        };
        set("USER", Some(&self.name));
        set("LOGNAME", Some(&self.name));
        if self.home.is_some() {
            set("HOME", self.home.as_deref());
        }
        if self.shell.is_some() {
            set("SHELL", self.shell.as_deref());
        }
        if runtime.is_some() {
            set("XDG_RUNTIME_DIR", runtime);
        }
        for name in [
            "SUDO_UID",
            "SUDO_GID",
            "SUDO_USER",
            "SUDO_COMMAND",
            "SUDO_HOME",
            "SUDO_TTY",
            // A program of the user's that becomes root would be taken for one that pkexec or doas has started.
            "PKEXEC_UID",
            "DOAS_USER",
        ] {
            set(name, None);
        }
        variables
    }

    /// Makes this process run as the account for good: groups, group, user, and no capabilities that a
    /// program would inherit. A sandbox such as bubblewrap refuses to start with any capability.
    ///
    /// It does not set `no_new_privs`, because games use set-user-ID helpers. It acts on this thread, which
    /// must be the only one.
    ///
    /// # Errors
    /// If this process may not, or if it could become root again afterwards.
    pub fn assume(&self) -> io::Result<()> {
        let gid = id(self.gid).map(Gid::from_raw)?;
        let uid = id(self.uid).map(Uid::from_raw)?;
        let groups: Vec<Gid> = self
            .groups
            .iter()
            .map(|&group| id(group).map(Gid::from_raw))
            .collect::<io::Result<_>>()?;
        clear_ambient_capability_set()?;
        let mut sets = capabilities(None)?;
        sets.inheritable = CapabilitySet::empty();
        set_capabilities(None, sets)?;
        set_thread_groups(&groups)?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        let root = Uid::ROOT;
        if !uid.is_root() && set_thread_res_uid(root, root, root).is_ok() {
            return Err(io::Error::other("it could become root again"));
        }
        Ok(())
    }
}

/// The value −1 means "unchanged" to the kernel, so it is no ID.
fn id(number: u32) -> io::Result<u32> {
    if number == u32::MAX {
        return Err(io::Error::other("4294967295 is not a user or group ID"));
    }
    Ok(number)
}

/// The user who became root through sudo, doas or pkexec, as the value to look up: a name or a number.
/// `None` if no such program has started this one, or root has.
pub fn invoker(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let found = ["SUDO_UID", "PKEXEC_UID", "DOAS_USER"]
        .into_iter()
        .find_map(&variable)?;
    (!matches!(found.as_str(), "" | "0" | "root")).then_some(found)
}

struct PasswdLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
    shell: &'a str,
}

impl<'a> PasswdLine<'a> {
    /// `name:password:uid:gid:comment:home:shell`, `passwd(5)`.
    fn parse(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, shell] = fields.as_slice() else {
            return None;
        };
        if name.is_empty() || name.starts_with(['#', '+', '-']) {
            return None;
        }
        Some(Self {
            name,
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            home,
            shell,
        })
    }
}

/// The groups of a name, the primary one first: `name:password:gid:member,member`, `group(5)`.
fn groups(name: &str, primary: u32, group: &str) -> Vec<u32> {
    let mut groups = vec![primary];
    for line in group.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, gid, members] = fields.as_slice() else {
            continue;
        };
        let Ok(gid) = gid.parse::<u32>() else {
            continue;
        };
        if members.split(',').any(|member| member == name) && !groups.contains(&gid) {
            groups.push(gid);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n# a comment\n+nis::::::\n\
                          mia:x:1000:1000:Mia,,,:/home/mia:/usr/bin/fish\n1001:x:7:7::/:\n\
                          tom:x:1001:100::/home/tom:\nbroken:x:no:1::/:\n";
    const GROUP: &str =
        "root:x:0:\naudio:x:29:mia,tom\nvideo:x:44:mia\nmia:x:1000:\nusers:x:100:tom\n";

    #[test]
    fn an_account_has_its_groups() {
        let mia = Account::find("mia", PASSWD, GROUP).unwrap();
        assert_eq!(
            (mia.uid, mia.gid, mia.groups.as_slice()),
            (1000, 1000, &[1000, 29, 44][..])
        );
        assert_eq!(Account::find("1000", PASSWD, GROUP), Some(mia));
        // The primary group is not there twice, and an empty shell is none.
        let tom = Account::find("tom", PASSWD, GROUP).unwrap();
        assert_eq!((tom.groups.as_slice(), tom.shell), (&[100, 29][..], None));
        // A name that is a number comes before the number.
        assert_eq!(Account::find("1001", PASSWD, GROUP).unwrap().uid, 7);
        for nobody in ["", "Mia", "nis", "broken", "77", "#", "-1"] {
            assert_eq!(Account::find(nobody, PASSWD, GROUP), None, "{nobody}");
        }
    }

    #[test]
    fn sudos_user_is_meant_and_root_is_not() {
        let with = |name: &'static str, value: &'static str| {
            invoker(move |asked: &str| (asked == name).then(|| value.to_owned()))
        };
        assert_eq!(with("SUDO_UID", "1000").as_deref(), Some("1000"));
        assert_eq!(with("DOAS_USER", "mia").as_deref(), Some("mia"));
        for none in ["0", "", "root"] {
            assert_eq!(with("SUDO_UID", none), None);
        }
        assert_eq!(with("USER", "mia"), None);
    }

    #[test]
    fn the_environment_is_that_of_the_account() {
        let mia = Account::find("mia", PASSWD, GROUP).unwrap();
        let variables = mia.environment(Some("/run/user/1000"));
        let value = |name: &str| variables.iter().find(|(known, _)| known == name).cloned();
        assert_eq!(value("HOME").unwrap().1.as_deref(), Some("/home/mia"));
        for name in ["SUDO_UID", "SUDO_TTY", "PKEXEC_UID", "DOAS_USER"] {
            assert_eq!(value(name).unwrap().1, None, "{name}");
        }
        assert_eq!(
            value("XDG_RUNTIME_DIR").unwrap().1.as_deref(),
            Some("/run/user/1000")
        );
        let unlisted = Account::unlisted("ldap", 5000, 5000, GROUP);
        assert!(
            unlisted
                .environment(None)
                .iter()
                .all(|(name, _)| name != "HOME")
        );
    }

    proptest! {
        #[test]
        fn any_files_are_read(who in ".{0,8}", passwd in ".{0,80}", group in ".{0,80}") {
            let _ = Account::find(&who, &passwd, &group);
        }
    }
}
