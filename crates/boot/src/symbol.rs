//! The kernel's own symbols: which functions it consists of.

use std::collections::BTreeSet;

/// Where the kernel shows them, a line each: address, type, name, and of a module's its name in
/// brackets.
pub(crate) const FILE: &str = "/proc/kallsyms";

/// Those of these names that are there.
///
/// What a compiler made of a function stands behind a dot: `cake_enqueue.cold`,
/// `cake_enqueue.llvm.123` where nothing else is left of it.
pub(crate) fn those_in<'a>(symbols: &[u8], names: &[&'a str]) -> BTreeSet<&'a str> {
    let mut there = BTreeSet::new();
    for name in symbols.split(|byte| *byte == b'\n').filter_map(name_in) {
        let whole = name.split(|byte| *byte == b'.').next().unwrap_or_default();
        there.extend(names.iter().filter(|sought| sought.as_bytes() == whole));
    }
    there
}

/// Whether there is anything to go by.
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
