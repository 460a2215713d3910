//! The kernel that runs.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cpu::CpuInfo;
use crate::privacy::{Privacy, masked};
use crate::source::{Source, plain};

const COMMAND_LINE: &str = "/proc/cmdline";
const BANNER: &str = "/proc/version";

/// Where the kernel says its release.
pub(crate) const RELEASE: &str = "/proc/sys/kernel/osrelease";
const VERSION: &str = "/proc/sys/kernel/version";
const ARCHITECTURE: &str = "/proc/sys/kernel/arch";

/// What is read; see [`Facts::sources`](crate::Facts::sources).
pub(crate) const SOURCES: &[&str] = &[COMMAND_LINE, BANNER, RELEASE, VERSION, ARCHITECTURE];

/// The kernel that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// As `uname -r` prints it: `6.12.43+deb13-amd64`.
    pub release: Option<String>,
    /// As `uname -v` prints it: number and time of the build, and some of how it was configured.
    pub version: Option<String>,
    /// The architecture that it was compiled for, as `uname -m` prints it. A kernel before 6.1 says
    /// it in no file; of those only x86 ones are known, by what `/proc/cpuinfo` has.
    pub architecture: Option<String>,
    /// How it preempts, of what its version tells: one that says nothing preempts voluntarily or
    /// not at all.
    pub preemption: Option<Preemption>,
    /// What it was compiled with, in the words of its banner.
    pub compiler: Option<String>,
    /// What it was started with. UUIDs and hardware addresses in it are `…`, unless they were asked
    /// for.
    pub command_line: Option<String>,
}

/// How a kernel preempts what runs in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Preemption {
    /// Fully (`PREEMPT`).
    Full,
    /// As it was started: `preempt=none`, `voluntary`, `lazy` or `full` (`PREEMPT_DYNAMIC`).
    Dynamic,
    /// Everywhere, for real time (`PREEMPT_RT`).
    RealTime,
    /// It says none of these.
    NotSaid,
}

impl Kernel {
    pub(crate) fn of(source: Source<'_>, cpu: &CpuInfo, privacy: Privacy) -> Self {
        let banner = source.lines(BANNER);
        let banner = banner.as_deref().unwrap_or_default();
        // What a capture without /proc/sys has of it.
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

    /// The value of a parameter of the command line: the last one of that name, empty for one
    /// without a value.
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

/// What the banner says of release and version: the word behind `Linux version`, and what follows on the
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

/// `Linux version 6.1.0 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld
/// (GNU Binutils for Debian) 2.40) #1 SMP …`: what stands in the second parentheses, which have
/// others in them.
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
