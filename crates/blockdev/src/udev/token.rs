//! One `KEY{attribute}operator"value"` of a rule.

use std::fmt;

use super::quoting;

macro_rules! keys {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)+) => {
        /// The key of a token, with udev(7)'s names.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Key {
            $($(#[$doc])* $variant,)+
            /// One that udev(7) does not have. udevd leaves out the whole line.
            Other(String),
        }

        impl Key {
            /// Every key that is known.
            pub const KNOWN: &'static [Self] = &[$(Self::$variant,)+];

            /// The key with this name.
            pub fn named(name: &str) -> Self {
                match name {
                    $($text => Self::$variant,)+
                    other => Self::Other(other.to_owned()),
                }
            }

            /// As it is written.
            pub fn name(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(name) => name,
                }
            }
        }
    };
}

// In the order in which udevd carries out the tokens of one line; what is matched by a key and what
// is assigned by it have different places, and `order` says which.
keys! {
    /// What happened to the device.
    Action = "ACTION",
    /// Its path beneath `/sys`.
    Devpath = "DEVPATH",
    /// Its name.
    Kernel = "KERNEL",
    /// A link to its node.
    Symlink = "SYMLINK",
    /// The name of a network interface.
    Name = "NAME",
    /// A property, named by the attribute.
    Env = "ENV",
    /// A constant of the system: `arch`, `virt`, `cvm`.
    Const = "CONST",
    /// A tag.
    Tag = "TAG",
    /// Its subsystem.
    Subsystem = "SUBSYSTEM",
    /// Its driver.
    Driver = "DRIVER",
    /// A file of its directory in sysfs.
    Attr = "ATTR",
    /// A kernel parameter.
    Sysctl = "SYSCTL",
    /// The name of it or of a parent.
    Kernels = "KERNELS",
    /// The subsystem of it or of a parent.
    Subsystems = "SUBSYSTEMS",
    /// The driver of it or of a parent.
    Drivers = "DRIVERS",
    /// A file of its directory or of a parent's.
    Attrs = "ATTRS",
    /// A tag of it or of a parent.
    Tags = "TAGS",
    /// Whether a file exists, with one of the permission bits of the attribute where there is one.
    Test = "TEST",
    /// Whether a program succeeds.
    Program = "PROGRAM",
    /// Properties from elsewhere: `builtin`, `cmdline`, `db`, `file`, `parent`, `program`.
    Import = "IMPORT",
    /// What the last program printed.
    Result = "RESULT",
    /// Options of the rule or of the device.
    Options = "OPTIONS",
    /// The owner of the node.
    Owner = "OWNER",
    /// The group of the node.
    Group = "GROUP",
    /// The permission bits of the node.
    Mode = "MODE",
    /// A security label of the node.
    Seclabel = "SECLABEL",
    /// A program that is run after all rules.
    Run = "RUN",
    /// The label at which it goes on.
    Goto = "GOTO",
    /// A name for this line.
    Label = "LABEL",
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What stands between key and value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `==`
    Equal,
    /// `!=`
    Unequal,
    /// `=`
    Assign,
    /// `+=`
    Add,
    /// `-=`
    Remove,
    /// `:=`, which forbids later changes, of the keys that know that; `ATTR` and `ENV` do not, and
    /// take it as `=`.
    Final,
}

impl Operator {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Equal,
        Self::Unequal,
        Self::Add,
        Self::Remove,
        Self::Assign,
        Self::Final,
    ];

    /// As it is written.
    pub fn text(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::Unequal => "!=",
            Self::Assign => "=",
            Self::Add => "+=",
            Self::Remove => "-=",
            Self::Final => ":=",
        }
    }

    /// Whether it compares and does not assign.
    pub fn is_match(self) -> bool {
        matches!(self, Self::Equal | Self::Unequal)
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// A value, without its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// What it stands for.
    pub text: String,
    /// Whether it is written with C's escapes, `e"..."`.
    pub escaped: bool,
    /// Whether it is compared without regard to case, `i"..."`: newer systemd only; 254 leaves out
    /// the whole line.
    pub case_insensitive: bool,
}

impl Value {
    /// In the plainest way that it can be written.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            escaped: quoting::plain(&text).is_none(),
            text,
            case_insensitive: false,
        }
    }

    fn write(&self, into: &mut String) -> Result<(), UnwritableError> {
        let unwritable = || UnwritableError {
            what: "value",
            text: self.text.clone(),
            why: "it holds a NUL, or what only e\"...\" can hold",
        };
        let quoted = if self.escaped {
            quoting::escaped(&self.text)
        } else {
            quoting::plain(&self.text)
        };
        if self.escaped {
            into.push('e');
        }
        if self.case_insensitive {
            into.push('i');
        }
        into.push('"');
        into.push_str(&quoted.ok_or_else(unwritable)?);
        into.push('"');
        Ok(())
    }
}

/// What udev's grammar has no way to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {what} {text:?} cannot be written in a udev rule: {why}")]
pub struct UnwritableError {
    /// What it is.
    pub what: &'static str,
    /// The text.
    pub text: String,
    /// Why not.
    pub why: &'static str,
}

/// One `KEY{attribute}operator"value"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The key.
    pub key: Key,
    /// What stands in braces behind it.
    pub attribute: Option<String>,
    /// What stands between key and value.
    pub operator: Operator,
    /// The value.
    pub value: Value,
}

impl Token {
    /// A token without an attribute.
    pub fn new(key: Key, operator: Operator, value: impl Into<String>) -> Self {
        Self {
            key,
            attribute: None,
            operator,
            value: Value::new(value),
        }
    }

    /// With an attribute, `KEY{attribute}`.
    #[must_use]
    pub fn of(mut self, attribute: impl Into<String>) -> Self {
        self.attribute = Some(attribute.into());
        self
    }

    /// As it is written.
    ///
    /// # Errors
    /// Where the grammar has no way to write it.
    pub fn to_text(&self) -> Result<String, UnwritableError> {
        let unwritable = |what, text: &str, why| UnwritableError {
            what,
            text: text.to_owned(),
            why,
        };
        let name = self.key.name();
        if name.is_empty() || name.starts_with('#') || name.contains(quoting::ends_key) {
            let why = "it is empty, or holds what ends a key";
            return Err(unwritable("key", name, why));
        }
        let mut text = name.to_owned();
        if let Some(attribute) = &self.attribute {
            if attribute.contains(['}', '\n', '\r', '\0']) {
                let why = "it holds a brace or ends the line";
                return Err(unwritable("attribute", attribute, why));
            }
            text.push('{');
            text.push_str(attribute);
            text.push('}');
        }
        text.push_str(self.operator.text());
        self.value.write(&mut text)?;
        Ok(text)
    }

    /// Whether this compares the device with something.
    pub fn is_match(&self) -> bool {
        // PROGRAM and IMPORT are always carried out as matches, whatever stands behind them.
        self.operator.is_match() || matches!(self.key, Key::Program | Key::Import)
    }

    /// Whether it is one of those that one and the same parent has to match.
    pub fn is_of_parents(&self) -> bool {
        matches!(
            self.key,
            Key::Kernels | Key::Subsystems | Key::Drivers | Key::Attrs | Key::Tags
        )
    }

    /// Its place among the tokens of a line: udevd sorts them before it carries them out, and
    /// keeps the order of equals.
    pub(super) fn order(&self) -> (u8, u8) {
        let import = || match self.attribute.as_deref() {
            Some("file") => 0,
            Some("program") => 1,
            Some("builtin") => 2,
            Some("db") => 3,
            Some("cmdline") => 4,
            _ => 5,
        };
        match (self.is_match(), &self.key) {
            (true, Key::Import) => (19, import()),
            (true, key) => {
                let place = Key::KNOWN.iter().position(|known| known == key);
                (
                    place
                        .and_then(|place| u8::try_from(place).ok())
                        .unwrap_or(u8::MAX),
                    0,
                )
            }
            (false, Key::Options) => (32, 0),
            (false, Key::Owner | Key::Group | Key::Mode) => (33, 0),
            (false, Key::Tag) => (34, 0),
            (false, Key::Seclabel) => (35, 0),
            (false, Key::Env) => (36, 0),
            (false, Key::Name) => (37, 0),
            (false, Key::Symlink) => (38, 0),
            (false, Key::Attr) => (39, 0),
            (false, Key::Sysctl) => (40, 0),
            (false, Key::Run) if self.attribute.as_deref() == Some("builtin") => (41, 0),
            (false, Key::Run) => (42, 0),
            (false, _) => (43, 0),
        }
    }
}
