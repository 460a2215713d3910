//! Whether a guest may lock its memory, on captured trees.

use std::path::Path;

use hosttune_core::{Host, LinuxHost};
use hosttune_guest::{MemoryLock, Starter, Verdict};

use crate::support::windows;

fn process(root: &Path, process: &str, name: &str, user: u32, capabilities: &str, limit: &str) {
    let directory = root.join("proc").join(process);
    std::fs::create_dir_all(&directory).unwrap();
    let write = |file: &str, text: String| std::fs::write(directory.join(file), text).unwrap();
    write("comm", format!("{name}\n"));
    write(
        "status",
        format!("Name:\t{name}\nUid:\t{user}\t{user}\t{user}\t{user}\nCapEff:\t{capabilities}\n"),
    );
    write(
        "limits",
        format!(
            "Limit  Soft Limit  Hard Limit  Units\nMax locked memory  8388608  {limit}  bytes\n"
        ),
    );
}

fn lock(tree: &Path) -> MemoryLock {
    let host = Host::new(LinuxHost::at(tree).unwrap());
    MemoryLock::of(&host, &windows()).unwrap()
}

const NONE: &str = "0000000000000000";
const ALL: &str = "000001ffffffffff";
/// All but `CAP_SYS_RESOURCE`, as a hardened unit has it.
const HARDENED: &str = "000001fffeffffff";

#[test]
fn libvirt_raises_the_limit_unless_its_unit_is_hardened() {
    let tree = tempfile::tempdir().unwrap();
    let at = tree.path();
    process(at, "700", "libvirtd", 0, ALL, "8388608");
    let found = lock(at);
    assert_eq!(found.needed, 16_384 + 128);
    assert_eq!(found.verdict, Verdict::Enough);
    assert_eq!(found.hint(), None);
    // The daemon of QEMU alone comes first.
    process(at, "900", "virtqemud", 0, HARDENED, "8388608");
    let found = lock(at);
    let starter = Starter::Libvirt {
        process: 900,
        name: "virtqemud".to_owned(),
    };
    assert_eq!(found.starter, starter);
    assert_eq!(found.verdict, Verdict::TooLow { limit: 8_388_608 });
    let hint = found.hint().unwrap();
    assert!(
        hint.contains("systemctl edit virtqemud.service")
            && hint.contains("LimitMEMLOCK=17956864K"),
        "{hint}"
    );
    let said = found.to_string();
    assert!(
        said.contains("16512 MiB") && said.contains("may lock 8192 KiB"),
        "{said}"
    );
    for enough in ["unlimited", "99999999999"] {
        process(at, "900", "virtqemud", 0, HARDENED, enough);
        assert_eq!(lock(at).verdict, Verdict::Enough, "{enough}");
    }
    // A byte less.
    process(at, "900", "virtqemud", 0, HARDENED, "17314086911");
    assert!(matches!(lock(at).verdict, Verdict::TooLow { .. }));
    process(at, "900", "virtqemud", 0, HARDENED, "17314086912");
    assert_eq!(lock(at).verdict, Verdict::Enough);
}

#[test]
fn without_libvirt_the_limit_of_this_shell_counts() {
    let tree = tempfile::tempdir().unwrap();
    let at = tree.path();
    process(at, "12", "bash", 1000, NONE, "8388608");
    let found = lock(at);
    assert_eq!(found.starter, Starter::Shell);
    assert!(matches!(found.verdict, Verdict::Unknown(_)), "{found:?}");

    process(at, "self", "toaster", 1000, NONE, "8388608");
    let found = lock(at);
    assert_eq!(found.verdict, Verdict::TooLow { limit: 8_388_608 });
    let hint = found.hint().unwrap();
    assert!(
        hint.contains("ulimit -l") && hint.contains("echo 'USER - memlock 17956864'"),
        "{hint}"
    );
    process(at, "self", "toaster", 1000, "0000000000004000", "8388608");
    assert_eq!(lock(at).verdict, Verdict::Enough, "CAP_IPC_LOCK");
    process(at, "self", "toaster", 0, ALL, "8388608");
    let found = lock(at);
    assert!(
        found.to_string().contains("runs as root"),
        "another user's shell is unknown: {found}"
    );
    assert!(found.hint().unwrap().contains("unless that is root's"));
}
