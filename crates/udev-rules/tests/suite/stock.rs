//! The rules that Debian ships: all are parsed, and none is changed.

use std::path::Path;

use hosttune_test_machine::Udev;
use hosttune_udev_rules::{Content, Device, Document, Evaluator, ProblemKind, RuleFiles};

fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut found: Vec<(String, Vec<u8>)> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "rules"))
        .map(|path| (path.display().to_string(), std::fs::read(&path).unwrap()))
        .collect();
    found.sort();
    found
}

fn stock() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for udev in Udev::ALL {
        let directory = udev.rules().unwrap_or_else(|error| panic!("{error}"));
        let found = files(&directory);
        // As many as Debian 12 and its backports have; if there are fewer, they were not found.
        assert!(
            found.len() >= 30,
            "{}: {}",
            directory.display(),
            found.len()
        );
        all.extend(found);
    }
    let own = files(Path::new("/usr/lib/udev/rules.d"));
    if own.is_empty() {
        println!("this machine has no rules of its own in /usr/lib/udev/rules.d");
    }
    all.extend(own);
    all
}

#[test]
fn every_stock_rule_is_understood_and_stays_as_it_is() {
    let (mut rules, mut tokens) = (0, 0);
    for (path, bytes) in stock() {
        let document = Document::parse(&bytes);
        assert_eq!(document.to_bytes(), bytes, "{path}");
        let problems = document.problems();
        assert!(problems.is_empty(), "{path}: {problems:?}");
        for line in document.lines() {
            if let Content::Rule(rule) = &line.content {
                rules += 1;
                tokens += rule.tokens.len();
                // A rule that is written and parsed again is the same.
                let text = rule
                    .to_text()
                    .unwrap_or_else(|error| panic!("{path}:{}: {error}", line.number));
                assert_eq!(
                    Document::parse(text.as_bytes()).rules().next().unwrap().1,
                    rule,
                    "{path}:{}",
                    line.number
                );
            } else {
                assert!(
                    matches!(line.content, Content::Blank | Content::Comment),
                    "{path}:{}",
                    line.number
                );
            }
        }
    }
    println!("{rules} rules of {tokens} tokens");
    assert!(rules > 900, "{rules}");
}

#[test]
fn no_stock_rule_sets_a_queue_attribute_and_the_one_that_writes_is_seen() {
    for udev in Udev::ALL {
        let found = files(&udev.rules().unwrap());
        let documents = found
            .iter()
            .map(|(path, bytes)| (path.clone(), Document::parse(bytes)));
        let rules = RuleFiles::of(documents);
        let evaluator = Evaluator::new(&rules);
        for name in ["sda", "nvme0n1", "vda", "dm-0", "loop0", "zram0"] {
            let device = Device::disk(name);
            for action in [
                hosttune_udev_rules::Action::Add,
                hosttune_udev_rules::Action::Change,
            ] {
                let setters = evaluator.setters(&device, action);
                assert!(
                    setters
                        .iter()
                        .all(|setter| !setter.attribute.starts_with("queue/")),
                    "{setters:?}"
                );
            }
        }
    }
}

#[test]
fn a_file_cut_anywhere_is_still_read() {
    let (path, bytes) = stock()
        .into_iter()
        .find(|(path, _)| path.ends_with("60-persistent-storage.rules"))
        .unwrap();
    for length in (0..bytes.len()).step_by(7) {
        let document = Document::parse(&bytes[..length]);
        assert_eq!(document.to_bytes(), &bytes[..length], "{path} at {length}");
        let missing = |kind: &ProblemKind| matches!(kind, ProblemKind::NoSuchLabel(_));
        let leaving_out = document
            .problems()
            .into_iter()
            .filter(|problem| !missing(&problem.kind))
            .count();
        assert!(
            leaving_out <= 1,
            "{path} at {length}: {:?}",
            document.problems()
        );
    }
}
