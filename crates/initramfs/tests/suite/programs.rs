//! Images that were made by cpio and by the programs that compress them are read as those programs read them.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use crate::cpio::{Written, archive, file, pad};
use crate::reading::read;

/// What a program makes of its input; `None` if it is not installed, or is busybox without cpio.
fn output(program: &[&str], directory: &Path, input: &[u8]) -> Option<Vec<u8>> {
    let started = Command::new(program[0])
        .args(&program[1..])
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = started.ok()?;
    let mut stdin = child.stdin.take().unwrap();
    // A pipe holds less than an image, so it is filled while it is emptied.
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).ok());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{program:?}: {}", output.status);
    Some(output.stdout)
}

const COMPRESSORS: [&[&str]; 10] = [
    &["gzip", "-c"],
    &["gzip", "-c", "-9", "-n"],
    &["xz", "--check=crc32", "-c"],
    &[
        "xz",
        "--check=crc32",
        "--lzma2=dict=1MiB",
        "-T0",
        "--block-size=65536",
        "-c",
    ],
    &["xz", "--x86", "--lzma2", "--check=none", "-c"],
    &["zstd", "-q", "-c"],
    &["zstd", "-q", "-19", "-c", "--no-check"],
    &["zstd", "-q", "-T0", "-15", "-c"],
    &["zstd", "-q", "--ultra", "-22", "--long=27", "-c"],
    &["lz4", "-q", "-l", "-9", "-c"],
];

/// Text that compresses, bytes that do not, and enough of both for several blocks.
fn content(size: usize) -> Vec<u8> {
    let mut state = 1_u32;
    (0..size)
        .map(|at| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match at / 5000 % 2 {
                0 => b"options of modules "[at % 19],
                _ => state.to_be_bytes()[0],
            }
        })
        .collect()
}

#[test]
fn each_compression_of_each_program() {
    let here = tempfile::tempdir().unwrap();
    for program in COMPRESSORS {
        // A block of LZ4 is 8 MiB.
        let size = if program[0] == "lz4" {
            9_500_000
        } else {
            600_000
        };
        let entries = [
            file("a", content(10)),
            file("b", content(size)),
            file("c", content(77)),
        ];
        let plain = archive(&entries);
        let Some(compressed) = output(program, here.path(), &plain) else {
            println!(
                "not run: programs::each_compression_of_each_program: {} is not installed",
                program[0]
            );
            continue;
        };
        // Followed by another segment, so that what belongs to the first one is known exactly.
        let mut image = compressed.clone();
        image.resize((image.len() + 4).next_multiple_of(4), 0);
        image.extend(archive(&[file("last", "behind")]));
        let (all, error) = read(&image[..]);
        assert!(error.is_none(), "{program:?}: {error:?}");
        let names: Vec<&str> = all.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["a", "b", "c", "last"], "{program:?}");
        for (entry, (_, seen)) in entries.iter().zip(&all) {
            assert!(entry.content == *seen, "{program:?}: {}", entry.name);
        }
        // Cut anywhere it is an error, and what came before is right.
        let (all, error) = read(&compressed[..compressed.len() / 2]);
        assert!(error.is_some() && all.len() < 3, "{program:?}");
    }
}

fn tree() -> impl Strategy<Value = Vec<(String, u8, Vec<u8>)>> {
    let content = prop::collection::vec(any::<u8>(), 0..300);
    prop::collection::vec(("[a-c]/[a-d]", 0..3_u8, content), 1..12)
}

proptest! {
    #![proptest_config(crate::cases(24))]
    /// busybox writes the archive of a tree and lists it; the tree is not the one of the generated archives.
    #[test]
    fn an_archive_of_cpio_is_listed_as_by_cpio(tree in tree()) {
        let here = tempfile::tempdir().unwrap();
        let root = here.path().join("tree");
        let mut names = String::new();
        for (name, kind, content) in &tree {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            if path.symlink_metadata().is_ok() {
                continue;
            }
            match kind {
                0 => std::os::unix::fs::symlink("/some/target", &path).unwrap(),
                1 => std::fs::create_dir(&path).unwrap(),
                _ => std::fs::File::create_new(&path).unwrap().write_all(content).unwrap(),
            }
            names.push_str(name);
            names.push('\n');
        }
        let Some(written) = output(&["busybox", "cpio", "-o", "-H", "newc"], &root, names.as_bytes()) else {
            println!("not run: programs::an_archive_of_cpio_is_listed_as_by_cpio: busybox is not installed");
            return Ok(());
        };
        let (all, error) = read(&written[..]);
        prop_assert!(error.is_none(), "{:?}", error);
        let listed: String = all.iter().map(|(name, _)| format!("{name}\n")).collect();
        prop_assert_eq!(&listed, &names);
        for (name, content) in &all {
            let path = root.join(name);
            if path.is_file() && !path.is_symlink() {
                prop_assert!(std::fs::read(&path).unwrap() == *content, "{}", name);
            }
        }
        // And the other way: it lists what the tests write.
        let ours: Vec<Written> = all.iter().map(|(name, content)| file(name, content)).collect();
        let mut bytes = archive(&ours);
        pad(&mut bytes, 512);
        let listed = output(&["busybox", "cpio", "-t"], here.path(), &bytes).unwrap();
        prop_assert_eq!(String::from_utf8_lossy(&listed), names);
    }
}
