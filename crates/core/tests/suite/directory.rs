//! Journals and files on a real file system: who may write them, partial writes, and paths that lead
//! out of the root.
//!
//! A test that cannot run on this machine prints `not run:` with the reason, and passes.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hosttune_core::file::{ConfigFile, FileState};
use hosttune_core::host::{FileContent, Fs, RootKind};
use hosttune_core::journal::{DirectoryStore, JournalError, JournalLocation, Store};
use hosttune_core::{Error, HostErrorKind, LinuxHost, Planner, Session, Tuning};
use tempfile::TempDir;

const FOREIGN: u32 = 12345;
/// Names the root that the child process is to lock; unset in every other process.
const HOLD: &str = "HOSTTUNE_TEST_HOLD";
/// The test that the child process runs.
const HOLDER: &str = "directory::hold_the_lock_until_killed";

fn not_run(test: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "not run: {test}: {reason}");
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A root with an `/etc`.
fn root() -> TempDir {
    let root = TempDir::new().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    root
}

fn host(root: &TempDir) -> LinuxHost {
    LinuxHost::at(root.path()).unwrap()
}

fn store(root: &TempDir) -> DirectoryStore {
    DirectoryStore::system(&host(root)).unwrap()
}

fn boot_journal(root: &TempDir) -> PathBuf {
    root.path().join("run/hosttune/us.journal")
}

/// Writes the first line of a journal, which also creates its directories.
fn write_one(root: &TempDir) {
    store(root)
        .write_at(JournalLocation::Volatile, "us", 0, b"one\n", true)
        .unwrap();
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A tuning that requests one file.
struct OneFile;

impl Tuning for OneFile {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        let content = FileState::Present(FileContent::new("ours\n"));
        at.want(&ConfigFile::new("/etc/x.conf")?, &content);
        Ok(())
    }
}

#[test]
fn directories_are_made_when_something_is_written_and_not_before() {
    let root = root();
    let mut session = Session::at(root.path(), "us").unwrap();
    let _ = OneFile.plan(&session).unwrap();
    let _ = OneFile.verify(&session).unwrap();
    session.status().unwrap();
    assert!(!root.path().join("run").exists());
    assert!(!root.path().join("var").exists());
    let _ = OneFile.apply(&mut session).unwrap();
    for directory in ["run/hosttune", "var/lib/hosttune"] {
        assert_eq!(mode(root.path().join(directory)), 0o700, "{directory}");
    }
    for directory in ["run", "var", "var/lib"] {
        assert_eq!(mode(root.path().join(directory)), 0o755, "{directory}");
    }
    assert_eq!(mode(root.path().join("var/lib/hosttune/us.journal")), 0o600);
    assert!(session.revert().unwrap().is_complete());
    assert!(!root.path().join("etc/x.conf").exists());
    assert!(!root.path().join("var/lib/hosttune/us.journal").exists());
}

#[test]
fn a_file_is_reverted_by_another_process_byte_for_byte() {
    let root = root();
    let path = root.path().join("etc/x.conf");
    fs::write(&path, "theirs\r\n\tas it was").unwrap();
    set_mode(&path, 0o640);
    let session = || Session::at(root.path(), "us").unwrap();
    let _ = OneFile.apply(&mut session()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"ours\n");
    assert!(session().revert().unwrap().is_complete());
    assert_eq!(fs::read(&path).unwrap(), b"theirs\r\n\tas it was");
    assert_eq!(mode(&path), 0o640);
}

#[test]
fn what_another_process_changed_of_a_file_is_told_also_where_its_size_is_the_same() {
    let root = root();
    let path = root.path().join("etc/x.conf");
    let session = || Session::at(root.path(), "us").unwrap();
    let left = || {
        let reverted = session().revert().unwrap();
        reverted.not_reverted[0].to_string()
    };
    let _ = OneFile.apply(&mut session()).unwrap();
    fs::write(&path, "them\n").unwrap();
    let told = left();
    assert!(told.contains("set to 1 line, 5 bytes"), "{told}");
    assert!(told.contains("now other content"), "{told}");
    fs::write(&path, "ours\n").unwrap();
    set_mode(&path, 0o600);
    let told = left();
    assert!(told.contains("now 1 line, 5 bytes, mode 0600"), "{told}");
    set_mode(&path, 0o644);
    assert!(session().revert().unwrap().is_complete());
    assert!(!path.exists());
}

/// The path and the reason of the error with which reading this journal is refused.
fn untrusted(root: &TempDir) -> (String, String) {
    let read = store(root).read(JournalLocation::Volatile, "us");
    match &read {
        Err(JournalError::Untrusted { path, why }) => (path.clone(), why.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_symlink_in_a_journals_place_is_refused_and_not_followed() {
    let root = root();
    write_one(&root);
    let target = root.path().join("etc/target");
    fs::rename(boot_journal(&root), &target).unwrap();
    symlink(&target, boot_journal(&root)).unwrap();
    let (path, why) = untrusted(&root);
    assert_eq!(path, boot_journal(&root).display().to_string());
    assert!(why.contains("symlink"), "{why}");
    store(&root)
        .write_at(JournalLocation::Volatile, "us", 0, b"two\n", true)
        .unwrap_err();
    assert_eq!(fs::read(&target).unwrap(), b"one\n");
}

#[test]
fn a_symlink_in_the_directorys_place_is_refused_and_not_followed() {
    let root = root();
    write_one(&root);
    let directory = root.path().join("run/hosttune");
    fs::rename(&directory, root.path().join("etc/target")).unwrap();
    symlink("/etc/target", &directory).unwrap();
    let (path, why) = untrusted(&root);
    assert_eq!(path, directory.display().to_string());
    assert!(why.contains("symlink"), "{why}");
}

#[test]
fn a_journal_that_others_may_write_is_refused_and_its_mode_is_said() {
    let root = root();
    write_one(&root);
    set_mode(boot_journal(&root), 0o660);
    let (path, why) = untrusted(&root);
    assert_eq!(path, boot_journal(&root).display().to_string());
    assert!(why.contains("0660"), "{why}");
}

#[test]
fn a_directory_that_others_may_write_is_refused_and_its_mode_is_said() {
    let root = root();
    write_one(&root);
    let directory = root.path().join("run/hosttune");
    set_mode(&directory, 0o770);
    let (path, why) = untrusted(&root);
    assert_eq!(path, directory.display().to_string());
    assert!(why.contains("0770"), "{why}");
    for error in [
        store(&root).write_at(JournalLocation::Volatile, "us", 0, b"two\n", true),
        store(&root).lock("us"),
    ] {
        assert!(matches!(error, Err(JournalError::Untrusted { .. })));
    }
}

#[test]
fn a_journal_of_another_user_is_refused_and_the_user_is_said() {
    if !is_root() {
        return not_run("a_journal_of_another_user", "only root can give files away");
    }
    let root = root();
    write_one(&root);
    std::os::unix::fs::chown(boot_journal(&root), Some(FOREIGN), None).unwrap();
    let (path, why) = untrusted(&root);
    assert_eq!(path, boot_journal(&root).display().to_string());
    assert!(why.contains("12345"), "{why}");
}

#[test]
fn a_directory_of_another_user_is_refused_and_the_user_is_said() {
    if !is_root() {
        return not_run("a_directory_of_another_user", "only root can give it away");
    }
    let root = root();
    write_one(&root);
    let directory = root.path().join("run/hosttune");
    std::os::unix::fs::chown(&directory, Some(FOREIGN), None).unwrap();
    let (path, why) = untrusted(&root);
    assert_eq!(path, directory.display().to_string());
    assert!(why.contains("12345"), "{why}");
}

/// Writing is refused like reading, because another user could change what we append to.
#[test]
fn a_journal_that_others_may_write_is_not_written_to() {
    let root = root();
    write_one(&root);
    set_mode(boot_journal(&root), 0o666);
    let session = || Session::at(root.path(), "us").unwrap();
    let error = OneFile.apply(&mut session()).unwrap_err();
    assert!(
        matches!(error, Error::Journal(JournalError::Untrusted { .. })),
        "{error:?}"
    );
    assert!(!root.path().join("etc/x.conf").exists());
}

#[test]
fn a_torn_tail_is_cut_by_the_next_write() {
    let root = root();
    write_one(&root);
    fs::write(
        boot_journal(&root),
        b"one\ntorn, and longer than what follows",
    )
    .unwrap();
    let mut store = store(&root);
    store
        .write_at(JournalLocation::Volatile, "us", 4, b"two\n", true)
        .unwrap();
    store
        .write_at(JournalLocation::Volatile, "us", 8, b"three\n", false)
        .unwrap();
    assert_eq!(fs::read(boot_journal(&root)).unwrap(), b"one\ntwo\nthree\n");
}

#[test]
fn replacing_and_removing_leave_nothing_beside() {
    let root = root();
    let mut store = store(&root);
    for place in JournalLocation::ALL {
        store.write_at(place, "us", 0, b"one\n", true).unwrap();
        store.replace(place, "us", b"all\n").unwrap();
        assert_eq!(store.read(place, "us").unwrap().unwrap(), b"all\n");
        store.write_at(place, "us", 4, b"more\n", true).unwrap();
        assert_eq!(store.read(place, "us").unwrap().unwrap(), b"all\nmore\n");
        store.remove(place, "us").unwrap();
        store.remove(place, "us").unwrap();
        assert_eq!(store.read(place, "us").unwrap(), None);
    }
    for directory in ["run/hosttune", "var/lib/hosttune"] {
        let directory = root.path().join(directory);
        assert_eq!(fs::read_dir(directory).unwrap().count(), 0);
    }
}

#[test]
fn the_lock_keeps_everybody_else_out_whatever_their_owner() {
    let root = root();
    let (mut first, mut second) = (store(&root), store(&root));
    assert_eq!(second.holder(), None);
    first.lock("the first, and who it is").unwrap();
    match second.lock("the second") {
        Err(JournalError::Locked { holder }) => assert_eq!(holder, "the first, and who it is"),
        other => panic!("{other:?}"),
    }
    assert_eq!(second.holder().unwrap(), "the first, and who it is");
    first.unlock();
    assert_eq!(second.holder(), None);
    second.lock("x").unwrap();
    assert_eq!(first.holder().unwrap(), "x");
    let mut session = Session::at(root.path(), "them").unwrap();
    assert!(matches!(
        session.revert(),
        Err(Error::Locked { holder }) if holder == "x"
    ));
}

/// A child process keeps the lock's file open from its fork until it executes another program.
#[test]
fn the_lock_is_free_at_once_whatever_another_thread_starts() {
    let root = root();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                Command::new("/bin/true").status().unwrap();
            }
        });
        for _ in 0..4_000 {
            let mut store = store(&root);
            store.lock("x").unwrap();
            store.unlock();
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

/// Not a test: the process that [`a_killed_process_gives_the_lock_back`] kills.
#[test]
#[ignore = "it is started by another test, and is killed"]
fn hold_the_lock_until_killed() {
    let Ok(root) = std::env::var(HOLD) else {
        return;
    };
    let mut store = DirectoryStore::system(&LinuxHost::at(root).unwrap()).unwrap();
    store.lock("the child").unwrap();
    let _ = writeln!(std::io::stderr(), "held");
    std::thread::sleep(std::time::Duration::from_secs(60));
}

#[test]
fn a_killed_process_gives_the_lock_back() {
    let root = root();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", HOLDER, "--ignored", "--nocapture"])
        .env(HOLD, root.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "held"));
    match store(&root).lock("us") {
        Err(JournalError::Locked { holder }) => assert_eq!(holder, "the child"),
        other => panic!("{other:?}"),
    }
    child.kill().unwrap();
    child.wait().unwrap();
    store(&root).lock("us").unwrap();
}

#[test]
fn a_root_that_is_a_file_or_is_not_there_is_an_error_with_a_hint() {
    let root = root();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file, root.path().join("nothing")] {
        let error = LinuxHost::at(&path).unwrap_err();
        assert_eq!(error.subject(), path.display().to_string());
        assert!(error.hint().unwrap().contains("directory"), "{error}");
        assert!(matches!(Session::at(&path, "us"), Err(Error::Host(_))));
    }
}

#[test]
fn a_tree_with_proc_sys_is_a_captured_one_and_one_without_an_image() {
    let root = root();
    assert_eq!(host(&root).root_kind(), RootKind::Image);
    fs::create_dir_all(root.path().join("proc/sys")).unwrap();
    assert_eq!(host(&root).root_kind(), RootKind::Captured);
}

#[test]
fn a_symlink_that_leads_out_stays_inside() {
    let outside = TempDir::new().unwrap();
    let secret = outside.path().join("secret");
    fs::write(&secret, "outside\n").unwrap();
    let root = root();
    let etc = root.path().join("etc");
    symlink(outside.path(), etc.join("absolute")).unwrap();
    let up = Path::new("../../../../../../../..").join(outside.path().strip_prefix("/").unwrap());
    symlink(up, etc.join("relative")).unwrap();
    symlink(&secret, etc.join("file")).unwrap();
    let mut host = host(&root);
    for path in ["/etc/absolute/secret", "/etc/relative/secret", "/etc/file"] {
        let path = Path::new(path);
        let error = host.read(path).unwrap_err();
        assert_eq!(*error.kind(), HostErrorKind::Missing, "{error}");
        assert_eq!(host.file(path).unwrap(), None);
        host.write_value(path, b"5\n").unwrap_err();
    }
    for path in ["/etc/absolute/new", "/etc/relative/new"] {
        let path = Path::new(path);
        host.put_file(path, &FileContent::new("x")).unwrap_err();
        host.create_directory(path).unwrap_err();
        host.remove(path).unwrap_err();
    }
    // The links resolve to the same path below the root.
    let inside = root.path().join(outside.path().strip_prefix("/").unwrap());
    fs::create_dir_all(&inside).unwrap();
    fs::write(inside.join("secret"), "inside\n").unwrap();
    for path in ["/etc/absolute/secret", "/etc/relative/secret", "/etc/file"] {
        assert_eq!(host.read(Path::new(path)).unwrap(), b"inside\n");
    }
    host.remove(Path::new("/etc/absolute/secret")).unwrap();
    assert_eq!(fs::read(&secret).unwrap(), b"outside\n");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn dots_stay_inside() {
    let root = root();
    let mut host = host(&root);
    host.put_file(Path::new("/../../etc/x"), &FileContent::new("x"))
        .unwrap();
    assert!(root.path().join("etc/x").exists());
    assert!(ConfigFile::new("/etc/../x").is_err());
}

#[test]
fn a_symlink_that_goes_round_is_an_error() {
    let root = root();
    symlink("/etc/b", root.path().join("etc/a")).unwrap();
    symlink("/etc/a", root.path().join("etc/b")).unwrap();
    let error = host(&root).read(Path::new("/etc/a")).unwrap_err();
    assert_eq!(*error.kind(), HostErrorKind::OutsideRoot);
}

#[test]
fn a_file_that_is_put_keeps_mode_and_attributes() {
    let root = root();
    let mut host = host(&root);
    let (path, real) = (Path::new("/etc/x"), root.path().join("etc/x"));
    fs::write(&real, "before").unwrap();
    set_mode(&real, 0o4751);
    let flags = rustix::fs::XattrFlags::empty();
    if rustix::fs::setxattr(&real, "user.hosttune", b"\xff\x00label", flags).is_err() {
        not_run("xattr", "this file system keeps no attributes of users");
    }
    let before = host.file(path).unwrap().unwrap();
    host.put_file(path, &FileContent::new("ours")).unwrap();
    assert_eq!(mode(&real), 0o644);
    // Through JSON, as in a journal.
    let kept = serde_json::to_string(&before).unwrap();
    let kept: FileContent = serde_json::from_str(&kept).unwrap();
    host.put_file(path, &kept).unwrap();
    assert_eq!(host.file(path).unwrap().unwrap(), before);
    assert_eq!(mode(&real), 0o4751);
    if let Some((name, value)) = before.attributes.first() {
        assert_eq!(
            (name.as_str(), &value.0[..]),
            ("user.hosttune", &b"\xff\x00label"[..])
        );
    }
}

#[test]
fn a_file_that_is_put_keeps_its_owner() {
    if !is_root() {
        return not_run("a_file_keeps_its_owner", "only root can give files away");
    }
    let root = root();
    let mut content = FileContent::new("x");
    (content.uid, content.gid, content.mode) = (FOREIGN, FOREIGN + 1, 0o2640);
    host(&root).put_file(Path::new("/etc/x"), &content).unwrap();
    let now = fs::metadata(root.path().join("etc/x")).unwrap();
    assert_eq!((now.uid(), now.gid()), (FOREIGN, FOREIGN + 1));
    assert_eq!(now.mode() & 0o7777, 0o2640);
}

/// A reader that has the file open keeps the old content: the name changes to the new file at once.
#[test]
fn a_file_is_replaced_and_not_written_over() {
    let root = root();
    let real = root.path().join("etc/x");
    fs::write(&real, "before").unwrap();
    let open = fs::File::open(&real).unwrap();
    host(&root)
        .put_file(Path::new("/etc/x"), &FileContent::new("after, and longer"))
        .unwrap();
    assert_eq!(std::io::read_to_string(open).unwrap(), "before");
    assert_eq!(fs::read(&real).unwrap(), b"after, and longer");
    assert_eq!(fs::read_dir(root.path().join("etc")).unwrap().count(), 1);
}

#[test]
fn a_write_that_was_cut_short_is_seen_and_cleared_away() {
    let path = Path::new("/etc/x.conf");
    let leave = |root: &TempDir| {
        fs::write(root.path().join("etc/.x.conf.hosttune-new"), "ha").unwrap();
        assert!(host(root).half_written(path).unwrap());
    };
    let cleared = |root: &TempDir| {
        assert!(!host(root).half_written(path).unwrap());
        assert!(!root.path().join("etc/.x.conf.hosttune-new").exists());
    };
    let root = root();
    leave(&root);
    host(&root).put_file(path, &FileContent::new("x")).unwrap();
    cleared(&root);
    leave(&root);
    host(&root).remove(path).unwrap();
    cleared(&root);
    // Only the leftover exists.
    leave(&root);
    host(&root).remove(path).unwrap();
    cleared(&root);
    let session = Session::at(root.path(), "us").unwrap();
    leave(&root);
    let plan = OneFile.plan(&session).unwrap();
    assert_eq!(plan.steps[0].from_text, "half written");
}

#[test]
fn a_symlink_in_the_replacements_place_is_not_written_through() {
    let root = root();
    let target = root.path().join("target");
    fs::write(&target, "theirs").unwrap();
    symlink(&target, root.path().join("etc/.x.hosttune-new")).unwrap();
    host(&root)
        .put_file(Path::new("/etc/x"), &FileContent::new("ours"))
        .unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"theirs");
    assert_eq!(fs::read(root.path().join("etc/x")).unwrap(), b"ours");
}

#[test]
fn only_an_empty_directory_is_removed() {
    let root = root();
    let mut host = host(&root);
    let path = Path::new("/etc/x.d");
    host.create_directory(path).unwrap();
    assert_eq!(mode(root.path().join("etc/x.d")), 0o755);
    fs::write(root.path().join("etc/x.d/theirs"), "").unwrap();
    host.remove(path).unwrap_err();
    assert!(root.path().join("etc/x.d/theirs").exists());
    fs::remove_file(root.path().join("etc/x.d/theirs")).unwrap();
    host.remove(path).unwrap();
    assert!(!root.path().join("etc/x.d").exists());
}

#[test]
fn a_value_in_a_captured_tree_leaves_nothing_of_a_longer_one() {
    let root = root();
    fs::create_dir_all(root.path().join("proc/sys/vm")).unwrap();
    let real = root.path().join("proc/sys/vm/x");
    fs::write(&real, "123456789\n").unwrap();
    let mut host = host(&root);
    host.write_value(Path::new("/proc/sys/vm/x"), b"7\n")
        .unwrap();
    assert_eq!(fs::read(&real).unwrap(), b"7\n");
    let error = host
        .write_value(Path::new("/proc/sys/vm/new"), b"7\n")
        .unwrap_err();
    assert_eq!(*error.kind(), HostErrorKind::Missing);
}

/// A capture by `$(cat …)` has no newline at the end. Apply and revert added one.
#[test]
fn a_value_that_was_captured_without_a_newline_stays_so() {
    let root = root();
    fs::create_dir_all(root.path().join("proc/sys/vm")).unwrap();
    let real = root.path().join("proc/sys/vm/x");
    fs::write(&real, "60").unwrap();
    let mut host = host(&root);
    let path = Path::new("/proc/sys/vm/x");
    host.write_value(path, b"10\n").unwrap();
    assert_eq!(fs::read(&real).unwrap(), b"10");
    host.write_value(path, b"60\n").unwrap();
    assert_eq!(fs::read(&real).unwrap(), b"60");
}
