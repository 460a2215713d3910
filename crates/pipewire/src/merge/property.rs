//! Properties and where they were set.

use std::fmt;
use std::path::PathBuf;

/// How a property was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum How {
    /// In the section itself.
    Section,
    /// By a rule for the section, which is applied after all files are read.
    Rule,
    /// By `vm.overrides`, which is applied last, in a virtual machine.
    VmOverrides,
}

/// Where a property was set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// How it was set there.
    pub how: How,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)?;
        match self.how {
            How::Section => Ok(()),
            How::Rule => f.write_str(" (a rule)"),
            How::VmOverrides => f.write_str(" (vm.overrides)"),
        }
    }
}

/// A property and where it was set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Property {
    /// The key.
    pub key: String,
    /// The text: an object or an array as it is written.
    pub value: String,
    /// The file and the line that win.
    pub origin: Origin,
}

/// A rule of which it is not known whether it applies, because it has a regular expression or asks for
/// a property that only the running daemon has, such as `application.name`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Undetermined {
    /// Where it is.
    pub origin: Origin,
    /// The keys that it would set.
    pub keys: Vec<String>,
}

/// The properties of a section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Properties {
    /// The properties, each key once.
    pub properties: Vec<Property>,
    /// The rules that may set others.
    pub undetermined: Vec<Undetermined>,
}

impl Properties {
    /// A property.
    pub fn property(&self, key: &str) -> Option<&Property> {
        self.properties.iter().find(|property| property.key == key)
    }

    /// Whether a rule of which it is not known whether it applies would set a property.
    pub fn may_be_set(&self, key: &str) -> bool {
        let mut rules = self.undetermined.iter();
        rules.any(|rule| rule.keys.iter().any(|known| known == key))
    }

    /// The text of a property.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.property(key).map(|property| property.value.as_str())
    }
}
