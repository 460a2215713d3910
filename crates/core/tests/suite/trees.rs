//! Values of a captured tree are replaced as a whole, keep their mode, owner and attributes, and are
//! never written through another name. Whatever is not a regular file, or has no end, is rejected
//! without blocking.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use hosttune_core::host::EntryKind;
use hosttune_core::journal::{DirectoryStore, JournalError, JournalLocation, Store};
use hosttune_core::{Host, HostError, HostErrorKind, LinuxHost, Operation, Session};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{FileType, Mode, XattrFlags};
use rustix::io::Errno;
use tempfile::TempDir;

const VALUE: &str = "/proc/sys/vm/swappiness";

/// A captured tree with one value.
fn tree() -> TempDir {
    let tree = TempDir::new().unwrap();
    fs::create_dir_all(tree.path().join("proc/sys/vm")).unwrap();
    fs::write(value(&tree), "60\n").unwrap();
    tree
}

fn value(tree: &TempDir) -> PathBuf {
    tree.path().join(&VALUE[1..])
}

/// The path of its replacement file.
fn leftover(tree: &TempDir) -> PathBuf {
    value(tree).with_file_name(".swappiness.hosttune-new")
}

fn host(tree: &TempDir) -> Host {
    Host::new(LinuxHost::at(tree.path()).unwrap())
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    names
}

fn pipe(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
}

/// Makes something at a path.
type Make = fn(&Path);

/// A sparse file of 60 GiB: too large to be read, without using disk space.
fn endless(path: &Path) {
    fs::File::create(path).unwrap().set_len(60 << 30).unwrap();
}

#[test]
fn a_value_is_replaced_with_what_belongs_to_it() {
    let tree = tree();
    let path = value(&tree);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(12345), Some(54321)).unwrap();
    }
    let labelled = rustix::fs::setxattr(&path, "user.label", b"x\0y", XattrFlags::empty()).is_ok();
    let before = fs::metadata(&path).unwrap();
    host(&tree).write_value(VALUE, b"7\n").unwrap();
    let after = fs::metadata(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"7\n");
    let belongs = |file: &fs::Metadata| (file.mode(), file.uid(), file.gid());
    assert_eq!(belongs(&after), belongs(&before));
    assert_ne!(after.ino(), before.ino(), "it was written in place");
    if labelled {
        let mut label = [0; 8];
        let length = rustix::fs::getxattr(&path, "user.label", &mut label).unwrap();
        assert_eq!(&label[..length], b"x\0y");
    }
    assert_eq!(names(path.parent().unwrap()), ["swappiness"]);
}

#[test]
fn another_name_of_a_value_keeps_what_it_had() {
    let tree = tree();
    let outside = TempDir::new_in(tree.path().parent().unwrap()).unwrap();
    let victim = outside.path().join("victim");
    fs::hard_link(value(&tree), &victim).unwrap();
    host(&tree).write_value(VALUE, b"7\n").unwrap();
    assert_eq!(fs::read(value(&tree)).unwrap(), b"7\n");
    assert_eq!(fs::read(&victim).unwrap(), b"60\n");
}

#[test]
fn what_an_interrupted_write_left_is_not_written_through() {
    // Anyone who can create names in the tree could make the name of the replacement lead to a file
    // outside.
    let tree = tree();
    let outside = TempDir::new_in(tree.path().parent().unwrap()).unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    for make in [
        |from: &Path, to: &Path| fs::hard_link(from, to).unwrap(),
        |from: &Path, to: &Path| symlink(from, to).unwrap(),
    ] {
        make(&victim, &leftover(&tree));
        host(&tree).write_value(VALUE, b"7\n").unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert_eq!(fs::read(value(&tree)).unwrap(), b"7\n");
        assert!(!leftover(&tree).exists());

        let file = tree.path().join("x.conf");
        make(&victim, &tree.path().join(".x.conf.hosttune-new"));
        let content = hosttune_core::host::FileContent::new("ours\n");
        host(&tree).put_file("/x.conf", &content).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert_eq!(fs::read(&file).unwrap(), b"ours\n");
        fs::remove_file(file).unwrap();
    }
    // A directory in that place is no leftover of ours: the write fails and the value is unchanged.
    fs::create_dir(leftover(&tree)).unwrap();
    host(&tree).write_value(VALUE, b"8\n").unwrap_err();
    assert_eq!(fs::read(value(&tree)).unwrap(), b"7\n");
}

#[test]
fn a_link_is_followed_within_the_root_and_stays_a_link() {
    let tree = tree();
    let outside = TempDir::new_in(tree.path().parent().unwrap()).unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    fs::rename(value(&tree), tree.path().join("elsewhere")).unwrap();
    for target in [
        "/elsewhere",
        "../../../elsewhere",
        "../../../../../elsewhere",
    ] {
        let _ = fs::remove_file(value(&tree));
        symlink(target, value(&tree)).unwrap();
        let written = format!("{target}\n");
        host(&tree).write_value(VALUE, written.as_bytes()).unwrap();
        assert_eq!(
            fs::read(tree.path().join("elsewhere")).unwrap(),
            written.as_bytes()
        );
        assert!(value(&tree).is_symlink());
    }
    // Links to a file outside, to the link itself and to a directory are refused.
    let deep =
        PathBuf::from("../../../../../../../../../..").join(victim.strip_prefix("/").unwrap());
    for target in [
        victim.as_path(),
        &deep,
        Path::new("swappiness"),
        Path::new(".."),
    ] {
        fs::remove_file(value(&tree)).unwrap();
        symlink(target, value(&tree)).unwrap();
        host(&tree).write_value(VALUE, b"7\n").unwrap_err();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }
    assert_eq!(names(outside.path()), ["victim"]);
}

#[test]
fn what_a_killed_writer_left_goes_with_the_next_run() {
    let tree = tree();
    fs::write(leftover(&tree), "1").unwrap();
    let reading = host(&tree);
    assert_eq!(reading.list("/proc/sys/vm").unwrap(), ["swappiness"]);
    let mut session = Session::at(tree.path(), "us").unwrap();
    session.host().read(VALUE).unwrap();
    assert!(leftover(&tree).exists(), "reading changes nothing");
    let _ = session.recover().unwrap();
    assert_eq!(names(value(&tree).parent().unwrap()), ["swappiness"]);
    assert_eq!(fs::read(value(&tree)).unwrap(), b"60\n");
}

#[track_caller]
fn is_refused(error: &HostError, path: &Path, why: &str) {
    assert_eq!(*error.kind(), HostErrorKind::Malformed, "{error}");
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    assert!(text.contains(why), "{text}");
    assert!(error.hint().is_some());
}

#[test]
fn a_pipe_a_socket_and_a_device_are_not_opened() {
    let tree = tree();
    let config = tree.path().join("x.conf");
    let socket = |path: &Path| drop(std::os::unix::net::UnixListener::bind(path).unwrap());
    for (make, what) in [(pipe as Make, "a named pipe"), (socket, "a socket")] {
        for (path, name) in [(&value(&tree), VALUE), (&config, "/x.conf")] {
            let _ = fs::remove_file(path);
            make(path);
            is_refused(&host(&tree).read(name).unwrap_err(), path, what);
            is_refused(&host(&tree).file(name).unwrap_err(), path, what);
            is_refused(
                &host(&tree).write_value(name, b"1\n").unwrap_err(),
                path,
                what,
            );
        }
    }
    // On the live host, because in a tree such a link resolves inside the tree. A link to `/dev/null`
    // is a mask.
    let host = Host::new(LinuxHost::live().unwrap());
    let link = tree.path().join("mask");
    symlink("/dev/null", &link).unwrap();
    assert_eq!(host.read(&link).unwrap(), b"");
    fs::remove_file(&link).unwrap();
    symlink("/dev/zero", &link).unwrap();
    is_refused(&host.read(&link).unwrap_err(), &link, "a device");
}

/// A link is not followed, whether or not anything is where it leads. The live host and a tree take
/// different ways to it.
#[test]
fn a_link_is_shown_with_its_target() {
    let tree = tree();
    let live = Host::new(LinuxHost::live().unwrap());
    for target in ["x.conf", "/dev/null", "not there"] {
        symlink(target, tree.path().join("link")).unwrap();
        let wanted = EntryKind::Link(target.into());
        for entry in [
            live.entry(tree.path().join("link")).unwrap(),
            host(&tree).entry("/link").unwrap(),
        ] {
            let entry = entry.unwrap();
            assert_eq!((&entry.kind, entry.mode), (&wanted, 0o777));
        }
        fs::remove_file(tree.path().join("link")).unwrap();
        assert_eq!(live.entry(tree.path().join("link")).unwrap(), None);
        assert_eq!(host(&tree).entry("/link").unwrap(), None);
    }
}

#[test]
fn a_file_without_an_end_is_not_read() {
    let tree = tree();
    let config = tree.path().join("x.conf");
    for (path, name) in [(&value(&tree), VALUE), (&config, "/x.conf")] {
        endless(path);
        is_refused(&host(&tree).read(name).unwrap_err(), path, "larger than");
        is_refused(&host(&tree).file(name).unwrap_err(), path, "larger than");
    }
    is_refused(
        &host(&tree).write_value(VALUE, b"1\n").unwrap_err(),
        &value(&tree),
        "larger than",
    );
    // The kernel reports a length of 0 or of one page for its own files, whatever they contain.
    let live = Host::new(LinuxHost::live().unwrap());
    assert!(!live.read("/proc/self/maps").unwrap().is_empty());
}

#[test]
fn a_journal_and_a_lock_are_regular_files_of_one_name() {
    let tree = tree();
    let store = || DirectoryStore::system(&LinuxHost::at(tree.path()).unwrap()).unwrap();
    store()
        .write_at(JournalLocation::Volatile, "us", 0, b"one\n", true)
        .unwrap();
    let directory = tree.path().join("run/hosttune");
    let journal = directory.join("us.journal");
    let untrusted = |result: Result<(), JournalError>| match result {
        Err(JournalError::Untrusted { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    let read = || store().read(JournalLocation::Volatile, "us").map(drop);
    let write = || store().write_at(JournalLocation::Volatile, "us", 0, b"two\n", true);

    let second = tree.path().join("second");
    fs::hard_link(&journal, &second).unwrap();
    assert!(untrusted(read()).contains("2 hard links"));
    assert!(untrusted(write()).contains("2 hard links"));
    assert_eq!(fs::read(&second).unwrap(), b"one\n");

    fs::remove_file(&journal).unwrap();
    pipe(&journal);
    assert!(untrusted(read()).contains("a named pipe"));
    write().unwrap_err();

    fs::remove_file(&journal).unwrap();
    endless(&journal);
    fs::set_permissions(&journal, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(untrusted(read()).contains("larger than"));

    fs::remove_file(&journal).unwrap();
    let mut writing = store();
    writing
        .replace(JournalLocation::Volatile, "us", b"three\n")
        .unwrap();
    fs::hard_link(&second, directory.join(".us.journal.new")).unwrap();
    writing
        .replace(JournalLocation::Volatile, "us", b"four\n")
        .unwrap();
    assert_eq!(fs::read(&second).unwrap(), b"one\n");
    assert_eq!(fs::read(&journal).unwrap(), b"four\n");

    pipe(&directory.join("lock"));
    assert!(untrusted(store().lock("us")).contains("a named pipe"));
    assert_eq!(store().holder(), None);
}

#[test]
fn a_hint_tells_the_reason() {
    let hint = |errno| {
        let path = "/run/hosttune/us.journal".to_owned();
        let error = JournalError::Failed {
            operation: "write",
            path: path.clone(),
            errno,
        };
        let of_host = HostError::from_errno(Operation::Write, path, errno.raw_os_error());
        assert_eq!(error.hint().as_deref(), of_host.hint());
        error.hint()
    };
    let read_only = hint(Errno::ROFS).unwrap();
    assert!(read_only.contains("mounted read-only"), "{read_only}");
    assert!(
        read_only.contains("/run/hosttune/us.journal"),
        "{read_only}"
    );
    assert!(!read_only.contains("as root"), "{read_only}");
    assert!(hint(Errno::NOSPC).unwrap().contains("space"));
    let denied = hint(Errno::ACCESS).unwrap();
    let even = rustix::process::geteuid().is_root();
    assert_eq!(denied.contains("even as root"), even, "{denied}");
    assert_eq!(hint(Errno::IO), None);
}

#[test]
fn without_proc_nothing_is_begun_and_that_is_said() {
    let inside = || {
        if unshare(CloneFlags::CLONE_NEWNS).is_err() {
            return not_run("without /proc");
        }
        let nothing = None::<&str>;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(nothing, "/", nothing, private, nothing).unwrap();
        if umount2("/proc", MntFlags::MNT_DETACH).is_err() {
            return not_run("without /proc");
        }
        let error = Session::live("us").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/proc is not mounted"), "{text}");
        assert!(error.hint().unwrap().contains("mount -t proc"));
        // Any file in `/proc` gives the same message, a missing file elsewhere does not.
        let host = Host::new(LinuxHost::live().unwrap());
        let text = host.read("/proc/meminfo").unwrap_err().to_string();
        assert!(text.contains("/proc is not mounted"), "{text}");
        let text = host.read("/sys/kernel/nothing").unwrap_err().to_string();
        assert!(!text.contains("not mounted"), "{text}");
        // A tree has its own `/proc`, or none.
        let tree = TempDir::new().unwrap();
        Session::at(tree.path(), "us").unwrap();
    };
    std::thread::spawn(inside).join().unwrap();
}

fn not_run(test: &str) {
    use std::io::Write;
    let why = "it takes the right to make namespaces";
    let _ = writeln!(std::io::stderr(), "not run: {test}: {why}");
}
