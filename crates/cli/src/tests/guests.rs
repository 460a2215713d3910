//! `lend`, `return` and `guest`, with a profile whose guest is lent a file.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use hosttune_core::{Error, Host, Registry, Tuning};
use hosttune_guest::{Guest, HugePages, LookingGlass, Name, Resolution, SharedMemory, Version};
use serde_json::{Value, json};

use super::schema::{assert_notices_every_change, assert_valid};
use super::{File, Ran, Sink, Streams, greeter, image, run};
use crate::exit::Exit;
use crate::{HostProfile, Options, Setting};

#[derive(Debug)]
struct Lender;

impl HostProfile for Lender {
    fn name(&self) -> &'static str {
        "lender"
    }
    fn about(&self) -> &'static str {
        "A host that lends"
    }
    fn needs_root(&self) -> bool {
        false
    }
    fn candidates(&self) -> &'static [&'static str] {
        &["pages", "light"]
    }
    fn settings(&self) -> &'static [Setting] {
        &[Setting {
            name: "card",
            value: "WHICH",
            help: "The card",
            check: |_| Ok(()),
        }]
    }
    fn register(&self, _: &mut Registry) {}
    fn tuning(&self, _: &Options) -> Result<Box<dyn Tuning>, Error> {
        Ok(Box::new(vec![
            Box::new(("boring", File("/etc/motd", "hello\n"))) as Box<dyn Tuning>,
            Box::new(("dull", File("/etc/lent", "to dull\n"))),
        ]))
    }
    fn guests(&self) -> &'static [&'static str] {
        &["dull"]
    }
    fn guest(&self, name: &str, _: &Host, options: &Options) -> Result<Guest, Error> {
        if options.setting("card") == Some("none") {
            return Err(Error::tuning("there is no such card", "buy one"));
        }
        let screen = Resolution::new(1920, 1080).unwrap();
        let glass = LookingGlass::new(screen, Version::Idd);
        let guest = Guest::new(Name::new(name).unwrap(), 2, 512)
            .devices(["0000:01:00.0".parse().unwrap()])
            .shared_memory(SharedMemory::looking_glass(glass));
        let (size, node) = (2_048, None);
        Ok(match options.has("pages") {
            true => guest.huge_pages(HugePages { size, node }),
            false => guest,
        })
    }
}

fn lender(root: &Path, typed: &[&str]) -> Ran {
    let (out, err) = (Sink::default(), Sink::default());
    let mut streams = Streams::over(Box::new(out.clone()), Box::new(err.clone()), None);
    let root = root.to_str().unwrap();
    let program = ["lender", "--root", root];
    let typed = program.iter().chain(typed);
    let exit = run(&Lender, typed.map(OsString::from), &mut streams);
    Ran {
        exit,
        out: out.text(),
        err: err.text(),
    }
}

#[test]
fn a_loan_is_the_part_of_the_guest_alone_and_asks_nothing() {
    let tree = image();
    let lent = tree.path().join("etc/lent");
    for (typed, is_lent) in [
        (&["lend"][..], true),
        (&["lend", "dull"], true),
        (&["return"], false),
        (&["return", "dull"], false),
        (&["lend", "dull", "--json"], true),
        (&["return", "--json"], false),
    ] {
        let ran = lender(tree.path(), typed);
        assert_eq!(ran.exit, Exit::Done, "{ran:?}");
        assert_eq!(lent.exists(), is_lent, "{typed:?}");
        assert!(!tree.path().join("etc/motd").exists());
        if typed.contains(&"--json") {
            assert_valid(if is_lent { "apply" } else { "revert" }, &ran.document());
        }
    }
    // What another part has changed stays.
    assert_eq!(lender(tree.path(), &["apply", "--yes"]).exit, Exit::Done);
    assert_eq!(lender(tree.path(), &["return"]).exit, Exit::Done);
    assert!(tree.path().join("etc/motd").exists());
    assert!(!lent.exists());
    assert_eq!(lender(tree.path(), &["revert", "--yes"]).exit, Exit::Done);
    assert!(!tree.path().join("etc/motd").exists());
}

#[test]
fn what_is_wrong_with_a_loan_is_said() {
    let tree = image();
    for (typed, says) in [
        (&["lend", "dul"][..], "unknown guest 'dul'; nearest: dull"),
        (&["return", "boring"], "unknown guest 'boring'"),
        (&["guest", "x"], "unknown guest 'x'"),
        (
            &["lend", "--only", "boring"],
            "--only has no effect on lend",
        ),
        (&["return", "--card", "a"], "--card"),
        (
            &["return", "--persist"],
            "--persist has no effect on return",
        ),
        (&["guest", "--qemu", "--libvirt"], "cannot be used with"),
        (&["guest", "--qemu", "--json"], "--json prints all formats"),
    ] {
        let ran = lender(tree.path(), typed);
        assert_eq!(ran.exit, Exit::Usage, "{typed:?}: {ran:?}");
        assert!(ran.err.contains(says), "{typed:?}: {}", ran.err);
    }
    let ran = lender(tree.path(), &["guest", "--card", "none"]);
    assert_eq!(ran.exit, Exit::Refused, "{ran:?}");
    assert!(
        ran.err.contains("there is no such card\n  try: buy one"),
        "{}",
        ran.err
    );
    // Other hosts have no guest, and their help does not mention one.
    for command in ["lend", "return", "guest"] {
        let ran = greeter(tree.path(), &[command]);
        assert_eq!(ran.exit, Exit::Usage, "{ran:?}");
        assert!(ran.err.contains("greeter has no guest"), "{}", ran.err);
    }
    assert!(!greeter(tree.path(), &["--help"]).out.contains("lend"));
    assert!(lender(tree.path(), &["--help"]).out.contains("\n  lend "));
}

#[test]
fn the_guests_side_in_each_format() {
    let tree = image();
    let guest = |typed: &[&str]| {
        let ran = lender(tree.path(), &[&["guest"], typed].concat());
        assert_eq!(ran.exit, Exit::Done, "{ran:?}");
        ran
    };
    assert!(guest(&["--libvirt"]).out.contains("<name>dull</name>"));
    assert!(
        guest(&["--qemu"])
            .out
            .contains("-device vfio-pci,host=0000:01:00.0")
    );
    // The hook lends with the options that it was printed with.
    let hook = guest(&["--hook", "--card", "a b"]).out;
    assert!(hook.contains(" lend '--card' 'a b' 'dull'"), "{hook}");
    assert!(hook.contains(" return 'dull'"), "{hook}");
    // The optional parts too, or the guest would not have the pages that are set aside for it.
    let pages = ["--with", "pages,light"];
    let hook = guest(&[&["--hook"], &pages[..]].concat()).out;
    assert!(
        hook.contains(" lend '--with' 'pages' '--with' 'light' 'dull'"),
        "{hook}"
    );
    let libvirt = guest(&[&["--libvirt"], &pages[..]].concat()).out;
    assert!(libvirt.contains("<hugepages>"), "{libvirt}");
    let text = guest(&pages).out;
    assert!(text.contains("--with pages,light guest --hook |"), "{text}");
    assert!(
        guest(&["--tmpfiles"])
            .out
            .starts_with("f /dev/shm/looking-glass ")
    );
    let text = guest(&["--card", "a b"]).out;
    assert!(text.starts_with("dull: 2 cores, 512 MiB\n"), "{text}");
    assert!(text.contains("/dev/shm/looking-glass, 32 MiB"), "{text}");
    assert!(text.contains("--card 'a b' guest --libvirt\n"), "{text}");
    assert!(!text.contains("note:"), "{text}");

    let document = guest(&["--json"]).document();
    assert_valid("guest", &document);
    assert_notices_every_change("guest", &document);
    assert_eq!(document["shared_memory"]["file"], "absent");
    assert_eq!(document["devices"], json!(["0000:01:00.0"]));
    assert_ne!(document["hook"], Value::Null);

    // A file of an earlier run with a smaller screen, an empty one, and one that is large enough.
    fs::create_dir_all(tree.path().join("dev/shm")).unwrap();
    let file = fs::File::create(tree.path().join("dev/shm/looking-glass")).unwrap();
    for (mebibytes, state) in [(16, "too-small"), (0, "file"), (32, "file")] {
        file.set_len(mebibytes << 20).unwrap();
        let document = guest(&["--json"]).document();
        assert_valid("guest", &document);
        assert_eq!(document["shared_memory"]["file"], state, "{mebibytes}");
        let says = guest(&[]).out.contains(
            "note: /dev/shm/looking-glass has only 16 MiB, from an earlier run, so the guest cannot start: remove it",
        );
        assert_eq!(says, mebibytes == 16);
    }
    fs::remove_file(tree.path().join("dev/shm/looking-glass")).unwrap();

    // Something else at the path of the shared memory.
    fs::create_dir_all(tree.path().join("dev/shm/looking-glass")).unwrap();
    assert!(
        guest(&[])
            .out
            .contains("note: /dev/shm/looking-glass is not a file")
    );
    let document = guest(&["--json"]).document();
    assert_eq!(document["shared_memory"]["file"], "other");
}
