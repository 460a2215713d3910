//! Output for other programs: JSON documents, and standard output that cannot be written.

use serde_json::Value;

use super::tree::{Ran, Tree, not_run};

/// Fails unless the document conforms to its schema in `docs/schemas`.
pub(super) fn assert_keeps(schema: &str, ran: &Ran) {
    let path = format!(
        "{}/../docs/schemas/{schema}.schema.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let schema: Value = serde_json::from_str(&text).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let document = ran.document();
    let errors: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{path}: {errors:#?}\n{document:#}");
    // The schema rejects other documents.
    let mut other = document;
    other["unexpected"] = Value::Null;
    assert!(!validator.is_valid(&other), "{path}");
}

#[test]
fn every_document_keeps_its_schema() {
    let tree = Tree::new();
    tree.show("net/ipv4/tcp_available_congestion_control", "reno cubic");
    std::fs::write(
        tree.at("etc/sysctl.d/50-x.conf"),
        "vm.* = 10\n-vm.swappiness\n",
    )
    .unwrap();
    let verbs: [(&[&str], &str); 16] = [
        (&["plan"], "plan"),
        (&["plan", "--persist", "--with", "candidates"], "plan"),
        (&["verify"], "verify"),
        (&["status"], "status"),
        (&["who-sets", "vm.swappiness"], "who-sets"),
        (&["explain", "vm.swappiness"], "explain"),
        (&["explain", "net.ipv4.tcp_congestion_control"], "explain"),
        (&["apply", "--yes", "--strict"], "apply"),
        (&["apply", "--yes"], "apply"),
        (&["apply", "--yes"], "apply"),
        (&["apply"], "error"),
        (&["status"], "status"),
        (&["verify"], "verify"),
        (&["explain", "vm.swappiness"], "explain"),
        (&["revert", "--yes"], "revert"),
        (&["revert", "--yes"], "revert"),
    ];
    for (typed, schema) in verbs {
        assert_keeps(schema, &tree.gaming(&[typed, &["--json"]].concat()));
    }
    // What follows the command is the command's.
    for typed in [
        &["--json", "run", "--explain", "true"][..],
        &["run", "--explain", "--json", "/nonexistent"],
    ] {
        assert_keeps("run", &tree.gaming(typed));
    }
    // With a change by another process and an interrupted run, then with an invalid journal.
    tree.gaming(&["apply", "--yes"]);
    tree.show("vm/dirty_ratio", "33");
    let journal = std::fs::read_to_string(tree.journal()).unwrap();
    let end = journal.trim_end().rfind('\n').unwrap() + 1;
    std::fs::write(tree.journal(), &journal[..end]).unwrap();
    for (typed, schema) in [
        (&["plan"][..], "plan"),
        (&["status"], "status"),
        (&["apply", "--yes"], "apply"),
        (&["revert", "--yes"], "revert"),
    ] {
        assert_keeps(schema, &tree.gaming(&[typed, &["--json"]].concat()));
    }
    std::fs::write(tree.journal(), "no journal\n").unwrap();
    for (typed, schema) in [
        (&["plan"][..], "error"),
        (&["apply", "--yes"], "apply"),
        (&["revert", "--yes"], "revert"),
    ] {
        assert_keeps(schema, &tree.gaming(&[typed, &["--json"]].concat()));
    }
}

#[test]
fn a_reader_that_goes_away_is_no_reason_to_complain() {
    let tree = Tree::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = tree.command(&["plan"]).stdout(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let Ok(full) = full else {
        not_run("an answer that cannot be written", "there is no /dev/full");
        return;
    };
    for typed in [
        &["plan"][..],
        &["--version"],
        &["--help"],
        &["help", "plan"],
    ] {
        let full = full.try_clone().unwrap();
        let output = tree.command(typed).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{typed:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("No space left"), "{typed:?}: {said}");
    }
}
