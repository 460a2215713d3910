//! Any text is preserved, and any rule that can be written is parsed as it was.

use hosttune_udev_rules::{Content, Document, Key, Operator, Pattern, Rule, Token, Value};
use proptest::prelude::*;

use crate::cases;

fn any_key() -> impl Strategy<Value = Key> {
    prop_oneof![
        9 => proptest::sample::select(Key::KNOWN.to_vec()),
        1 => "[A-Z_][A-Z0-9_.]{0,6}".prop_map(|name| Key::named(&name)),
    ]
}

/// Text that is hard to quote in values and attributes.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => "[a-z0-9_*?|/.\\[\\]-]{0,12}",
        2 => "[\"\\\\ a#,={}$%\t'e]{0,8}",
        1 => any::<String>(),
    ]
}

fn any_token() -> impl Strategy<Value = Token> {
    let flags = (any::<bool>(), any::<bool>());
    let operator = proptest::sample::select(Operator::ALL.to_vec());
    let attribute = proptest::option::of("[^}\n\r\0]{0,8}");
    (any_key(), attribute, operator, any_text(), flags).prop_map(
        |(key, attribute, operator, text, (escaped, case_insensitive))| Token {
            key,
            attribute,
            operator,
            value: Value {
                escaped,
                case_insensitive,
                text,
            },
        },
    )
}

fn any_rule() -> impl Strategy<Value = Rule> {
    proptest::collection::vec(any_token(), 1..6).prop_map(Rule::new)
}

/// Bytes that look like rules.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => any_rule().prop_map(|rule| rule.to_text().unwrap_or_default().into_bytes()),
        2 => proptest::sample::select(vec![
            "\n", "\r\n", "\n\r", "\r", "\0", "\\\n", "\\\r\n", "  \\\n", "# a \\\n", "#", "   ",
            ",", "KERNEL==\"sd*\"", "GOTO=\"x\"\n", "LABEL=\"x\"\n", "A{b", "\"", "=", "\\", "e\"\\",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
    ];
    proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(cases(4_096))]

    #[test]
    fn any_text_stays_what_it_is(bytes in any_bytes()) {
        let document = Document::parse(&bytes);
        prop_assert_eq!(document.to_bytes(), bytes);
        // Line numbers increase without overlap.
        let mut next = 1;
        for line in document.lines() {
            prop_assert!(line.number >= next && line.last >= line.number);
            next = line.last + 1;
        }
        let _ = document.problems();
    }

    #[test]
    fn a_rule_that_can_be_written_is_read_as_it_was(rules in proptest::collection::vec(any_rule(), 0..4)) {
        let writable: Vec<Rule> = rules
            .into_iter()
            .filter(|rule| rule.to_text().is_ok())
            .collect();
        let document = Document::of(&writable).unwrap();
        let read: Vec<Rule> = document.rules().map(|(_, rule)| rule.clone()).collect();
        prop_assert_eq!(&read, &writable, "{}", String::from_utf8_lossy(&document.to_bytes()));
        prop_assert_eq!(document.lines().len(), writable.len());
    }

    #[test]
    fn a_plain_value_can_always_be_written(text in any_text()) {
        let rule = Rule::new([Token::new(Key::Run, Operator::Add, text.clone())]);
        match rule.to_text() {
            Ok(written) => prop_assert_eq!(Rule::parse(&written).unwrap(), rule),
            Err(_) => prop_assert!(text.contains('\0'), "{text:?}"),
        }
    }

    #[test]
    fn a_literal_matches_itself_and_nothing_else(text in any_text(), other in any_text()) {
        let Ok(literal) = Pattern::literal(&text) else {
            prop_assert!(text.is_empty() || text.contains('|'));
            return Ok(());
        };
        let pattern = Pattern::new(&Value::new(literal.clone()));
        prop_assert!(pattern.matches(&text), "{literal}");
        prop_assert_eq!(pattern.matches(&other), text == other, "{}", literal);
    }

    #[test]
    fn continuations_anywhere_between_tokens_say_the_same(rule in any_rule(), blanks in "[ \t]{0,4}") {
        let Ok(text) = rule.to_text() else { return Ok(()) };
        let tokens: Vec<String> = rule.tokens.iter().map(|token| token.to_text().unwrap()).collect();
        let split = tokens.join(&format!(", \\\n{blanks}"));
        let split = format!("{blanks}{split}\n");
        let document = Document::parse(split.as_bytes());
        let contents: Vec<&Content> = document.lines().iter().map(|line| &line.content).collect();
        prop_assert_eq!(contents, [&Content::Rule(rule.clone())], "{}", text);
    }
}
