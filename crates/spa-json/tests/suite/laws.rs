//! Laws over any value and any bytes.

use hosttune_spa_json::{Data, Dialect, Entry, MAX_DEPTH, Reading, Value, parse};
use proptest::prelude::*;

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::null()),
        "[ -~]{1,8}".prop_filter_map("a bare word", Value::word),
        any::<String>().prop_map(Value::from),
        "[\\x00-\\x7f\u{e9}\u{1f600}\u{10ffff}]{0,6}".prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from_iter),
            prop::collection::vec((".{0,8}", inner), 0..5).prop_map(|entries| {
                entries
                    .into_iter()
                    .map(|(key, value)| Entry::new(key, value))
                    .collect()
            }),
        ]
    })
}

/// A value is read as one only inside an object or an array.
fn text() -> impl Strategy<Value = Value> {
    value().prop_map(|value| [Entry::new("x", value)].into_iter().collect())
}

/// Whether a JSON parser reads the same: words as their text, and numbers by their value.
fn is_same(ours: &Value, json: &serde_json::Value) -> bool {
    match (&ours.data, json) {
        (Data::Array(ours), serde_json::Value::Array(json)) => {
            ours.len() == json.len()
                && ours
                    .iter()
                    .zip(json)
                    .all(|(ours, json)| is_same(ours, json))
        }
        (Data::Object(_), serde_json::Value::Object(json)) => json
            .iter()
            .all(|(key, json)| ours.get(key).is_some_and(|ours| is_same(ours, json))),
        (Data::String(ours), serde_json::Value::String(json)) => ours == json,
        (Data::Word(_), serde_json::Value::Null) => ours.is_null(),
        (Data::Word(_), serde_json::Value::Bool(json)) => ours.as_bool() == Some(*json),
        (Data::Word(_), serde_json::Value::Number(json)) => {
            ours.as_i64() == json.as_i64() || ours.as_f64() == json.as_f64()
        }
        (Data::Word(ours), serde_json::Value::String(json)) => ours == json,
        _ => false,
    }
}

proptest! {
    #![proptest_config(crate::cases(1000))]

    #[test]
    fn a_value_is_the_same_after_it_was_written_and_read(value in text()) {
        let written = value.to_spa_json();
        for dialect in [Dialect::Lenient, Dialect::Checked] {
            let reading = Reading::of(written.as_bytes(), dialect);
            prop_assert_eq!(&reading.error, &None, "{}", written);
            // Half of what the lenient parser makes of surrogates is wrong, but none is written.
            prop_assert_eq!(&reading.value, &value, "{}", written);
        }
    }

    #[test]
    fn strict_json_is_read_by_others_and_by_pipewire(value in text()) {
        for written in [value.to_json(), value.to_pretty_json()] {
            let json: serde_json::Value = serde_json::from_str(&written)
                .map_err(|error| TestCaseError::fail(format!("{written}: {error}")))?;
            prop_assert!(is_same(&value, &json), "{} {:?}", written, value);
            let again = parse(&written).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert!(is_same(&again, &json), "{} {:?}", written, again);
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for dialect in [Dialect::Lenient, Dialect::Checked] {
            let reading = Reading::of(&bytes, dialect);
            // A fault has a place in the text or at its end.
            if let Some(error) = reading.error {
                prop_assert!(error.offset <= bytes.len());
            }
            check_spans(&reading.value, bytes.len())?;
        }
    }

    #[test]
    fn a_text_without_a_fault_means_the_same_to_both_dialects(value in text()) {
        let written = value.to_json();
        let lenient = Reading::of(written.as_bytes(), Dialect::Lenient);
        let checked = Reading::of(written.as_bytes(), Dialect::Checked);
        prop_assert_eq!(lenient.value, checked.value);
    }
}

/// What is inside lies inside, in order.
fn check_spans(value: &Value, end: usize) -> Result<(), TestCaseError> {
    prop_assert!(value.span.start <= value.span.end && value.span.end <= end);
    let inner: Vec<&Value> = match &value.data {
        Data::Array(values) => values.iter().collect(),
        Data::Object(entries) => entries.iter().map(|entry| &entry.value).collect(),
        Data::Word(_) | Data::String(_) => Vec::new(),
    };
    let mut at = value.span.start;
    for one in inner {
        prop_assert!(one.span.start >= at);
        check_spans(one, value.span.end)?;
        at = one.span.end;
    }
    Ok(())
}

#[test]
fn brackets_are_read_up_to_the_limit_and_refused_beyond_it() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for dialect in [Dialect::Lenient, Dialect::Checked] {
        let reading = Reading::of(nested(MAX_DEPTH).as_bytes(), dialect);
        assert_eq!(reading.error, None);
        let error = Reading::of(nested(MAX_DEPTH + 1).as_bytes(), dialect).error;
        let error = error.expect("one bracket too many");
        assert_eq!(error.reason, hosttune_spa_json::Reason::TooDeep);
        assert_eq!(error.offset, MAX_DEPTH);
        // However many there are, the stack does not grow with them.
        assert!(
            Reading::of("[".repeat(1_000_000).as_bytes(), dialect)
                .error
                .is_some()
        );
    }
}

#[test]
fn time_grows_with_the_text_and_not_faster() {
    // Each of these would take hours if anything were read again for every bracket or key.
    let texts = [
        "a = [ ".repeat(100) + &"{ b = 1 } ".repeat(200_000),
        "key = 1\n".repeat(300_000),
        "\"".to_owned() + &"x".repeat(3_000_000),
        "{ a ".repeat(500) + &"# comment\n".repeat(200_000),
    ];
    for text in texts {
        let start = std::time::Instant::now();
        for dialect in [Dialect::Lenient, Dialect::Checked] {
            let _ = Reading::of(text.as_bytes(), dialect);
        }
        let taken = start.elapsed();
        assert!(taken.as_secs() < 20, "{taken:?} for {} bytes", text.len());
    }
}
