//! Commands without a profile: `hosttune facts`, and `facts` of a host binary.

use std::ffi::OsString;
use std::path::Path;

use super::schema::assert_valid;
use super::{Ran, Sink, Streams, greeter};
use crate::exit::Exit;
use crate::tool::ask;

pub(super) fn hosttune(typed: &[&str]) -> Ran {
    let (out, err) = (Sink::default(), Sink::default());
    let mut streams = Streams::over(Box::new(out.clone()), Box::new(err.clone()), None);
    let typed = ["hosttune"].iter().chain(typed).map(OsString::from);
    let exit = ask(typed, &mut streams);
    Ran {
        exit,
        out: out.text(),
        err: err.text(),
    }
}

/// A tree that only names a distribution, with a terminal escape sequence in the name.
fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    let etc = tree.path().join("etc");
    std::fs::create_dir(&etc).unwrap();
    std::fs::write(
        etc.join("os-release"),
        "ID=odd\nPRETTY_NAME=\"Odd \u{1b}[31mLinux\"\n",
    )
    .unwrap();
    tree
}

#[test]
fn facts_are_of_the_tree_that_is_named() {
    let tree = tree();
    let root = tree.path().to_str().unwrap();
    for ran in [
        hosttune(&["facts", "--root", root]),
        hosttune(&["--root", root, "facts"]),
        greeter(tree.path(), &["facts"]),
    ] {
        assert_eq!(ran.exit, Exit::Done, "{ran:?}");
        assert!(ran.out.contains("distribution    Odd "), "{}", ran.out);
        assert!(!ran.out.contains('\u{1b}'), "{}", ran.out);
        assert_eq!(ran.err, "");
    }
}

#[test]
fn the_same_facts_as_a_document() {
    let tree = tree();
    let root = tree.path().to_str().unwrap();
    let document = hosttune(&["facts", "--json", "--root", root]).document();
    assert_valid("facts", &document);
    assert_eq!(document["distribution"]["id"], "odd");
    assert_eq!(document["disks"], serde_json::Value::Null);
    let of_a_host = greeter(tree.path(), &["facts", "--json"]).document();
    assert_eq!(document, of_a_host);
}

/// Two NVIDIA cards: the driver tells of one that is awake, and the other sleeps and is not asked.
#[test]
fn the_facts_of_an_nvidia_gpu_are_those_that_wake_none() {
    let tree = tree();
    let write = |path: &str, text: &str| {
        let path = tree.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    for (address, device, status) in [
        ("0000:01:00.0", "0x1401", "active"),
        ("0000:02:00.0", "0x2684", "suspended"),
    ] {
        let of = format!("sys/bus/pci/devices/{address}");
        write(&format!("{of}/vendor"), "0x10de\n");
        write(&format!("{of}/device"), &format!("{device}\n"));
        write(&format!("{of}/class"), "0x030000\n");
        write(
            &format!("{of}/power/runtime_status"),
            &format!("{status}\n"),
        );
        write(
            &format!("proc/driver/nvidia/gpus/{address}/information"),
            "Model: \t\t NVIDIA GeForce GTX 960\nVideo BIOS: \t 84.06.26.00.3c\nGPU Firmware: \t N/A\n",
        );
    }
    write(
        "proc/driver/nvidia/version",
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23 10:11:16 UTC 2025\n",
    );
    let root = tree.path().to_str().unwrap();
    let text = hosttune(&["facts", "--root", root]).out;
    for line in [
        "NVIDIA          0000:01:00.0 NVIDIA GeForce GTX 960, Maxwell, driver 580.95.05 (proprietary), video BIOS 84.06.26.00.3c",
        "NVIDIA          0000:02:00.0 model unknown (asleep), Ada, driver 580.95.05 (proprietary), video BIOS version unknown (asleep)",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{text}");
    }
    let document = hosttune(&["facts", "--json", "--root", root]).document();
    assert_valid("facts", &document);
    let gpus = &document["nvidia"]["gpus"];
    assert_eq!(gpus[0]["model"]["known"], "NVIDIA GeForce GTX 960");
    assert_eq!(gpus[0]["firmware"], "not-opened-yet");
    assert_eq!(gpus[1]["video_bios"], "asleep");
}

#[test]
fn what_cannot_be_answered_is_said_with_its_exit_code() {
    let nowhere = Path::new("/nonexistent").to_str().unwrap();
    let ran = hosttune(&["facts", "--root", nowhere, "--json"]);
    assert_eq!(ran.exit, Exit::Refused, "{ran:?}");
    assert!(ran.err.starts_with("hosttune: "), "{}", ran.err);
    assert!(ran.err.contains(nowhere), "{}", ran.err);
    assert_eq!(ran.document()["error"]["exit_code"], 3);

    for typed in [&[][..], &["fact"], &["facts", "--only", "cpu"]] {
        let ran = hosttune(typed);
        assert_eq!(ran.exit, Exit::Usage, "{ran:?}");
        assert!(!ran.err.is_empty());
    }
    assert_eq!(hosttune(&["--help"]).exit, Exit::Done);
}
