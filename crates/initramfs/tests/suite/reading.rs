//! Segments and entries are read as the kernel reads them.

use std::io::Read as _;

use hosttune_initramfs::{Archive, Compression, EntryType, Limits, ReadErrorKind};
use proptest::prelude::*;

use crate::cpio::{self, Written, archive, directory, entry_bytes, file, gzip, link, pad};

/// Gives one byte at a time, as a pipe may.
struct Dripping<'a>(&'a [u8]);

impl std::io::Read for Dripping<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.len().min(into.len()).min(1);
        into[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

/// The names and contents of all entries, and the error at the end.
pub(crate) fn read(image: impl std::io::Read) -> (Vec<(String, Vec<u8>)>, Option<ReadErrorKind>) {
    let mut archive = Archive::new(image);
    let mut all = Vec::new();
    loop {
        match archive.next_entry() {
            Ok(Some(mut entry)) => {
                let name = entry.name_lossy().into_owned();
                match entry.content(u32::MAX) {
                    Ok(content) => all.push((name, content.unwrap())),
                    Err(error) => return (all, Some(error.kind)),
                }
            }
            Ok(None) => return (all, None),
            Err(error) => {
                assert!(archive.next_entry().unwrap().is_none());
                return (all, Some(error.kind));
            }
        }
    }
}

fn names(image: &[u8]) -> Vec<String> {
    let (all, error) = read(image);
    assert!(error.is_none(), "{error:?}");
    all.into_iter().map(|(name, _)| name).collect()
}

fn main_archive() -> Vec<u8> {
    archive(&[
        directory("."),
        directory("etc"),
        file("etc/hostname", "a host\n"),
        link("bin", "usr/bin"),
    ])
}

fn early() -> Vec<u8> {
    archive(&[directory("kernel"), file("kernel/microcode.bin", [7; 3001])])
}

#[test]
fn segments_follow_each_other_in_any_order() {
    let wanted = [
        "kernel",
        "kernel/microcode.bin",
        ".",
        "etc",
        "etc/hostname",
        "bin",
    ];
    for compressed in [
        main_archive(),
        gzip(&main_archive()),
        cpio::zstd_stored(&main_archive()),
        cpio::lz4_stored(&main_archive()),
    ] {
        for zeros in [0, 4, 508, 70_000] {
            let mut image = early();
            image.resize(image.len() + zeros, 0);
            image.extend_from_slice(&compressed);
            assert_eq!(names(&image), wanted, "{zeros}");
            // A segment that is not compressed must begin at a multiple of 4, and LZ4 needs zeros behind it.
            let mut reversed = compressed.clone();
            reversed.resize((reversed.len() + zeros + 4).next_multiple_of(4), 0);
            reversed.extend(early());
            let (behind, ahead) = (&wanted[2..], &wanted[..2]);
            assert_eq!(names(&reversed), [behind, ahead].concat(), "{zeros}");
        }
    }
}

#[test]
fn compressed_segments_need_no_zeros_between_them() {
    let mut image = gzip(&early());
    image.extend(cpio::zstd_stored(&main_archive()));
    image.extend(gzip(&main_archive()));
    assert_eq!(names(&image).len(), 2 + 4 + 4);
}

#[test]
fn lz4_without_zeros_behind_it_is_refused_as_by_the_kernel() {
    let mut image = cpio::lz4_stored(&early());
    image.extend(cpio::zstd_stored(&main_archive()));
    let (all, error) = read(&image[..]);
    assert_eq!(all.len(), 2);
    let error = error.unwrap().to_string();
    assert!(error.contains("four zeros"), "{error}");
}

#[test]
fn a_segment_can_contain_several_archives() {
    let mut inside = early();
    pad(&mut inside, 512);
    inside.extend(main_archive());
    for image in [inside.clone(), gzip(&inside)] {
        assert_eq!(names(&image).len(), 6);
    }
    inside.push(b'x');
    let (all, error) = read(&gzip(&inside)[..]);
    assert_eq!(all.len(), 6);
    assert!(matches!(error, Some(ReadErrorKind::Header)), "{error:?}");
}

#[test]
fn what_a_header_says_is_told() {
    let image = main_archive();
    let mut archive = Archive::new(&image[..]);
    let mut types = Vec::new();
    while let Some(mut entry) = archive.next_entry().unwrap() {
        types.push(entry.header().entry_type());
        if entry.name() == b"etc/hostname" {
            let header = *entry.header();
            assert_eq!(
                (header.mode, header.size, header.user, header.group),
                (0o100_644, 7, 1, 2)
            );
            assert_eq!(
                (header.modified, header.device, header.checksum),
                (3, (8, 1), None)
            );
            assert_eq!(entry.content(6).unwrap(), None);
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            assert_eq!(text, "a host\n");
        }
        if entry.name() == b"bin" {
            assert_eq!(entry.content(4096).unwrap().unwrap(), b"usr/bin");
        }
    }
    use EntryType::{Directory, File, Symlink};
    assert_eq!(types, [Directory, Directory, File, Symlink]);
    let segments = archive.segments();
    assert_eq!((segments[0].offset, segments[0].entries), (0, 4));
    assert_eq!(segments[0].compression, Compression::None);
    assert_eq!(segments[0].unpacked, image.len() as u64);
}

#[test]
fn a_wrong_checksum_is_an_error_whether_the_content_is_read_or_not() {
    let mut good = entry_bytes(&file("a", "12345"), true);
    good.extend(archive(&[file("b", "")]));
    assert_eq!(names(&good), ["a", "b"]);
    let mut wrong = good;
    let at = wrong.iter().position(|byte| *byte == b'1').unwrap();
    let at = wrong[at..]
        .windows(5)
        .position(|five| five == b"12345")
        .unwrap()
        + at;
    wrong[at] = b'2';
    let (_, error) = read(&wrong[..]);
    assert!(
        matches!(error, Some(ReadErrorKind::Checksum { .. })),
        "{error:?}"
    );
    let mut archive = Archive::new(&wrong[..]);
    archive.next_entry().unwrap();
    assert!(archive.next_entry().is_err());
}

#[test]
fn what_the_kernel_passes_over_is_passed_over() {
    let mut long = file(&"n".repeat(4096), "content");
    long.inode = 5;
    let mut full = directory("full");
    full.content = b"a directory with content".to_vec();
    assert_eq!(names(&archive(&[long, full, file("a", "b")])), ["a"]);
    // A name of 4095 bytes and its zero are the most.
    assert_eq!(names(&archive(&[file(&"n".repeat(4095), "")])).len(), 1);
}

#[test]
fn an_error_says_what_and_where() {
    let mut unknown = early();
    pad(&mut unknown, 512);
    let at = unknown.len();
    unknown.extend_from_slice(b"junk!!");
    let mut archive = Archive::new(&unknown[..]);
    while let Ok(Some(_)) = archive.next_entry() {}
    let mut archive = Archive::new(&unknown[..]);
    let error = loop {
        match archive.next_entry() {
            Ok(entry) => assert!(entry.is_some()),
            Err(error) => break error,
        }
    };
    let text = error.to_string();
    assert!(text.contains("6a 75 6e 6b"), "{text}");
    assert!(text.contains(&format!("at byte {at} ")), "{text}");

    let cut = &gzip(&main_archive())[..60];
    let (_, error) = read(cut);
    assert!(matches!(error, Some(ReadErrorKind::Truncated)), "{error:?}");

    let mut unaligned = gzip(&early());
    while unaligned.len() % 4 != 2 {
        unaligned.push(0);
    }
    unaligned.extend(main_archive());
    let (_, error) = read(&unaligned[..]);
    assert!(matches!(error, Some(ReadErrorKind::Unaligned)), "{error:?}");

    for (magic, name) in [
        (b"BZh91", "bzip2"),
        (b"\x5d\0\0\x80\0", "lzma"),
        (b"\x89LZO\0", "lzop"),
    ] {
        let (_, error) = read(&magic[..]);
        let error = error.unwrap().to_string();
        assert_eq!(error, format!("{name} is not readable here"));
    }
    let (_, error) = read(&b"MZ\x90\0"[..]);
    assert!(
        matches!(error, Some(ReadErrorKind::UefiProgram)),
        "{error:?}"
    );
}

#[test]
fn a_reader_that_fails_is_told_from_a_damaged_image() {
    struct Failing;
    impl std::io::Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }
    for image in [
        main_archive(),
        gzip(&main_archive()),
        cpio::zstd_stored(&main_archive()),
    ] {
        let (_, error) = read((&image[..image.len() - 9]).chain(Failing));
        assert!(matches!(error, Some(ReadErrorKind::Io(_))), "{error:?}");
    }
}

#[test]
fn limits_are_named() {
    let image = gzip(&archive(&[file("zeros", vec![0; 3_000_000])]));
    let limits = Limits {
        unpacked: 1_000_000,
        ..Limits::default()
    };
    let mut archive = Archive::with_limits(&image[..], limits);
    archive.next_entry().unwrap();
    let error = archive.next_entry().unwrap_err().to_string();
    assert!(error.contains("the limit of 1000000"), "{error}");
}

fn written() -> impl Strategy<Value = Written> {
    let content = prop::collection::vec(any::<u8>(), 0..200);
    ("[a-z]{1,9}", content, 0..3_u8).prop_map(|(name, content, kind)| match kind {
        0 => directory(&name),
        1 => link(&name, "somewhere"),
        _ => file(&name, content),
    })
}

proptest! {
    #![proptest_config(crate::cases(64))]
    #[test]
    fn what_was_written_is_read(
        segments in prop::collection::vec((prop::collection::vec(written(), 1..6), 0..5_u8, 0..4_usize), 1..5),
    ) {
        let mut image = Vec::new();
        let mut wanted = Vec::new();
        for (entries, compression, zeros) in &segments {
            let bytes = archive(entries);
            image.extend(match compression {
                0 => gzip(&bytes),
                1 => cpio::zstd_stored(&bytes),
                2 => cpio::lz4_stored(&bytes),
                _ => bytes,
            });
            image.resize((image.len() + 4 + 4 * zeros).next_multiple_of(4), 0);
            wanted.extend(entries.iter().map(|entry| (entry.name.clone(), entry.content.clone())));
        }
        let (all, error) = read(&image[..]);
        prop_assert!(error.is_none(), "{:?}", error);
        prop_assert_eq!(&all, &wanted);
        let (dripped, _) = read(Dripping(&image));
        prop_assert_eq!(&dripped, &wanted);
    }
}
