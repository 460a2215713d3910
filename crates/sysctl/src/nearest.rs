//! Suggestions for misspelled keys.

use hosttune_core::{Host, HostError};

use crate::catalogue;
use crate::key::{Key, PROC_SYS};

/// A key that is neither on this kernel nor in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownKey {
    /// The key.
    pub key: Key,
    /// The most similar known key, if there is one.
    pub nearest: Option<String>,
}

impl std::fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "unknown sysctl '{}'", self.key)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; nearest: {nearest}"),
            None => Ok(()),
        }
    }
}

/// Checks whether a key is unknown, that is, neither in the catalogue nor on this kernel.
///
/// A key of a module that is not loaded can be missing from both too. If its whole directory is
/// missing, the two cases cannot be distinguished, and only a key that is similar to a known one is
/// treated as a misspelling.
///
/// # Errors
/// When the host cannot determine whether the key exists.
pub fn unknown(host: &Host, key: &Key) -> Result<Option<UnknownKey>, HostError> {
    if catalogue::find(key).is_some() || host.exists(key.path())? {
        return Ok(None);
    }
    let text = key.to_string();
    let segments: Vec<&str> = key.segments().collect();
    let (last, outer) = segments.split_last().unwrap_or((&"", &[]));
    let directory = format!("{PROC_SYS}/{}", outer.join("/"));
    let beside = host.list(&directory).ok();
    let of_kernel = beside.iter().flatten().filter_map(|name| {
        let key = outer.iter().copied().chain([name.as_str()]);
        Key::new(key).ok().map(|key| key.to_string())
    });
    let known: Vec<String> = of_kernel
        .chain(catalogue::entries().map(|entry| filled_in(entry.key, &segments)))
        .collect();
    let nearest = nearest(&text, known.iter().map(String::as_str)).map(str::to_owned);
    // A single name is never a key, because all keys are in directories.
    let is_slip = nearest.is_some() || beside.is_some() || outer.is_empty() || last.is_empty();
    Ok(is_slip.then(|| UnknownKey {
        key: key.clone(),
        nearest,
    }))
}

/// The key of a family with its `*` replaced by the interface in `segments`.
fn filled_in(family: &str, segments: &[&str]) -> String {
    if !family.contains('*') || family.split('.').count() != segments.len() {
        return family.to_owned();
    }
    let filled = family.split('.').zip(segments).map(|(own, meant)| {
        if own == "*" {
            meant.replace('.', "/")
        } else {
            own.to_owned()
        }
    });
    filled.collect::<Vec<_>>().join(".")
}

/// The most similar of the known names: the one with the fewest inserted, deleted, replaced or
/// swapped characters. Up to a quarter of the characters may differ, but at least one and at most
/// three. A name also matches if only its end is similar to the text.
pub fn nearest<'k>(text: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let text = text.to_ascii_lowercase();
    let text = text.replace('/', ".");
    let most = |text: &str| (text.chars().count() / 4).clamp(1, 3);
    let scored = known.into_iter().filter_map(|name| {
        let lower = name.to_ascii_lowercase();
        let whole = distance(&text, &lower);
        if whole <= most(&text) {
            return Some((2 * whole, name));
        }
        // `swappiness` matches `vm.swappiness`, also when it is misspelled.
        let tail = lower
            .match_indices(['.', '/', ' '])
            .map(|(at, _)| &lower[at + 1..])
            .map(|tail| distance(&text, tail))
            .min()?;
        (text.len() > 3 && tail <= most(&text)).then_some((2 * tail + 1, name))
    });
    scored.min_by_key(|(score, _)| *score).map(|(_, name)| name)
}

/// The number of characters to insert, delete, replace or swap with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    if from.len().abs_diff(to.len()) > 3 {
        return usize::MAX / 4;
    }
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let replaced = last[j] + usize::from(a != b);
            let mut least = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                least = least.min(before_last[j - 1] + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_near_and_another_name_is_not() {
        let known = [
            "vm.swappiness",
            "vm.dirty_ratio",
            "vm.dirty_bytes",
            "kernel.panic",
        ];
        for (written, meant) in [
            ("vm.swapiness", Some("vm.swappiness")),
            ("vm/swapiness", Some("vm.swappiness")),
            ("vm.swappinses", Some("vm.swappiness")),
            ("VM.Swappiness", Some("vm.swappiness")),
            ("swappiness", Some("vm.swappiness")),
            ("swapines", Some("vm.swappiness")),
            ("dirty_ratoi", Some("vm.dirty_ratio")),
            ("vm.drity_bytes", Some("vm.dirty_bytes")),
            ("panic", Some("kernel.panic")),
            ("vm.laptop_mode", None),
            ("net.core.somaxconn", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
    }

    #[test]
    fn the_catalogue_knows_families_by_their_interface() {
        let segments = ["net", "ipv4", "conf", "eth0.5", "rp_filer"];
        assert_eq!(
            filled_in("net.ipv4.conf.*.rp_filter", &segments),
            "net.ipv4.conf.eth0/5.rp_filter"
        );
    }
}
