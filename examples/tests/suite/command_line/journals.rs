//! Journals that are truncated, damaged, newer, or that others could have written.

use std::os::unix::fs::PermissionsExt;

use super::tree::{Snapshot, Tree, WANTED, is_root, not_run};

/// A tree after an apply, its snapshot before that, and its journal.
pub(crate) fn applied() -> (Tree, Snapshot, Vec<u8>) {
    let tree = Tree::new();
    let before = tree.snapshot();
    let ran = tree.gaming(&["apply", "--yes"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    let journal = std::fs::read(tree.journal()).unwrap();
    (tree, before, journal)
}

#[test]
fn a_journal_that_lost_its_end_is_an_interrupted_run() {
    let (tree, before, journal) = applied();
    let applied = tree.snapshot();
    // Without its last line the journal says that the apply was never finished.
    let text = String::from_utf8(journal).unwrap();
    let end = text.trim_end().rfind('\n').unwrap() + 1;
    std::fs::write(tree.journal(), &text[..end]).unwrap();
    let plan = tree.gaming(&["plan", "--json"]).document();
    assert!(
        plan["provisional"]
            .as_str()
            .unwrap()
            .contains("interrupted"),
        "{plan}"
    );
    assert!(tree.gaming(&["status"]).out.contains("interrupted"));
    assert_eq!(tree.gaming(&["plan", "--exit-code"]).exit, 1);
    assert!(tree.snapshot() == applied);
    let ran = tree.gaming(&["apply", "--yes", "--json"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    let document = ran.document();
    assert!(
        !document["recovered"]["changed"]
            .as_array()
            .unwrap()
            .is_empty(),
        "{document:#}"
    );
    assert!(tree.snapshot() == applied);
    assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
    assert!(tree.snapshot() == before);
}

#[test]
fn no_end_of_a_journal_makes_it_panic() {
    let (tree, _, journal) = applied();
    let places = (0..24).map(|part| journal.len() * part / 24);
    for cut in places.chain(journal.len().saturating_sub(40)..journal.len()) {
        std::fs::write(tree.journal(), &journal[..cut]).unwrap();
        let status = tree.gaming(&["status"]);
        let ran = tree.gaming(&["revert", "--yes"]);
        match ran.exit {
            3 => ran.refused(3, "gaming.journal"),
            // It reads as an interrupted run: only what the journal records is reverted.
            0 => {
                for (key, before, after) in WANTED {
                    let words = |text: &str| -> Vec<String> {
                        text.split_whitespace().map(str::to_owned).collect()
                    };
                    let shows = tree.value(key);
                    assert!(
                        [words(before), words(after)].contains(&words(&shows)),
                        "{cut}: {key} is {shows}"
                    );
                }
            }
            _ => panic!("{cut}: {status:?} {ran:?}"),
        }
        for (key, _, after) in WANTED {
            tree.show(key, after);
        }
    }
}

#[test]
fn a_damaged_journal_changes_nothing() {
    let (tree, _, journal) = applied();
    let applied = tree.snapshot();
    let mut damaged = journal.clone();
    damaged[20] ^= 0x01;
    std::fs::write(tree.journal(), &damaged).unwrap();
    for typed in [
        &["plan"][..],
        &["status"],
        &["apply", "--yes"],
        &["revert", "--yes"],
        &["verify"],
    ] {
        tree.gaming(typed).refused(3, "gaming.journal");
        assert!(tree.snapshot() == applied, "{typed:?}");
    }
    let ran = tree.gaming(&["revert", "--yes", "--json"]);
    assert_eq!(ran.document()["outcome"], "refused");
    assert_eq!(ran.document()["error"]["exit_code"], 3);
    // One damaged byte at any position: it may be detected, or taken for a partial write at the end.
    for at in (0..journal.len()).step_by(journal.len() / 60 + 1) {
        let mut damaged = journal.clone();
        damaged[at] ^= 0x80;
        std::fs::write(tree.journal(), &damaged).unwrap();
        tree.gaming(&["status"]);
    }
    std::fs::write(tree.journal(), &journal).unwrap();
    assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
}

#[test]
fn a_newer_journal_names_the_program_that_can_read_it() {
    let (tree, _, _) = applied();
    let applied = tree.snapshot();
    let newer =
        r#"00000000 {"record":"journal","version":99,"owner":"gaming","program":"gaming 9.1"}"#;
    std::fs::write(tree.journal(), format!("{newer}\n")).unwrap();
    for typed in [&["apply", "--yes"][..], &["revert", "--yes"], &["status"]] {
        tree.gaming(typed).refused(3, "gaming 9.1");
        assert!(tree.snapshot() == applied, "{typed:?}");
    }
}

#[test]
fn a_journal_that_others_could_have_written_is_not_believed() {
    let (tree, _, _) = applied();
    let applied = tree.snapshot();
    let commands = [&["apply", "--yes"][..], &["revert", "--yes"], &["status"]];
    let mode = |mode| {
        std::fs::set_permissions(tree.journal(), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o666);
    for typed in commands {
        tree.gaming(typed).refused(3, "0666");
        assert!(tree.snapshot() == applied, "{typed:?}");
    }
    mode(0o600);
    if !is_root() {
        not_run(
            "a journal of another user",
            "it takes root to give a file away",
        );
        return;
    }
    std::os::unix::fs::chown(tree.journal(), Some(1234), Some(1234)).unwrap();
    for typed in commands {
        tree.gaming(typed).refused(3, "1234");
        assert!(tree.snapshot() == applied, "{typed:?}");
    }
}
