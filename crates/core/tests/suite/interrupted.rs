//! Applies and reverts that are interrupted, or whose journal cannot be written any more: what was done
//! and what is left, and that both are reported correctly.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hosttune_core::file::{ConfigFile, FileState};
use hosttune_core::host::{Change, FileContent, Gate};
use hosttune_core::journal::{DirectoryStore, JournalError, JournalLocation, Store};
use hosttune_core::{
    Error, Host, HostError, HostErrorKind, LinuxHost, NotRevertedReason, Operation, Planner,
    Session, Stop, Tuning,
};
use rustix::io::Errno;
use tempfile::TempDir;

const FILES: [&str; 3] = ["a.conf", "b.conf", "c.conf"];

/// A tuning that requests three files.
struct Files;

impl Tuning for Files {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        for name in FILES {
            let content = FileState::Present(FileContent::new("ours\n"));
            at.want(&ConfigFile::new(format!("/etc/{name}"))?, &content);
        }
        Ok(())
    }
}

/// What happens to a process at its changes.
#[derive(Debug, Clone)]
struct CrashPoint {
    made: Arc<AtomicUsize>,
    /// A stop is requested after this many changes.
    stop_after: Option<usize>,
    stop: Stop,
    /// The file system of the journal is full, or read-only, after this many changes.
    fails_after: Option<usize>,
    fails: Arc<AtomicBool>,
    /// `NOSPC`: the journal can still be removed. `ROFS`: it cannot, as after an error of the disk.
    errno: Errno,
    /// The number of the change, from 0, that is refused.
    refused: Option<usize>,
}

impl CrashPoint {
    fn none() -> Self {
        Self {
            made: Arc::default(),
            stop_after: None,
            stop: Stop::new().unwrap(),
            fails_after: None,
            fails: Arc::default(),
            errno: Errno::NOSPC,
            refused: None,
        }
    }
}

impl Gate for CrashPoint {
    fn before(&mut self, _: &Change<'_>) -> Result<(), HostError> {
        if self.refused == Some(self.made.load(Ordering::SeqCst)) {
            self.refused = None;
            let refused = HostErrorKind::Refused;
            return Err(HostError::new(Operation::Create, "the file", refused));
        }
        Ok(())
    }

    fn after(&mut self, _: &Change<'_>) -> Result<(), HostError> {
        let made = self.made.fetch_add(1, Ordering::SeqCst) + 1;
        if self.stop_after == Some(made) {
            self.stop.request();
        }
        if self.fails_after == Some(made) {
            self.fails.store(true, Ordering::SeqCst);
        }
        Ok(())
    }
}

/// A store on a file system that fills up or becomes read-only.
#[derive(Debug)]
struct Failing(DirectoryStore, CrashPoint);

impl Failing {
    fn check(
        &self,
        operation: &'static str,
        place: JournalLocation,
        owner: &str,
    ) -> Result<(), JournalError> {
        let fails = self.1.fails.load(Ordering::SeqCst);
        if fails && (operation == "write" || self.1.errno == Errno::ROFS) {
            return Err(JournalError::Failed {
                operation,
                path: self.path(place, owner),
                errno: self.1.errno,
            });
        }
        Ok(())
    }
}

impl Store for Failing {
    fn path(&self, place: JournalLocation, owner: &str) -> String {
        self.0.path(place, owner)
    }
    fn read(&self, place: JournalLocation, owner: &str) -> Result<Option<Vec<u8>>, JournalError> {
        self.0.read(place, owner)
    }
    fn owners(&self, place: JournalLocation) -> Result<Vec<String>, JournalError> {
        self.0.owners(place)
    }
    fn write_at(
        &mut self,
        place: JournalLocation,
        owner: &str,
        offset: u64,
        bytes: &[u8],
        sync: bool,
    ) -> Result<(), JournalError> {
        self.check("write", place, owner)?;
        self.0.write_at(place, owner, offset, bytes, sync)
    }
    fn replace(
        &mut self,
        place: JournalLocation,
        owner: &str,
        bytes: &[u8],
    ) -> Result<(), JournalError> {
        self.check("write", place, owner)?;
        self.0.replace(place, owner, bytes)
    }
    fn remove(&mut self, place: JournalLocation, owner: &str) -> Result<(), JournalError> {
        self.check("remove", place, owner)?;
        self.0.remove(place, owner)
    }
    fn lock(&mut self, note: &str) -> Result<(), JournalError> {
        self.0.lock(note)
    }
    fn unlock(&mut self) {
        self.0.unlock();
    }
    fn holder(&self) -> Option<String> {
        self.0.holder()
    }
}

fn root() -> TempDir {
    let root = TempDir::new().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    fs::write(root.path().join("etc/b.conf"), "theirs\n").unwrap();
    root
}

fn session(root: &TempDir, crash_point: &CrashPoint) -> Session {
    let host = LinuxHost::at(root.path()).unwrap();
    let store = DirectoryStore::system(&host).unwrap();
    let store = Failing(store, crash_point.clone());
    let host = Host::new(host).gated(crash_point.clone());
    let mut session = Session::new(host, "us", store, "").unwrap();
    session.stopped_by(crash_point.stop.clone());
    session
}

/// The content of each file; `None` if it does not exist.
fn files(root: &TempDir) -> Vec<Option<String>> {
    let read = |name| fs::read_to_string(root.path().join("etc").join(name)).ok();
    FILES.into_iter().map(read).collect()
}

fn original() -> Vec<Option<String>> {
    vec![None, Some("theirs\n".to_owned()), None]
}

fn is_journal_there(root: &TempDir) -> bool {
    let journals = ["run", "var/lib"].map(|place| format!("{place}/hosttune/us.journal"));
    journals
        .iter()
        .any(|journal| root.path().join(Path::new(journal)).exists())
}

#[test]
fn an_interrupted_apply_takes_back_what_it_did() {
    for (after, not_come_to) in FILES.iter().enumerate().skip(1) {
        let root = root();
        let crash_point = CrashPoint {
            stop_after: Some(after),
            ..CrashPoint::none()
        };
        match Files.apply(&mut session(&root, &crash_point)) {
            Err(Error::Interrupted { before, undone }) => {
                assert_eq!(before, format!("/etc/{not_come_to}"));
                assert_eq!(undone, after);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(files(&root), original());
        assert!(!is_journal_there(&root));
    }
}

#[test]
fn whoever_asks_before_the_first_step_or_after_the_last_changes_nothing() {
    let root = root();
    let crash_point = CrashPoint::none();
    crash_point.stop.request();
    match Files.apply(&mut session(&root, &crash_point)) {
        Err(Error::Interrupted { undone: 0, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert!(!is_journal_there(&root));
    assert_eq!(files(&root), original());
    // All steps are done, so there is nothing left to stop.
    let crash_point = CrashPoint {
        stop_after: Some(FILES.len()),
        ..CrashPoint::none()
    };
    let applied = Files.apply(&mut session(&root, &crash_point)).unwrap();
    assert_eq!(applied.changed.len(), FILES.len());
}

#[test]
fn an_interrupted_revert_leaves_the_rest_and_says_so() {
    for after in 1..FILES.len() {
        let root = root();
        let _ = Files
            .apply(&mut session(&root, &CrashPoint::none()))
            .unwrap();
        let crash_point = CrashPoint {
            stop_after: Some(after),
            ..CrashPoint::none()
        };
        let reverted = session(&root, &crash_point).revert().unwrap();
        assert_eq!(reverted.undone.len(), after);
        assert_eq!(reverted.not_reverted.len(), FILES.len() - after);
        let interrupted =
            |left: &hosttune_core::NotReverted| left.reason == NotRevertedReason::Interrupted;
        assert!(
            reverted.not_reverted.iter().all(interrupted),
            "{reverted:?}"
        );
        assert!(!reverted.is_complete());
        // The rest is pending like any other change, and there is no unfinished run.
        let status = session(&root, &CrashPoint::none()).status().unwrap();
        assert_eq!(status.pending.len(), FILES.len() - after);
        assert_eq!(status.open, None);
        let reverted = session(&root, &CrashPoint::none()).revert().unwrap();
        assert_eq!(reverted.undone.len(), FILES.len() - after);
        assert_eq!(files(&root), original());
        assert!(!is_journal_there(&root));
    }
}

#[test]
fn an_undo_that_is_owed_is_not_interrupted() {
    // A request to stop does not keep a failed apply from being undone.
    let root = root();
    let crash_point = CrashPoint {
        refused: Some(2),
        stop_after: Some(3),
        ..CrashPoint::none()
    };
    match Files.apply(&mut session(&root, &crash_point)) {
        Err(Error::RolledBack { .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(files(&root), original());
    assert!(!is_journal_there(&root));
}

#[test]
fn a_revert_on_a_full_disk_removes_the_journal() {
    for after in 1..=FILES.len() {
        let root = root();
        let _ = Files
            .apply(&mut session(&root, &CrashPoint::none()))
            .unwrap();
        let crash_point = CrashPoint {
            fails_after: Some(after),
            ..CrashPoint::none()
        };
        let reverted = session(&root, &crash_point).revert().unwrap();
        assert!(reverted.is_complete(), "{reverted:?}");
        assert_eq!(reverted.undone.len(), FILES.len(), "{reverted:?}");
        assert_eq!(files(&root), original());
        assert!(!is_journal_there(&root));
    }
}

#[test]
fn a_revert_whose_last_record_cannot_be_written_tells_what_it_put_back() {
    for after in 1..=FILES.len() {
        let root = root();
        let _ = Files
            .apply(&mut session(&root, &CrashPoint::none()))
            .unwrap();
        let crash_point = CrashPoint {
            fails_after: Some(after),
            errno: Errno::ROFS,
            ..CrashPoint::none()
        };
        let reverted = session(&root, &crash_point).revert().unwrap();
        assert_eq!(reverted.undone.len(), FILES.len(), "{reverted:?}");
        assert_eq!(reverted.not_reverted, []);
        let unrecorded = reverted.unrecorded.unwrap();
        assert!(unrecorded.why.contains("us.journal"), "{unrecorded:?}");
        assert!(unrecorded.hint.unwrap().contains("read-only"));
        assert_eq!(files(&root), original());
        assert!(is_journal_there(&root));
        // The next revert finds this, and clears the journal.
        let again = session(&root, &CrashPoint::none()).revert().unwrap();
        assert!(
            again.undone.iter().all(|undone| undone.already),
            "{again:?}"
        );
        assert_eq!(again.unrecorded, None);
        assert_eq!(files(&root), original());
        assert!(!is_journal_there(&root));
    }
    // If not even the first record can be written, nothing is started.
    let root = root();
    let _ = Files
        .apply(&mut session(&root, &CrashPoint::none()))
        .unwrap();
    let crash_point = CrashPoint::none();
    crash_point.fails.store(true, Ordering::SeqCst);
    let applied = files(&root);
    match session(&root, &crash_point).revert() {
        Err(Error::Journal(_)) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(files(&root), applied);
}

#[test]
fn an_apply_whose_end_cannot_be_recorded_is_taken_back_and_says_both() {
    for (fails_after, refused) in [(1, None), (3, None), (3, Some(2))] {
        let root = root();
        let crash_point = CrashPoint {
            fails_after: Some(fails_after),
            errno: Errno::ROFS,
            refused,
            ..CrashPoint::none()
        };
        match Files.apply(&mut session(&root, &crash_point)) {
            Err(Error::Unrecorded {
                cause: Some(_),
                reverted,
            }) => {
                assert!(reverted.unrecorded.is_some());
                assert_eq!(reverted.not_reverted, []);
            }
            other => panic!("{fails_after}: {other:?}"),
        }
        assert_eq!(files(&root), original());
        assert!(is_journal_there(&root));
        let reverted = session(&root, &CrashPoint::none()).revert().unwrap();
        assert!(reverted.is_complete() && reverted.unrecorded.is_none());
        assert_eq!(files(&root), original());
        assert!(!is_journal_there(&root));
    }
}

#[test]
fn what_was_put_right_first_is_told_where_the_apply_cannot_begin() {
    let root = root();
    // The harshest interruption: nothing is recorded after the first step.
    let crash_point = CrashPoint {
        fails_after: Some(1),
        errno: Errno::ROFS,
        ..CrashPoint::none()
    };
    Files.apply(&mut session(&root, &crash_point)).unwrap_err();
    let path = root.path().join("etc/a.conf");
    fs::write(&path, "ours\n").unwrap();
    for revert in [false, true] {
        let crash_point = CrashPoint {
            fails_after: Some(1),
            errno: Errno::ROFS,
            ..CrashPoint::none()
        };
        let mut session = session(&root, &crash_point);
        let reverted = if revert {
            fs::write(&path, "ours\n").unwrap();
            session.revert().unwrap()
        } else {
            match Files.apply(&mut session) {
                Err(Error::Unrecorded {
                    cause: None,
                    reverted,
                }) => *reverted,
                other => panic!("{other:?}"),
            }
        };
        assert!(reverted.undone.iter().any(|undone| !undone.already));
        assert!(reverted.unrecorded.is_some());
        assert_eq!(files(&root), original());
    }
}
