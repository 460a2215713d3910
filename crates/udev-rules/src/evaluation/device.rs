//! Comparing one token with the device.

use super::super::substitution::has_variables;
use super::{Key, Known, Parent, Pattern, Ready, Run, Token, Truth};
use crate::properties::Names;
use crate::token::Operator;

impl Run<'_> {
    /// Whether a token matches, unless it is about parents.
    pub(super) fn matches(&mut self, token: &Token, pattern: Option<&Pattern>) -> Truth {
        let attribute = token.attribute.as_deref().unwrap_or_default();
        let compare = |known: Known| compared(token, pattern, &known);
        let text = |text: &str| compare(Known::Text(text.to_owned()));
        let device = self.device;
        match token.key {
            Key::Action => text(self.action.name()),
            Key::Devpath => compare(self.properties.get("DEVPATH")),
            Key::Kernel => text(device.kernel()),
            // Only network interfaces have a name.
            Key::Name => text(""),
            Key::Env => compare(self.properties.get(attribute)),
            Key::Tag => self.tagged(token, pattern),
            Key::Symlink => self.links.matches(token, pattern),
            Key::Subsystem | Key::Driver | Key::Attr => self.of_level(0, token, pattern),
            Key::Const | Key::Sysctl => Truth::Perhaps(format!(
                "{}{{{attribute}}} depends on the running machine",
                token.key
            )),
            Key::Test => self.exists(token),
            Key::Program => {
                let why = format!("PROGRAM {}", token.value.text);
                self.result = Known::Unknown(why.clone());
                Truth::Perhaps(format!("it depends on {why}"))
            }
            Key::Result => compare(self.result.clone()),
            Key::Import => self.import(token),
            _ => Truth::Perhaps(format!("{} was not evaluated", token.key)),
        }
    }

    /// Compares a token about a single device with the device itself or a parent.
    fn of_level(&self, level: usize, token: &Token, pattern: Option<&Pattern>) -> Truth {
        let Some(at) = self.device.levels.get(level) else {
            return Truth::No;
        };
        let text = |text: Option<&str>| {
            compared(
                token,
                pattern,
                &Known::Text(text.unwrap_or_default().to_owned()),
            )
        };
        match token.key {
            Key::Kernels => text(Some(&at.kernel)),
            Key::Subsystem | Key::Subsystems => {
                let subsystem = at.subsystem.as_deref();
                // Any of these names matches all three.
                const ANY: [&str; 3] = ["subsystem", "bus", "class"];
                if token.key == Key::Subsystem && ANY.contains(&token.value.text.as_str()) {
                    let is = ANY.contains(&subsystem.unwrap_or_default());
                    return Truth::of(is == (token.operator == Operator::Equal));
                }
                text(subsystem)
            }
            Key::Driver | Key::Drivers => text(at.driver.as_deref()),
            Key::Tags if level == 0 => self.tagged(token, pattern),
            Key::Tags => Truth::Perhaps("the tags of parents are unknown".to_owned()),
            Key::Attr | Key::Attrs => self.attribute_matches(level, token, pattern),
            _ => Truth::Perhaps(format!("{} was not evaluated", token.key)),
        }
    }

    /// Some versions of udev (252) also count the tags from the previous event, others do not.
    fn tagged(&self, token: &Token, pattern: Option<&Pattern>) -> Truth {
        let truth = self.tags.matches(token, pattern);
        if self.device.database.is_none()
            || truth == Truth::Yes && token.operator == Operator::Equal
        {
            return truth;
        }
        Truth::Perhaps(format!(
            "{} may count a tag from the previous event",
            token.key
        ))
    }

    /// A missing attribute matches neither `==` nor `!=`.
    fn attribute_matches(&self, level: usize, token: &Token, pattern: Option<&Pattern>) -> Truth {
        let name = token.attribute.as_deref().unwrap_or_default();
        if name.starts_with('[') {
            return Truth::Perhaps(format!("{}{{{name}}} belongs to another device", token.key));
        }
        let name = if has_variables(name) {
            match self.substituted(name) {
                Known::Text(name) => name,
                Known::Unknown(why) => return Truth::Perhaps(why),
            }
        } else {
            name.to_owned()
        };
        let value = &token.value.text;
        let keeps_end = value.is_empty() || value.ends_with([' ', '\t', '\n', '\r']);
        let compare = |text: &str| {
            let text = if keeps_end {
                text
            } else {
                text.trim_end_matches([' ', '\t', '\n', '\r'])
            };
            compared(token, pattern, &Known::Text(text.to_owned()))
        };
        let truth = match self.device.attribute(level, &name) {
            Ok(Some(text)) => compare(&text),
            Ok(None) => Truth::No,
            Err(error) => Truth::Perhaps(error.to_string()),
        };
        if level != 0 {
            return truth;
        }
        // The name under which writes are recorded; for a partition it is relative to its disk.
        let name = self
            .own_name(&format!("{}/{name}", self.device.path()))
            .unwrap_or(name);
        match self.written.get(&name) {
            // udevd remembers what it wrote, unless the kernel refused it.
            Some(Known::Text(written)) if compare(written) == truth => truth,
            Some(_) => Truth::Perhaps(format!("an earlier rule writes {name}")),
            None if self.is_reset(&name) => Truth::Perhaps(format!(
                "an earlier rule sets the scheduler, which resets {name}"
            )),
            None => truth,
        }
    }

    /// Whether the kernel has reset an attribute in the meantime: a new scheduler resets what
    /// depends on it.
    fn is_reset(&self, name: &str) -> bool {
        self.written.contains_key("queue/scheduler")
            && (name.starts_with("queue/iosched/")
                || ["queue/nr_requests", "queue/wbt_lat_usec"].contains(&name))
    }

    /// Evaluates all parent tokens of a line: a single device, the device itself or one parent, has
    /// to match them all.
    pub(super) fn parents(&mut self, line: &Ready) -> Truth {
        let mut doubt: Option<String> = None;
        for level in 0..self.device.levels.len() {
            let mut truth = Truth::Yes;
            let tokens = line
                .tokens
                .iter()
                .filter(|(token, _)| token.is_of_parents());
            for (token, pattern) in tokens {
                match self.of_level(level, token, pattern.as_ref()) {
                    Truth::Yes => {}
                    Truth::No => {
                        truth = Truth::No;
                        break;
                    }
                    perhaps @ Truth::Perhaps(_) => truth = perhaps,
                }
            }
            match truth {
                Truth::Yes => {
                    self.parent = match doubt {
                        None => Parent::Level(level),
                        Some(_) => Parent::Unknown,
                    };
                    return Truth::Yes;
                }
                Truth::No => {}
                Truth::Perhaps(why) => doubt = doubt.or(Some(why)),
            }
        }
        match doubt {
            None => {
                self.parent = Parent::None;
                Truth::No
            }
            Some(why) => {
                self.parent = Parent::Unknown;
                Truth::Perhaps(why)
            }
        }
    }

    fn exists(&self, token: &Token) -> Truth {
        let path = match self.substituted(&token.value.text) {
            Known::Text(path) => path,
            Known::Unknown(why) => return Truth::Perhaps(why),
        };
        if path.starts_with('[') {
            return Truth::Perhaps(format!("TEST {path} belongs to another device"));
        }
        let path = if path.starts_with('/') {
            path
        } else {
            format!("{}/{path}", self.device.path())
        };
        let wanted = token.attribute.as_deref().unwrap_or_default();
        let wanted = u32::from_str_radix(wanted, 8).ok();
        let found = match (self.resolved(&path).first(), self.device.files()) {
            (Some(path), Some(files)) => files.mode(path),
            _ => Ok(None),
        };
        match found {
            Err(error) => Truth::Perhaps(error.to_string()),
            Ok(mode) => {
                let is = match (mode, wanted) {
                    (None, _) => false,
                    (Some(_), None) => true,
                    (Some(mode), Some(wanted)) => mode & wanted != 0,
                };
                Truth::of(is == (token.operator != Operator::Unequal))
            }
        }
    }

    /// The paths that a path can mean if its first `/*/` stands for any directory. udevd takes the
    /// first in file system order, which is unknown.
    pub(super) fn resolved(&self, path: &str) -> Vec<String> {
        let Some((directory, rest)) = path.split_once("/*/") else {
            return vec![path.to_owned()];
        };
        let Some(files) = self.device.files() else {
            return Vec::new();
        };
        let names = files.names(directory).unwrap_or_default();
        let names = names.iter().filter(|name| !name.starts_with('.'));
        let paths = names.map(|name| format!("{directory}/{name}/{rest}"));
        paths
            .filter(|path| files.mode(path).ok().flatten().is_some())
            .collect()
    }

    fn import(&mut self, token: &Token) -> Truth {
        let text = token.value.text.as_str();
        let kind = token.attribute.as_deref().unwrap_or_default();
        match kind {
            "db" => {
                let database = self.device.database.as_ref();
                if database.is_some_and(|database| !database.contains_key(text)) {
                    return Truth::of(token.operator == Operator::Unequal);
                }
                self.properties.import(Names::One(text.to_owned()));
            }
            "cmdline" => {
                let why = format!("{text} may be on the kernel's command line");
                self.properties.set(text, Known::Unknown(why), None);
            }
            "parent" if !has_variables(text) => {
                self.properties.import(Names::Like(text.to_owned()));
            }
            _ => self.properties.import(imported(kind, text)),
        }
        Truth::Perhaps(format!("IMPORT{{{kind}}} {text} may fail"))
    }
}

/// The properties that an import can set.
fn imported(kind: &str, text: &str) -> Names {
    let program = text.split(' ').next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default();
    match (kind, name) {
        ("builtin", "blkid") => Names::Matching(&["ID_FS_*", "ID_PART_*"]),
        ("builtin", "path_id") => Names::Matching(&["ID_PATH*"]),
        ("builtin", "usb_id") => Names::Matching(&["ID_*"]),
        ("builtin", "btrfs") => Names::Matching(&["ID_BTRFS_*"]),
        ("builtin", "kmod" | "uaccess" | "keyboard") => Names::Matching(&[]),
        // By kind of device; never a bus or a serial number.
        ("builtin", "hwdb") => Names::Perhaps(&[
            "[!I]*",
            "I[!D]*",
            "ID_[!ABS]*",
            "ID_A[!T]*",
            "ID_B[!U]*",
            "ID_S[!E]*",
        ]),
        ("program", "ata_id" | "cdrom_id") => Names::Matching(&["ID_*"]),
        ("program", "scsi_id") => Names::Matching(&["ID_*", "SCSI_*"]),
        ("program", "dmsetup") => Names::Matching(&["DM_*"]),
        _ => Names::Perhaps(&["*"]),
    }
}

/// Whether a text matches according to the operator.
fn compared(token: &Token, pattern: Option<&Pattern>, known: &Known) -> Truth {
    match (known, pattern) {
        (Known::Text(text), Some(pattern)) => {
            Truth::of(pattern.matches(text) == (token.operator == Operator::Equal))
        }
        (Known::Unknown(why), _) => Truth::Perhaps(why.clone()),
        (Known::Text(_), None) => Truth::No,
    }
}
