//! What is read, what is dropped, and where.

use hosttune_spa_json::{Data, Dialect, Reading, Reason, RemarkKind, TopLevel, Value, parse};

fn lenient(text: &str) -> Reading {
    Reading::of(text.as_bytes(), Dialect::Lenient)
}

fn checked(text: &str) -> Reading {
    Reading::of(text.as_bytes(), Dialect::Checked)
}

/// The fault that the checked parser finds, with line and column.
fn fault(text: &str) -> (Reason, usize, usize) {
    let error = checked(text).error.expect("a fault");
    (error.reason, error.position.line, error.position.column)
}

#[test]
fn separators_quotes_and_outer_braces_are_optional() {
    let texts = [
        "a = 1 b = [ 2 x ] c = { d = \"e f\" }",
        "{ a: 1, b: [2,x], c: {d: \"e f\"} }",
        "{\"a\":1,\"b\":[2,\"x\"],\"c\":{\"d\":\"e f\"}}",
        "a 1 b [2 x] c { d \"e f\" }",
        "# comment\na=1#comment\nb==[2,,x],c={d::\"e f\"}",
    ];
    for text in texts {
        let value = checked(text).value;
        let last = value
            .get("c")
            .and_then(|c| c.get("d"))
            .and_then(Value::as_text);
        assert_eq!(last, Some("e f"), "{text}");
        let b = value.get("b").and_then(Value::as_array).expect("an array");
        assert_eq!(b[1].as_text(), Some("x"), "{text}");
        assert_eq!(checked(text).error, None, "{text}");
    }
}

#[test]
fn each_fault_has_its_reason_line_and_column() {
    assert_eq!(fault("a = [ 1\n 2 = 3 ]"), (Reason::SeparatorInArray, 2, 4));
    assert_eq!(fault("a = 1\n= 2"), (Reason::ExpectedKey, 2, 1));
    assert_eq!(fault("a = 1 { }"), (Reason::ExpectedKey, 1, 7));
    assert_eq!(fault("a = { b }"), (Reason::ExpectedValue, 1, 9));
    assert_eq!(fault("a = 1 b\n"), (Reason::ExpectedValue, 2, 1));
    assert_eq!(fault("a = [ 1 }"), (Reason::ExpectedArrayClose, 1, 9));
    assert_eq!(fault("a = { b = 1 ]"), (Reason::ExpectedObjectClose, 1, 13));
    assert_eq!(fault("a = 1 }"), (Reason::MismatchedBracket, 1, 7));
    assert_eq!(fault("a = [ 1"), (Reason::MismatchedBracket, 1, 8));
    assert_eq!(fault("a = \\n"), (Reason::EscapeOutsideString, 1, 5));
    assert_eq!(fault("a = \u{e9}"), (Reason::ByteNotAllowed, 1, 5));
    assert_eq!(fault("a = \"x\ty\""), (Reason::ByteNotAllowed, 1, 7));
    assert_eq!(fault("a = \"\\q\""), (Reason::InvalidEscape, 1, 7));
    assert_eq!(fault("a = \"x"), (Reason::UnfinishedString, 1, 7));
}

#[test]
fn an_error_says_what_the_daemon_drops() {
    let error = parse("clock = {\n  rate = [ 48000 }\n}").expect_err("the wrong bracket");
    assert_eq!(
        error.to_string(),
        "line 2, column 18: an array is closed with '}' instead of ']'; PipeWire drops the whole text"
    );
    let error = lenient("a = 1 b = \"x\ty\"")
        .error
        .expect("a tab in a string");
    assert_eq!(
        error.to_string(),
        "line 1, column 13: a byte that is not allowed here; PipeWire keeps what is before it and \
         silently drops the rest"
    );
}

#[test]
fn up_to_1_0_what_is_before_a_fault_counts() {
    let reading = lenient("a = { b = 1 c = \"\\q\" d = 2 } e = 3");
    assert_eq!(reading.value.to_json(), r#"{ "a": { "b": 1 } }"#);
    assert_eq!(
        reading.error.map(|error| error.reason),
        Some(Reason::InvalidEscape)
    );
    // Brackets that do not fit are no fault, and a semicolon is part of a word.
    let reading = lenient("a = [ 1 } b = 64; c = [ 2 = 3 ]");
    assert_eq!(reading.error, None);
    assert_eq!(
        reading.value.to_json(),
        r#"{ "a": [ 1 ], "b": "64;", "c": [ 2, 3 ] }"#
    );
}

#[test]
fn a_stray_closing_brace_ends_an_old_file_silently() {
    let reading = lenient("a = 1\n}\nb = 2\n");
    assert_eq!(reading.value.to_json(), r#"{ "a": 1 }"#);
    assert_eq!(reading.error, None);
    assert_eq!(reading.remarks.len(), 1);
    assert_eq!(
        reading.remarks[0].to_string(),
        "line 2, column 1: what follows the outermost closing bracket is dropped"
    );
}

#[test]
fn what_follows_the_outermost_object_is_dropped_by_both() {
    for reading in [lenient("{ a = 1 } b = 2"), checked("{ a = 1 } b = 2")] {
        assert_eq!(reading.value.to_json(), r#"{ "a": 1 }"#);
        assert_eq!(reading.error, None);
        let kind = &reading.remarks[0].kind;
        assert_eq!(kind, &RemarkKind::AfterEnd { malformed: false });
    }
    assert!(checked("{ a = 1 }\n# only a comment").remarks.is_empty());
}

#[test]
fn repeated_keys_are_kept_in_order_and_the_last_counts() {
    let reading = checked("a = 1\nb = 2\na = 3\n");
    assert_eq!(reading.value.to_json(), r#"{ "a": 1, "b": 2, "a": 3 }"#);
    assert_eq!(reading.value.get("a").and_then(Value::as_i64), Some(3));
    assert_eq!(
        reading.remarks[0].to_string(),
        "line 1, column 1: 'a' is dropped: the same key follows in this object"
    );
    let many: String = (0..40)
        .map(|number| format!("k{} = 1\n", number % 20))
        .collect();
    let remarks = checked(&many).remarks;
    assert_eq!(remarks.len(), 20);
    assert_eq!(remarks[19].position.line, 20);
}

#[test]
fn numbers_are_what_pipewire_takes_for_numbers() {
    let integer = |word: &str| Value::word(word).and_then(|word| word.as_i64());
    assert_eq!(integer("0x40"), Some(64));
    assert_eq!(integer("0X4g"), None);
    assert_eq!(integer("010"), Some(8));
    assert_eq!(integer("08"), None);
    assert_eq!(integer("-1"), Some(-1));
    assert_eq!(integer("+7"), Some(7));
    assert_eq!(integer("512.7"), None);
    assert_eq!(integer("99999999999999999999"), Some(i64::MAX));
    assert_eq!(integer("0x"), None);
    assert_eq!(integer(&"1".repeat(64)), None);
    let float = |word: &str| Value::word(word).and_then(|word| word.as_f64());
    assert_eq!(float("512.7"), Some(512.7));
    assert_eq!(float(".5"), Some(0.5));
    assert_eq!(float("1e3"), Some(1000.0));
    assert_eq!(float("inf"), None);
    assert_eq!(float("0x40"), None);
    // A string is text, whatever is in it.
    assert_eq!(Value::from("64").as_i64(), None);
    let value = checked("a = 0x40 b = 010 c = .5 d = +1 e = 1e400 f = 1.50 g = x").value;
    assert_eq!(
        value.to_json(),
        r#"{ "a": 64, "b": 8, "c": 0.5, "d": 1, "e": "1e400", "f": 1.50, "g": "x" }"#
    );
}

#[test]
fn escapes_are_decoded_as_the_version_decodes_them() {
    let text = |reading: Reading| match &reading.value.get("a").expect("a").data {
        Data::String(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    let escapes = r#"a = "\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00""#;
    assert_eq!(text(checked(escapes)), "\"\\/\u{8}\u{c}\n\r\té😀");
    // Half of a pair is nothing, and too few digits are text.
    assert_eq!(text(checked(r#"a = "x\ud83dy\ude00z""#)), "xyz");
    assert_eq!(text(checked(r#"a = "\u12\u00zz""#)), "u12u00zz");
    // Up to 1.0 the high bits of a pair were lost where they coincide.
    assert_eq!(text(checked(r#"a = "\ud840\udc00""#)), "\u{20000}");
    assert_eq!(text(lenient(r#"a = "\ud840\udc00""#)), "\u{10000}");
}

#[test]
fn null_is_a_word_and_not_a_string() {
    let value = checked("a = null b = \"null\"").value;
    assert!(value.get("a").is_some_and(Value::is_null));
    assert!(!value.get("b").is_some_and(Value::is_null));
}

#[test]
fn a_text_without_a_value_is_nothing() {
    for text in ["", "  \n", "# comment", "# comment\n"] {
        assert_eq!(checked(text).top_level, TopLevel::Nothing, "{text:?}");
        assert_eq!(checked(text).error, None, "{text:?}");
    }
    assert_eq!(checked("[ 1 2 ]").top_level, TopLevel::Array);
    assert_eq!(checked("{ }").top_level, TopLevel::Braces);
    assert_eq!(checked("a=1").top_level, TopLevel::Entries);
}

#[test]
fn a_key_that_is_too_long_is_dropped_with_its_value() {
    let long = "k".repeat(1024);
    let text = format!("x = {{ a = 1 {long} = {{ z = 1 }} b = 2 }} c = 3");
    assert_eq!(
        checked(&text).value.to_json(),
        r#"{ "x": { "a": 1, "b": 2 }, "c": 3 }"#
    );
    // Up to 1.0 the rest of its object is dropped too.
    let reading = lenient(&text);
    assert_eq!(reading.value.to_json(), r#"{ "x": { "a": 1 }, "c": 3 }"#);
    assert!(
        reading
            .remarks
            .iter()
            .any(|remark| remark.kind == RemarkKind::KeyTooLong)
    );
    let fits = format!("{} = 1", "k".repeat(1023));
    assert_eq!(checked(&fits).value.as_object().map(<[_]>::len), Some(1));
}

#[test]
fn spans_are_the_places_in_the_text() {
    let text = "a = { \"b\" = [ 1 ] }";
    let value = checked(text).value;
    let a = &value.as_object().expect("an object")[0];
    assert_eq!(a.key_span.of(text.as_bytes()), b"a");
    assert_eq!(a.value.span.of(text.as_bytes()), b"{ \"b\" = [ 1 ] }");
    let b = &a.value.as_object().expect("an object")[0];
    assert_eq!(b.key_span.of(text.as_bytes()), b"\"b\"");
    assert_eq!(b.value.span.of(text.as_bytes()), b"[ 1 ]");
}

#[test]
fn text_that_is_not_utf_8_is_said_to_be_so() {
    // Latin-1 in a comment is no fault.
    let reading = Reading::of(b"a = 1 # \xe9\nb = 2", Dialect::Checked);
    assert_eq!(reading.error, None);
    assert!(reading.remarks.is_empty());
    let reading = Reading::of(b"a = \xe9", Dialect::Lenient);
    assert_eq!(
        reading.value.get("a").and_then(Value::as_text),
        Some("\u{fffd}")
    );
    assert_eq!(reading.remarks[0].kind, RemarkKind::NotUtf8);
}
