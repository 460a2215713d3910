//! How files are parsed, that they are preserved byte for byte, and what an edit changes.

use super::*;
use proptest::prelude::*;

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

/// `(line, -, key, value)` of every assignment.
fn read(text: &str) -> Vec<(usize, bool, String, String)> {
    Document::parse(text.as_bytes())
        .assignments()
        .map(|(line, assignment)| {
            (
                line,
                assignment.ignore_failure,
                assignment.pattern.to_string(),
                assignment.value.clone(),
            )
        })
        .collect()
}

fn one(text: &str) -> (String, String) {
    let all = read(text);
    assert_eq!(all.len(), 1, "{text:?}: {all:?}");
    (all[0].2.clone(), all[0].3.clone())
}

fn problems(text: &str) -> Vec<ProblemKind> {
    Document::parse(text.as_bytes())
        .problems()
        .into_iter()
        .map(|problem| problem.kind)
        .collect()
}

#[test]
fn comments_and_blank_lines_may_be_indented() {
    let document = Document::parse(b"# a\n  ; b\n\t\n\nvm.swappiness=1\n");
    let statements: Vec<_> = document
        .statements()
        .map(|(_, statement)| statement)
        .collect();
    assert_eq!(statements[0], &Statement::Comment);
    assert_eq!(statements[1], &Statement::Comment);
    assert_eq!(statements[2], &Statement::Blank);
    assert_eq!(statements[3], &Statement::Blank);
    assert_eq!(document.assignments().next().unwrap().0, 5);
    assert!(document.problems().is_empty());
}

#[test]
fn blanks_around_key_and_value_are_stripped() {
    assert_eq!(
        one("\tvm.swappiness\t=\t33  \n"),
        ("vm.swappiness".to_owned(), "33".to_owned())
    );
}

#[test]
fn an_inline_comment_is_part_of_the_value_and_reported() {
    assert_eq!(one("vm.swappiness = 30 # c\n").1, "30 # c");
    assert_eq!(
        problems("vm.swappiness = 30 # c\n"),
        [ProblemKind::CommentInValue]
    );
    assert_eq!(problems("kernel.core_pattern = core#%p\n"), []);
}

#[test]
fn an_exclusion_with_a_comment_excludes_nothing() {
    let document = Document::parse(b"-vm.swappiness # c\n");
    assert_eq!(document.exclusions().count(), 0);
    assert_eq!(
        problems("-vm.swappiness # c\n"),
        [ProblemKind::CommentInExclusion]
    );
}

#[test]
fn an_exclusion_is_a_dash_and_a_key_without_an_equals_sign() {
    let document = Document::parse(b" -vm.swappi* \n");
    let (line, pattern) = document.exclusions().next().unwrap();
    assert_eq!((line, pattern.to_string()), (1, "vm.swappi*".to_owned()));
}

#[test]
fn a_trailing_carriage_return_is_stripped_and_kept_in_the_text() {
    let text = "vm.swappiness = 31\r\nvm.stat_interval=70 \r\n";
    assert_eq!(read(text)[0].3, "31");
    assert_eq!(read(text)[1].3, "70");
    assert_eq!(Document::parse(text.as_bytes()).to_string(), text);
    assert!(problems(text).is_empty());
}

#[test]
fn a_carriage_return_or_nul_alone_ends_a_line_for_systemd_and_is_reported() {
    for text in [
        "vm.swappiness=32\rvm.stat_interval=71\n",
        "vm.swappiness=32\0vm.stat_interval=71\n",
    ] {
        let values: Vec<_> = read(text)
            .into_iter()
            .map(|found| (found.0, found.3))
            .collect();
        assert_eq!(values, [(1, "32".to_owned()), (2, "71".to_owned())]);
        assert_eq!(problems(text), [ProblemKind::LineEnd]);
    }
}

#[test]
fn the_last_line_needs_no_line_end() {
    assert_eq!(one("vm.swappiness = 21").1, "21");
}

#[test]
fn a_dash_before_an_assignment_ignores_failure() {
    assert_eq!(
        read("-vm.nosuch = 1\n- vm.nosuch = 1\n")
            .into_iter()
            .map(|found| (found.1, found.2))
            .collect::<Vec<_>>(),
        [
            (true, "vm.nosuch".to_owned()),
            (true, "vm.nosuch".to_owned())
        ]
    );
    assert_eq!(problems("- vm.nosuch = 1\n"), [ProblemKind::SpellingOfKey]);
}

#[test]
fn only_the_first_equals_sign_separates() {
    assert_eq!(one("kernel.core_pattern = a=b\n").1, "a=b");
    assert_eq!(one("vm.swappiness == 18\n").1, "= 18");
}

#[test]
fn both_spellings_of_an_interface_with_a_dot_are_one_key() {
    let found = read("net.ipv4.conf.eth0/100.rp_filter=1\nnet/ipv4/conf/eth0.100/rp_filter=1\n");
    assert_eq!(found[0].2, found[1].2);
}

#[test]
fn a_backslash_continues_no_line() {
    assert_eq!(read("vm.swappiness = 19\\\nvm.stat_interval=7\n").len(), 2);
}

#[test]
fn lines_that_are_no_statement_are_kept_and_reported_with_their_number() {
    let text = "garbage\n\nvm/x/../y = 1\n= 5\n-\n-=5\n--vm.x = 1\nv m.x=1\n";
    let document = Document::parse(text.as_bytes());
    assert_eq!(document.assignments().count(), 0);
    assert_eq!(document.to_string(), text);
    let found = document.problems();
    assert_eq!(
        found.iter().map(|problem| problem.line).collect::<Vec<_>>(),
        [1, 3, 4, 5, 6, 7, 8]
    );
    assert_eq!(found[0].kind, ProblemKind::NotAnAssignment);
    assert!(
        found[0]
            .to_string()
            .starts_with("line 1: not an assignment")
    );
}

#[test]
fn an_empty_value_is_reported() {
    assert_eq!(one("vm.swappiness =\n").1, "");
    assert_eq!(problems("vm.swappiness =\n"), [ProblemKind::EmptyValue]);
}

#[test]
fn bytes_that_are_not_utf8_are_kept() {
    let bytes = b"# caf\xe9\nvm.x = \xff\nvm.swappiness = 1\n";
    let document = Document::parse(bytes);
    assert_eq!(document.bytes(), bytes);
    // A loader writes the byte. The document keeps it and shows it as U+FFFD.
    let values: Vec<&str> = document
        .assignments()
        .map(|(_, assignment)| assignment.value.as_str())
        .collect();
    assert_eq!(values, ["\u{fffd}", "1"]);
    assert_eq!(document.problems()[0].kind, ProblemKind::NotUtf8);
}

#[test]
fn setting_touches_only_the_value_of_the_last_line_that_names_the_key() {
    let mut document = Document::parse(
        b"vm.swappiness=1\r\n\r\n -vm/swappiness\t=  60 \t\r\n# vm.swappiness=3\r\nvm.swap*=4",
    );
    document
        .set(&key("vm.swappiness"), &Value::integer(10))
        .unwrap();
    assert_eq!(
        document.to_string(),
        "vm.swappiness=1\r\n\r\n -vm/swappiness\t=  10 \t\r\n# vm.swappiness=3\r\nvm.swap*=4"
    );
}

#[test]
fn setting_replaces_an_inline_comment_with_the_value_that_it_was_part_of() {
    let mut document = Document::parse(b"vm.swappiness = 60 # c\n");
    document
        .set(&key("vm.swappiness"), &Value::integer(10))
        .unwrap();
    assert_eq!(document.to_string(), "vm.swappiness = 10\n");
}

#[test]
fn setting_an_absent_key_adds_a_line_in_the_style_of_the_file() {
    for (before, after) in [
        ("", "vm.swappiness = 10\n"),
        ("kernel.panic=1\n", "kernel.panic=1\nvm.swappiness = 10\n"),
        ("kernel.panic=1", "kernel.panic=1\nvm.swappiness = 10"),
        ("a\r\nb", "a\r\nb\r\nvm.swappiness = 10"),
        // systemd drops an assignment above its exclusion, so the new line is added below.
        (
            "vm.swappiness=1\n-vm.swappiness\n",
            "vm.swappiness=1\n-vm.swappiness\nvm.swappiness = 10\n",
        ),
    ] {
        let mut document = Document::parse(before.as_bytes());
        document
            .set(&key("vm.swappiness"), &Value::integer(10))
            .unwrap();
        assert_eq!(document.to_string(), after, "{before:?}");
    }
}

#[test]
fn an_empty_value_is_filled_in() {
    for (before, after) in [
        ("vm.swappiness=\n", "vm.swappiness=10\n"),
        ("vm.swappiness = \n", "vm.swappiness = 10\n"),
    ] {
        let mut document = Document::parse(before.as_bytes());
        document
            .set(&key("vm.swappiness"), &Value::integer(10))
            .unwrap();
        assert_eq!(document.to_string(), after);
    }
}

#[test]
fn a_value_that_loaders_would_read_otherwise_is_refused() {
    let mut document = Document::parse(b"kernel.panic=1\n");
    for value in ["", " 1", "1 ", "1\nkernel.panic = 0", "1\r", "1\0"] {
        let error = document.set(&key("vm.swappiness"), &Value::raw(value));
        assert!(matches!(error, Err(EditError::Value { .. })), "{value:?}");
    }
    assert_eq!(document.to_string(), "kernel.panic=1\n");
}

#[test]
fn removing_takes_every_line_that_assigns_the_key_and_no_other() {
    let mut document = Document::parse(
        b"vm.swappiness=1\n# vm.swappiness=2\nvm.swap*=3\n-vm.swappiness\nvm/swappiness = 4\n",
    );
    assert_eq!(document.remove(&key("vm.swappiness")), 2);
    assert_eq!(
        document.to_string(),
        "# vm.swappiness=2\nvm.swap*=3\n-vm.swappiness\n"
    );
    assert_eq!(document.remove(&key("vm.swappiness")), 0);
}

#[test]
fn our_own_file_has_a_header_and_a_comment_above_each_entry() {
    let document = Document::render(
        "Written by a test.\nDo not edit.",
        &[
            Entry {
                key: key("vm.swappiness"),
                value: Value::integer(10),
                comment: Some("less swapping\nkernel.panic = 1".to_owned()),
                ignore_failure: false,
            },
            Entry {
                key: key("net/ipv4/conf/eth0.100/rp_filter"),
                value: Value::integer(1),
                comment: None,
                ignore_failure: true,
            },
        ],
    )
    .unwrap();
    assert_eq!(
        document.to_string(),
        "# Written by a test.\n# Do not edit.\n\n# less swapping\n# kernel.panic = 1\nvm.swappiness = 10\n-net.ipv4.conf.eth0/100.rp_filter = 1\n"
    );
}

#[test]
fn no_comment_handed_in_can_become_an_assignment() {
    let document = Document::render("a\rkernel.panic = 1\0kernel.panic = 2\r\nb", &[]).unwrap();
    assert_eq!(document.assignments().count(), 0);
    assert_eq!(
        document.to_string(),
        "# a\n# kernel.panic = 1\n# kernel.panic = 2\n# b\n"
    );
}

fn nasty_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "vm.swappiness", "vm/swappiness", "vm.x", "vm.*", "-", "=", " = ", "1", "#", ";", " ",
            "\t", "\n", "\n", "\r\n", "\r", "\0", ".", "/", "é",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..3),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_bytes_are_read_and_given_back_unchanged(bytes in nasty_bytes()) {
        let document = Document::parse(&bytes);
        prop_assert_eq!(document.bytes(), bytes);
        let _ = document.problems();
    }

    #[test]
    fn a_set_key_reads_back_with_that_value_as_the_last_word(bytes in nasty_bytes(), number in 0i128..200) {
        let mut document = Document::parse(&bytes);
        let wanted = key("vm.swappiness");
        document.set(&wanted, &Value::integer(number)).unwrap();
        let last = document.lines.iter().rev().find(|line| line.names(&wanted)).unwrap();
        let Statement::Assignment(assignment) = &last.statement else {
            return Err(TestCaseError::fail("the last word is an exclusion"));
        };
        prop_assert_eq!(&assignment.value, &number.to_string());
        let once = document.clone();
        document.set(&wanted, &Value::integer(number)).unwrap();
        prop_assert_eq!(document, once);
    }

    #[test]
    fn removing_what_was_added_gives_back_the_same_bytes(bytes in nasty_bytes()) {
        let mut document = Document::parse(&bytes);
        let absent = key("kernel.panic");
        document.set(&absent, &Value::integer(1)).unwrap();
        prop_assert_eq!(document.remove(&absent), 1);
        prop_assert_eq!(document.bytes(), bytes);
    }

    #[test]
    fn setting_leaves_every_other_statement_as_it_was(bytes in nasty_bytes()) {
        let before = Document::parse(&bytes);
        let mut after = before.clone();
        let wanted = key("vm.swappiness");
        after.set(&wanted, &Value::integer(7)).unwrap();
        let others = |document: &Document| -> Vec<Statement> {
            document.lines.iter()
                .filter(|line| !line.names(&wanted) && line.statement != Statement::Blank)
                .map(|line| line.statement.clone())
                .collect()
        };
        prop_assert_eq!(others(&after), others(&before));
    }

    #[test]
    fn a_rendered_file_reads_back_as_its_entries(
        header in "\\PC{0,20}|[\r\n\0# a=1]{0,20}",
        numbers in prop::collection::vec(any::<i64>(), 0..5),
    ) {
        let entries: Vec<Entry> = numbers.iter().enumerate().map(|(place, number)| Entry {
            key: key(&format!("net.ipv4.conf.eth0/{place}.x")),
            value: Value::integer(i128::from(*number)),
            comment: Some(header.clone()),
            ignore_failure: number % 2 == 0,
        }).collect();
        let document = Document::render(&header, &entries).unwrap();
        let read: Vec<(Option<Key>, String)> = document.assignments()
            .map(|(_, assignment)| (assignment.pattern.as_key(), assignment.value.clone())).collect();
        let expected: Vec<(Option<Key>, String)> = entries.iter()
            .map(|entry| (Some(entry.key.clone()), entry.value.text().to_owned())).collect();
        prop_assert_eq!(read, expected);
        prop_assert!(document.problems().is_empty());
    }
}
