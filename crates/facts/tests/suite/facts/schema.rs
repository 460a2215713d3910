//! The output of `--json` conforms to its schema, and the schema rejects other documents.

use std::path::Path;

use hosttune_core::Host;
use hosttune_core::testing::CrashPoint;
use hosttune_facts::{Container, Facts, Hypervisor, Microarchitecture};
use serde_json::{Map, Value, json};

use super::machines;
use crate::capture::host_at;

fn schema() -> Value {
    let text = include_str!("../../../../../docs/schemas/facts.schema.json");
    serde_json::from_str(text).unwrap()
}

fn validator() -> jsonschema::Validator {
    let schema = schema();
    jsonschema::draft202012::meta::validate(&schema).unwrap_or_else(|error| panic!("{error}"));
    jsonschema::draft202012::new(&schema).unwrap_or_else(|error| panic!("{error}"))
}

/// Fails if the document does not conform to the schema or does not parse back to the facts.
pub(crate) fn assert_valid(facts: &Facts) {
    thread_local! {
        static VALIDATOR: jsonschema::Validator = validator();
    }
    let document = json!(facts);
    VALIDATOR.with(|validator| {
        let errors: Vec<String> = validator
            .iter_errors(&document)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}\n{document:#}");
    });
    let back: Facts = serde_json::from_value(document).unwrap();
    assert_eq!(back, *facts);
}

#[test]
fn facts_keep_their_schema() {
    assert_valid(&Facts::of(&host_at(Path::new("/"))));
    assert_valid(&Facts::with_identifiers(&host_at(Path::new("/"))));
    for (name, memory) in machines::all() {
        println!("{name}");
        assert_valid(&Facts::with_identifiers(&Host::new(
            memory.host(&CrashPoint::lives()),
        )));
    }
}

/// No field can be removed, misspelt, or given another type or an unknown word.
#[test]
fn the_schema_notices_every_change() {
    let validator = validator();
    let mut changes = 0;
    for (name, memory) in machines::all() {
        let document = json!(Facts::of(&Host::new(memory.host(&CrashPoint::lives()))));
        let mut places = Vec::new();
        objects(&document, "", &mut places);
        let changed = |place: &str, change: &dyn Fn(&mut Map<String, Value>)| {
            let mut document = document.clone();
            change(
                document
                    .pointer_mut(place)
                    .unwrap()
                    .as_object_mut()
                    .unwrap(),
            );
            validator.is_valid(&document)
        };
        for place in places {
            let unexpected = |object: &mut Map<String, Value>| {
                object.insert("unexpected".into(), Value::Null);
            };
            assert!(
                !changed(&place, &unexpected),
                "{name}: a new field in '{place}'"
            );
            let object = document.pointer(&place).unwrap().as_object().unwrap();
            for field in object.keys() {
                let taken = changed(&place, &|object| {
                    object.remove(field);
                });
                assert!(!taken, "{name}: '{place}/{field}' taken away");
                let of_a_type = |value: Value| {
                    changed(&place, &|object| {
                        object.insert(field.clone(), value.clone());
                    })
                };
                assert!(
                    !of_a_type(json!([[0.5]])),
                    "{name}: '{place}/{field}' is a list"
                );
                let words = [
                    "transport",
                    "kind",
                    "hypervisor",
                    "container",
                    "form",
                    "firmware",
                ];
                if words.contains(&field.as_str()) {
                    assert!(!of_a_type(json!("nonsense")), "{name}: '{place}/{field}'");
                }
                changes += 2;
            }
        }
    }
    assert!(changes > 200, "{changes}");
}

fn objects(value: &Value, place: &str, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            into.push(place.to_owned());
            for (name, value) in fields {
                objects(value, &format!("{place}/{name}"), into);
            }
        }
        Value::Array(values) => {
            for (number, value) in values.iter().enumerate() {
                objects(value, &format!("{place}/{number}"), into);
            }
        }
        _ => {}
    }
}

/// Finds a name that is in the code and not in the schema, or the other way round.
#[test]
fn the_schema_has_every_word_and_no_other() {
    let schema = schema();
    let words = |place: &str| -> Vec<String> {
        let words = schema.pointer(place).unwrap().as_array().unwrap();
        words
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let in_json = |value: Value| value.as_str().unwrap().to_owned();
    let ours: Vec<String> = Microarchitecture::ALL
        .iter()
        .map(|one| in_json(json!(one)))
        .collect();
    assert_eq!(words("/$defs/cpu/properties/microarchitecture/enum"), ours);
    let ours: Vec<String> = Hypervisor::ALL
        .iter()
        .map(|one| in_json(json!(one)))
        .collect();
    assert_eq!(
        words("/$defs/virtualisation/properties/hypervisor/enum"),
        ours
    );
    let ours: Vec<String> = Container::ALL
        .iter()
        .map(|one| in_json(json!(one)))
        .collect();
    assert_eq!(
        words("/$defs/virtualisation/properties/container/enum"),
        ours
    );
}
