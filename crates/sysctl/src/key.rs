//! Names of kernel variables beneath `/proc/sys`, and patterns that match several of them.
//!
//! A [`Key`] is a list of path segments, not a string with its dots replaced: an interface name
//! may contain a dot (`eth0.100`), so replacing every dot in `net.ipv4.conf.eth0.100.forwarding`
//! by a slash gives a different path, usually of a file that does not exist. As in systemd and
//! procps, the *first* separator of the text decides. If it is a slash, the text is used as a path
//! unchanged. If it is a dot, dots and slashes are swapped, so `net.ipv4.conf.eth0/100.forwarding`
//! names the interface `eth0.100`.
//!
//! A [`KeyPattern`] may also contain `*`, `?` and `[...]`, as sysctl.d(5) allows. It is never
//! written to directly but first expanded into a list of keys, because the set of keys that it
//! matches grows with the kernel (`vm.vfs_cache_press*` also matches
//! `vm.vfs_cache_pressure_denom` where that exists) and a plan must show what it will change.

use std::fmt;
use std::str::FromStr;

use hosttune_core::fnmatch;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::glob;

/// The directory that every key is relative to.
pub const PROC_SYS: &str = "/proc/sys";

/// `(alias, canonical)`, both in slashed form; [`Key::canonical`] gives the reasons.
const ALIASES: [(&str, &str); 2] = [
    ("net/ipv4/conf/all/forwarding", "net/ipv4/ip_forward"),
    ("net/nf_conntrack_max", "net/netfilter/nf_conntrack_max"),
];

/// Why a text or a list of segments is not a valid key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is empty, or the list has no segments.
    #[error("the sysctl key is empty; write it like vm.swappiness")]
    Empty,
    /// Two separators are adjacent, or one is at the start or at the end.
    #[error("sysctl key `{key}` has an empty segment; write one separator between two names")]
    EmptySegment {
        /// The whole text.
        key: String,
    },
    /// The text begins with a slash.
    #[error(
        "sysctl key `{key}` is an absolute path; leave out `/proc/sys/` and write it like vm.swappiness or vm/swappiness"
    )]
    Absolute {
        /// The whole text.
        key: String,
    },
    /// A segment is `.` or `..`, which could name a file outside the key's own directory.
    #[error("sysctl key `{key}` contains the segment `{step}`; write out the directory names")]
    PathStep {
        /// The whole text.
        key: String,
        /// `.` or `..`.
        step: String,
    },
    /// The text contains a character that a key in a sysctl.d file cannot contain.
    #[error(
        "sysctl key `{}` contains {character:?} at byte {offset}; blanks, control characters and `=` are not allowed in a key", .key.escape_debug()
    )]
    Character {
        /// The whole text.
        key: String,
        /// The first character that is not allowed.
        character: char,
        /// Its offset from the start of the text, in bytes.
        offset: usize,
    },
    /// A segment contains a slash.
    #[error(
        "the segment `{segment}` of a sysctl key contains a `/`; pass each name as its own segment"
    )]
    SlashInSegment {
        /// The segment.
        segment: String,
    },
    /// The first segment would be read as something else in a text.
    #[error(
        "the first segment `{segment}` of a sysctl key contains a `.` or begins with `-`, `#` or `;`; no sysctl.d line can name such a key, and no kernel has one"
    )]
    FirstSegment {
        /// The segment.
        segment: String,
    },
    /// The text is a pattern where a single key is expected.
    #[error(
        "`{key}` is a pattern, not a single sysctl key; `sysctl -a` lists the keys, and a program expands it with `KeyPattern::expand`"
    )]
    Pattern {
        /// The whole text.
        key: String,
    },
}

/// The name of one kernel variable: one or more path segments beneath `/proc/sys`.
///
/// No segment is empty, `.` or `..`, and none contains a slash, a blank, a control character, an
/// `=` or a glob character; the first one contains no dot. These are the names that a sysctl.d line
/// can carry, so [`Display`](fmt::Display) and [`FromStr`] are inverses for every key.
///
/// ```
/// # use hosttune_sysctl::Key;
/// let key: Key = "net.ipv4.conf.eth0/100.forwarding".parse()?;
/// assert_eq!(key.path(), "/proc/sys/net/ipv4/conf/eth0.100/forwarding");
/// assert_eq!(key, "net/ipv4/conf/eth0.100/forwarding".parse()?);
/// # Ok::<(), hosttune_sysctl::KeyError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The segments joined by slashes. One string is enough, since no segment contains a slash.
    slashed: String,
}

impl Key {
    /// Builds a key from its segments, in which dots are ordinary characters.
    ///
    /// # Errors
    ///
    /// When the list is empty or a segment is not allowed in a key; see [`KeyError`].
    pub fn new<I, S>(segments: I) -> Result<Self, KeyError>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        let slashed = join(segments)?;
        check(&slashed, &slashed)?;
        if fnmatch::is_pattern(&slashed) {
            return Err(KeyError::Pattern { key: slashed });
        }
        Ok(Self { slashed })
    }

    /// The segments from the outermost directory to the file.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.slashed.split('/')
    }

    /// The segments joined by slashes.
    pub(crate) fn slashed(&self) -> &str {
        &self.slashed
    }

    /// The absolute path of the variable's file, beginning with `/proc/sys/`.
    pub fn path(&self) -> String {
        format!("{PROC_SYS}/{}", self.slashed)
    }

    /// The canonical key of the variable, whichever of its names this key is.
    ///
    /// A set that assigned two names of one variable would conflict with itself, and a revert
    /// would restore the variable twice. Only names that share one variable *and* one meaning are
    /// mapped:
    ///
    /// | Name | Canonical | Why |
    /// |---|---|---|
    /// | `net.ipv4.conf.all.forwarding` | `net.ipv4.ip_forward` | net/ipv4/devinet.c: both tables point at the forwarding entry of `devconf_all` |
    /// | `net.nf_conntrack_max` | `net.netfilter.nf_conntrack_max` | net/netfilter/nf_conntrack_standalone.c: both tables point at `nf_conntrack_max` |
    ///
    /// Deliberately not mapped: `vm.nr_hugepages_mempolicy` (reads the same count, but a write
    /// distributes the pages by the writer's memory policy), `neigh.*.retrans_time` and
    /// `base_reachable_time` with their `_ms` forms (one variable in two units), and
    /// `user.max_inotify_watches` (the same variable as `fs.inotify.max_user_watches` in the
    /// initial user namespace only).
    #[must_use]
    pub fn canonical(&self) -> Self {
        let alias = ALIASES.iter().find(|(alias, _)| *alias == self.slashed);
        Self {
            slashed: alias.map_or_else(
                || self.slashed.clone(),
                |(_, canonical)| (*canonical).to_owned(),
            ),
        }
    }

    /// All names of the variable that this key names, the canonical one first.
    pub fn names(&self) -> Vec<Self> {
        let canonical = self.canonical();
        let aliases = ALIASES
            .iter()
            .filter(|(_, variable)| *variable == canonical.slashed)
            .map(|(alias, _)| Self {
                slashed: (*alias).to_owned(),
            });
        let mut names: Vec<Self> = aliases.collect();
        names.insert(0, canonical);
        names
    }
}

impl FromStr for Key {
    type Err = KeyError;

    /// Parses the dotted or the slashed form; the first separator decides which one it is.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let slashed = to_slashed(text)?;
        if fnmatch::is_pattern(&slashed) {
            return Err(KeyError::Pattern {
                key: text.to_owned(),
            });
        }
        Ok(Self { slashed })
    }
}

impl fmt::Display for Key {
    /// The dotted form, in which a dot inside a segment is printed as a slash.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&interchanged(&self.slashed))
    }
}

impl fmt::Debug for Key {
    /// Prints `Key(vm.swappiness)`, so that lists of keys in failed assertions stay readable.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Key({self})")
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// A key, or a glob(7) pattern over keys: `net.ipv4.conf.*.rp_filter`.
///
/// A wildcard never matches across a separator. As in glob(3), which both loaders use, `{a,b}` is
/// literal text and not an alternation, an unclosed `[` is literal, and a backslash removes the
/// special meaning of the character after it, but only in a text that is a pattern at all.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPattern {
    slashed: String,
}

/// The keys that a pattern matches on one host; see [`KeyPattern::expand`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expansion {
    /// The matching keys, sorted, each once.
    pub keys: Vec<Key>,
    /// Matching paths that no [`Key`] can name, such as those of an interface whose name contains
    /// a `*`. They are returned rather than dropped, so that a plan can say that it leaves them
    /// alone.
    pub unnameable: Vec<String>,
}

impl KeyPattern {
    /// Parses a text as leniently as systemd-sysctl does: repeated, leading and trailing
    /// separators and `.` segments are dropped, so `/net//ipv4/./tcp_sack` is `net.ipv4.tcp_sack`.
    ///
    /// This is for reading files that other programs will load. For user input use [`FromStr`],
    /// which rejects such texts.
    ///
    /// # Errors
    ///
    /// When nothing remains, or when [`FromStr`] would reject what remains too.
    pub fn as_systemd_reads(text: &str) -> Result<Self, KeyError> {
        let slashed = match text.find(['.', '/']) {
            Some(place) if text[place..].starts_with('.') => interchanged(text),
            _ => text.to_owned(),
        };
        let simplified = join(
            slashed
                .split('/')
                .filter(|segment| !segment.is_empty() && *segment != "."),
        )?;
        check(text, &simplified)?;
        Ok(Self {
            slashed: simplified,
        })
    }

    /// Whether the pattern contains a `*`, `?` or `[`. Otherwise it names one key literally.
    pub fn is_glob(&self) -> bool {
        fnmatch::is_pattern(&self.slashed)
    }

    /// The key that this names, unless it is a glob.
    pub fn as_key(&self) -> Option<Key> {
        (!self.is_glob()).then(|| Key {
            slashed: self.slashed.clone(),
        })
    }

    /// Whether the pattern matches this key. Aliases are not resolved: a loader compares file
    /// names, and so does this.
    pub fn matches(&self, key: &Key) -> bool {
        if !self.is_glob() {
            return self.slashed == key.slashed;
        }
        let mut names = key.segments();
        for pattern in self.slashed.split('/') {
            match names.next() {
                Some(name) if glob::matches_segment(pattern, name) => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }

    /// Lists the existing keys that match. `list` takes the absolute path of a directory
    /// (`/proc/sys/net`) and returns the names in it, or nothing where it is not a directory.
    ///
    /// A match that is itself a directory is left out, unlike in the loaders, which try to write to
    /// it and fail. A literal pattern is looked up too, so the result only contains keys that
    /// exist.
    pub fn expand(&self, mut list: impl FnMut(&str) -> Vec<String>) -> Expansion {
        let mut found = vec![PROC_SYS.to_owned()];
        let is_glob = self.is_glob();
        for pattern in self.slashed.split('/') {
            let mut deeper = Vec::new();
            for directory in &found {
                for name in list(directory) {
                    let matches = if is_glob {
                        glob::matches_segment(pattern, &name)
                    } else {
                        pattern == name
                    };
                    if matches {
                        deeper.push(format!("{directory}/{name}"));
                    }
                }
            }
            found = deeper;
        }
        let mut expansion = Expansion::default();
        for path in found {
            if !list(&path).is_empty() {
                continue;
            }
            let beneath = path.strip_prefix(PROC_SYS).unwrap_or(&path);
            match Key::new(beneath.split('/').skip(1)) {
                Ok(key) => expansion.keys.push(key),
                Err(_) => expansion.unnameable.push(path),
            }
        }
        expansion.keys.sort();
        expansion.keys.dedup();
        expansion.unnameable.sort();
        expansion.unnameable.dedup();
        expansion
    }
}

impl From<Key> for KeyPattern {
    fn from(key: Key) -> Self {
        Self {
            slashed: key.slashed,
        }
    }
}

impl FromStr for KeyPattern {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        to_slashed(text).map(|slashed| Self { slashed })
    }
}

impl fmt::Display for KeyPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&interchanged(&self.slashed))
    }
}

impl fmt::Debug for KeyPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KeyPattern({self})")
    }
}

impl Serialize for KeyPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// The text with every dot replaced by a slash and every slash by a dot.
fn interchanged(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect()
}

/// Validates a text in either form and returns its slashed form.
fn to_slashed(text: &str) -> Result<String, KeyError> {
    if text.starts_with('/') {
        return Err(KeyError::Absolute {
            key: text.to_owned(),
        });
    }
    let slashed = match text.find(['.', '/']) {
        Some(place) if text[place..].starts_with('.') => interchanged(text),
        _ => text.to_owned(),
    };
    check(text, &slashed)?;
    Ok(slashed)
}

/// Joins segments with slashes and rejects a segment that contains one.
fn join<I, S>(segments: I) -> Result<String, KeyError>
where
    I: IntoIterator<Item = S>,
    S: AsRef<str>,
{
    let mut slashed = String::new();
    for (place, segment) in segments.into_iter().enumerate() {
        let segment = segment.as_ref();
        if segment.contains('/') {
            return Err(KeyError::SlashInSegment {
                segment: segment.to_owned(),
            });
        }
        if place > 0 {
            slashed.push('/');
        } else if segment.is_empty() {
            return Err(KeyError::EmptySegment { key: slashed });
        }
        slashed.push_str(segment);
    }
    Ok(slashed)
}

/// Rejects what is neither a valid key nor a valid pattern; `text` is the caller's input.
fn check(text: &str, slashed: &str) -> Result<(), KeyError> {
    if slashed.is_empty() {
        return Err(KeyError::Empty);
    }
    // Blanks and `=` are rejected although a file name may contain them: a sysctl.d line
    // `key = value` ends the key there, so the key could be set now but never persisted.
    if let Some((offset, character)) = text.char_indices().find(|(_, character)| {
        character.is_control() || character.is_whitespace() || *character == '='
    }) {
        return Err(KeyError::Character {
            key: text.to_owned(),
            character,
            offset,
        });
    }
    for segment in slashed.split('/') {
        if segment.is_empty() {
            return Err(KeyError::EmptySegment {
                key: text.to_owned(),
            });
        }
        if segment == "." || segment == ".." {
            return Err(KeyError::PathStep {
                key: text.to_owned(),
                step: segment.to_owned(),
            });
        }
    }
    // With a dot in the first segment neither form would parse back to the same key: the first
    // separator would be a slash in the dotted form and a dot in the slashed form.
    let first = slashed.split('/').next().unwrap_or_default();
    if first.contains('.') || first.starts_with(['-', '#', ';']) {
        return Err(KeyError::FirstSegment {
            segment: first.to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
