//! The running kernel.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cpu::CpuInfo;
use crate::privacy::{Privacy, masked};
use crate::source::{Source, plain};

const COMMAND_LINE: &str = "/proc/cmdline";
const BANNER: &str = "/proc/version";

/// The file with the kernel release.
pub(crate) const RELEASE: &str = "/proc/sys/kernel/osrelease";
const VERSION: &str = "/proc/sys/kernel/version";
const ARCHITECTURE: &str = "/proc/sys/kernel/arch";

/// The files that are read; see [`Facts::sources`](crate::Facts::sources).
pub(crate) const SOURCES: &[&str] = &[COMMAND_LINE, BANNER, RELEASE, VERSION, ARCHITECTURE];

/// The running kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Kernel {
    /// The release as printed by `uname -r`: `6.12.43+deb13-amd64`.
    pub release: Option<String>,
    /// The version as printed by `uname -v`: number and time of the build, and parts of its configuration.
    pub version: Option<String>,
    /// The architecture it was compiled for, as printed by `uname -m`. Kernels before 6.1 have no file for
    /// it; of those only x86 is detected, from `/proc/cpuinfo`.
    pub architecture: Option<String>,
    /// The preemption model shown in its version. A kernel that shows none preempts voluntarily or not at
    /// all.
    pub preemption: Option<Preemption>,
    /// The compiler, as its banner names it.
    pub compiler: Option<String>,
    /// The command line. UUIDs and hardware addresses are replaced by `…` unless identifiers were
    /// requested.
    pub command_line: Option<String>,
}

/// The preemption model of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Preemption {
    /// Full preemption (`PREEMPT`).
    Full,
    /// Selected at boot: `preempt=none`, `voluntary`, `lazy` or `full` (`PREEMPT_DYNAMIC`).
    Dynamic,
    /// Real-time preemption (`PREEMPT_RT`).
    RealTime,
    /// The version shows none of these.
    NotSaid,
}

impl Kernel {
    pub(crate) fn of(source: Source<'_>, cpu: &CpuInfo, privacy: Privacy) -> Self {
        let banner = source.lines(BANNER);
        let banner = banner.as_deref().unwrap_or_default();
        // Used if a capture has no /proc/sys.
        let (said_release, said_version) = release_and_version(banner);
        let version = source.value(VERSION).or(said_version);
        let command_line = source.value(COMMAND_LINE);
        Self {
            release: source.value(RELEASE).or(said_release),
            preemption: version.as_deref().map(preemption),
            version,
            architecture: source
                .value(ARCHITECTURE)
                .or_else(|| cpu.x86_kernel_architecture().map(str::to_owned)),
            compiler: compiler(banner).and_then(plain),
            command_line: match privacy {
                Privacy::Identified => command_line,
                Privacy::Anonymous => command_line.map(|line| masked(&line)),
            },
        }
    }

    /// Returns the value of a command line parameter. The last one of that name counts; the value is empty
    /// for a parameter without one.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let words = self.command_line.as_deref()?.split_whitespace();
        words.rev().find_map(|word| match word.split_once('=') {
            Some((key, value)) => (key == name).then_some(value),
            None => (word == name).then_some(""),
        })
    }
}

fn preemption(version: &str) -> Preemption {
    let words = version.split_whitespace();
    let known = |word| match word {
        "PREEMPT" => Some(Preemption::Full),
        "PREEMPT_DYNAMIC" => Some(Preemption::Dynamic),
        "PREEMPT_RT" => Some(Preemption::RealTime),
        _ => None,
    };
    words
        .filter_map(known)
        .next_back()
        .unwrap_or(Preemption::NotSaid)
}

/// Parses release and version from the banner: the word after `Linux version`, and the text after the
/// parentheses.
fn release_and_version(banner: &str) -> (Option<String>, Option<String>) {
    let release = banner
        .strip_prefix("Linux version ")
        .and_then(|rest| plain(rest.split_whitespace().next()?));
    let version = banner
        .find(") #")
        .filter(|_| release.is_some())
        .and_then(|at| plain(&banner[at + 2..]));
    (release, version)
}

/// Parses the compiler from a banner like `Linux version 6.1.0 (debian-kernel@lists.debian.org) (gcc-12
/// (Debian 12.2.0-14) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40) #1 SMP …`: the content of the second
/// parentheses, which may be nested.
fn compiler(banner: &str) -> Option<&str> {
    let (_, rest) = banner.split_once(") (")?;
    let mut depth = 1;
    for (at, c) in rest.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(&rest[..at]);
        }
    }
    None
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.release.as_deref().unwrap_or("unknown"))?;
        if let Some(architecture) = &self.architecture {
            write!(f, " for {architecture}")?;
        }
        if let Some(version) = &self.version {
            write!(f, ", {version}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_ends_with_its_own_parenthesis() {
        let banner = "Linux version 6.1.0-56-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40) #1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2";
        assert_eq!(
            compiler(banner),
            Some("gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40")
        );
        for odd in ["", "Linux version 6.1.0", "a (b) (c (d)"] {
            assert_eq!(compiler(odd), None, "{odd}");
        }
    }

    #[test]
    fn the_banner_tells_release_and_version() {
        let banner = "Linux version 6.1.0-56-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40) #1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2\n";
        let (release, version) = release_and_version(banner);
        assert_eq!(release.as_deref(), Some("6.1.0-56-amd64"));
        let expected = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2";
        assert_eq!(version.as_deref(), Some(expected));
        for odd in ["", "\n", "Linux version ", "FreeBSD 14.1 (x) #1"] {
            assert_eq!(release_and_version(odd), (None, None), "{odd}");
        }
    }

    #[test]
    fn preemption_is_a_word_of_the_version() {
        for (version, expected) in [
            (
                "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2",
                Preemption::Dynamic,
            ),
            ("#1 SMP PREEMPT_RT Thu", Preemption::RealTime),
            ("#1 SMP PREEMPT Thu", Preemption::Full),
            ("#1 SMP Thu", Preemption::NotSaid),
        ] {
            assert_eq!(preemption(version), expected, "{version}");
        }
    }

    #[test]
    fn the_last_parameter_of_a_name_counts() {
        let kernel = Kernel {
            release: None,
            version: None,
            architecture: None,
            preemption: None,
            compiler: None,
            command_line: Some("quiet mitigations=auto a=b=c mitigations=off".into()),
        };
        assert_eq!(kernel.parameter("mitigations"), Some("off"));
        assert_eq!(kernel.parameter("quiet"), Some(""));
        assert_eq!(kernel.parameter("a"), Some("b=c"));
        assert_eq!(kernel.parameter("mitigation"), None);
    }
}
