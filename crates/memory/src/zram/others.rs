//! Who else makes swap of zram, from the files that tell them to.

use std::collections::BTreeMap;
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

/// Where systemd's generators are: systemd.generator(7).
const GENERATORS: [&str; 2] = [
    "/usr/lib/systemd/system-generators/zram-generator",
    "/lib/systemd/system-generators/zram-generator",
];

const TOOLS: &str = "/etc/default/zramswap";

/// Debian's unit is switched on by this link. The settings are kept where the package is removed, so they
/// tell nothing.
const TOOLS_ENABLED: &str = "/etc/systemd/system/multi-user.target.wants/zramswap.service";

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

    /// Whether swap on zram is sure to be made when the machine boots: the files say so, and the program is
    /// there and switched on. Where it cannot be told it is not sure.
    ///
    /// # Errors
    /// Where a file is there and cannot be read.
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
    let mut files = settings(host)?.into_iter();
    let makes = files.find(|(_, text)| sections(text).next().is_some());
    Ok(makes.map(|(file, _)| file))
}

/// Whether zram-generator makes swap, as far as its files tell: a section of them all together that has a
/// size and is not mounted instead.
fn generates_swap(host: &Host) -> Result<bool, HostError> {
    let mut devices: BTreeMap<String, bool> = BTreeMap::new();
    // What comes later says more of the same device: the main file, then the drop-ins by their names.
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

/// The files that zram-generator reads, with their texts: the first of the main files, which can be empty
/// to switch those after it off, and the drop-ins of all directories by their names, of which one in an
/// earlier directory stands for those in later ones.
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

/// The sections of devices, each with its settings.
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
