//! The schemas of `docs/schemas`, and checks that they reject wrong documents.

use serde_json::{Value, json};

/// The schemas by the name of the command.
const SCHEMAS: [(&str, &str); 15] = [
    (
        "plan",
        include_str!("../../../../docs/schemas/plan.schema.json"),
    ),
    (
        "verify",
        include_str!("../../../../docs/schemas/verify.schema.json"),
    ),
    (
        "apply",
        include_str!("../../../../docs/schemas/apply.schema.json"),
    ),
    (
        "revert",
        include_str!("../../../../docs/schemas/revert.schema.json"),
    ),
    (
        "status",
        include_str!("../../../../docs/schemas/status.schema.json"),
    ),
    (
        "explain",
        include_str!("../../../../docs/schemas/explain.schema.json"),
    ),
    (
        "who-sets",
        include_str!("../../../../docs/schemas/who-sets.schema.json"),
    ),
    (
        "measure",
        include_str!("../../../../docs/schemas/measure.schema.json"),
    ),
    (
        "watch",
        include_str!("../../../../docs/schemas/watch.schema.json"),
    ),
    (
        "facts",
        include_str!("../../../../docs/schemas/facts.schema.json"),
    ),
    (
        "import",
        include_str!("../../../../docs/schemas/import.schema.json"),
    ),
    (
        "pci",
        include_str!("../../../../docs/schemas/pci.schema.json"),
    ),
    (
        "guest",
        include_str!("../../../../docs/schemas/guest.schema.json"),
    ),
    (
        "boot",
        include_str!("../../../../docs/schemas/boot.schema.json"),
    ),
    (
        "error",
        include_str!("../../../../docs/schemas/error.schema.json"),
    ),
];

fn validator(name: &str) -> jsonschema::Validator {
    let (_, text) = SCHEMAS
        .iter()
        .find(|(known, _)| *known == name)
        .unwrap_or_else(|| panic!("no schema {name}"));
    let schema: Value = serde_json::from_str(text).unwrap();
    jsonschema::draft202012::meta::validate(&schema)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    jsonschema::draft202012::new(&schema).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Asserts that the document is valid.
pub(super) fn assert_valid(name: &str, document: &Value) {
    let errors: Vec<String> = validator(name)
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{name}: {errors:#?}\n{document:#}");
}

/// Asserts that the schema rejects the document if any field is removed, misspelt or of another type.
pub(super) fn assert_notices_every_change(name: &str, document: &Value) {
    let validator = validator(name);
    let mut places = Vec::new();
    objects(document, "", &mut places);
    let mut changes = 0;
    for place in places {
        let mut more = document.clone();
        fields(&mut more, &place).insert("unexpected".into(), json!(1));
        assert!(
            !validator.is_valid(&more),
            "{name}: a new field in '{place}'"
        );
        changes += 1;
        for field in fields(&mut document.clone(), &place).keys() {
            let mut less = document.clone();
            fields(&mut less, &place).remove(field);
            assert!(
                !validator.is_valid(&less),
                "{name}: '{place}/{field}' taken away"
            );
            let mut other = document.clone();
            fields(&mut other, &place).insert(field.clone(), json!([[0.5]]));
            assert!(
                !validator.is_valid(&other),
                "{name}: '{place}/{field}' of another type"
            );
            changes += 2;
            if [
                "state",
                "event",
                "outcome",
                "lifetime",
                "standing",
                "requirement",
            ]
            .contains(&field.as_str())
            {
                let mut word = document.clone();
                fields(&mut word, &place).insert(field.clone(), json!("nonsense"));
                assert!(
                    !validator.is_valid(&word),
                    "{name}: '{place}/{field}' is nonsense"
                );
            }
        }
    }
    assert!(changes > 3, "{name}: nothing was tried");
}

fn fields<'v>(document: &'v mut Value, place: &str) -> &'v mut serde_json::Map<String, Value> {
    document
        .pointer_mut(place)
        .and_then(Value::as_object_mut)
        .unwrap_or_else(|| panic!("no object at {place}"))
}

/// Collects the places of all objects in a document, as JSON pointers.
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
