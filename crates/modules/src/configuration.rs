//! The build configuration of the running kernel, if the kernel provides it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};

use flate2::read::GzDecoder;

/// The kernel's configuration: about 40 KB of gzip-compressed lines `CONFIG_NAME=y` and
/// `# CONFIG_NAME is not set`.
pub(crate) const FILE: &str = "/proc/config.gz";

/// For each of these options (without `CONFIG_`), whether it is built in.
///
/// An option that does not occur depends on one that is not set, so it is not built in either.
/// `None` if the data is not a kernel configuration. Reading stops once all options have been
/// found, because parsing all of it takes a millisecond.
pub(crate) fn options<'a>(
    compressed: &[u8],
    sought: &[&'a str],
) -> Option<BTreeMap<&'a str, bool>> {
    let mut found: BTreeMap<&str, Option<bool>> =
        sought.iter().map(|option| (*option, None)).collect();
    let mut is_configuration = false;
    for line in BufReader::new(GzDecoder::new(compressed)).split(b'\n') {
        let Some((option, is_set)) = mentioned(&line.ok()?) else {
            continue;
        };
        is_configuration = true;
        if let Some(known) = found.get_mut(&*option) {
            *known = Some(is_set);
            if found.values().all(Option::is_some) {
                break;
            }
        }
    }
    is_configuration.then(|| {
        let known = found.into_iter();
        known
            .map(|(option, is_set)| (option, is_set.unwrap_or(false)))
            .collect()
    })
}

/// The option on a line, and whether it is built in.
fn mentioned(line: &[u8]) -> Option<(String, bool)> {
    let line = std::str::from_utf8(line).ok()?;
    if let Some(rest) = line.strip_prefix("# CONFIG_") {
        return Some((rest.strip_suffix(" is not set")?.to_owned(), false));
    }
    let (option, value) = line.strip_prefix("CONFIG_")?.split_once('=')?;
    Some((option.to_owned(), value == "y"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn compressed(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_is_built_in_is_told_from_what_is_not() {
        let text = "#\n# Linux/x86 6.18.0 Kernel Configuration\n#\nCONFIG_NET_SCH_TBF=y\n\
            # CONFIG_NET_SCH_CAKE is not set\nCONFIG_IFB=m\n";
        let sought = ["NET_SCH_TBF", "NET_SCH_CAKE", "IFB", "NET_SCH_FQ"];
        let found = options(&compressed(text), &sought).unwrap();
        // A module of a kernel that cannot load modules is not available.
        assert!(found["NET_SCH_TBF"]);
        for absent in ["NET_SCH_CAKE", "IFB", "NET_SCH_FQ"] {
            assert!(!found[absent], "{absent}");
        }
    }

    #[test]
    fn what_is_no_configuration_tells_nothing() {
        let whole = compressed("CONFIG_NET_SCH_TBF=y\n");
        for bytes in [
            &b""[..],
            b"CONFIG_NET_SCH_TBF=y\n",
            &whole[..whole.len() / 2],
        ] {
            assert_eq!(options(bytes, &["NET_SCH_FQ"]), None);
        }
        assert_eq!(
            options(&compressed("nothing of the sort\n"), &["IFB"]),
            None
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>, text in ".{0,60}") {
            let _ = options(&bytes, &["IFB"]);
            let _ = options(&compressed(&text), &["IFB"]);
        }
    }
}
