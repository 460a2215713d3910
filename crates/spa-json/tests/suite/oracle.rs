//! The same as PipeWire's own `spa-json-dump`, of the oldest and the newest version that is unpacked.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use hosttune_spa_json::{Dialect, Reading, RemarkKind, TopLevel};
use hosttune_test_machine::PipeWire;
use proptest::prelude::*;

use crate::dump;

/// The exit code and the output of the program.
struct Dumped {
    is_accepted: bool,
    output: Vec<u8>,
    errors: String,
}

fn dialect(version: PipeWire) -> Dialect {
    match version {
        PipeWire::Bookworm => Dialect::Lenient,
        PipeWire::Backports => Dialect::Checked,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the program that the crate is compared with"
)]
fn spa_json_dump(version: PipeWire, file: &Path) -> Dumped {
    let program = version
        .program("spa-json-dump")
        .expect("run scripts/machine");
    let output = Command::new(program)
        .arg(file)
        .output()
        .expect("spa-json-dump starts");
    Dumped {
        is_accepted: output.status.success(),
        output: output.stdout,
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The line and the column that the program names: `line: 2 | text` and `column: 9 | --^`.
fn place(errors: &str) -> Option<(usize, usize)> {
    let number = |name: &str| {
        let line = errors.lines().find(|line| line.starts_with(name))?;
        line[name.len()..].split('|').next()?.trim().parse().ok()
    };
    Some((number("line:")?, number("column:")?))
}

fn compare(version: PipeWire, text: &[u8], file: &Path) -> Result<(), TestCaseError> {
    let dialect = dialect(version);
    let reading = Reading::of(text, dialect);
    let dumped = spa_json_dump(version, file);
    let shown = String::from_utf8_lossy(text);
    let malformed_after = reading
        .remarks
        .iter()
        .any(|remark| remark.kind == (RemarkKind::AfterEnd { malformed: true }));
    let is_accepted = match dialect {
        // It accepts all in which it finds a first token.
        Dialect::Lenient => reading.top_level != TopLevel::Nothing,
        Dialect::Checked => {
            reading.top_level != TopLevel::Nothing && reading.error.is_none() && !malformed_after
        }
    };
    prop_assert_eq!(is_accepted, dumped.is_accepted, "{}: {:?}", shown, reading);
    if is_accepted {
        let expected = dump::expected(text, &reading, dialect);
        prop_assert_eq!(
            String::from_utf8_lossy(&expected),
            String::from_utf8_lossy(&dumped.output),
            "{}: {:?}",
            shown,
            reading
        );
    } else if reading.top_level != TopLevel::Nothing
        && let Some(error) = &reading.error
    {
        let ours = (error.position.line, error.position.column);
        prop_assert_eq!(
            Some(ours),
            place(&dumped.errors),
            "{}: {:?}: {}",
            shown,
            error,
            dumped.errors
        );
    }
    Ok(())
}

fn compare_text(text: &[u8]) -> Result<(), TestCaseError> {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(text).expect("a temporary file is written");
    for version in PipeWire::ALL {
        compare(version, text, file.path())?;
    }
    Ok(())
}

/// Pieces of texts: whole tokens, halves of them, and everything that has a meaning of its own.
fn piece() -> impl Strategy<Value = &'static [u8]> {
    let pieces: Vec<&'static [u8]> = vec![
        b"{",
        b"}",
        b"[",
        b"]",
        b"=",
        b":",
        b",",
        b" ",
        b"\n",
        b"\r",
        b"\t",
        b"\0",
        b"#",
        b"#c\n",
        b"\"",
        b"\\",
        b"a",
        b"b",
        b"-1",
        b"12",
        b"0x40",
        b"010",
        b"08",
        b"+3",
        b".5",
        b"5.",
        b"1e3",
        b"1e",
        b"-",
        b"null",
        b"true",
        b"false",
        b"a.b",
        b"a{",
        b"a\"b",
        b"a#b",
        b"{}",
        b"[]",
        b"\"\"",
        b"\"x y\"",
        b"\"\\\"\"",
        b"\"\\u00e9\"",
        b"\"\\u12\"",
        b"\"\\ud83d\\ude00\"",
        b"\"\\udbff\\udfff\"",
        b"\"\\ud83d\"",
        b"\"\\ude00\"",
        b"\"\\u0000x\"",
        b"\"\\q\"",
        b"\"\\n\\/\"",
        b"\xc3\xa9",
        b"\"\xc3\xa9\"",
        b"\"\xc3\"",
        b"\"\xff\"",
        b"\"\x7f\"",
        b"\x7f",
        b"\x01",
        b"\"\x01\"",
        b"k = ",
        b"k : [",
        b"\"k\": {",
    ];
    prop::sample::select(pieces)
}

/// Pieces with spaces between most of them.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec((piece(), any::<bool>()), 1..24).prop_map(|pieces| {
        let mut text = Vec::new();
        for (piece, spaced) in pieces {
            text.extend_from_slice(piece);
            if spaced {
                text.push(b' ');
            }
        }
        text
    })
}

/// A text without faults, as its lines.
fn lines() -> impl Strategy<Value = Vec<String>> {
    let scalar = prop_oneof![
        "[a-z.]{1,6}",
        "[0-9]{1,3}",
        "\"[ -!#-\\[\\]-~é]{0,6}\"",
        Just("null".to_owned()),
        Just("0x40".to_owned())
    ];
    let value = scalar.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|values| format!("[ {} ]", values.join(" "))),
            prop::collection::vec(("[a-z.]{1,4}", inner), 0..4).prop_map(|entries| {
                let entries: Vec<String> = entries
                    .into_iter()
                    .map(|(key, value)| format!("{key} = {value}"))
                    .collect();
                format!("{{\n{} }}", entries.join("\n"))
            }),
        ]
    });
    prop::collection::vec(("[a-z.]{1,4}", value), 1..5).prop_map(|entries| {
        entries
            .into_iter()
            .map(|(key, value)| format!("{key} = {value} # comment"))
            .collect()
    })
}

/// Such a text with one piece put into it.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    (
        lines(),
        piece(),
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(|(lines, piece, at, in_braces)| {
            let mut text = lines.join("\n").into_bytes();
            if in_braces {
                text.insert(0, b'{');
                text.extend_from_slice(b"\n}\n");
            }
            let at = at.index(text.len() + 1);
            text.splice(at..at, piece.iter().copied());
            text
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(700))]

    #[test]
    fn pieces_in_any_order_are_read_as_pipewire_reads_them(text in soup()) {
        compare_text(&text)?;
    }

    #[test]
    fn a_damaged_text_is_read_as_pipewire_reads_it(text in damaged()) {
        compare_text(&text)?;
    }
}

/// All configuration files of the packages, which have the suffix `.conf` or, where they are only
/// examples, another one after it.
fn shipped(version: PipeWire) -> Vec<PathBuf> {
    let share = version
        .directory()
        .expect("run scripts/machine")
        .join("usr/share");
    let mut directories = vec![share.join("pipewire"), share.join("wireplumber")];
    let mut files = Vec::new();
    while let Some(directory) = directories.pop() {
        #[expect(
            clippy::disallowed_methods,
            reason = "these are files of the test bench"
        )]
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries {
            let path = entry.expect("the directory is listed").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.to_string_lossy().contains(".conf") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

#[test]
fn all_shipped_configuration_is_read_as_pipewire_reads_it() {
    for version in PipeWire::ALL {
        let files = shipped(version);
        assert!(files.len() >= 10, "{version:?} ships {} files", files.len());
        for file in files {
            #[expect(
                clippy::disallowed_methods,
                reason = "this is a file of the test bench"
            )]
            let text = std::fs::read(&file).expect("a shipped file is read");
            // The other version's parser reads it too, and must agree as well.
            for version in PipeWire::ALL {
                compare(version, &text, &file)
                    .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            }
        }
    }
}
