//! What an `install` command loads, as far as its text tells.

/// The text that modprobe replaces by the options of the module that was asked for: those of its
/// own name in modprobe.d, then the kernel command line's, then its arguments. Only this spelling.
const OPTIONS: &str = "$CMDLINE_OPTS";

/// modprobe's options that take the next word as their value.
const WITH_VALUE: [&str; 6] = ["-C", "-d", "-S", "--config", "--dirname", "--set-version"];

/// modprobe's options with which it loads nothing.
const NOT_LOADING: [&str; 12] = [
    "-r",
    "--remove",
    "-n",
    "--dry-run",
    "--show",
    "-c",
    "--showconfig",
    "-R",
    "--resolve-alias",
    "-D",
    "--show-depends",
    "-V",
];

/// A module that the command of an `install` line loads with modprobe.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstallLoad {
    /// The module, as written.
    pub module: String,
    /// Whether the command passes `$CMDLINE_OPTS` to it. The options of the module that the line is
    /// for then come after those of this module, and win.
    pub passes_options: bool,
}

/// The modules that a command loads with modprobe, in order. A shell runs the command, so this
/// reads only plain ones: words, and the separators between commands.
pub(super) fn loads(command: &str) -> Vec<InstallLoad> {
    command
        .split([';', '&', '|', '(', ')', '{', '}', '\n'])
        .filter_map(load)
        .collect()
}

fn load(command: &str) -> Option<InstallLoad> {
    let mut words = command.split_whitespace();
    words.find(|word| word.rsplit('/').next() == Some("modprobe"))?;
    let mut module = None;
    while let Some(word) = words.next() {
        if NOT_LOADING.contains(&word) {
            return None;
        }
        if WITH_VALUE.contains(&word) {
            words.next();
        } else if !word.starts_with('-') {
            module = Some(word);
            break;
        }
    }
    Some(InstallLoad {
        module: module?.to_owned(),
        passes_options: words.any(|word| word.contains(OPTIONS)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(command: &str) -> Vec<(String, bool)> {
        let loads = loads(command).into_iter();
        loads
            .map(|load| (load.module, load.passes_options))
            .collect()
    }

    #[test]
    fn what_a_command_loads_is_read() {
        let one = |module: &str, passes| vec![(module.to_owned(), passes)];
        for (command, loads) in [
            (
                "modprobe -i nvidia-current $CMDLINE_OPTS",
                one("nvidia-current", true),
            ),
            ("/sbin/modprobe --ignore-install kvm", one("kvm", false)),
            (
                "exec /usr/sbin/modprobe -q -C /etc/x -i a $CMDLINE_OPTS x=1",
                one("a", true),
            ),
            // Another spelling is not replaced by modprobe, and the shell has no such variable.
            ("modprobe -i a ${CMDLINE_OPTS}", one("a", false)),
            ("modprobe -r nvidia", vec![]),
            ("modprobe", vec![]),
            ("/bin/false", vec![]),
            ("echo modprobe-is-not-run nvidia", vec![]),
        ] {
            assert_eq!(told(command), loads, "{command}");
        }
        let two = told("modprobe nvidia-modeset ; modprobe -i nvidia-current-drm $CMDLINE_OPTS");
        let wanted = [("nvidia-modeset", false), ("nvidia-current-drm", true)];
        assert_eq!(two, wanted.map(|(name, passes)| (name.to_owned(), passes)));
    }
}
