//! The kernel's symbols, which tell what functions it contains.

use std::collections::BTreeSet;

/// The kernel's list of symbols. Each line has an address, a type, a name, and for the symbols of a
/// module the name of the module in brackets.
pub(crate) const FILE: &str = "/proc/kallsyms";

/// The names for which there is a symbol.
///
/// A compiler may append a suffix with a dot, such as `cake_enqueue.cold`, or
/// `cake_enqueue.llvm.123` without any symbol of the plain name.
pub(crate) fn those_in<'a>(symbols: &[u8], names: &[&'a str]) -> BTreeSet<&'a str> {
    let mut there = BTreeSet::new();
    for name in symbols.split(|byte| *byte == b'\n').filter_map(name_in) {
        let whole = name.split(|byte| *byte == b'.').next().unwrap_or_default();
        there.extend(names.iter().filter(|sought| sought.as_bytes() == whole));
    }
    there
}

/// Whether the text is a list of symbols at all.
pub(crate) fn is_list(symbols: &[u8]) -> bool {
    symbols
        .split(|byte| *byte == b'\n')
        .any(|line| name_in(line).is_some())
}

fn name_in(line: &[u8]) -> Option<&[u8]> {
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    words.nth(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_found_whatever_the_compiler_made_of_it() {
        let symbols = b"0000000000000000 t __pfx_cake_enqueue\t[sch_cake]\n\
            ffffffffc0a6a8c0 t tbf_enqueue.llvm.1234\nffffffffc0a6a8c0 T ifb_xmit\t[ifb]\n";
        let sought = ["cake_enqueue", "tbf_enqueue", "ifb_xmit", "enqueue"];
        let found: Vec<_> = those_in(symbols, &sought).into_iter().collect();
        assert_eq!(found, ["ifb_xmit", "tbf_enqueue"]);
        assert!(is_list(symbols));
    }

    #[test]
    fn what_is_no_list_has_nothing() {
        for text in [&b""[..], b"\n\n", b"0 t\n", b"\xff\xff \xff"] {
            assert!(those_in(text, &["t"]).is_empty());
            assert!(!is_list(text));
        }
    }
}
