//! Other programs that create swap on zram, detected by their configuration files.

use std::collections::BTreeMap;
use std::fmt;

use hosttune_core::{Host, HostError, HostErrorKind};

/// A program that creates zram devices.
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

/// A program that is configured to create devices at boot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Other {
    /// The program.
    pub program: Program,
    /// Its configuration file.
    pub file: String,
}

/// Configuration files of zram-generator; the first one counts, and the `.d` directories next to them add
/// to it.
const GENERATOR: [&str; 4] = [
    "/etc/systemd/zram-generator.conf",
    "/run/systemd/zram-generator.conf",
    "/usr/local/lib/systemd/zram-generator.conf",
    "/usr/lib/systemd/zram-generator.conf",
];

/// Directories of systemd's generators: systemd.generator(7).
const GENERATORS: [&str; 2] = [
    "/usr/lib/systemd/system-generators/zram-generator",
    "/lib/systemd/system-generators/zram-generator",
];

const TOOLS: &str = "/etc/default/zramswap";

/// The link that enables Debian's unit. The settings file stays when the package is removed, so it proves
/// nothing.
const TOOLS_ENABLED: &str = "/etc/systemd/system/multi-user.target.wants/zramswap.service";

impl Other {
    /// Returns all programs that are configured to create devices on this host.
    ///
    /// # Errors
    /// Fails if a file exists but cannot be read.
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

    /// Whether another program certainly creates swap on zram at boot: its files request it, and it is
    /// installed and enabled. If that cannot be determined, the answer is no.
    ///
    /// # Errors
    /// Fails if a file exists but cannot be read.
    pub fn is_sure(host: &Host) -> Result<bool, HostError> {
        if generates_swap(host)? {
            for program in GENERATORS {
                if host.exists(program)? {
                    return Ok(true);
                }
            }
        }
        Ok(host.entry(TOOLS_ENABLED)?.is_some())
    }

    /// Returns a note for the user.
    pub fn note(&self) -> String {
        format!(
            "{} creates zram devices at boot ({}); leave zram to it or remove it there, otherwise there will be two",
            self.program, self.file
        )
    }
}

/// Returns the file with a section for a device. One without a section, which some Fedora releases install,
/// creates none.
fn generator(host: &Host) -> Result<Option<String>, HostError> {
    let mut files = settings(host)?.into_iter();
    let makes = files.find(|(_, text)| sections(text).next().is_some());
    Ok(makes.map(|(file, _)| file))
}

/// Whether zram-generator's files create swap: a section, merged from all files, has a size and no mount
/// point.
fn generates_swap(host: &Host) -> Result<bool, HostError> {
    let mut devices: BTreeMap<String, bool> = BTreeMap::new();
    // Later files override earlier ones for the same device: the main file, then the drop-ins by name.
    for (_, text) in settings(host)? {
        for (device, lines) in sections(&text) {
            let is_swap = devices.entry(device.to_owned()).or_insert(true);
            for (key, value) in lines {
                match key {
                    "zram-size" | "zram-fraction" => *is_swap = value.parse() != Ok(0.0_f64),
                    "mount-point" => *is_swap = false,
                    "fs-type" if value != "swap" => *is_swap = false,
                    _ => {}
                }
            }
        }
    }
    Ok(devices.values().any(|is_swap| *is_swap))
}

/// Returns the files that zram-generator reads, with their contents: the first main file, which may be
/// empty to mask the later ones, and the drop-ins of all directories by name. A drop-in in an earlier
/// directory replaces one of the same name in a later directory.
fn settings(host: &Host) -> Result<Vec<(String, String)>, HostError> {
    let read = |path: &str| match host.read_text(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if *error.kind() == HostErrorKind::Missing => Ok(None),
        Err(error) => Err(error),
    };
    let mut found = Vec::new();
    for file in GENERATOR {
        if let Some(text) = read(file)? {
            found.push((file.to_owned(), text));
            break;
        }
    }
    let mut drop_ins: BTreeMap<String, String> = BTreeMap::new();
    for file in GENERATOR {
        let directory = format!("{file}.d");
        let names = match host.list(&directory) {
            Err(error) if *error.kind() == HostErrorKind::Missing => continue,
            names => names?,
        };
        for name in names.into_iter().filter(|name| name.ends_with(".conf")) {
            let path = format!("{directory}/{name}");
            drop_ins.entry(name).or_insert(path);
        }
    }
    for path in drop_ins.into_values() {
        if let Some(text) = read(&path)? {
            found.push((path, text));
        }
    }
    Ok(found)
}

/// Returns the sections of devices with their settings.
fn sections(text: &str) -> impl Iterator<Item = (&str, Vec<(&str, &str)>)> {
    let mut sections: Vec<(&str, Vec<(&str, &str)>)> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            sections.push((name, Vec::new()));
        } else if let (Some((_, settings)), Some((key, value))) =
            (sections.last_mut(), line.split_once('='))
            && !line.starts_with(['#', ';'])
        {
            settings.push((key.trim(), value.trim()));
        }
    }
    let is_device = |name: &str| name.starts_with("zram");
    sections
        .into_iter()
        .filter(move |(name, _)| is_device(name))
}
