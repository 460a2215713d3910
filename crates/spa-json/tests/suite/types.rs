//! Types of serde, read and written.

use std::collections::BTreeMap;

use hosttune_spa_json::{DeserializeError, from_str, parse, to_string, to_value};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Module {
    name: String,
    #[serde(default)]
    args: BTreeMap<String, String>,
    #[serde(default)]
    flags: Vec<Flag>,
    priority: Option<i32>,
    #[serde(default)]
    gain: f64,
    #[serde(default)]
    large: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Flag {
    Ifexists,
    Nofail,
    Retry(u8),
    Range { from: i64, to: i64 },
    Both(bool, String),
}

#[test]
fn a_module_of_a_configuration_file_is_read() {
    let module: Module = from_str(
        "name = libpipewire-module-rt
         args = { nice.level = -11 rt.prio = 88 }
         flags = [ ifexists nofail { retry = 3 } ]
         priority = null gain = 0.5",
    )
    .expect("it fits");
    assert_eq!(module.name, "libpipewire-module-rt");
    // Text takes a number as it is written.
    assert_eq!(module.args["nice.level"], "-11");
    assert_eq!(module.flags, [Flag::Ifexists, Flag::Nofail, Flag::Retry(3)]);
    assert_eq!(module.priority, None);
}

#[test]
fn the_last_of_repeated_keys_counts() {
    let map: BTreeMap<String, u32> = from_str("a = 1 b = 2 a = 3").expect("it fits");
    assert_eq!(
        map,
        BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 2)])
    );
}

#[test]
fn an_error_has_the_place_of_the_value() {
    let message = |text: &str| {
        from_str::<Module>(text)
            .expect_err("it does not fit")
            .to_string()
    };
    assert_eq!(
        message("name = x\npriority = high\n"),
        "line 2, column 12: invalid type: string \"high\", expected i32"
    );
    assert!(message("name = x\nprio = 1\n").starts_with("line 2, column 1: unknown field `prio`"));
    assert!(message("priority = 1").starts_with("line 1, column 1: missing field `name`"));
    assert!(
        message("name = x flags = [ never ]").starts_with("line 1, column 20: unknown variant")
    );
    let error = from_str::<Module>("name = [ x = y ]").expect_err("a fault");
    assert!(matches!(error, DeserializeError::Syntax(_)), "{error:?}");
}

#[test]
fn maps_with_other_keys_than_text_are_refused() {
    let map = BTreeMap::from([(vec![1], 2)]);
    assert_eq!(
        to_string(&map).map_err(|error| error.to_string()),
        Err("the key of a map is not text".to_owned())
    );
    assert!(to_string(&f64::NAN).is_err());
    let numbers = BTreeMap::from([(1, "x")]);
    assert_eq!(to_string(&numbers).as_deref(), Ok(r#"{ "1": "x" }"#));
}

fn flag() -> impl Strategy<Value = Flag> {
    prop_oneof![
        Just(Flag::Ifexists),
        Just(Flag::Nofail),
        any::<u8>().prop_map(Flag::Retry),
        any::<(i64, i64)>().prop_map(|(from, to)| Flag::Range { from, to }),
        any::<(bool, String)>().prop_map(|(one, two)| Flag::Both(one, two)),
    ]
}

proptest! {
    #![proptest_config(crate::cases(500))]

    #[test]
    fn a_type_is_the_same_after_it_was_written_and_read(
        name in any::<String>(),
        args in prop::collection::btree_map(".{0,6}", any::<String>(), 0..4),
        flags in prop::collection::vec(flag(), 0..4),
        priority in any::<Option<i32>>(),
        gain in -1e300..1e300f64,
        large in any::<u64>(),
    ) {
        let module = Module { name, args, flags, priority, gain, large };
        let text = to_string(&module).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let again: Module = from_str(&text)
            .map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
        prop_assert_eq!(&again, &module);
        let value = to_value(&module).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(parse(&text).map_err(|error| TestCaseError::fail(error.to_string()))?, value);
    }
}
