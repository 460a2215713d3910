//! A token of a rule, `KEY{attribute}operator"value"`.

use std::fmt;

use super::quoting;

macro_rules! keys {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)+) => {
        /// The key of a token, named as in udev(7).
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Key {
            $($(#[$doc])* $variant,)+
            /// A key that is not in udev(7). udevd ignores the whole line.
            Other(String),
        }

        impl Key {
            /// Every known key.
            pub const KNOWN: &'static [Self] = &[$(Self::$variant,)+];

            /// Returns the key with this name.
            pub fn named(name: &str) -> Self {
                match name {
                    $($text => Self::$variant,)+
                    other => Self::Other(other.to_owned()),
                }
            }

            /// The key as it is written.
            pub fn name(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(name) => name,
                }
            }
        }
    };
}

// In the order in which udevd evaluates the matches of a line; the order of assignments is
// different, see `order`.
keys! {
    /// The action of the event.
    Action = "ACTION",
    /// The device's path beneath `/sys`.
    Devpath = "DEVPATH",
    /// The device's kernel name.
    Kernel = "KERNEL",
    /// A link to the device node.
    Symlink = "SYMLINK",
    /// The name of a network interface.
    Name = "NAME",
    /// A property; the attribute is its name.
    Env = "ENV",
    /// A constant of the system: `arch`, `virt`, `cvm`.
    Const = "CONST",
    /// A tag.
    Tag = "TAG",
    /// The device's subsystem.
    Subsystem = "SUBSYSTEM",
    /// The device's driver.
    Driver = "DRIVER",
    /// A file in the device's sysfs directory.
    Attr = "ATTR",
    /// A kernel parameter.
    Sysctl = "SYSCTL",
    /// The kernel name of the device or a parent.
    Kernels = "KERNELS",
    /// The subsystem of the device or a parent.
    Subsystems = "SUBSYSTEMS",
    /// The driver of the device or a parent.
    Drivers = "DRIVERS",
    /// A file in the sysfs directory of the device or a parent.
    Attrs = "ATTRS",
    /// A tag of the device or a parent.
    Tags = "TAGS",
    /// Whether a file exists and, if there is an attribute, has any of its permission bits.
    Test = "TEST",
    /// Whether a program succeeds.
    Program = "PROGRAM",
    /// Properties from another source: `builtin`, `cmdline`, `db`, `file`, `parent`, `program`.
    Import = "IMPORT",
    /// The output of the last program.
    Result = "RESULT",
    /// Options of the rule or of the device.
    Options = "OPTIONS",
    /// The owner of the device node.
    Owner = "OWNER",
    /// The group of the device node.
    Group = "GROUP",
    /// The permission bits of the device node.
    Mode = "MODE",
    /// A security label of the device node.
    Seclabel = "SECLABEL",
    /// A program that is run after all rules.
    Run = "RUN",
    /// The label to jump to.
    Goto = "GOTO",
    /// A name for this line.
    Label = "LABEL",
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The operator between key and value.
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
    /// `:=`, which forbids later changes for keys that support it. `ATTR` and `ENV` do not, and
    /// treat it as `=`.
    Final,
}

impl Operator {
    /// All operators.
    pub const ALL: [Self; 6] = [
        Self::Equal,
        Self::Unequal,
        Self::Add,
        Self::Remove,
        Self::Assign,
        Self::Final,
    ];

    /// The operator as it is written.
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

    /// Whether it is a comparison.
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
    /// The value after unescaping.
    pub text: String,
    /// Whether it is written with C escapes, `e"..."`.
    pub escaped: bool,
    /// Whether the comparison ignores case, `i"..."`: only newer systemd supports this; 254 ignores
    /// the whole line.
    pub case_insensitive: bool,
}

impl Value {
    /// Creates a value in plain quotes, or with C escapes if plain quotes cannot represent it.
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
            why: "it contains a NUL, or characters that only e\"...\" can represent",
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

/// A text that udev's grammar cannot express.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {what} {text:?} cannot be written in a udev rule: {why}")]
pub struct UnwritableError {
    /// The kind of text.
    pub what: &'static str,
    /// The text.
    pub text: String,
    /// The reason.
    pub why: &'static str,
}

/// One `KEY{attribute}operator"value"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The key.
    pub key: Key,
    /// The text in braces after the key.
    pub attribute: Option<String>,
    /// The operator.
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

    /// Formats the token as it is written.
    ///
    /// # Errors
    /// If the grammar cannot express it.
    pub fn to_text(&self) -> Result<String, UnwritableError> {
        let unwritable = |what, text: &str, why| UnwritableError {
            what,
            text: text.to_owned(),
            why,
        };
        let name = self.key.name();
        if name.is_empty() || name.starts_with('#') || name.contains(quoting::ends_key) {
            let why = "it is empty, or contains a character that ends a key";
            return Err(unwritable("key", name, why));
        }
        let mut text = name.to_owned();
        if let Some(attribute) = &self.attribute {
            if attribute.contains(['}', '\n', '\r', '\0']) {
                let why = "it contains a closing brace, a line end or a NUL";
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

    /// Whether the token is a comparison.
    pub fn is_match(&self) -> bool {
        // `PROGRAM` and `IMPORT` are always evaluated as matches, whatever their operator.
        self.operator.is_match() || matches!(self.key, Key::Program | Key::Import)
    }

    /// Whether it is one of the tokens that all have to match the same parent.
    pub fn is_of_parents(&self) -> bool {
        matches!(
            self.key,
            Key::Kernels | Key::Subsystems | Key::Drivers | Key::Attrs | Key::Tags
        )
    }

    /// The position of the token in evaluation: udevd sorts the tokens of a line by this before
    /// evaluating them, and keeps the order of equal ones.
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
