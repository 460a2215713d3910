//! What is there after all entries are unpacked.

use hosttune_initramfs::{Contents, FileContent, Node};

use crate::cpio::{archive, directory, file, gzip, hard_link, link};

fn text(contents: &Contents, path: &str) -> Option<String> {
    match contents.get(path)? {
        Node::File(FileContent::Bytes(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
        other => Some(format!("{other:?}")),
    }
}

#[test]
fn a_later_entry_replaces_an_earlier_one() {
    let mut image = archive(&[directory("a"), file("a/b", "first"), file("c", "stays")]);
    image.extend(gzip(&archive(&[directory("a"), file("a/b", "second")])));
    let contents = Contents::read(&image[..], |_| true);
    assert_eq!(text(&contents, "/a/b").unwrap(), "second");
    assert_eq!(text(&contents, "c").unwrap(), "stays");
    assert_eq!(contents.segments().len(), 2);
}

#[test]
fn entries_are_written_through_symlinks_to_directories() {
    let entries = [
        directory("usr"),
        directory("usr/lib"),
        link("lib", "usr/lib"),
        file("lib/a", "through"),
        directory("etc"),
        link("etc/absolute", "/usr/lib"),
        file("etc/absolute/b", "absolute"),
        link("etc/up", "../lib"),
        file("etc/up/c", "up"),
        link("etc/file", "up/c"),
    ];
    let contents = Contents::read(&archive(&entries)[..], |_| true);
    for (path, wanted) in [
        ("usr/lib/a", "through"),
        ("lib/a", "through"),
        ("usr/lib/b", "absolute"),
        ("usr/lib/c", "up"),
        ("etc/file", "up"),
    ] {
        assert_eq!(text(&contents, path).unwrap(), wanted, "{path}");
    }
    let below: Vec<&str> = contents.in_directory("lib").map(|(path, _)| path).collect();
    assert_eq!(below, ["usr/lib/a", "usr/lib/b", "usr/lib/c"]);
}

#[test]
fn a_directory_replaces_a_symlink_and_a_full_directory_stays() {
    let entries = [
        link("lib", "usr/lib"),
        directory("lib"),
        file("lib/a", "own"),
        file("lib", "no directory"),
    ];
    let contents = Contents::read(&archive(&entries)[..], |_| true);
    assert_eq!(contents.get("lib"), Some(&Node::Directory));
    assert_eq!(text(&contents, "lib/a").unwrap(), "own");
}

#[test]
fn a_file_without_its_directory_is_not_created() {
    let entries = [file("etc/modprobe.d/a.conf", ""), file("dev/console", "x")];
    let contents = Contents::read(&archive(&entries)[..], |_| true);
    assert!(contents.get("etc/modprobe.d/a.conf").is_none());
    assert!(contents.get("dev/console").is_some());
}

#[test]
fn hard_links_share_the_content_that_one_of_them_has() {
    // GNU cpio has the content at the last name, others at the first.
    for (first, last) in [("text", ""), ("", "text")] {
        let entries = [hard_link("wanted", 7, first), hard_link("other", 7, last)];
        let contents = Contents::read(&archive(&entries)[..], |path| path == "wanted");
        assert_eq!(text(&contents, "wanted").unwrap(), "text", "{first:?}");
        let contents = Contents::read(&archive(&entries)[..], |path| path == "other");
        assert_eq!(text(&contents, "other").unwrap(), "text", "{first:?}");
        assert_eq!(
            contents.get("wanted"),
            Some(&Node::File(FileContent::NotWanted))
        );
    }
    // The numbers mean something else in the next archive.
    let mut image = archive(&[hard_link("a", 7, "first")]);
    image.extend(archive(&[hard_link("b", 7, "")]));
    let contents = Contents::read(&image[..], |_| true);
    assert_eq!(text(&contents, "b").unwrap(), "");
}

#[test]
fn a_large_file_is_listed_and_not_kept() {
    let entries = [file("large", vec![0; (1 << 20) + 1]), file("small", "s")];
    let contents = Contents::read(&archive(&entries)[..], |_| true);
    assert!(matches!(
        contents.get("large"),
        Some(Node::File(FileContent::Unknown(_)))
    ));
    assert_eq!(text(&contents, "small").unwrap(), "s");
}
