//! No bytes make it panic, or take more than the limits.

use hosttune_initramfs::{
    Archive, Contents, Image, Limits, ReadErrorKind, initramfs_of_unified_image,
};
use proptest::prelude::*;

use crate::cpio::{self, archive, directory, file, gzip, hard_link, link};
use crate::reading::read;

#[test]
fn sizes_that_are_lies_take_no_memory() {
    // A name of 4 KiB and a content of 4 GiB are announced, and nothing comes.
    let mut huge = format!("070701{}", "0".repeat(8 * 6));
    huge.push_str("ffffffff");
    huge.push_str(&"0".repeat(8 * 4));
    huge.push_str("0000000200000000a");
    let mut bytes = huge.into_bytes();
    bytes.resize(112, 0);
    bytes[14..22].copy_from_slice(b"000081a4");
    let (all, error) = read(&bytes[..]);
    assert!(all.is_empty());
    assert!(matches!(error, Some(ReadErrorKind::Truncated)), "{error:?}");
}

#[test]
fn a_window_over_the_limit_is_refused_before_it_is_allocated() {
    // A window of 2 GiB.
    let bytes = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 1, 0, 0];
    let padded = [&bytes[..], &[0; 20]].concat();
    let (_, error) = read(&padded[..]);
    assert!(
        matches!(error, Some(ReadErrorKind::Damaged { .. })),
        "{error:?}"
    );
}

#[test]
fn endless_zeros_end_at_the_limit() {
    // Run-length blocks of zstd: four bytes stand for 128 KiB.
    let mut bytes = cpio::zstd_stored(&archive(&[file("a", "b")]));
    let last = bytes.len() - archive(&[file("a", "b")]).len() - 3;
    bytes[last] &= !1;
    for _ in 0..2000 {
        let header: u32 = (128 << 10) << 3 | 2;
        bytes.extend_from_slice(&header.to_le_bytes()[..3]);
        bytes.push(0);
    }
    let limits = Limits {
        unpacked: 20 << 20,
        ..Limits::default()
    };
    let mut archive = Archive::with_limits(&bytes[..], limits);
    assert!(archive.next_entry().unwrap().is_some());
    let error = archive.next_entry().unwrap_err();
    assert!(matches!(error.kind, ReadErrorKind::Limit { .. }), "{error}");
}

#[test]
fn symlinks_that_lead_in_circles_end() {
    let mut entries = vec![link("a", "b/x"), link("b", "a/y"), file("a/file", "")];
    entries.push(file("found", ""));
    let contents = Contents::read(&archive(&entries)[..], |_| true);
    assert!(contents.stopped_by().is_some());
    let deep = format!("{}file", "a/".repeat(1500));
    let contents = Contents::read(&archive(&[file(&deep, "")])[..], |_| true);
    let error = contents.stopped_by().unwrap().to_string();
    assert!(error.contains("limit of 200"), "{error}");
}

#[test]
fn a_segment_of_nothing_but_ends_of_archives_is_read_once() {
    let one = archive(&[]);
    let image = gzip(&one.repeat(100_000));
    let mut archive = Archive::new(&image[..]);
    assert!(archive.next_entry().unwrap().is_none());
    assert_eq!(archive.segments()[0].unpacked, 100_000 * one.len() as u64);
}

#[test]
fn many_names_of_one_file_share_its_content() {
    let content = "x".repeat(1 << 20);
    let mut entries = vec![
        directory("modprobe.d"),
        hard_link("modprobe.d/0.conf", 9, &content),
    ];
    let more = (1..5000).map(|at| hard_link(&format!("modprobe.d/{at}.conf"), 9, ""));
    entries.extend(more);
    let contents = Contents::read(&archive(&entries)[..], |_| true);
    assert_eq!(contents.in_directory("modprobe.d").count(), 5000);
    assert!(contents.stopped_by().is_none());
}

fn image() -> Vec<u8> {
    let bytes = archive(&[
        directory("etc"),
        directory("etc/modprobe.d"),
        file("etc/modprobe.d/a.conf", "options a b=1\n"),
        hard_link("etc/modprobe.d/b.conf", 7, ""),
        hard_link("etc/c", 7, "text"),
        link("lib", "usr/lib"),
        file("etc/zeros", vec![0; 3000]),
    ]);
    let mut image = bytes.clone();
    image.extend(gzip(&bytes));
    image.extend(cpio::zstd_stored(&bytes));
    image.extend(cpio::lz4_stored(&bytes));
    image.extend_from_slice(&[0; 8]);
    image.extend_from_slice(XZ);
    image
}

/// `printf '0707' | xz --check=crc32`: enough for its decoder to be run.
const XZ: &[u8] = &[
    0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x01, 0x69, 0x22, 0xde, 0x36, 0x02, 0x00, 0x21, 0x01,
    0x16, 0x00, 0x00, 0x00, 0x74, 0x2f, 0xe5, 0xa3, 0x01, 0x00, 0x03, 0x30, 0x37, 0x30, 0x37, 0x00,
    0x54, 0x47, 0xb0, 0x97, 0x00, 0x01, 0x18, 0x04, 0x6b, 0xe9, 0xf0, 0xa5, 0x90, 0x42, 0x99, 0x0d,
    0x01, 0x00, 0x00, 0x00, 0x00, 0x01, 0x59, 0x5a,
];

proptest! {
    #![proptest_config(crate::cases(256))]
    #[test]
    fn any_bytes_are_read(
        magic in prop::sample::select(vec![
            &b"070701"[..], b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x02\x21\x4c\x18", b"MZ", b"",
        ]),
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let image = [magic, &bytes].concat();
        let _ = Image::read(&image[..]);
        if let Ok(Some(inside)) = initramfs_of_unified_image(&image[..]) {
            let _ = Image::read(inside);
        }
    }

    #[test]
    fn a_damaged_image_is_read_up_to_the_damage(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        is_cut: bool,
    ) {
        let mut image = image();
        for (at, byte) in changes {
            let at = at.index(image.len());
            image[at] = byte;
        }
        if is_cut {
            image.truncate(cut.index(image.len()));
        }
        let limits = Limits { unpacked: 16 << 20, ..Limits::default() };
        let _ = Image::read_with_limits(&image[..], limits).modprobe_files();
    }
}
