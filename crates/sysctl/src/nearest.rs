//! What somebody meant who wrote a key that does not exist.

use hosttune_core::{Host, HostError};

use crate::catalogue;
use crate::key::{Key, PROC_SYS};

/// A key that neither this kernel nor the catalogue knows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownKey {
    /// The key.
    pub key: Key,
    /// The nearest that one of them knows, if any is near.
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

/// Whether a key is unknown: in no catalogue, and not in this kernel.
///
/// A key of a module that is not loaded is in neither as well. Where its whole directory is absent, nothing
/// here can tell the two apart, and only what is near to a known key is taken for a slip.
///
/// # Errors
/// Where the host cannot say whether it is there.
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
    // A single name is no key of any kernel: each is in a directory.
    let is_slip = nearest.is_some() || beside.is_some() || outer.is_empty() || last.is_empty();
    Ok(is_slip.then(|| UnknownKey {
        key: key.clone(),
        nearest,
    }))
}

/// A family's key with the interface that was meant.
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

/// The nearest of the known names: the one that takes the fewest characters added, left out, replaced
/// or swapped, where that is no more than a slip; or the only one that ends in what was written.
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
        // `swappiness` for `vm.swappiness`, with or without a slip.
        let tail = lower
            .match_indices(['.', '/', ' '])
            .map(|(at, _)| &lower[at + 1..])
            .map(|tail| distance(&text, tail))
            .min()?;
        (text.len() > 3 && tail <= most(&text)).then_some((2 * tail + 1, name))
    });
    scored.min_by_key(|(score, _)| *score).map(|(_, name)| name)
}

/// How many characters have to be added, left out, replaced or swapped with the one beside them.
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
