//! The distribution, from os-release(5).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::source::{Source, plain};

/// The first existing file counts, as specified by os-release(5).
const FILES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// The files that are read; see [`Facts::sources`](crate::Facts::sources).
pub(crate) const SOURCES: &[&str] = &FILES;

/// The distribution. Missing fields have the defaults of os-release(5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Distribution {
    /// Machine-readable name: `debian`; `linux` if missing.
    pub id: String,
    /// Related distributions, the closest first: `ubuntu debian`.
    pub id_like: Vec<String>,
    /// Human-readable name: `Debian GNU/Linux`; `Linux` if missing.
    pub name: String,
    /// Human-readable name with version: `Debian GNU/Linux 12 (bookworm)`; `Linux` if missing.
    pub pretty_name: String,
    /// Machine-readable version: `12`. A rolling release has none.
    pub version_id: Option<String>,
    /// The release's code name: `bookworm`.
    pub version_codename: Option<String>,
    /// The variant: `workstation`.
    pub variant_id: Option<String>,
    /// The build it was installed from, for rolling releases and image-based systems.
    pub build_id: Option<String>,
}

impl Distribution {
    pub(crate) fn of(source: Source<'_>) -> Option<Self> {
        let text = FILES.iter().find_map(|file| source.lines(file))?;
        Some(Self::parse(&text))
    }

    /// Parses an os-release file. Malformed lines are skipped.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let fields = assignments(text);
        let field = |name: &str| plain(fields.get(name)?);
        let or_linux = |name: &str, linux: &str| field(name).unwrap_or_else(|| linux.to_owned());
        let like = field("ID_LIKE").unwrap_or_default();
        Self {
            id: or_linux("ID", "linux"),
            id_like: like.split_whitespace().map(str::to_owned).collect(),
            name: or_linux("NAME", "Linux"),
            pretty_name: or_linux("PRETTY_NAME", "Linux"),
            version_id: field("VERSION_ID"),
            version_codename: field("VERSION_CODENAME"),
            variant_id: field("VARIANT_ID"),
            build_id: field("BUILD_ID"),
        }
    }

    /// Whether it is this distribution or one derived from it, by `ID_LIKE`.
    #[must_use]
    pub fn is_like(&self, id: &str) -> bool {
        self.id == id || self.id_like.iter().any(|like| like == id)
    }
}

/// Parses the shell-compatible assignments of a file. The last one of a name counts.
fn assignments(text: &str) -> BTreeMap<&str, String> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let Some((name, value)) = line.trim_start().split_once('=') else {
            continue;
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !name.is_empty() && name.bytes().all(is_name) {
            found.insert(name, value_of(value));
        }
    }
    found
}

/// Parses a value as a POSIX shell parses one word: `'…'` is literal, `"…"` allows a backslash before `"`,
/// `\`, `$` and a backquote, and unquoted text a backslash before anything. The word ends at a blank. An
/// unclosed quotation ends with the line.
fn value_of(text: &str) -> String {
    #[derive(Clone, Copy, PartialEq)]
    enum Quoted {
        Not,
        Single,
        Double,
    }
    let mut value = String::new();
    let mut quoted = Quoted::Not;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match (quoted, c) {
            (Quoted::Not, '\'') => quoted = Quoted::Single,
            (Quoted::Not, '"') => quoted = Quoted::Double,
            (Quoted::Single, '\'') | (Quoted::Double, '"') => quoted = Quoted::Not,
            (Quoted::Not, c) if c.is_whitespace() => break,
            (Quoted::Not, '\\') => value.extend(characters.next()),
            (Quoted::Double, '\\') => match characters.peek() {
                Some('"' | '\\' | '$' | '`') => value.extend(characters.next()),
                _ => value.push('\\'),
            },
            (_, c) => value.push(c),
        }
    }
    value
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pretty_name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn defaults_are_those_of_the_manual() {
        let nothing = Distribution::parse("# nothing\nID=\n");
        assert_eq!(
            (&*nothing.id, &*nothing.name, &*nothing.pretty_name),
            ("linux", "Linux", "Linux")
        );
        assert_eq!(nothing.version_id, None);
    }

    #[test]
    fn the_last_assignment_counts_and_odd_lines_are_passed_over() {
        let text =
            "ID=first\n ID=second\nexport ID=third\nI-D=4\n#ID=5\nID = 6\n=7\nID_LIKE='a  b'\n";
        let read = Distribution::parse(text);
        assert_eq!(read.id, "second");
        assert!(read.is_like("b") && read.is_like("second") && !read.is_like("c"));
    }

    proptest! {
        #[test]
        fn any_text_is_read(text: String, line in "[A-Z=\"'\\\\$`a #\n]{0,60}") {
            let _ = Distribution::parse(&text);
            let _ = Distribution::parse(&line);
        }

        /// A value quoted according to os-release(5) is read back unchanged.
        #[test]
        fn what_is_quoted_is_read_back(value in "[ -~é]{1,30}") {
            let mut quoted = String::new();
            for c in value.chars() {
                if "\"\\$`".contains(c) {
                    quoted.push('\\');
                }
                quoted.push(c);
            }
            let read = value_of(&format!("\"{quoted}\""));
            prop_assert_eq!(&read, &value);
            if !value.contains('\'') {
                prop_assert_eq!(value_of(&format!("'{value}'")), value);
            }
        }
    }
}
