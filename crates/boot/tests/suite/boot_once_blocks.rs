//! GRUB's environment block and the marked lines in custom.cfg, byte for byte.

use hosttune_boot::boot_once::{EnvironmentBlock, MarkedBlock};
use proptest::prelude::*;

use super::boot_once::{CAPTURED, CUSTOM};

#[test]
fn the_block_is_what_grubs_own_program_writes() {
    let mut block = EnvironmentBlock::new();
    block.set("next_entry", "hosttune-trial-x").unwrap();
    assert!(block.bytes() == CAPTURED);
    assert!(EnvironmentBlock::parse(CAPTURED).unwrap() == block);
    let long = "a".repeat(2000);
    assert!(
        block
            .set("next_entry", &long)
            .unwrap_err()
            .to_string()
            .contains("are free")
    );
    assert!(block.set("a=b", "").is_err());
    assert!(block.bytes() == CAPTURED);
    for damaged in [&CAPTURED[1..], &[b'#'; 1024], &[0; 1024]] {
        assert!(EnvironmentBlock::parse(damaged).is_err());
    }
}

#[test]
fn a_mark_without_a_line_before_it_takes_nothing_away() {
    let block = MarkedBlock {
        file: CUSTOM.to_owned(),
        name: "x".to_owned(),
    };
    for mark in [" (the line before had no end)", " (the file is new)"] {
        let text = format!("# BEGIN hosttune x{mark}\na\n# END hosttune x\n");
        assert_eq!(block.replace(text.as_bytes(), None).unwrap(), b"");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_block_keeps_its_other_variables(
        changes in prop::collection::vec(("[abc]{1,2}", prop::option::of("[a-z\\\\\n#=]{0,9}")), 0..12)
    ) {
        let mut block = EnvironmentBlock::new();
        let mut model = std::collections::BTreeMap::new();
        for (name, value) in &changes {
            match value {
                Some(value) => {
                    block.set(name, value).unwrap();
                    model.insert(name.clone(), value.clone());
                }
                None => {
                    block.remove(name);
                    model.remove(name);
                }
            }
            let bytes = block.bytes();
            prop_assert_eq!(bytes.len(), 1024);
            prop_assert!(EnvironmentBlock::parse(&bytes).unwrap() == block);
            for (name, value) in &model {
                prop_assert_eq!(block.get(name), Some(value.clone().into_bytes()));
            }
        }
        prop_assert_eq!(block.is_empty(), model.is_empty());
    }

    #[test]
    fn any_bytes_are_a_file_or_an_error(bytes: Vec<u8>, text in "[a#\n\\\\=]{0,1024}") {
        let _ = EnvironmentBlock::parse(&bytes);
        let mut padded = format!("# GRUB Environment Block\n{text}").into_bytes();
        padded.resize(1024, b'#');
        if let Ok(block) = EnvironmentBlock::parse(&padded) {
            prop_assert!(block.bytes() == padded);
        }
    }

    #[test]
    fn a_block_of_lines_is_taken_out_as_it_was_put_in(
        before in "(a\n|#\n|# BEGIN hosttune other\n|b){0,4}", text in "([xy]{0,3}\n){0,3}", second in "([xy]{0,3}\n){0,3}",
        after in "(a\n|#\n|b){0,3}"
    ) {
        let block = MarkedBlock { file: CUSTOM.to_owned(), name: "laws trial".to_owned() };
        let bytes = before.as_bytes();
        let with = block.replace(bytes, Some(&text)).unwrap();
        prop_assert_eq!(block.find(&with).unwrap(), Some(text));
        let with = block.replace(&with, Some(&second)).unwrap();
        prop_assert_eq!(block.find(&with).unwrap(), Some(second));
        prop_assert_eq!(block.replace(&with, None).unwrap(), bytes);
        let followed = [&with[..], after.as_bytes()].concat();
        let out = block.replace(&followed, None).unwrap();
        let separate = if before.ends_with('b') && !after.is_empty() { "\n" } else { "" };
        prop_assert_eq!(out, format!("{before}{separate}{after}").into_bytes());
    }
}
