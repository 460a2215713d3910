//! A catalogue of common kernel variables: shape, range, unit, and the side effects of setting
//! them.
//!
//! The catalogue is data and decides nothing. A key that is not in it can still be set: it is read
//! and written as [`ValueType::Raw`]. For the keys in it, an invalid value is rejected before
//! anything is changed, two spellings of one value compare equal, and a plan knows which other
//! variables to save first.
//!
//! Ranges are the kernel's own where it checks, and the documented meaning where the kernel accepts
//! any number (`net.ipv4.conf.*.rp_filter` accepts 77, which means 2 at best). They apply to what is
//! written, never to what is read. Where a range grew with kernel versions it is the widest one, and
//! an older kernel rejects the rest itself. Scopes and modes were read from Linux 6.18, inside and
//! outside of a new network namespace.

mod kernel;
mod memory;
mod network;

use crate::key::{Key, KeyPattern};
use crate::value::{IntegerRange, Unit, Value, ValueType};

/// The description of one variable, or of a family with one variable per interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CatalogueEntry {
    /// The key in dotted form; a segment `*` matches any one interface.
    pub key: &'static str,
    /// The shape of the value.
    pub value_type: ValueType,
    /// What the variable does, in one line.
    pub meaning: &'static str,
    /// The link to the kernel's documentation or the manual page, if there is one.
    pub documentation: Option<&'static str>,
    /// The namespaces in which the variable exists and takes effect.
    pub scope: Scope,
    /// How the variable can be read and written.
    pub access: Access,
    /// The variable that is set to 0 when this one is written, and vice versa.
    pub excludes: Option<&'static str>,
    /// The module that must be loaded first.
    pub needs: Option<Need>,
    /// Patterns of the keys that the kernel changes when this one is changed. Use [`resets`],
    /// which also applies the rule for whole families.
    pub resets: &'static [&'static str],
    /// The first kernel version with the variable, as `(major, minor)`, where known.
    pub since: Option<(u16, u16)>,
    /// The cost in security of changing it, in one direction or the other.
    pub security: Option<&'static str>,
    /// How the kernel adjusts a written value while reporting success. The value that is read
    /// afterwards differs from the written one, and that is not a failure.
    pub adjusts: Option<&'static str>,
    /// What writing the old value back does not restore, or what a wrong value does at once.
    pub caution: Option<&'static str>,
    /// Changes outside `/proc/sys` (addresses, routes, sessions), which no revert restores.
    /// Use [`side_effects`], which also excludes the family members without side effects.
    pub side_effects: Option<SideEffects>,
    /// Whether the key contains a `*`. Without one, comparing the lengths rules out most keys.
    is_family: bool,
}

/// What setting a variable changes outside `/proc/sys`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SideEffects {
    /// The values that have the side effects; `None` if every change has them.
    pub values: Option<&'static [i128]>,
    /// The side effects, in one line.
    pub what: &'static str,
}

/// The namespaces in which a variable exists and takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// One for the whole machine.
    Global,
    /// One per network namespace, writable in each.
    PerNetworkNamespace,
    /// One per network namespace on newer kernels. Kernels as old as 6.1 have a single one, which
    /// is visible in the initial network namespace only.
    PerNetworkNamespaceOnNewerKernels,
    /// Absent in every network namespace except the initial one.
    InitialNetworkNamespaceOnly,
    /// Writable in the initial network namespace only; in the others it is read-only (0444) or, on
    /// kernels as old as 6.1, absent.
    ReadOnlyOutsideInitialNetworkNamespace,
    /// One per IPC namespace.
    PerIpcNamespace,
    /// One per PID namespace on kernels that support that; global on older ones.
    PerPidNamespace,
}

/// How a variable can be read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Access {
    /// Readable and writable.
    ReadWrite,
    /// Writable only if the hardware has the feature, read-only otherwise.
    ReadWriteWhereSupported,
    /// Writing triggers an action; there is nothing to read, to save or to verify.
    WriteOnly,
    /// Some values cannot be changed again until the next boot.
    OneWay {
        /// The values that cannot be changed again.
        values: &'static [i128],
    },
}

/// A module that must be loaded before a key, or one of its values, exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Need {
    /// The key exists only while this module is loaded.
    ModuleForKey {
        /// The module's name.
        module: &'static str,
    },
    /// Each value has its own module: `bbr` is in `tcp_bbr`.
    ModuleForValue {
        /// The prefix of the value in the module's name.
        prefix: &'static str,
        /// The key that lists the values available now, if there is one.
        offered: Option<&'static str>,
        /// The values that are built into every kernel.
        built_in: &'static [&'static str],
    },
}

impl Need {
    /// The module for a value, or `None` if the value is built into every kernel.
    pub fn module_for(&self, value: &str) -> Option<String> {
        match self {
            Self::ModuleForKey { module } => Some((*module).to_owned()),
            Self::ModuleForValue {
                prefix, built_in, ..
            } => (!built_in.contains(&value)).then(|| format!("{prefix}{value}")),
        }
    }
}

impl CatalogueEntry {
    /// Whether the entry describes this key. Aliases are not resolved.
    pub fn describes(&self, key: &Key) -> bool {
        if !self.is_family {
            let (own, slashed) = (self.key.as_bytes(), key.slashed().as_bytes());
            return own.len() == slashed.len()
                && own.iter().zip(slashed).all(|(own, other)| {
                    if *own == b'.' {
                        *other == b'/'
                    } else {
                        own == other
                    }
                });
        }
        let mut wanted = key.segments();
        for own in self.key.split('.') {
            match wanted.next() {
                Some(segment) if own == "*" || own == segment => {}
                _ => return false,
            }
        }
        wanted.next().is_none()
    }

    /// Whether this value cannot be changed again until the next boot.
    pub fn is_one_way(&self, number: i128) -> bool {
        matches!(self.access, Access::OneWay { values } if values.contains(&number))
    }

    const fn new(
        key: &'static str,
        value_type: ValueType,
        scope: Scope,
        documentation: &'static str,
        meaning: &'static str,
    ) -> Self {
        Self {
            key,
            value_type,
            meaning,
            documentation: Some(documentation),
            scope,
            access: Access::ReadWrite,
            excludes: None,
            needs: None,
            resets: &[],
            since: None,
            security: None,
            adjusts: None,
            caution: None,
            side_effects: None,
            is_family: holds_star(key),
        }
    }

    const fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    const fn one_way(self, values: &'static [i128]) -> Self {
        self.access(Access::OneWay { values })
    }

    const fn excludes(mut self, partner: &'static str) -> Self {
        self.excludes = Some(partner);
        self
    }

    const fn needs(mut self, need: Need) -> Self {
        self.needs = Some(need);
        self
    }

    const fn resets(mut self, patterns: &'static [&'static str]) -> Self {
        self.resets = patterns;
        self
    }

    const fn since(mut self, major: u16, minor: u16) -> Self {
        self.since = Some((major, minor));
        self
    }

    const fn security(mut self, trade: &'static str) -> Self {
        self.security = Some(trade);
        self
    }

    const fn undocumented(mut self) -> Self {
        self.documentation = None;
        self
    }

    const fn adjusts(mut self, how: &'static str) -> Self {
        self.adjusts = Some(how);
        self
    }

    const fn caution(mut self, what_stays: &'static str) -> Self {
        self.caution = Some(what_stays);
        self
    }

    const fn side_effects(mut self, values: Option<&'static [i128]>, what: &'static str) -> Self {
        self.side_effects = Some(SideEffects { values, what });
        self
    }
}

/// All entries. If two of them describe one key, the one that names it comes first.
pub fn entries() -> impl Iterator<Item = &'static CatalogueEntry> {
    network::ENTRIES
        .iter()
        .chain(memory::ENTRIES)
        .chain(kernel::ENTRIES)
}

/// The entry for a key, under any of its names ([`Key::canonical`]).
pub fn find(key: &Key) -> Option<&'static CatalogueEntry> {
    let canonical = key.canonical();
    let wanted = hash(canonical.slashed());
    let parts: [(&[u64], &'static [CatalogueEntry]); 3] = [
        (&NETWORK, network::ENTRIES),
        (&MEMORY, memory::ENTRIES),
        (&KERNEL, kernel::ENTRIES),
    ];
    let of_hash = |wanted: u64| {
        parts.into_iter().flat_map(move |(hashes, entries)| {
            let places = hashes.iter().zip(entries);
            places.filter_map(move |(hash, entry)| (*hash == wanted).then_some(entry))
        })
    };
    of_hash(wanted)
        .chain(of_hash(FAMILY))
        .find(|entry| entry.describes(&canonical))
}

/// The hash of every entry that is a family.
const FAMILY: u64 = 0;

/// The hashes of the entries, computed at compile time: a plan looks up each key a dozen times, and
/// searching the entries themselves took half of the time of a plan.
static NETWORK: [u64; network::ENTRIES.len()] = hashes(network::ENTRIES);
static MEMORY: [u64; memory::ENTRIES.len()] = hashes(memory::ENTRIES);
static KERNEL: [u64; kernel::ENTRIES.len()] = hashes(kernel::ENTRIES);

const fn hashes<const COUNT: usize>(entries: &[CatalogueEntry]) -> [u64; COUNT] {
    let mut hashes = [FAMILY; COUNT];
    let mut place = 0;
    while place < COUNT {
        if !entries[place].is_family {
            hashes[place] = hash(entries[place].key);
        }
        place += 1;
    }
    hashes
}

/// The FNV-1a hash of a key, the same for its dotted and its slashed form; never [`FAMILY`].
const fn hash(key: &str) -> u64 {
    let bytes = key.as_bytes();
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut place = 0;
    while place < bytes.len() {
        let byte = if bytes[place] == b'.' {
            b'/'
        } else {
            bytes[place]
        };
        hash = (hash ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3);
        place += 1;
    }
    hash | 1
}

/// The shape of a key's value; [`ValueType::Raw`] for a key that is not in the catalogue.
pub fn value_type(key: &Key) -> ValueType {
    find(key).map_or(ValueType::Raw, |entry| entry.value_type)
}

/// What setting a key to a value changes outside `/proc/sys` and no revert restores, if anything.
///
/// `default` applies to interfaces that are created later and does not change the existing ones.
/// The `mtu` of `all` is never read.
pub fn side_effects(key: &Key, value: &Value) -> Option<&'static str> {
    let side_effects = find(key)?.side_effects?;
    let segments: Vec<&str> = key.segments().collect();
    if matches!(segments[..], [.., "conf", "default", _]) {
        return None;
    }
    let does = match side_effects.values {
        Some(values) => value.as_integer().is_some_and(|one| values.contains(&one)),
        None => true,
    };
    does.then_some(side_effects.what)
}

/// The keys that the kernel may change when this one is changed, including the key itself if a
/// pattern matches it. They have to be saved before a write and compared after it.
///
/// Beyond the `resets` of each [`CatalogueEntry`] there is one rule for a whole family, whether or
/// not it is in the catalogue: `net.ipv4.conf.default.X` is copied to every interface whose `X` has
/// not been set yet (`devinet_copy_dflt_conf` in net/ipv4/devinet.c). `forwarding` is the
/// exception, and IPv6 has no such rule (both measured on Linux 6.18).
pub fn resets(key: &Key) -> Vec<KeyPattern> {
    let own = find(key).map_or(&[][..], |entry| entry.resets);
    let mut patterns: Vec<KeyPattern> = own.iter().filter_map(|text| text.parse().ok()).collect();
    let segments: Vec<&str> = key.segments().collect();
    if let ["net", "ipv4", "conf", "default", variable] = segments[..]
        && variable != "forwarding"
    {
        patterns.extend(format!("net/ipv4/conf/*/{variable}").parse());
    }
    patterns
}

const fn holds_star(key: &str) -> bool {
    let bytes = key.as_bytes();
    let mut place = 0;
    while place < bytes.len() {
        if bytes[place] == b'*' {
            return true;
        }
        place += 1;
    }
    false
}

const INT_MAX: i128 = i32::MAX as i128;
const UINT_MAX: i128 = u32::MAX as i128;
const LONG_MAX: i128 = i64::MAX as i128;
const ULONG_MAX: i128 = u64::MAX as i128;
/// The largest number of seconds that the kernel can hold in jiffies at 1000 ticks per second, the
/// highest rate it can be built with.
const JIFFIES_SECONDS: i128 = INT_MAX / 1000;

const fn integer(minimum: i128, maximum: i128, unit: Unit) -> ValueType {
    ValueType::Integer(IntegerRange::new(minimum, maximum, unit))
}

const fn vector(arity: usize, minimum: i128, maximum: i128, unit: Unit) -> ValueType {
    ValueType::Vector {
        arity,
        element: IntegerRange::new(minimum, maximum, unit),
    }
}

/// 0 is off, 1 is on.
const SWITCH: ValueType = integer(0, 1, Unit::Mode);

const fn mode(greatest: i128) -> ValueType {
    integer(0, greatest, Unit::Mode)
}

#[cfg(test)]
#[path = "catalogue_tests.rs"]
mod tests;
