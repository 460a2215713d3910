//! Units that tune the host at boot, as text (`systemd.service(5)`).
//!
//! One applies the host once and stays active. It has no `ExecStop=`, so stopping, restarting or upgrading it
//! reverts nothing; the program's `revert` does. The other keeps hot-plugged devices tuned.

use std::fmt;
use std::path::{Path, PathBuf};

/// The units of one host program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Units {
    profile: String,
    program: PathBuf,
    arguments: Vec<String>,
}

/// Why there can be no units of a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnitsError {
    /// The name is not one of a host program.
    #[error(
        "'{0}' is not the name of a host program: it has 1 to 64 of a-z, 0-9, '-', '_' and '.'"
    )]
    Name(String),
    /// systemd starts programs by their absolute path.
    #[error("'{0}' is not an absolute path without '..'")]
    Path(String),
    /// A line break would begin another line of the unit.
    #[error("'{0}' has a control character")]
    Control(String),
    /// The unit gives the command itself, and applies for one boot at a time.
    #[error(
        "'{0}' is no option for a unit: it applies at each boot, with options such as --only cpu,memory"
    )]
    Option(String),
}

/// Options of `apply` that no unit has: what is kept in files needs no unit, which may not write most
/// of them, and each boot would begin another trial.
const NEVER: [&str; 2] = ["--persist", "--try-boot"];

/// One unit: a file name and a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The file's name.
    pub name: String,
    /// The file's content.
    pub text: String,
}

impl Units {
    /// The units of the program `program`, whose profile has this name. `arguments` are given to it before
    /// the command: `--only`, `--with` and the options of the profile.
    ///
    /// # Errors
    /// If a name or a path cannot be in a unit.
    pub fn new(profile: &str, program: &Path, arguments: &[String]) -> Result<Self, UnitsError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_name = (1..=64).contains(&profile.len())
            && profile.bytes().next().is_some_and(plain)
            && profile
                .bytes()
                .all(|byte| plain(byte) || b"-_.".contains(&byte));
        if !is_name {
            return Err(UnitsError::Name(profile.to_owned()));
        }
        check_program(program)?;
        if let Some(word) = arguments.iter().find(|word| has_control(word)) {
            return Err(UnitsError::Control(word.clone()));
        }
        let first = arguments.first().filter(|word| !word.starts_with('-'));
        let never = |word: &&String| NEVER.contains(&word.as_str());
        if let Some(word) = first.or_else(|| arguments.iter().find(never)) {
            return Err(UnitsError::Option(word.clone()));
        }
        Ok(Self {
            profile: profile.to_owned(),
            program: program.to_owned(),
            arguments: arguments.to_vec(),
        })
    }

    /// The unit that applies the host at boot.
    pub fn apply(&self) -> Unit {
        let profile = &self.profile;
        let start = self.command(&["apply", "--yes", "--wait", "60"]);
        Unit {
            name: format!("hosttune-{profile}.service"),
            text: format!(
                "# Written by hosttune install-units; hosttune uninstall-units removes it.\n\
                 [Unit]\n\
                 Description=Tune this host: {profile}\n\
                 Documentation=https://github.com/hosttune/hosttune\n\
                 # Its values come after those of sysctl.d and of udev's rules for the devices of the boot. A service\n\
                 # that it may stop is started before.\n\
                 After=systemd-sysctl.service systemd-modules-load.service systemd-udev-trigger.service irqbalance.service\n\
                 Before=multi-user.target\n\
                 ConditionPathIsReadWrite=/proc/sys\n\
                 \n\
                 [Service]\n\
                 Type=oneshot\n\
                 RemainAfterExit=yes\n\
                 ExecStart={start}\n\
                 # 1: applied, and a value could not be read.\n\
                 SuccessExitStatus=1\n\
                 # No ExecStop=: stopping or upgrading this unit reverts nothing. To revert: {profile} revert\n\
                 TimeoutStartSec=5min\n\
                 {HARDENING_OF_ALL}{HARDENING}\n\
                 [Install]\n\
                 WantedBy=multi-user.target\n"
            ),
        }
    }

    /// The unit that keeps hot-plugged devices and the uplink tuned after the boot, for a host that has
    /// something to watch.
    pub fn watch(&self) -> Unit {
        let profile = &self.profile;
        let start = self.command(&["watch", "--yes"]);
        Unit {
            name: format!("hosttune-{profile}-watch.service"),
            text: format!(
                "# Written by hosttune install-units; hosttune uninstall-units removes it.\n\
                 [Unit]\n\
                 Description=Keep hot-plugged devices tuned: {profile}\n\
                 Documentation=https://github.com/hosttune/hosttune\n\
                 After=hosttune-{profile}.service\n\
                 ConditionPathIsReadWrite=/proc/sys\n\
                 \n\
                 [Service]\n\
                 Type=exec\n\
                 ExecStart={start}\n\
                 # It leaves the devices tuned when it is stopped.\n\
                 Restart=on-failure\n\
                 RestartSec=5s\n\
                 {HARDENING_OF_ALL}{HARDENING}\n\
                 [Install]\n\
                 WantedBy=multi-user.target\n"
            ),
        }
    }

    fn command(&self, verb: &[&str]) -> String {
        let program = self.program.display().to_string();
        let arguments = self.arguments.iter().map(String::as_str);
        let words = std::iter::once(program.as_str())
            .chain(arguments)
            .chain(verb.iter().copied());
        words
            .map(|word| Quoted(word).to_string())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// The path of a program, if it can be in a unit.
pub(crate) fn check_program(program: &Path) -> Result<String, UnitsError> {
    let shown = program.display().to_string();
    let mut components = program.components();
    if !program.is_absolute() || components.any(|part| part == std::path::Component::ParentDir) {
        return Err(UnitsError::Path(shown));
    }
    if has_control(&shown) {
        return Err(UnitsError::Control(shown));
    }
    Ok(shown)
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

/// What no unit may do, the helper's neither. Not there, because nothing would be left to do or it would
/// be done in the wrong place: `ProtectKernelTunables=` and `PrivateDevices=` (read-only `/proc/sys` and
/// `/sys`, no `/dev/zram0`), `ProtectKernelModules=` (no modprobe), `PrivateNetwork=` (net sysctls and
/// qdiscs would be set in an empty network namespace).
pub(crate) const HARDENING_OF_ALL: &str = "\
# Not ProtectKernelTunables=, ProtectKernelModules=, PrivateDevices= or PrivateNetwork=: they make /proc/sys,
# /sys, modules, zram or the network of the host unreachable, the last one without an error. Not
# RestrictSUIDSGID=: it takes openat2(2) away, with which every file is opened.
ProtectSystem=strict
RuntimeDirectory=hosttune
# Users pass through it to the socket of the helper.
RuntimeDirectoryMode=0711
# The journal in it is what a revert needs.
RuntimeDirectoryPreserve=yes
StateDirectory=hosttune
StateDirectoryMode=0700
ProtectHome=yes
PrivateTmp=yes
PrivateMounts=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictAddressFamilies=AF_UNIX AF_NETLINK
SystemCallArchitectures=native
UMask=0077
";

/// What else the units of a host may not do.
const HARDENING: &str = "\
ReadWritePaths=-/etc/sysctl.d -/etc/udev/rules.d -/etc/modules-load.d
SystemCallFilter=@system-service @module @swap
CapabilityBoundingSet=CAP_NET_ADMIN CAP_SYS_ADMIN CAP_SYS_MODULE CAP_SYS_NICE CAP_SYS_RESOURCE CAP_DAC_OVERRIDE CAP_IPC_LOCK
";

/// A word of `ExecStart=` that systemd takes as it is (`systemd.service(5)`, "Command lines").
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escaped = self.0.replace('%', "%%").replace('$', "$$");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+=:@,%$".contains(&byte);
        if !escaped.is_empty() && escaped.bytes().all(plain) {
            return f.write_str(&escaped);
        }
        write!(
            f,
            "\"{}\"",
            escaped.replace('\\', "\\\\").replace('"', "\\\"")
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn units(program: &str, arguments: &[&str]) -> Result<Units, UnitsError> {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        Units::new("gaming", Path::new(program), &arguments)
    }

    fn started(unit: &Unit) -> Vec<&str> {
        let of_line = |line: &'_ str| line.starts_with("ExecStart=");
        unit.text.lines().filter(|line| of_line(line)).collect()
    }

    #[test]
    fn nothing_is_reverted_when_a_unit_stops() {
        let units = units("/usr/bin/gaming", &["--cake-up", "docsis nat"]).unwrap();
        for unit in [units.apply(), units.watch()] {
            assert!(
                !unit.text.lines().any(|line| line.starts_with("ExecStop")),
                "{unit:?}"
            );
            assert_eq!(started(&unit).len(), 1);
        }
        assert_eq!(
            started(&units.apply()),
            [r#"ExecStart=/usr/bin/gaming --cake-up "docsis nat" apply --yes --wait 60"#]
        );
        assert_eq!(units.apply().name, "hosttune-gaming.service");
    }

    #[test]
    fn what_cannot_be_in_a_unit_is_refused() {
        for path in ["gaming", "./gaming", "/usr/../tmp/gaming", ""] {
            assert!(
                matches!(units(path, &[]), Err(UnitsError::Path(_))),
                "{path}"
            );
        }
        assert!(matches!(
            units("/x", &["a\nExecStop=/bin/b"]),
            Err(UnitsError::Control(_))
        ));
        for name in ["", "../x", "Gaming", ".x", "a b"] {
            assert!(matches!(
                Units::new(name, Path::new("/x"), &[]),
                Err(UnitsError::Name(_))
            ));
        }
    }

    proptest! {
        /// Read back with systemd's rules for quotes, specifiers and variables.
        #[test]
        fn a_word_stays_the_word(word in "[ -~äß]{0,20}") {
            let quoted = Quoted(&word).to_string();
            let inner = match quoted.strip_prefix('"') {
                Some(rest) => {
                    let rest = rest.strip_suffix('"').unwrap();
                    let mut read = String::new();
                    let mut characters = rest.chars();
                    while let Some(character) = characters.next() {
                        prop_assert_ne!(character, '"');
                        match character {
                            '\\' => read.extend(characters.next()),
                            other => read.push(other),
                        }
                    }
                    read
                }
                None => {
                    prop_assert!(!quoted.contains([' ', '\'', '\\', ';']));
                    quoted
                }
            };
            prop_assert_eq!(inner.replace("$$", "$").replace("%%", "%"), word);
        }
    }
}
