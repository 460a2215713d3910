//! Who else makes swap of zram, from the files that tell them to.

use std::fmt;

use hosttune_core::{Host, HostError, HostErrorKind};

/// Which program makes zram devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Program {
    /// systemd's zram-generator.
    ZramGenerator,
    /// Debian's zram-tools.
    ZramTools,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ZramGenerator => "systemd's zram-generator",
            Self::ZramTools => "zram-tools",
        })
    }
}

/// One that is told to make devices when the machine boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// Which.
    pub program: Program,
    /// The file that tells it.
    pub file: String,
}

/// Where zram-generator looks, the first counts; `.d` directories beside each add to it.
const GENERATOR: [&str; 4] = [
    "/etc/systemd/zram-generator.conf",
    "/run/systemd/zram-generator.conf",
    "/usr/local/lib/systemd/zram-generator.conf",
    "/usr/lib/systemd/zram-generator.conf",
];

const TOOLS: &str = "/etc/default/zramswap";

impl Other {
    /// All that are told to make devices on this host.
    ///
    /// # Errors
    /// Where a file is there and cannot be read.
    pub fn all(host: &Host) -> Result<Vec<Self>, HostError> {
        let mut found = Vec::new();
        if let Some(file) = generator(host)? {
            found.push(Self {
                program: Program::ZramGenerator,
                file,
            });
        }
        if host.exists(TOOLS)? {
            found.push(Self {
                program: Program::ZramTools,
                file: TOOLS.to_owned(),
            });
        }
        Ok(found)
    }

    /// What a person should know.
    pub fn note(&self) -> String {
        format!(
            "{} makes zram devices when the machine boots ({}): either leave zram to it, or take it out there, or there will be two",
            self.program, self.file
        )
    }
}

/// The file that has a section for a device: one without, as Fedora ships it in part, makes none.
fn generator(host: &Host) -> Result<Option<String>, HostError> {
    let mut files = Vec::new();
    for file in GENERATOR {
        files.push(file.to_owned());
        let directory = format!("{file}.d");
        match host.list(&directory) {
            Ok(names) => files.extend(names.into_iter().map(|name| format!("{directory}/{name}"))),
            Err(error) if *error.kind() == HostErrorKind::Missing => {}
            Err(error) => return Err(error),
        }
    }
    for file in files {
        match host.read_text(&file) {
            Ok(text) if has_device(&text) => return Ok(Some(file)),
            Ok(_) => {}
            Err(error) if *error.kind() == HostErrorKind::Missing => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn has_device(text: &str) -> bool {
    text.lines().any(|line| line.trim().starts_with("[zram"))
}
