//! What may be written, how the kernel's output is parsed, and what a partial write leaves.

use super::*;
use proptest::prelude::*;

const SCALAR: ValueType = ValueType::Integer(IntegerRange::new(0, 200, Unit::Mode));
const TCP_RMEM: ValueType = ValueType::Vector {
    arity: 3,
    element: IntegerRange::new(1, 2_147_483_647, Unit::Bytes),
};

fn wanted(value_type: &ValueType, text: &str) -> Result<String, ValueError> {
    Value::parse_wanted(value_type, text).map(|value| value.text().to_owned())
}

#[test]
fn integers_are_read_in_base_zero_and_kept_in_decimal() {
    assert_eq!(wanted(&SCALAR, "010").unwrap(), "8");
    assert_eq!(wanted(&SCALAR, "0x1e").unwrap(), "30");
    assert_eq!(wanted(&SCALAR, " 60\t").unwrap(), "60");
}

#[test]
fn a_plus_sign_is_refused_as_the_kernel_refuses_it() {
    assert!(matches!(
        wanted(&SCALAR, "+5"),
        Err(ValueError::NotAnInteger { .. })
    ));
}

#[test]
fn a_second_field_after_a_scalar_is_refused_though_the_kernel_ignores_it() {
    assert_eq!(
        wanted(&SCALAR, "5 6"),
        Err(ValueError::TrailingText {
            text: "5 6".to_owned(),
            count: 2
        })
    );
    assert!(matches!(
        wanted(&SCALAR, "5k"),
        Err(ValueError::NotAnInteger { .. })
    ));
}

#[test]
fn an_inline_comment_is_refused_and_the_error_says_so() {
    for (value_type, text) in [
        (SCALAR, "30 # comment"),
        (SCALAR, "30 ; comment"),
        (TCP_RMEM, "1 2 3 #x"),
        (ValueType::Word, "cubic # comment"),
        (ValueType::Raw, "x\t# y"),
    ] {
        let error = wanted(&value_type, text).unwrap_err();
        assert!(matches!(error, ValueError::Comment { .. }), "{text}");
        assert!(error.to_string().contains("comment on a line of its own"));
    }
    // Without a blank before it, the `#` is part of a name.
    assert_eq!(wanted(&ValueType::Raw, "core#%p").unwrap(), "core#%p");
}

#[test]
fn an_empty_value_is_refused_because_an_empty_write_does_nothing() {
    for value_type in [
        SCALAR,
        TCP_RMEM,
        ValueType::Word,
        ValueType::WordSet,
        ValueType::Raw,
    ] {
        assert_eq!(wanted(&value_type, " \t"), Err(ValueError::Empty));
    }
}

#[test]
fn a_line_end_inside_a_value_is_refused() {
    for text in ["1\n2", "1\n", "1\r", "1\0"] {
        assert!(matches!(
            wanted(&ValueType::Raw, text),
            Err(ValueError::LineBreak { offset: 1, .. })
        ));
    }
}

#[test]
fn a_vector_has_exactly_its_number_of_fields() {
    assert_eq!(
        wanted(&TCP_RMEM, "4096 0x20000\t6291456").unwrap(),
        "4096 131072 6291456"
    );
    assert!(matches!(
        wanted(&TCP_RMEM, "4096 131072"),
        Err(ValueError::Arity {
            wanted: 3,
            count: 2,
            ..
        })
    ));
    assert!(matches!(
        wanted(&TCP_RMEM, "1 2 3 4"),
        Err(ValueError::Arity {
            wanted: 3,
            count: 4,
            ..
        })
    ));
}

#[test]
fn a_wrong_field_is_named_by_its_place() {
    let Err(ValueError::Field { place, source, .. }) = wanted(&TCP_RMEM, "5000 88888 banana")
    else {
        panic!("a field was expected to be refused");
    };
    assert_eq!(place, 3);
    assert!(matches!(*source, ValueError::NotAnInteger { .. }));
}

#[test]
fn a_number_out_of_range_is_named_with_the_range() {
    let error = wanted(&SCALAR, "201").unwrap_err();
    assert_eq!(error.to_string(), "201 is outside of 0..=200 (mode)");
    assert!(wanted(&SCALAR, "-1").is_err());
}

#[test]
fn a_word_with_blanks_around_it_is_canonicalised_since_the_kernel_would_not_find_it() {
    assert_eq!(wanted(&ValueType::Word, "bbr ").unwrap(), "bbr");
    assert!(matches!(
        wanted(&ValueType::Word, "bbr cubic"),
        Err(ValueError::NotOneWord { count: 2, .. })
    ));
}

#[test]
fn word_sets_are_equal_whatever_their_order() {
    assert_eq!(
        Value::parse_seen(&ValueType::WordSet, "reno bbr cubic\n"),
        Value::parse_wanted(&ValueType::WordSet, "cubic reno bbr reno").unwrap()
    );
}

#[test]
fn what_the_kernel_prints_is_read_without_its_tabs_and_line_end() {
    assert_eq!(
        Value::parse_seen(&TCP_RMEM, "4096\t131072\t33554432\n").text(),
        "4096 131072 33554432"
    );
    assert_eq!(Value::parse_seen(&SCALAR, "60\n").as_integer(), Some(60));
}

#[test]
fn an_unexpected_shape_is_kept_as_it_is() {
    assert_eq!(Value::parse_seen(&SCALAR, "60 70\n").text(), "60 70");
    assert_eq!(Value::parse_seen(&SCALAR, "").text(), "");
    assert_eq!(Value::parse_seen(&TCP_RMEM, "1\t2\n").text(), "1\t2");
    assert!(Value::try_parse_seen(&SCALAR, "60 70\n").is_err());
}

#[test]
fn the_kernel_may_hold_a_number_that_it_would_not_accept() {
    assert_eq!(
        Value::try_parse_seen(&SCALAR, "1000\n")
            .unwrap()
            .as_integer(),
        Some(1000)
    );
}

#[test]
fn the_line_end_is_in_the_same_buffer_as_the_value() {
    let pair = ValueType::Vector {
        arity: 2,
        element: IntegerRange::new(-9, 9, Unit::Count),
    };
    assert_eq!(Value::integer(60).bytes_to_write(&ValueType::Raw), b"60\n");
    assert_eq!(
        Value::vector(&[1, -2]).bytes_to_write(&pair),
        b"1\t-2\n",
        "tabs between, as the kernel prints a vector"
    );
    assert_eq!(
        Value::vector(&[1, -2]).bytes_to_write(&ValueType::Raw),
        b"1 -2\n",
        "what is not known to be a vector stays as it was"
    );
}

#[test]
fn a_half_written_vector_is_torn() {
    let from = Value::vector(&[4096, 131_072, 33_554_432]);
    let to = Value::vector(&[5000, 88_888, 99_999]);
    let torn = |seen: &str| Value::is_partial_write(&Value::raw(seen), &from, &to);
    assert!(torn("5000 88888 33554432"));
    assert!(torn("5000 131072 33554432"));
    assert!(!torn("5000 88888 99999"), "the whole new value");
    assert!(!torn("4096 131072 33554432"), "the whole old value");
    assert!(!torn("5000 88888 7"), "set by another process");
    assert!(!torn("5000 88888"));
    assert!(torn(""), "a truncated file of a captured tree");
}

#[test]
fn a_single_number_or_word_is_never_torn() {
    assert!(!Value::is_partial_write(
        &Value::integer(3),
        &Value::integer(1),
        &Value::integer(2)
    ));
    assert!(!Value::is_partial_write(
        &Value::raw("reno"),
        &Value::raw("cubic"),
        &Value::raw("bbr")
    ));
    // A value that was empty before is not a truncated one.
    assert!(!Value::is_partial_write(
        &Value::raw(""),
        &Value::raw(""),
        &Value::raw("80")
    ));
}

#[test]
fn json_of_a_value_is_a_string() {
    assert_eq!(
        serde_json::to_string(&Value::vector(&[1, 2])).unwrap(),
        "\"1 2\""
    );
}

fn any_type() -> impl Strategy<Value = ValueType> {
    prop_oneof![
        (-9i128..9, 9i128..99).prop_map(|(low, high)| ValueType::Integer(IntegerRange::new(
            low,
            high,
            Unit::Count
        ))),
        (1usize..5).prop_map(|arity| ValueType::Vector {
            arity,
            element: IntegerRange::new(-9, 99, Unit::Count)
        }),
        Just(ValueType::Word),
        Just(ValueType::WordSet),
        Just(ValueType::RangeList),
        Just(ValueType::Raw),
    ]
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[-+0-9xa-f \t\n#;,]{0,16}",
        "\\PC{0,16}",
        "([0-9]{1,2}[ \t]){0,4}[0-9]{1,2}"
    ]
}

proptest! {
    #[test]
    fn every_value_is_equal_after_json(text in any_text()) {
        let value = Value::raw(text);
        let json = serde_json::to_string(&value).unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), value);
    }

    #[test]
    fn canonical_text_is_read_as_itself(value_type in any_type(), text in any_text()) {
        if let Ok(value) = Value::parse_wanted(&value_type, &text) {
            prop_assert_eq!(&Value::parse_wanted(&value_type, value.text()).unwrap(), &value);
            let shown = format!("{}\n", value.text());
            prop_assert_eq!(&Value::try_parse_seen(&value_type, &shown).unwrap(), &value);
        }
        let seen = Value::parse_seen(&value_type, &text);
        let shown = format!("{}\n", seen.text());
        prop_assert_eq!(Value::parse_seen(&value_type, &shown), seen);
    }

    #[test]
    fn a_vector_written_up_to_any_field_is_torn_unless_nothing_tells_it_apart(
        ends in prop::collection::vec((0i128..4, 0i128..4), 2..5),
        written in 0usize..5,
    ) {
        let from = Value::vector(&ends.iter().map(|end| end.0).collect::<Vec<_>>());
        let to = Value::vector(&ends.iter().map(|end| end.1).collect::<Vec<_>>());
        let seen = Value::vector(
            &ends.iter().enumerate().map(|(place, end)| if place < written { end.1 } else { end.0 }).collect::<Vec<_>>(),
        );
        prop_assert_eq!(Value::is_partial_write(&seen, &from, &to), seen != from && seen != to);
    }
}
