//! This machine, live and captured, compared with what other tools report.

use std::path::Path;

use hosttune_facts::Facts;

use super::machines;
use super::recorded::Recorded;
use crate::capture::{capture, host_at};
use crate::peers;

#[test]
fn a_tree_of_the_sources_gives_the_same_facts() {
    let live = host_at(Path::new("/"));
    let tree = tempfile::tempdir().unwrap();
    capture(&Facts::sources(), tree.path());
    let captured = host_at(tree.path());
    let facts = Facts::of(&live);
    println!("{facts}");
    assert_eq!(Facts::of(&captured), facts);
    assert_eq!(
        Facts::with_identifiers(&captured),
        Facts::with_identifiers(&live)
    );
    assert!(facts.cpu.threads >= Some(1) && facts.memory.total_bytes > Some(1 << 20));
}

#[test]
fn other_tools_say_the_same() {
    peers::agree(&Facts::with_identifiers(&host_at(Path::new("/"))));
}

/// What is read depends on the machine, but on all of them it is in the list of sources.
#[test]
fn nothing_is_looked_at_that_is_no_source() {
    let patterns: Vec<glob::Pattern> = Facts::sources()
        .into_iter()
        .map(|source| glob::Pattern::new(source).unwrap())
        .collect();
    let literal = glob::MatchOptions {
        require_literal_separator: true,
        ..glob::MatchOptions::new()
    };
    let mut used = vec![false; patterns.len()];
    let mut look = |host: Recorded| {
        let seen = host.seen();
        let _ = Facts::with_identifiers(&host.into_host());
        let seen = seen.lock().unwrap();
        assert!(!seen.is_empty());
        for path in seen.iter() {
            let matching = patterns
                .iter()
                .enumerate()
                .filter(|(_, pattern)| pattern.matches_path_with(path, literal));
            let matching: Vec<usize> = matching.map(|(place, _)| place).collect();
            assert!(!matching.is_empty(), "{} is no source", path.display());
            matching.into_iter().for_each(|place| used[place] = true);
        }
        // Of some directories only the names are used: listing them uses the pattern.
        for (pattern, used) in patterns.iter().zip(&mut used) {
            *used |= pattern
                .as_str()
                .rsplit_once('/')
                .is_some_and(|(directory, name)| {
                    name.ends_with('*') && seen.contains(&directory.into())
                });
        }
    };
    look(Recorded::live());
    for (_, memory) in machines::all() {
        look(Recorded::of(&memory));
    }
    // A pattern that is never used would only add files to each capture.
    let unused: Vec<&str> = patterns
        .iter()
        .zip(&used)
        .filter(|(_, used)| !**used)
        .map(|(pattern, _)| pattern.as_str())
        .collect();
    assert!(unused.is_empty(), "{unused:#?}");
}
