//! Removal of identifiers of an individual machine.

/// Whether identifiers are included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Privacy {
    /// No identifiers, because facts are pasted into bug reports.
    Anonymous,
    /// Includes hardware addresses and UUIDs.
    Identified,
}

/// Replacement for a removed identifier.
const MASK: &str = "…";

/// Replaces UUIDs and hardware addresses in a text.
///
/// The kernel command line names file systems by UUID and, after a network boot, the network card by its
/// address (`BOOTIF=01-52-54-00-…`).
pub(crate) fn masked(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_hexdigit() || c == '-' || c == ':';
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(length);
        shown.push_str(&masked_run(run));
        // A single character of any other kind, or the end.
        let next = after.chars().next().map_or(0, char::len_utf8);
        shown.push_str(&after[..next]);
        rest = &after[next..];
    }
    shown
}

/// Masks a run of hexadecimal digits, dashes and colons. An identifier may follow other such characters,
/// such as the dash of `luks-…` or the `d-` of a word that ends in a hexadecimal letter.
fn masked_run(run: &str) -> String {
    let pieces: Vec<&str> = run.split(['-', ':']).collect();
    let lengths: Vec<usize> = pieces.iter().map(|piece| piece.len()).collect();
    let place = |pattern: &[usize]| {
        let ends = |at: usize| {
            // The end of a word may be merged into the first piece.
            lengths[at] >= pattern[0] && lengths[at + 1..at + pattern.len()] == pattern[1..]
        };
        (0..(lengths.len() + 1).saturating_sub(pattern.len())).find(|at| ends(*at))
    };
    let found = place(&[8, 4, 4, 4, 12]).map(|at| (at, 5, 8)).or_else(|| {
        // The prefix for the type of network may add bytes.
        let at = place(&[2; 6])?;
        let more = lengths[at + 6..].iter().take_while(|length| **length == 2);
        Some((at, 6 + more.count(), 2))
    });
    let Some((at, count, first)) = found else {
        return run.to_owned();
    };
    let offset = |piece: usize| lengths[..piece].iter().sum::<usize>() + piece;
    let from = offset(at) + lengths[at] - first;
    let to = offset(at + count) - 1;
    format!("{}{MASK}{}", &run[..from], masked_run(&run[to..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn identifiers_are_taken_out_and_nothing_else() {
        for (text, expected) in [
            (
                "root=UUID=0a1b2c3d-1234-5678-9abc-0123456789ab ro quiet",
                "root=UUID=… ro quiet",
            ),
            (
                "rd.luks.uuid=luks-0A1B2C3D-1234-5678-9abc-0123456789ab",
                "rd.luks.uuid=luks-…",
            ),
            ("BOOTIF=01-52-54-00-12-34-56 x", "BOOTIF=… x"),
            ("ifname=eth0:52:54:00:12:34:56", "ifname=eth0:…"),
            ("a=52:54:00:12:34:56,53:54:00:12:34:56", "a=…,…"),
            (
                "pci=0000:03:00.0 isolcpus=2-5 nohz_full=2-5",
                "pci=0000:03:00.0 isolcpus=2-5 nohz_full=2-5",
            ),
            (
                "mitigations=auto,no_guest_host é-",
                "mitigations=auto,no_guest_host é-",
            ),
            ("", ""),
        ] {
            assert_eq!(masked(text), expected);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in ".{0,80}", hex in "[0-9a-f:-]{0,60}") {
            let _ = masked(&text);
            let _ = masked(&hex);
        }

        #[test]
        fn no_uuid_is_left(before in "[ -~]{0,20}", uuid in "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", after in "( [ -~]{0,20})?") {
            let shown = masked(&format!("{before}{uuid}{after}"));
            prop_assert!(!shown.contains(&uuid), "{shown}");
        }
    }
}
