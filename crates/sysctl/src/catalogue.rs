//! What is known about the kernel's common variables: shape, range, unit, and what turning one
//! drags along.
//!
//! The catalogue is data and decides nothing. A key that it lacks is still a key: it is read and
//! written as [`ValueType::Raw`]. What it adds for the keys in it is that a wrong value is refused
//! before anything was touched, that two spellings of one value compare equal, and that a plan
//! knows which other variables to remember first.
//!
//! Ranges are the kernel's own where it checks, and the documented meaning where the kernel takes
//! any number (`net.ipv4.conf.*.rp_filter` accepts 77 and means 2 by it at best). They bind what is
//! written, never what is read. Where a range grew with kernel versions it is the widest one, and
//! an older kernel refuses the rest itself. Scopes and modes were read from Linux 6.18, inside and
//! outside of a new network namespace.

mod kernel;
mod memory;
mod network;

use crate::key::{Key, KeyPattern};
use crate::value::{IntegerRange, Unit, Value, ValueType};

/// What is known about one variable, or about one per interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CatalogueEntry {
    /// The key in dotted form; a segment `*` stands for any one interface.
    pub key: &'static str,
    /// The shape of its value.
    pub value_type: ValueType,
    /// What it does, in one line.
    pub meaning: &'static str,
    /// Where the kernel or the manual pages document it, if they do.
    pub documentation: Option<&'static str>,
    /// Where it exists and whom it concerns.
    pub scope: Scope,
    /// How it can be read and written.
    pub access: Access,
    /// The variable that is set to 0 when this one is written, and which zeroes this one.
    pub excludes: Option<&'static str>,
    /// The module that must be there first.
    pub needs: Option<Need>,
    /// Patterns of the keys that the kernel changes when this one is changed. Use [`resets`],
    /// which also knows the rule for whole families.
    pub resets: &'static [&'static str],
    /// The first kernel with the variable, as `(major, minor)`, where known.
    pub since: Option<(u16, u16)>,
    /// What is given up in security by turning it, one way or the other.
    pub security: Option<&'static str>,
    /// How the kernel changes what is written to it, reporting success. What is read afterwards
    /// is then not what was written, and that is no failure.
    pub adjusts: Option<&'static str>,
    /// What writing the old value back does not restore, or what a wrong value does at once.
    pub caution: Option<&'static str>,
    /// What is changed beside `/proc/sys` (addresses, routes, sessions), which no revert restores.
    /// Use [`side_effects`], which also knows where a family's member has none.
    pub side_effects: Option<SideEffects>,
    /// Whether the key holds a `*`; an entry that does not is told from most keys by its length.
    is_family: bool,
}

/// What changing a variable does outside `/proc/sys`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SideEffects {
    /// The values that do it; `None` where every change does.
    pub values: Option<&'static [i128]>,
    /// What they do, in one line.
    pub what: &'static str,
}

/// Where a variable exists and whom it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// One for the whole machine.
    Global,
    /// One per network namespace, writable in each.
    PerNetworkNamespace,
    /// The same on newer kernels; on those as old as 6.1 there is one, in the initial namespace, and
    /// the others show none.
    PerNetworkNamespaceOnNewerKernels,
    /// Absent in every network namespace but the initial one.
    InitialNetworkNamespaceOnly,
    /// Writable in the initial network namespace only; shown in the others for reading (0444), or,
    /// by kernels as old as 6.1, not at all.
    ReadOnlyOutsideInitialNetworkNamespace,
    /// One per IPC namespace.
    PerIpcNamespace,
    /// One per PID namespace, on kernels where it is; global on older ones.
    PerPidNamespace,
}

/// How a variable can be read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Access {
    /// Read and written at will.
    ReadWrite,
    /// Writable only where the hardware has the feature, read-only elsewhere.
    ReadWriteWhereSupported,
    /// Writing triggers something; there is nothing to read, to remember or to verify.
    WriteOnly,
    /// Some values cannot be left again until the machine restarts.
    OneWay {
        /// The values without a way back.
        values: &'static [i128],
    },
}

/// A module that must be loaded before a key, or a value of it, exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Need {
    /// The key appears with this module.
    ModuleForKey {
        /// The module's name.
        module: &'static str,
    },
    /// Each value is a module of its own: `bbr` is `tcp_bbr`.
    ModuleForValue {
        /// What stands before the value in the module's name.
        prefix: &'static str,
        /// The key that lists the values offered right now, if there is one.
        offered: Option<&'static str>,
        /// Values that are part of every kernel.
        built_in: &'static [&'static str],
    },
}

impl Need {
    /// The module for a value, or `None` where the value is part of every kernel.
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
    /// Whether the entry describes this key, by this very name.
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

    /// Whether a number is a value without a way back.
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

/// All entries. Of two that describe one key, the one that names it stands first.
pub fn entries() -> impl Iterator<Item = &'static CatalogueEntry> {
    network::ENTRIES
        .iter()
        .chain(memory::ENTRIES)
        .chain(kernel::ENTRIES)
}

/// What is known about a key, under whichever of its names ([`Key::canonical`]).
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

/// The entries' hashes, worked out by the compiler: a plan looks a key up a dozen times, and going
/// through the entries themselves each time was half of what a plan cost.
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

/// FNV-1a over a key in dotted or slashed form, the same for both; never [`FAMILY`].
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

/// What setting a key to a value does outside `/proc/sys`, where it does something that no revert
/// restores.
///
/// `default` is for interfaces that come later, and changes nothing of those that are there. The
/// `mtu` of `all` is read by nothing.
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

/// The keys that the kernel may change when this one is changed, the key itself not excepted
/// where a pattern covers it. They are to be remembered before and compared after a write.
///
/// Beyond the `resets` of each [`CatalogueEntry`] there is one rule for a whole family, whether in
/// the catalogue or not: `net.ipv4.conf.default.X` is copied to every interface whose `X` nobody has set yet
/// (`devinet_copy_dflt_conf` in net/ipv4/devinet.c). `forwarding` is the exception, and IPv6 has no
/// such rule (both measured on Linux 6.18).
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
/// The greatest number of seconds that the kernel can hold in jiffies at 1000 ticks per second,
/// the finest it can be built with.
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

/// Off or on.
const SWITCH: ValueType = integer(0, 1, Unit::Mode);

const fn mode(greatest: i128) -> ValueType {
    integer(0, greatest, Unit::Mode)
}

#[cfg(test)]
#[path = "catalogue_tests.rs"]
mod tests;
