//! Shell patterns beside find(1), whose `-name` is fnmatch(3) of the installed C library.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use hosttune_core::fnmatch::{is_pattern, matches, matches_any_case, matches_bytes};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// The names of the files in a directory that `find` says match.
fn found(directory: &Path, test: &str, pattern: &str) -> BTreeSet<String> {
    let output = Command::new("find")
        .current_dir(directory)
        .args([".", "-mindepth", "1", test, pattern, "-printf", "%P\\0"])
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    assert!(output.status.success(), "{pattern}: {output:?}");
    let names = String::from_utf8(output.stdout).unwrap();
    let names = names.split('\0').filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

#[test]
fn patterns_match_as_find_matches_them() {
    let directory = tempfile::tempdir().unwrap();
    let mut runner = TestRunner::deterministic();
    let mut draw = |strategy: &BoxedStrategy<String>| {
        let tree = strategy.new_tree(&mut runner).unwrap();
        proptest::strategy::ValueTree::current(&tree)
    };
    let name =
        r"[abAz7_.\[\]\\*?!^:-]{1,4}".prop_filter("a file", |name| name != "." && name != "..");
    let name = name.boxed();
    let mut names: BTreeSet<String> = (0..300).map(|_| draw(&name)).collect();
    names.extend(
        "a b z A 7 - _ ] [ \\ ! ^ : . a. .a aa ab ba"
            .split(' ')
            .map(str::to_owned),
    );
    names.remove(".");
    for name in &names {
        std::fs::write(directory.path().join(name), "").unwrap();
    }
    let pattern = prop_oneof![
        r"[ab\[\]\\*?!^-]{1,7}",
        r"[a*?]?\[[!^]?[]ab7z-]{1,4}\][b*?]?",
        r"[a*]?\[[!^]?\]?[a-b]{0,2}(\[:(digit|upper|punct|alnum|space|graph):\])?[-z]?\][*a]?",
        r"\*?\\?[\[\]*?ab]{1,3}",
    ];
    let pattern = pattern.boxed();
    let mut matched = 0;
    for _ in 0..600 {
        let pattern = draw(&pattern);
        for (test, ours) in [
            ("-name", matches as fn(&str, &str) -> bool),
            ("-iname", matches_any_case),
        ] {
            let expected = found(directory.path(), test, &pattern);
            let answered: BTreeSet<String> = names
                .iter()
                .filter(|name| ours(&pattern, name))
                .cloned()
                .collect();
            assert_eq!(answered, expected, "{test} {pattern}");
            matched += expected.len();
        }
    }
    assert!(matched > 10_000, "only {matched} matches");
}

#[test]
fn bytes_are_matched_one_by_one() {
    assert!(matches_bytes(b"a?c", b"a\xe8c"));
    assert!(matches_bytes(b"a[\xe0-\xef]", b"a\xe8"));
    assert!(!matches_bytes(b"a[[:alpha:]]", b"a\xe8"));
}

#[test]
fn what_contains_no_wildcard_is_no_pattern() {
    for (text, expected) in [("a*", true), ("a?", true), ("a[", true), ("a\\b", false)] {
        assert_eq!(is_pattern(text), expected, "{text}");
    }
}

#[test]
fn many_stars_do_not_take_exponential_time() {
    assert!(!matches(&"*a".repeat(200), &"a".repeat(199)));
    assert!(!matches(
        &format!("{}b", "*a".repeat(100)),
        &"a".repeat(5000)
    ));
}

proptest! {
    #[test]
    fn no_pattern_panics(pattern in r"[\[\]!^:*?\\a-c.-]{0,12}", text in "[a-c.\\[-]{0,8}") {
        let _ = matches(&pattern, &text);
    }

    #[test]
    fn a_text_without_special_characters_matches_only_itself(
        text in "[a-z0-9_.-]{1,12}", other in "[a-z0-9_.-]{1,12}",
    ) {
        prop_assert!(matches(&text, &text));
        prop_assert_eq!(matches(&text, &other), text == other);
    }
}
